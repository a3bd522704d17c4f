package manifest

import (
	"context"
	"encoding/binary"
	"io"
	"os"
	"slices"
	"testing"

	"github.com/ferry-migrate/ferry/transfer/chunk"
	"github.com/ferry-migrate/ferry/transfer/file"
	"pgregory.net/rapid"
)

// crash is what a simulated crash panics with: where it was.
type crash string

func stampOf(e *file.Entry) uint64 { return uint64(e.Ctime.Sec) }

// pass is a small session: it walks the source, writes the manifest ahead and sends frames, as the package comment asks for.
type pass struct {
	*people
	store *Store
	w     *Writer
	dst   *target

	ops     []operation   // of the frame being filled
	frames  [][]operation // sent; frames[i] has the number i+1
	applied int           // frames that the target has applied and made durable
	crashAt int           // when so many frames were sent
	touched map[string]bool
	sent    map[string]bool
	done    map[string]uint64 // of files: the frame after which nothing is left to do
	at      string            // the walk has come to
	errors  bool              // some files cannot be read
}

// must ends the test: errors are not part of the model.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// send seals the frame, writes the manifest ahead, and gives it to the target, which may be slow.
func (p *pass) send() {
	seq := uint64(len(p.frames) + 1)
	must(p.w.EndBlock(seq))
	must(p.w.SyncTo(seq))
	p.frames = append(p.frames, p.ops)
	p.ops = nil
	if len(p.frames) == p.crashAt {
		panic(crash("between frames"))
	}
	if rapid.IntRange(0, 3).Draw(p.T, "ack") == 0 {
		p.ack(rapid.IntRange(p.applied, len(p.frames)).Draw(p.T, "applied"))
	}
}

// ack lets the target apply frames up to n, and the source learn of it, or not.
func (p *pass) ack(n int) {
	for ; p.applied < n; p.applied++ {
		for _, o := range p.frames[p.applied] {
			p.dst.apply(o)
		}
	}
	if rapid.IntRange(0, 3).Draw(p.T, "heard") > 0 {
		must(p.store.Acked(uint64(n)))
	}
}

func (p *pass) barrier() {
	if len(p.ops) > 0 {
		p.send()
	}
	must(p.w.EndBlock(uint64(len(p.frames))))
	p.ack(len(p.frames))
	must(p.store.Acked(uint64(len(p.frames))))
}

func (p *pass) op(o operation) {
	p.ops = append(p.ops, o)
	p.touched[parent(o.path)] = true
	if o.code == file.OpMkdir {
		p.touched[o.path] = true
	}
	if rapid.IntRange(0, 2).Draw(p.T, "seal") == 0 {
		p.send()
	}
}

func (p *pass) run() {
	base := &Cursor{limit: -1}
	if r := p.store.Base(); r != nil {
		base = r.Cursor()
	}
	must(base.Advance())
	var gone []string
	for _, path := range p.tree.sorted() {
		for e := base.Current(); e != nil && file.ComparePath(e.Path, []byte(path)) < 0; e = base.Current() {
			gone = append(gone, string(e.Path))
			must(base.Advance())
		}
		var b *Cursor
		if e := base.Current(); e != nil && string(e.Path) == path {
			b = base
		}
		p.entry(path, b)
		if b != nil {
			must(base.Advance())
		}
	}
	for e := base.Current(); e != nil; e = base.Current() {
		gone = append(gone, string(e.Path))
		must(base.Advance())
	}
	p.barrier()
	p.links()
	p.barrier()
	must(p.w.BeginDeletes(uint64(len(p.frames))))
	for _, path := range gone {
		p.op(operation{code: file.OpDelete, path: path})
	}
	p.barrier()
	for _, path := range p.tree.sorted() {
		if n := p.tree[path]; n.kind == file.KindDir && p.touched[path] {
			p.ops = append(p.ops, operation{code: file.OpDirMeta, path: path, stamp: n.stamp})
		}
	}
	p.barrier()
	must(p.store.Commit())
}

