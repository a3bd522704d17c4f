package allocmap

import (
	"bytes"
	"errors"
	"fmt"
)

// Trees, key types and headers (linux/include/uapi/linux/btrfs_tree.h).
const (
	btrfsExtentTree = 2
	btrfsGroupTree  = 11

	btrfsRootItem     = 132
	btrfsExtentItem   = 168
	btrfsMetadataItem = 169
	btrfsGroupItem    = 192
	btrfsChunkItem    = 228

	btrfsHeader = 101
	btrfsLevels = 8
	btrfsAhead  = 16 // leaves in flight
)

var errBtrfs = errors.New("its trees are damaged")

// btrfsKey orders the items of a tree.
type btrfsKey struct {
	object uint64
	kind   byte
	offset uint64
}

func decodeKey(b []byte) btrfsKey { return btrfsKey{le.Uint64(b), b[8], le.Uint64(b[9:])} }

func (k btrfsKey) less(o btrfsKey) bool {
	if k.object != o.object {
		return k.object < o.object
	}
	if k.kind != o.kind {
		return k.kind < o.kind
	}
	return k.offset < o.offset
}

// btrfsTrees reads the trees of one filesystem from all of its devices.
type btrfsTrees struct {
	super   *btrfsSuper
	devices map[uint64]*volume
	ids     map[uint64][]byte
	chunks  []*btrfsChunk // by start
}

// btrfsPointer leads to a tree block and says what it must be.
type btrfsPointer struct {
	logical, generation uint64
	level               byte
	key                 *btrfsKey // its first; nil for a root
}

// node reads a tree block from the first copy that is what the pointer says. A stale block fails by its generation.
func (t *btrfsTrees) node(p btrfsPointer) ([]byte, error) {
	c := t.chunk(p.logical)
	if c == nil || c.start+c.length-p.logical < uint64(t.super.node) {
		return nil, fmt.Errorf("%w: address %d is in no chunk", errBtrfs, p.logical)
	}
	failed := fmt.Errorf("%w, or its devices are missing: no sound copy of the block at %d", errBtrfs, p.logical)
	for _, place := range c.copies(p.logical - c.start) {
		v := t.devices[place.device]
		if v == nil {
			continue
		}
		b, err := v.read(int64(min(place.offset, maxSize)), int(t.super.node))
		switch {
		case v.ctx.Err() != nil:
			return nil, err
		case err != nil:
			failed = err
		case le.Uint64(b[48:]) == p.logical && le.Uint64(b[80:]) == p.generation && b[100] == p.level &&
			bytes.Equal(b[32:48], t.super.metaID) && btrfsSum(t.super.csum, b):
			return b, nil
		}
	}
	return nil, failed
}

// walk calls f with every item of a tree. Items ascend through the whole tree and each block begins with the key by which it is
// reached, so no leaf is taken twice, whatever the pointers say.
func (t *btrfsTrees) walk(root btrfsPointer, f func(k btrfsKey, data []byte) error) error {
	if root.level >= btrfsLevels {
		return fmt.Errorf("%w: too high", errBtrfs)
	}
	w := btrfsWalk{btrfsTrees: t, f: f}
	return w.block(root)
}

type btrfsWalk struct {
	*btrfsTrees
	f    func(k btrfsKey, data []byte) error
	last btrfsKey // greatest so far
	some bool
}

func (w *btrfsWalk) block(p btrfsPointer) error {
	b, err := w.node(p)
	if err != nil {
		return err
	}
	return w.items(p, b)
}

// items takes the items of a leaf, or all below a block that is none.
func (w *btrfsWalk) items(p btrfsPointer, b []byte) error {
	damaged := fmt.Errorf("%w: block at %d", errBtrfs, p.logical)
	n, item := int64(le.Uint32(b[96:])), int64(25)
	if p.level > 0 {
		item = 33
	}
	if n > (int64(len(b))-btrfsHeader)/item || n == 0 && (p.key != nil || p.level > 0) {
		return damaged
	}
	var below []btrfsPointer
	for i := range n {
		e := b[btrfsHeader+i*item:][:item]
		k := decodeKey(e)
		if i == 0 && p.key != nil && k != *p.key {
			return damaged
		}
		if p.level > 0 {
			below = append(below, btrfsPointer{logical: le.Uint64(e[17:]), generation: le.Uint64(e[25:]), level: p.level - 1, key: &k})
			continue
		}
		if w.some && !w.last.less(k) {
			return damaged
		}
		w.last, w.some = k, true
		off, size := int64(le.Uint32(e[17:])), int64(le.Uint32(e[21:]))
		if btrfsHeader+off+size > int64(len(b)) {
			return damaged
		}
		if err := w.f(k, b[btrfsHeader+off:][:size]); err != nil {
			return err
		}
	}
	if p.level == 1 {
		return w.leaves(below)
	}
	for _, p := range below {
		if err := w.block(p); err != nil {
			return err
		}
	}
	return nil
}

