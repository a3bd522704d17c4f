package file

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	walkBatch   = 256      // entries whose metadata is read in one go
	walkAhead   = 8 << 10  // entries read ahead of the consumer
	walkNames   = 16 << 20 // bytes of names listed ahead of the consumer
	dirsAtOnce  = 512      // idle directory descriptors kept open
	getdentsBuf = 64 << 10
)

// Item is one entry as the walk found it. Its slices stay valid until the walk is closed.
type Item struct {
	Entry         // Path is nil (Dir.Path and Name make it), Xattrs, Flags and Project are not filled
	Dir    *Dir   // the directory it lies in; of the root's own item, the root
	Name   []byte // NUL-terminated; just the NUL for the root
	Place  Place
	Mount  bool  // another filesystem, or a bind mount, is mounted here: it is not entered
	Err    error // the entry could not be looked at; all but Dir and Name is empty
	Unread error // of a directory's second item (Kind 0, Name just the NUL): it could not be listed whole, nothing below Dir is known
}

// WalkOptions configure a Walk.
type WalkOptions struct {
	Workers int // goroutines that read ahead; at least 1
	// Skip says that an entry is left out with everything below it. It is called from several goroutines.
	Skip func(dir, name []byte, kind Kind) bool
	// Mounts makes the walk stay in the mount of its root by mount ids. Without it whatever is mounted below is entered.
	Mounts bool
	// Brief leaves out Identity.Gen, which costs a system call for each entry.
	Brief bool
	// Alias is for the tree of a Btrfs snapshot.
	Alias Alias
}

// Walk visits all entries below a root in the order of ComparePath: parents first, siblings by the bytes of their names. The
// order depends on nothing but the names. Directories are read ahead by several workers; memory is bounded by the names of
// a few directories and some thousand entries, whatever the size of the tree.
//
// One goroutine calls Next. Close must be called; directories of items returned before stay usable through Dirs until then.
type Walk struct {
	Dirs *Dirs
	opts WalkOptions
	root *Dir
	home Place

	mu      sync.Mutex
	cond    sync.Cond
	todo    []*walkDir // what workers take from, the next one last
	ahead   int        // entries read and not consumed
	names   int        // bytes of names listed and not consumed
	closed  bool
	workers sync.WaitGroup

	stack []*walkDir // of the consumer, the root first
	own   *walkWorker
	first *Item
}

// walkDir is the state of one directory of a Walk. Fields are guarded by Walk.mu unless said otherwise.
type walkDir struct {
	*Dir
	claimed bool
	listed  bool
	err     error
	names   []byte // NUL-terminated names; immutable once listed
	index   []nameRef
	batches []*walkBatchItems
	next    int // first batch nobody has claimed

	batch, item int // of the consumer
}

type nameRef struct {
	off int32
	len int32 // without the NUL
}

// walkBatchItems is up to walkBatch entries in order. items is immutable once done.
type walkBatchItems struct {
	items []Item
	subs  []*walkDir // aligned with items; nil for what is not entered
	done  bool
}

type walkWorker struct {
	meta MetaReader
	buf  [getdentsBuf]byte
}

// NewWalk starts walking at root, an open directory; the walk owns the descriptor.
func NewWalk(rootfd int, opts WalkOptions) (*Walk, error) {
	w := &Walk{Dirs: NewDirs(dirsAtOnce), opts: opts, own: &walkWorker{meta: MetaReader{Alias: opts.Alias}}}
	w.cond.L = &w.mu
	root, err := w.Dirs.Root(rootfd)
	if err != nil {
		return nil, err
	}
	w.root = root
	item := &Item{Dir: root, Name: []byte{0}}
	if item.Place, err = w.own.meta.Stat(rootfd, nil, &item.Entry); err != nil {
		return nil, fmt.Errorf("stat root: %w", err)
	}
	if item.Gen, _, err = w.own.meta.Handle(rootfd, nil); err != nil {
		return nil, fmt.Errorf("identify root: %w", err)
	}
	w.home = item.Place
	if w.home.Mount == 0 && opts.Mounts {
		if w.home.Mount, err = MountID(rootfd); err != nil {
			return nil, err
		}
	}
	w.first = item
	top := &walkDir{Dir: root}
	w.stack = append(w.stack, top)
	w.todo = append(w.todo, top)
	for range max(opts.Workers, 1) {
		w.workers.Add(1)
		go w.work()
	}
	return w, nil
}

// Root returns the root directory.
func (w *Walk) Root() *Dir { return w.root }

// Close stops the workers and closes all descriptors.
func (w *Walk) Close() {
	w.mu.Lock()
	w.closed = true
	w.cond.Broadcast()
	w.mu.Unlock()
	w.workers.Wait()
	w.Dirs.Close(w.root)
}