// entry does what one path of the source needs. b is on the same path, or nil.
func (p *pass) entry(path string, b *Cursor) {
	p.at = path
	n := p.tree[path]
	e := file.Entry{Path: []byte(path)}
	e.Kind, e.Ino, e.Ctime.Sec = n.kind, n.ino, int64(n.stamp)
	if n.kind == file.KindRegular {
		e.Size = 100
		if e.Digest = digestOf(n.chunks[0]); len(n.chunks) > 1 {
			e.Size, e.Digest = int64(len(n.chunks))*chunk.Size, chunk.Digest{}
		}
		if leader := p.leader(n); leader != path {
			e.Link, e.Digest = []byte(leader), chunk.Digest{}
		}
	}
	unchanged := b != nil && b.entry.State&(file.StateUncertain|file.StatePartial) == 0 && b.entry.Ino == e.Ino && b.entry.Ctime == e.Ctime &&
		string(b.entry.Link) == string(e.Link)
	switch {
	case p.carries(n, b):
		e = clone(&b.entry)
		must(p.w.Append(&e))
		p.copyDigests(&e, b)
	case e.Kind == file.KindDir:
		if !unchanged {
			e.State = file.StateSent
			must(p.w.Append(&e))
			p.touched[path] = true
			if path != "" {
				p.op(operation{code: file.OpMkdir, path: path})
			}
			return
		}
		must(p.w.Append(&e))
	case len(e.Link) > 0:
		if !unchanged || p.sent[string(e.Link)] {
			e.State = file.StateRelink
		}
		must(p.w.Append(&e))
	case unchanged:
		must(p.w.Append(&e))
		p.copyDigests(&e, b)
	case e.Chunks() == 0:
		e.State = file.StateSent
		must(p.w.Append(&e))
		p.sent[path], p.done[path] = true, uint64(len(p.frames)+1)
		p.op(operation{code: file.OpPut, path: path, stamp: n.stamp, data: n.chunks[0]})
	default:
		p.large(&e, n, b)
	}
}

// carries makes some files unreadable.
func (p *pass) carries(n *node, b *Cursor) bool {
	return p.errors && b != nil && b.entry.Kind == file.KindRegular && len(b.entry.Link) == 0 && n.kind == file.KindRegular && p.names(n) == 1 &&
		rapid.IntRange(0, 9).Draw(p.T, "error") == 0
}

func (p *pass) copyDigests(e *file.Entry, b *Cursor) {
	buf := make([]byte, 3*chunk.DigestSize)
	for i := int64(0); ; {
		n, err := b.Chunks(buf)
		must(err)
		if n == 0 {
			return
		}
		must(p.w.AppendChunks(i, buf[:n*chunk.DigestSize]))
		if i += int64(n); len(p.ops) > 0 && rapid.IntRange(0, 5).Draw(p.T, "end block") == 0 {
			must(p.w.EndBlock(uint64(len(p.frames) + 1)))
		}
	}
}

func (p *pass) large(e *file.Entry, n *node, b *Cursor) {
	path := string(e.Path)
	how := file.HowFresh
	if b != nil && b.entry.Chunks() > 0 && b.entry.State&file.StateUncertain == 0 && rapid.IntRange(0, 4).Draw(p.T, "fresh") > 0 {
		how = file.HowInPlace
		if p.names(n) > 1 || rapid.Bool().Draw(p.T, "copy") {
			how = file.HowCopy
		}
	}
	e.State = file.StateSent
	old := make([]byte, len(n.chunks)*chunk.DigestSize)
	resume := 0
	if how != file.HowFresh {
		e.State |= file.StatePartial
		_, err := b.Chunks(old)
		must(err)
		if b.entry.State&file.StatePartial != 0 && b.entry.Ino == e.Ino && b.entry.Ctime == e.Ctime {
			resume = int(b.entry.Resume)
		}
	}
	now := make([]byte, 0, len(old))
	var extents []int
	for i, content := range n.chunks {
		before, d := chunk.Digest(old[i*chunk.DigestSize:]), digestOf(content)
		if i < resume {
			d = before // not read again
		}
		now = append(now, d[:]...)
		if !d.Equal(before) {
			extents = append(extents, i)
		}
	}
	must(p.w.Append(e))
	p.sent[path] = true
	p.op(operation{code: file.OpBegin, path: path, how: how, length: len(extents)})
	for i := 0; i < len(n.chunks); {
		end := min(len(n.chunks), i+rapid.IntRange(1, 4).Draw(p.T, "run"))
		must(p.w.AppendChunks(int64(i), now[i*chunk.DigestSize:end*chunk.DigestSize]))
		for ; i < end; i++ {
			if slices.Contains(extents, i) {
				p.ops = append(p.ops, operation{code: file.OpExtent, path: path, index: i, data: n.chunks[i]})
			}
		}
		if rapid.Bool().Draw(p.T, "seal") {
			p.send()
		}
	}
	if rapid.Bool().Draw(p.T, "end alone") {
		p.send()
	}
	p.done[path] = uint64(len(p.frames) + 1)
	p.op(operation{code: file.OpEnd, path: path, length: len(n.chunks), stamp: n.stamp})
}

// links makes hard links, found by reading the pass's own manifest.
func (p *pass) links() {
	r, err := p.store.Pass()
	must(err)
	defer r.Close()
	for c := r.Cursor(); ; {
		e, err := c.Next()
		if err == io.EOF {
			return
		}
		must(err)
		if e.State&file.StateRelink != 0 {
			p.op(operation{code: file.OpLink, path: string(e.Path), leader: string(e.Link)})
		}
	}
}