// leaves reads leaves, some ahead of the one whose items are taken: they lie scattered, and a filesystem is frozen meanwhile.
// Nothing is read any more when it returns.
func (w *btrfsWalk) leaves(ps []btrfsPointer) error {
	type leaf struct {
		b   []byte
		err error
	}
	ready := make([]chan leaf, len(ps))
	start := func(i int) {
		if i < len(ps) {
			c := make(chan leaf, 1)
			ready[i] = c
			go func() {
				b, err := w.node(ps[i])
				c <- leaf{b, err}
			}()
		}
	}
	for i := range btrfsAhead {
		start(i)
	}
	for i, p := range ps {
		got := <-ready[i]
		if got.err == nil {
			start(i + btrfsAhead)
			got.err = w.items(p, got.b)
		}
		if got.err != nil {
			for _, c := range ready[i+1:] {
				if c != nil {
					<-c
				}
			}
			return got.err
		}
	}
	return nil
}

// scan marks every extent, chunk by chunk, and checks what it adds up to against what the block group counts.
func (t *btrfsTrees) scan() error {
	roots := map[uint64]btrfsPointer{}
	err := t.walk(btrfsPointer{logical: t.super.root, generation: t.super.generation, level: t.super.rootLevel}, func(k btrfsKey, data []byte) error {
		if k.kind != btrfsRootItem || k.object != btrfsExtentTree && k.object != btrfsGroupTree {
			return nil
		}
		if len(data) < 239 {
			return fmt.Errorf("%w: short root", errBtrfs)
		}
		roots[k.object] = btrfsPointer{logical: le.Uint64(data[176:]), generation: le.Uint64(data[160:]), level: data[238]}
		return nil
	})
	if err != nil {
		return err
	}
	extents, ok := roots[btrfsExtentTree]
	groups, separate := roots[btrfsGroupTree]
	if !ok || separate != (t.super.compatRO&btrfsBlockGroupTree != 0) {
		return fmt.Errorf("%w: no extent tree", errBtrfs)
	}
	if separate {
		if err := t.walk(groups, t.group); err != nil {
			return err
		}
	}
	a := btrfsExtents{btrfsTrees: t}
	if err := t.walk(extents, a.item); err != nil {
		return err
	}
	t.judge()
	return nil
}

// group takes what a block group says is used of its chunk.
func (t *btrfsTrees) group(k btrfsKey, data []byte) error {
	if k.kind != btrfsGroupItem {
		return nil
	}
	c := t.chunk(k.object)
	if c == nil || c.start != k.object || c.length != k.offset || len(data) < 24 || c.grouped {
		return fmt.Errorf("%w: block group at %d", errBtrfs, k.object)
	}
	c.grouped, c.wanted = true, le.Uint64(data)
	return nil
}

// judge takes a chunk as a whole when its extents do not add up.
func (t *btrfsTrees) judge() {
	for _, c := range t.chunks {
		if c.grouped && c.found == c.wanted {
			continue
		}
		for _, s := range c.stripes {
			if v := t.devices[s.device]; v != nil {
				v.note("the chunk at %d is taken as a whole: its extents do not add up", c.start)
			}
		}
		t.use(c, c.start, c.length)
	}
}

// btrfsExtents takes the items of the extent tree, which has the extents of all chunks in the order of their addresses.
type btrfsExtents struct {
	*btrfsTrees
	next  uint64      // end of the extent before
	chunk *btrfsChunk // of the extent before
}

func (a *btrfsExtents) item(k btrfsKey, data []byte) error {
	size := k.offset
	switch k.kind {
	case btrfsMetadataItem:
		size = uint64(a.super.node)
	case btrfsGroupItem:
		return a.group(k, data)
	case btrfsExtentItem:
	default:
		return nil
	}
	if a.chunk == nil || k.object-a.chunk.start >= a.chunk.length {
		a.chunk = a.btrfsTrees.chunk(k.object)
	}
	c := a.chunk
	if c == nil || k.object < a.next || size == 0 || size > c.start+c.length-k.object {
		return fmt.Errorf("%w: extent of %d bytes at %d", errBtrfs, size, k.object)
	}
	a.next = k.object + size
	c.found += size
	a.use(c, k.object, size)
	return nil
}