// Next returns the next item, or nil at the end. The item is valid until the following call.
func (w *Walk) Next() *Item {
	if w.first != nil {
		item := w.first
		w.first = nil
		return item
	}
	for len(w.stack) > 0 {
		d := w.stack[len(w.stack)-1]
		if item, more := w.nextIn(d); item != nil {
			return item
		} else if !more {
			w.leave(d)
		}
	}
	return nil
}

// nextIn returns the next item of d; nil and false at its end; nil and true when it has pushed a directory below d.
func (w *Walk) nextIn(d *walkDir) (item *Item, more bool) {
	if d.batch == 0 && d.item == 0 {
		w.await(d, -1)
		if d.err != nil {
			err := d.err
			d.err, d.batches = nil, nil
			return &Item{Dir: d.Dir, Name: []byte{0}, Unread: err}, true
		}
	}
	if d.batch >= len(d.batches) {
		return nil, false
	}
	b := d.batches[d.batch]
	if d.item == 0 {
		w.await(d, d.batch)
	} else if sub := b.subs[d.item-1]; sub != nil { // the directory returned last comes before its next sibling
		b.subs[d.item-1] = nil
		w.stack = append(w.stack, sub)
		return nil, true
	}
	if d.item == len(b.items) {
		w.consume(d, b)
		return nil, true
	}
	d.item++
	return &b.items[d.item-1], true
}

func (w *Walk) consume(d *walkDir, b *walkBatchItems) {
	d.batches[d.batch] = nil
	d.batch++
	d.item = 0
	w.mu.Lock()
	w.ahead -= len(b.items)
	w.cond.Broadcast()
	w.mu.Unlock()
}

func (w *Walk) leave(d *walkDir) {
	w.stack = w.stack[:len(w.stack)-1]
	w.mu.Lock()
	w.names -= len(d.names)
	w.cond.Broadcast()
	w.mu.Unlock()
}

// await waits until d is listed (batch < 0) or the batch is read; what nobody has begun the consumer does itself, so the
// bounds on reading ahead never stop it.
func (w *Walk) await(d *walkDir, batch int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		switch {
		case batch < 0 && d.listed, batch >= 0 && d.batches[batch].done:
			return
		case !d.claimed:
			d.claimed = true
			w.list(w.own, d)
		case d.listed && batch >= 0 && d.next == batch:
			w.read(w.own, d)
		default:
			w.cond.Wait()
		}
	}
}

func (w *Walk) work() {
	defer w.workers.Done()
	me := &walkWorker{meta: MetaReader{Alias: w.opts.Alias}}
	w.mu.Lock()
	defer w.mu.Unlock()
	for !w.closed {
		if len(w.todo) == 0 || w.ahead >= walkAhead || w.names >= walkNames {
			w.cond.Wait()
			continue
		}
		d := w.todo[len(w.todo)-1]
		w.todo = w.todo[:len(w.todo)-1]
		if !d.claimed {
			d.claimed = true
			w.list(me, d)
		} else if d.listed && d.next < len(d.batches) {
			w.read(me, d)
		}
	}
}

// list reads the names of d and the metadata of the first batch. Called and returns with mu held.
func (w *Walk) list(me *walkWorker, d *walkDir) {
	w.mu.Unlock()
	names, index, err := w.readNames(me, d.Dir)
	w.mu.Lock()
	d.listed = true
	d.names, d.index, d.err = names, index, err
	w.names += len(names)
	if err == nil {
		d.batches = make([]*walkBatchItems, (len(index)+walkBatch-1)/walkBatch)
		for i := range d.batches {
			d.batches[i] = &walkBatchItems{}
		}
	}
	if len(d.batches) > 0 && d.next == 0 {
		w.read(me, d)
	}
	w.cond.Broadcast()
}

// read reads the metadata of the first unclaimed batch of d. Called and returns with mu held.
func (w *Walk) read(me *walkWorker, d *walkDir) {
	n := d.next
	d.next++
	if d.next < len(d.batches) {
		w.todo = append(w.todo, d)
	}
	refs := d.index[n*walkBatch : min((n+1)*walkBatch, len(d.index))]
	w.ahead += len(refs)
	w.mu.Unlock()
	items, subs, err := w.readItems(me, d, refs)
	w.mu.Lock()
	b := d.batches[n]
	w.ahead -= len(refs) - len(items)
	b.items, b.subs, b.done = items, subs, true
	if err != nil && n == 0 { // the directory itself went away
		d.err = err
	}
	for i := len(subs) - 1; i >= 0; i-- {
		if subs[i] != nil {
			w.todo = append(w.todo, subs[i])
		}
	}
	w.cond.Broadcast()
}

