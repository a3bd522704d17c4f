package source

import (
	"bytes"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/transfer/chunk"
	"github.com/ferry-migrate/ferry/transfer/file"
	"github.com/ferry-migrate/ferry/transfer/wire"
)

// readTries is how often a file that changes while it is read is read before it is left for the next pass.
const readTries = 3

// worker turns jobs into frames. Each belongs to one stream and one goroutine.
type worker struct {
	p       *pass
	meta    file.MetaReader
	ops     []byte // operations of the job, raw
	cuts    []int  // where ops is cut into frames
	scratch []byte // content of one extent
	link    []byte
	spans   []span
	lost    []int64 // chunks of the extent that could not be read
	short   bool    // the file ended early
	at      *file.Dir
	stop    <-chan struct{} // closed when the pass ends early

	read, saved int64 // of the job, bytes
}

// newWorker makes one that waits for others no longer once stop is closed.
func newWorker(p *pass, stop <-chan struct{}) *worker {
	return &worker{p: p, stop: stop, scratch: make([]byte, inlineBytes), link: make([]byte, 64<<10)}
}

// run does everything of a job but recording and sending it.
func (w *worker) run(j *job) error {
	w.ops, w.cuts, w.at, w.read, w.saved = w.ops[:0], w.cuts[:0], nil, 0, 0
	if j.large != nil {
		return w.runLarge(j)
	}
	for i := range j.items {
		it := &j.items[i]
		from, mark := w.frameStart(), len(w.ops)
		if err := w.item(j, it); err != nil {
			return fmt.Errorf("%s: %w", it.Path, err)
		}
		if len(w.ops)-from > wire.MaxPayload && mark > from { // with its attributes it was too much: it begins a frame
			w.ops = w.ops[:mark]
			w.cut()
			if err := w.item(j, it); err != nil {
				return fmt.Errorf("%s: %w", it.Path, err)
			}
		}
		if len(w.ops)-w.frameStart() > cutAt {
			w.cut()
		}
	}
	return nil
}

// cutAt is how large a frame may become before the next entry starts another. One entry alone, with its content (inlineBytes), its
// attributes (file.MaxXattrs) and its path, stays below wire.MaxPayload.
const cutAt = denseBytes

// frameStart is where the frame that is being filled begins.
func (w *worker) frameStart() int {
	if len(w.cuts) > 0 {
		return w.cuts[len(w.cuts)-1]
	}
	return 0
}

// cut ends the frame.
func (w *worker) cut() {
	w.cuts = append(w.cuts, len(w.ops))
	w.at = nil
}

// runLarge reads a run of chunks of a larger file.
func (w *worker) runLarge(j *job) error {
	if j.known {
		j.found = append(j.found[:0], j.old...)
		return nil
	}
	l := j.large
	j.found = append(j.found[:0], make([]byte, j.count*chunk.DigestSize)...)
	w.dir(l.item.dir)
	before := len(w.ops)
	if j.hole {
		w.hole(j)
		if l.done(&w.meta) {
			w.p.changed(&l.item)
		}
		return nil
	}
	short, err := w.extents(&extents{
		fd: l.fd, name: l.item.bare(), size: l.item.Size, first: j.first, count: j.count, old: j.old, found: j.found,
		sparse: l.sparse, bad: func(off int64, err error) { w.p.unreadable(&l.item, fmt.Errorf("offset %d: %w", off, err)) },
	})
	if err != nil {
		return fmt.Errorf("%s: %w", l.item.Path, err)
	}
	if len(w.ops) == before {
		w.ops = w.ops[:0] // nothing but the directory
	}
	if l.done(&w.meta) || short {
		w.p.changed(&l.item)
	}
	return nil
}

// hole handles a run of chunks that are a hole.
func (w *worker) hole(j *job) {
	differs := false
	for i := range j.count {
		*digestAt(j.found, i) = chunk.Hole
		differs = differs || len(j.old) > 0 && *digestAt(j.old, i) != chunk.Hole
	}
	if !differs {
		w.ops = w.ops[:0]
		return
	}
	from := j.first * chunk.Size
	length := min(j.large.item.Size-from, j.count*chunk.Size)
	w.ops = file.AppendRange(w.ops, file.OpPunch, j.large.item.bare(), from, length)
}

// dir makes d the current directory of the operations.
func (w *worker) dir(d *file.Dir) {
	if w.at != d {
		w.ops = file.AppendDir(w.ops, d.Path)
		w.at = d
	}
}

// item appends the operations of one entry. An error of the entry alone is a loss; the error returned is fatal.
func (w *worker) item(j *job, it *item) error {
	mark := len(w.ops)
	at := w.at
	var err error
	switch it.act {
	case actKeep, actLink:
		return nil
	case actDir, actMkdir:
		err = w.directory(j, it)
	case actFile, actFrom:
		err = w.regular(j, it)
	case actBegin:
		err = w.begin(it)
	case actEnd:
		err = w.end(it)
	case actSymlink:
		err = w.symlink(it)
	case actNode:
		err = w.node(it)
	case actMeta:
		err = w.metaOnly(it)
	}
	if err != nil {
		w.ops, w.at = w.ops[:mark], at
		return w.failed(it, err)
	}
	if len(w.ops) > mark {
		it.State |= file.StateSent
		j.touched = append(j.touched, w.p.hash(it.dir.Path))
	}
	return nil
}