// crashed leaves the target as a crash may: of frames that were sent and not durable any part may have been applied. And of the
// manifest, what was not synced may be gone.
func (p *pass) crashed(powerCut bool) {
	for ; p.applied < len(p.frames); p.applied++ {
		f := p.frames[p.applied]
		for _, o := range f[:rapid.IntRange(0, len(f)).Draw(p.T, "torn")] {
			if o.code != file.OpLink && o.code != file.OpDelete || rapid.Bool().Draw(p.T, "done") {
				p.dst.apply(o)
			}
		}
	}
	if powerCut && p.w != nil {
		written, synced := p.w.marks()
		if st, err := os.Stat(p.store.path(nameNext)); err == nil && st.Size() == written {
			must(os.Truncate(p.store.path(nameNext), rapid.Int64Range(synced, written).Draw(p.T, "lost")))
		}
	}
}

// kill closes the files as the end of the process does.
func (s *Store) kill() {
	for _, f := range []*os.File{s.lock} {
		if f != nil {
			f.Close()
		}
	}
	if s.acks != nil {
		s.acks.f.Close()
	}
	if s.base != nil {
		s.base.Close()
	}
	if s.next != nil && s.next.file != nil {
		s.next.file.Close()
	}
}

// try runs f and reports whether it ran to its end; false if it crashed.
func try(f func()) (ok bool) {
	defer func() {
		if r := recover(); r != nil {
			if _, is := r.(crash); !is {
				panic(r)
			}
		}
	}()
	f()
	return true
}

// crashAfter makes the n-th call of hook a crash.
func crashAfter(n int) {
	hook = func(at string) {
		if n--; n == 0 {
			panic(crash(at))
		}
	}
}

// TestModel runs histories of changes, passes and crashes. After every crash the recovered base must be true of the target and must not
// forget what is certain; after the last pass, which runs through, the target must equal the source.
func TestModel(t *testing.T) {
	defer func() { hook = func(string) {} }()
	for range 5 {
		rapid.Check(t, history)
	}
}

func history(t *rapid.T) {
	hook = func(string) {}
	dir, err := os.MkdirTemp(memory(), "manifest")
	must(err)
	defer os.RemoveAll(dir)
	p := &people{T: t, tree: paths{"": &node{kind: file.KindDir, ino: 1, stamp: 1}}, clock: 1}
	dst := paths{"": &node{kind: file.KindDir}}
	held := map[[2]uint64][]uint64{}
	passes := rapid.IntRange(1, 6).Draw(t, "passes")
	var kept certain
	for i := range passes + 1 {
		for range rapid.IntRange(0, 8).Draw(t, "changes") {
			p.change()
		}
		for _, n := range p.tree {
			held[[2]uint64{n.ino, n.stamp}] = slices.Clone(n.chunks)
		}
		kept = onePass(t, p, dir, dst, held, kept, byte(i+1), i == passes)
	}
	if diff := same(p.tree, dst); diff != "" {
		t.Fatal(diff)
	}
}

// onePass opens the store, crashing on the way or not, checks it, and runs a pass that may crash unless it is the last.
func onePass(t *rapid.T, p *people, dir string, dst paths, history map[[2]uint64][]uint64, kept certain, number byte, last bool) certain {
	var s *Store
	for n := rapid.IntRange(0, 12).Draw(t, "crash of open"); ; n = 0 {
		crashAfter(n)
		opened := try(func() {
			s = &Store{dir: dir}
			must(s.open(context.Background()))
		})
		if opened {
			break
		}
		s.kill()
	}
	defer func() { s.kill() }()
	if len(s.recovered.Damaged) > 0 {
		t.Fatal(s.recovered.Damaged)
	}
	if s.base != nil {
		check(t, s.base, dst, history)
		kept.check(t, s)
	} else if len(dst) > 1 {
		t.Fatal("the target holds something and there is no base")
	}
	w := &pass{people: p, store: s, dst: &target{dst, map[string]int{}}, touched: map[string]bool{}, sent: map[string]bool{}, done: map[string]uint64{}, errors: !last}
	if !last {
		w.crashAt = rapid.IntRange(0, 30).Draw(t, "crash of pass")
		crashAfter(rapid.IntRange(0, 60).Draw(t, "crash of write"))
	} else {
		crashAfter(0)
	}
	kept = certain{pass: w, before: states(s)}
	done := try(func() {
		h := Header{Tree: ID{9}, Started: file.Time{Sec: int64(number)}}
		binary.LittleEndian.PutUint64(h.Pass[:], uint64(number))
		if s.base != nil {
			h.Base = s.base.header.Pass
		}
		var err error
		w.w, err = s.Begin(h)
		must(err)
		w.run()
	})
	hook = func(string) {}
	if !done {
		w.crashed(rapid.Bool().Draw(t, "power cut"))
	}
	return kept
}

// memory returns a directory in memory, where syncing costs nothing, or "".
func memory() string {
	if st, err := os.Stat("/dev/shm"); err == nil && st.IsDir() {
		return "/dev/shm"
	}
	return ""
}