// readNames lists d, sorted.
func (w *Walk) readNames(me *walkWorker, d *Dir) (names []byte, index []nameRef, err error) {
	fd, err := w.Dirs.Acquire(d)
	if err != nil {
		return nil, nil, fmt.Errorf("open directory: %w", err)
	}
	defer w.Dirs.Release(d)
	if _, err := unix.Seek(fd, 0, unix.SEEK_SET); err != nil {
		return nil, nil, fmt.Errorf("rewind directory: %w", err)
	}
	for {
		n, err := sysGetdents(fd, me.buf[:])
		if err != nil {
			return nil, nil, fmt.Errorf("list directory: %w", err)
		}
		if n == 0 {
			break
		}
		if names, index, err = appendNames(names, index, me.buf[:n]); err != nil {
			return nil, nil, err
		}
	}
	slices.SortFunc(index, func(a, b nameRef) int {
		return bytes.Compare(names[a.off:a.off+a.len], names[b.off:b.off+b.len])
	})
	return names, index, nil
}

// errDirent is a directory listing whose records do not add up.
var errDirent = errors.New("list directory: malformed record")

// appendNames takes the names out of a buffer that getdents64 filled: struct linux_dirent64 is ino u64, off u64,
// reclen u16, type u8, name.
func appendNames(names []byte, index []nameRef, buf []byte) ([]byte, []nameRef, error) {
	const header = 19
	for len(buf) > 0 {
		if len(buf) < header {
			return nil, nil, errDirent
		}
		size := int(binary.NativeEndian.Uint16(buf[16:]))
		if size <= header || size > len(buf) {
			return nil, nil, errDirent
		}
		name := buf[header:size]
		end := bytes.IndexByte(name, 0)
		if end <= 0 {
			return nil, nil, errDirent
		}
		buf = buf[size:]
		if end <= 2 && name[0] == '.' && (end == 1 || name[1] == '.') {
			continue
		}
		index = append(index, nameRef{int32(len(names)), int32(end)})
		names = append(names, name[:end+1]...)
	}
	return names, index, nil
}

// readItems looks at each name of refs; what vanished meanwhile or is skipped is left out.
func (w *Walk) readItems(me *walkWorker, d *walkDir, refs []nameRef) (items []Item, subs []*walkDir, err error) {
	fd, err := w.Dirs.Acquire(d.Dir)
	if err != nil {
		return nil, nil, fmt.Errorf("open directory: %w", err)
	}
	defer w.Dirs.Release(d.Dir)
	items = make([]Item, 0, len(refs))
	subs = make([]*walkDir, 0, len(refs))
	for _, ref := range refs {
		name := d.names[ref.off : ref.off+ref.len+1 : ref.off+ref.len+1]
		items = append(items, Item{Dir: d.Dir, Name: name})
		item := &items[len(items)-1]
		w.look(me, fd, item)
		if item.Err == unix.ENOENT || w.opts.Skip != nil && w.opts.Skip(d.Path, name[:ref.len], item.Kind) {
			items = items[:len(items)-1]
			continue
		}
		var sub *walkDir
		if item.Kind == KindDir && !item.Mount && item.Err == nil {
			sub = &walkDir{Dir: child(d.Dir, name, item.Place.Dev, item.Ino)}
		}
		subs = append(subs, sub)
	}
	return items, subs, nil
}

// look fills item from the entry of that name in dirfd.
func (w *Walk) look(me *walkWorker, dirfd int, item *Item) {
	bare := item.Name[:len(item.Name)-1]
	var err error
	if item.Place, err = me.meta.Stat(dirfd, bare, &item.Entry); err != nil {
		item.Err = err
		return
	}
	if w.opts.Brief && (!w.opts.Mounts || item.Place.Mount != 0) {
		item.Mount = w.opts.Mounts && item.Place.Mount != w.home.Mount
		return
	}
	gen, mount, err := me.meta.Handle(dirfd, bare)
	if err != nil {
		item.Err = err
		return
	}
	item.Gen = gen
	if !w.opts.Mounts {
		return
	}
	if item.Place.Mount == 0 {
		item.Place.Mount = uint64(mount)
	}
	if item.Place.Mount != 0 && w.home.Mount != 0 {
		item.Mount = item.Place.Mount != w.home.Mount
	} else {
		item.Mount = item.Place.Dev != w.home.Dev
	}
}

// Open opens the entry called name (NUL-terminated) of d for reading, without following it, waiting or touching its access time.
func (s *Dirs) Open(d *Dir, name []byte) (int, error) {
	dirfd, err := s.Acquire(d)
	if err != nil {
		return -1, err
	}
	defer s.Release(d)
	const flags = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY
	fd, err := sysOpenat(dirfd, &name[0], flags|unix.O_NOATIME, 0)
	if err == unix.EPERM {
		fd, err = sysOpenat(dirfd, &name[0], flags, 0)
	}
	return fd, err
}

// Readlink returns the target of the symbolic link called name in d, in buf, which must hold at least 4096 bytes.
func (s *Dirs) Readlink(d *Dir, name, buf []byte) ([]byte, error) {
	dirfd, err := s.Acquire(d)
	if err != nil {
		return nil, err
	}
	defer s.Release(d)
	n, err := sysReadlinkat(dirfd, &name[0], buf)
	if err != nil {
		return nil, err
	}
	return buf[:n], nil
}