// failed decides what an entry that could not be read means.
func (w *worker) failed(it *item, err error) error {
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ESTALE), errors.Is(err, file.ErrMoved), errors.Is(err, unix.ELOOP),
		errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ENXIO), errors.Is(err, unix.EISDIR), errors.Is(err, errBusy):
		w.p.changed(it)
		if errors.Is(err, errBusy) && it.base != nil {
			break
		}
		it.drop = true
		return nil
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOMEM), errors.Is(err, errStopped):
		return err
	default:
		w.p.unreadable(it, err)
	}
	if it.base == nil {
		it.drop = true
		return nil
	}
	path := it.Path // what the target has stays as it is
	it.Entry = *it.base
	it.Path = path
	it.act = actKeep
	return nil
}

// errStopped: the pass ended; why is told elsewhere.
var errStopped = errors.New("the pass ended")

// errBusy: a file changed each time it was read.
var errBusy = errors.New("it changed each time it was read")

// describe fills the metadata that needs a descriptor.
func (w *worker) describe(fd int, it *item) error {
	x, err := w.meta.Xattrs(fd)
	if err != nil {
		w.p.partial(it, "xattrs", err)
	}
	it.Xattrs = x
	it.Xattr = file.XattrDigest(x)
	if it.Flags, it.Project, err = w.meta.Flags(fd, it.place.Dev); err != nil {
		w.p.partial(it, "flags", err)
	}
	return nil
}

func (w *worker) directory(j *job, it *item) error {
	fd, err := w.p.walk.Dirs.Open(it.dir, dirName(it))
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := w.describe(fd, it); err != nil {
		return err
	}
	it.State |= file.StateSent
	if it.act == actMkdir && len(it.Path) > 0 {
		w.dir(it.dir)
		w.ops = file.AppendMetaOp(w.ops, file.OpMkdir, it.bare(), &it.Meta, file.HowFresh)
		j.fence = j.fence || it.Flags&file.EmptyFlags != 0 // nothing may be in it before it has them
	}
	it.Xattrs = nil
	return nil
}

var dot = []byte(".\x00")

// dirName is the name to open a directory by: the root opens itself.
func dirName(it *item) []byte {
	if len(it.Path) == 0 {
		return dot
	}
	return it.name
}

func (w *worker) symlink(it *item) error {
	dest, err := w.p.walk.Dirs.Readlink(it.dir, it.name, w.link)
	if err != nil {
		return err
	}
	if err := w.describeAt(it); err != nil {
		return err
	}
	it.Digest = chunk.Sum(dest)
	w.dir(it.dir)
	if it.base != nil && it.how == file.HowInPlace && it.base.Digest.Equal(it.Digest) {
		w.ops = file.AppendMetaOp(w.ops, file.OpMeta, it.bare(), &it.Meta, it.how)
	} else {
		w.ops = file.AppendSymlink(w.ops, it.bare(), &it.Meta, dest)
	}
	it.Xattrs = nil
	return nil
}

func (w *worker) node(it *item) error {
	if err := w.describeAt(it); err != nil {
		return err
	}
	code := file.OpNode
	if it.base != nil && it.how == file.HowInPlace {
		code = file.OpMeta
	}
	w.dir(it.dir)
	w.ops = file.AppendMetaOp(w.ops, code, it.bare(), &it.Meta, it.how)
	it.Xattrs = nil
	return nil
}

// describeAt fills the extended attributes of an entry that must not be opened.
func (w *worker) describeAt(it *item) error {
	dirs := w.p.walk.Dirs
	fd, err := dirs.Acquire(it.dir)
	if err != nil {
		return err
	}
	defer dirs.Release(it.dir)
	x, err := w.meta.XattrsAt(fd, it.bare())
	if errors.Is(err, unix.ENOENT) {
		return err
	}
	if err != nil {
		w.p.partial(it, "xattrs", err)
	}
	it.Xattrs = x
	it.Xattr = file.XattrDigest(x)
	return nil
}

// metaOnly sends the metadata of a file whose content is known to be the same.
func (w *worker) metaOnly(it *item) error {
	fd, err := w.p.walk.Dirs.Open(it.dir, it.name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := w.describe(fd, it); err != nil {
		return err
	}
	w.dir(it.dir)
	if len(it.from) > 0 {
		w.ops = file.AppendFrom(w.ops, it.bare(), &it.Meta, it.from)
	} else {
		w.ops = file.AppendMetaOp(w.ops, file.OpMeta, it.bare(), &it.Meta, file.HowInPlace)
	}
	it.Xattrs = nil
	return nil
}

// begin starts a larger file; its descriptor was opened by the planner. It may be called again, when its operation goes to another frame.
func (w *worker) begin(it *item) error {
	l := it.large
	select {
	case <-l.described:
	default:
		err := w.describe(l.fd, it)
		l.meta = it.Meta
		l.meta.Xattrs = bytes.Clone(it.Xattrs)
		it.Xattrs = nil // they come with OpEnd
		close(l.described)
		if l.done(&w.meta) {
			w.p.changed(&l.item)
		}
		if err != nil {
			return err
		}
	}
	w.dir(it.dir)
	w.ops = file.AppendMetaOp(w.ops, file.OpBegin, it.bare(), &it.Meta, it.how)
	return nil
}

// end ends a larger file, once it is described: the worker that does so may be behind.
func (w *worker) end(it *item) error {
	select {
	case <-it.large.described:
	case <-w.stop:
		return errStopped
	}
	w.dir(it.dir)
	w.ops = file.AppendMetaOp(w.ops, file.OpEnd, it.bare(), &it.large.meta, it.how)
	return nil
}
