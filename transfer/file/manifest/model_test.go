package manifest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/ferry-migrate/ferry/transfer/chunk"
	"github.com/ferry-migrate/ferry/transfer/file"
	"pgregory.net/rapid"
)

// The model: a source tree that people change, and a target that applies frames of operations. Content is a number per chunk.

// node is an inode. On the source stamp is its ctime; on the target the stamp of the source node whose metadata was set last, 0
// where it is to be set yet.
type node struct {
	kind   file.Kind
	ino    uint64
	stamp  uint64
	chunks []uint64 // one: a small file
}

type paths map[string]*node

func parent(p string) string {
	if d := path.Dir(p); d != "." {
		return d
	}
	return ""
}

func (f paths) below(p string) (list []string) {
	for q := range f {
		if q == p || strings.HasPrefix(q, p+"/") {
			list = append(list, q)
		}
	}
	return list
}

func (f paths) remove(p string) {
	for _, q := range f.below(p) {
		delete(f, q)
	}
}

func (f paths) sorted() []string {
	return slices.SortedFunc(maps.Keys(f), func(a, b string) int { return file.ComparePath([]byte(a), []byte(b)) })
}

func digestOf(content uint64) (d chunk.Digest) {
	if content != 0 {
		binary.BigEndian.PutUint64(d[:], content)
	}
	return d
}

// people change the source. outside is a directory of the same filesystem that is not in the tree.
type people struct {
	*rapid.T
	tree    paths
	outside []paths
	clock   uint64
}

func (p *people) tick() uint64 { p.clock++; return p.clock }

func (p *people) pick(label string, list []string) string {
	return rapid.SampledFrom(list).Draw(p.T, label)
}

// free returns a name, used or not, in a directory that is there.
func (p *people) free() string {
	var dirs []string
	for _, q := range p.tree.sorted() {
		if p.tree[q].kind == file.KindDir && strings.Count(q, "/") < 2 {
			dirs = append(dirs, q)
		}
	}
	return path.Join(p.pick("dir", dirs), p.pick("name", []string{"a", "b", "c-d", "e"}))
}

func (p *people) content(n int) []uint64 {
	c := make([]uint64, n)
	for i := range c {
		c[i] = p.tick()
	}
	return c
}

// unlink removes a subtree; inodes with other names get a new ctime.
func (p *people) unlink(q string) {
	for _, q := range p.tree.below(q) {
		p.tree[q].stamp = p.tick()
	}
	p.tree.remove(q)
}

func (p *people) change() {
	q := p.free()
	if n := p.tree[q]; n != nil && n.kind == file.KindRegular && rapid.Bool().Draw(p.T, "write") {
		n.stamp = p.tick()
		for range rapid.IntRange(1, 3).Draw(p.T, "writes") {
			n.chunks[rapid.IntRange(0, len(n.chunks)-1).Draw(p.T, "chunk")] = p.tick()
		}
		if rapid.Bool().Draw(p.T, "resize") {
			n.chunks = append(slices.Clone(n.chunks), p.content(9)...)[:rapid.IntRange(1, 12).Draw(p.T, "size")%(len(n.chunks)+9)+1]
		}
		return
	}
	switch rapid.IntRange(0, 6).Draw(p.T, "change") {
	case 0, 1:
		p.unlink(q)
		p.tree[q] = &node{file.KindRegular, p.tick(), p.tick(), p.content(rapid.IntRange(1, 12).Draw(p.T, "size"))}
	case 2:
		p.unlink(q)
		p.tree[q] = &node{file.KindDir, p.tick(), p.tick(), nil}
	case 3:
		p.unlink(q)
	case 4: // out of the tree
		out := paths{}
		for _, from := range p.tree.below(q) {
			out[strings.TrimPrefix(from, q)] = p.tree[from]
		}
		p.tree.remove(q)
		p.outside = append(p.outside, out)
	case 5: // and into it again, at the same place or another
		if len(p.outside) > 0 {
			i := rapid.IntRange(0, len(p.outside)-1).Draw(p.T, "in")
			in := p.outside[i]
			p.outside = slices.Delete(p.outside, i, i+1)
			p.unlink(q)
			for rel, n := range in {
				p.tree[q+rel] = n
			}
		}
	case 6:
		if from := p.pick("link", p.tree.sorted()); p.tree[from].kind == file.KindRegular && !strings.HasPrefix(from+"/", q+"/") {
			n := p.tree[from]
			p.unlink(q)
			p.tree[q] = n
			n.stamp = p.tick()
		}
	}
	p.tree[""].stamp = p.tick()
}

// names counts the names of n, also outside.
func (p *people) names(n *node) (count int) {
	for _, f := range append(p.outside, p.tree) {
		for _, m := range f {
			if m == n {
				count++
			}
		}
	}
	return count
}

func (p *people) leader(n *node) string {
	for _, q := range p.tree.sorted() {
		if p.tree[q] == n {
			return q
		}
	}
	return ""
}

// operation is what a frame carries.
type operation struct {
	code   file.OpCode
	how    file.How
	path   string
	stamp  uint64
	length int
	index  int
	data   uint64
	leader string
}

// target applies frames. begun holds the files begun in this pass, and how many extents each still waits for.
type target struct {
	paths
	begun map[string]int
}

func (t *target) touch(p string) {
	for d := p; d != ""; {
		d = parent(d)
		if n := t.paths[d]; n == nil || n.kind != file.KindDir {
			t.fresh(d, file.KindDir)
		}
		if d == parent(p) {
			t.paths[d].stamp = 0
		}
	}
}

func (t *target) fresh(p string, kind file.Kind) *node {
	t.remove(p)
	t.paths[p] = &node{kind: kind}
	return t.paths[p]
}

func (t *target) apply(o operation) {
	n := t.paths[o.path]
	if o.code == file.OpDelete && n == nil {
		return
	}
	if o.code != file.OpExtent && o.code != file.OpDirMeta {
		if t.touch(o.path); n != nil && n.kind == file.KindRegular && o.how == file.HowCopy {
			c := *n
			c.chunks = slices.Clone(n.chunks)
			n = &c
			t.paths[o.path] = n
		}
	}
	switch o.code {
	case file.OpPut:
		n = t.fresh(o.path, file.KindRegular)
		n.chunks, n.stamp = []uint64{o.data}, o.stamp
	case file.OpBegin:
		if o.how == file.HowFresh {
			n = t.fresh(o.path, file.KindRegular)
		}
		if n == nil || n.kind != file.KindRegular {
			panic(fmt.Sprintf("%q is changed in place and is not there", o.path))
		}
		n.stamp = 0
		t.begun[o.path] = o.length
	case file.OpExtent:
		if _, ok := t.begun[o.path]; ok {
			for len(n.chunks) <= o.index {
				n.chunks = append(n.chunks, 0)
			}
			n.chunks[o.index] = o.data
			t.begun[o.path]--
		}
	case file.OpEnd:
		if left, ok := t.begun[o.path]; ok && left == 0 {
			n.chunks = n.chunks[:o.length]
			n.stamp = o.stamp
		}
	case file.OpMkdir:
		if n == nil || n.kind != file.KindDir {
			t.fresh(o.path, file.KindDir)
		}
	case file.OpLink:
		t.remove(o.path)
		t.paths[o.path] = t.paths[o.leader]
	case file.OpDelete:
		t.remove(o.path)
	case file.OpDirMeta:
		if n != nil && n.kind == file.KindDir {
			n.stamp = o.stamp
		}
	}
}

// check compares a recovered or committed base with what the target holds. history says what each (ino, stamp) of the source held.
func check(t *rapid.T, base *Reader, dst paths, history map[[2]uint64][]uint64) {
	known := map[string]bool{"": true} // the root is there before the first pass
	c := base.Cursor()
	for {
		if err := c.Advance(); err != nil {
			t.Fatal(err)
		}
		e := c.Current()
		if e == nil {
			break
		}
		p := string(e.Path)
		known[p] = true
		n := dst[p]
		if e.State&file.StateUncertain != 0 {
			continue
		}
		if n == nil || n.kind != e.Kind {
			t.Fatalf("base has %q, the target has %v", p, n)
		}
		if e.State&file.StatePartial == 0 && n.stamp != stampOf(e) {
			t.Fatalf("%q: metadata of %d, base says %d", p, n.stamp, stampOf(e))
		}
		if len(e.Link) > 0 && dst[string(e.Link)] != n {
			t.Fatalf("%q is not a link to %q", p, e.Link)
		}
		if e.Kind == file.KindRegular && len(e.Link) == 0 {
			checkContent(t, c, n, history[[2]uint64{e.Ino, stampOf(e)}])
		}
	}
	for p := range dst {
		if !known[p] {
			t.Fatalf("the target has %q and base does not know", p)
		}
	}
}

func checkContent(t *rapid.T, c *Cursor, n *node, source []uint64) {
	e := c.Current()
	digests := slices.Clone(e.Digest[:])
	if e.Chunks() > 0 {
		digests = make([]byte, e.Chunks()*chunk.DigestSize)
		if got, err := c.Chunks(digests); err != nil || int64(got) != e.Chunks() {
			t.Fatalf("%q: %d digests: %v", e.Path, got, err)
		}
	}
	partial := e.State&file.StatePartial != 0
	if !partial && len(digests) != len(n.chunks)*chunk.DigestSize {
		t.Fatalf("%q: %d chunks, base says %d", e.Path, len(n.chunks), len(digests)/chunk.DigestSize)
	}
	for i := 0; i*chunk.DigestSize < len(digests); i++ {
		d := chunk.Digest(digests[i*chunk.DigestSize:])
		if !d.Known() {
			if !partial || int64(i) < e.Resume {
				t.Fatalf("%q: chunk %d forgotten", e.Path, i)
			}
			continue
		}
		if i >= len(n.chunks) || d != digestOf(n.chunks[i]) {
			t.Fatalf("%q: chunk %d of the target is not what base says (state %b)", e.Path, i, e.State)
		}
		if (!partial || int64(i) < e.Resume) && d != digestOf(source[i]) {
			t.Fatalf("%q: chunk %d is not what the source held", e.Path, i)
		}
	}
}

// same reports how two trees differ, "" if they do not.
func same(src, dst paths) string {
	var b bytes.Buffer
	for _, p := range src.sorted() {
		s, d := src[p], dst[p]
		if d == nil || d.kind != s.kind || d.stamp != s.stamp || !slices.Equal(s.chunks, d.chunks) {
			fmt.Fprintf(&b, "%q is %v, should be %v\n", p, d, s)
		}
		for _, q := range src.sorted() {
			if (src[q] == s) != (dst[q] == d) {
				fmt.Fprintf(&b, "%q and %q: link group\n", p, q)
			}
		}
	}
	for _, p := range dst.sorted() {
		if src[p] == nil {
			fmt.Fprintf(&b, "%q should not be there\n", p)
		}
	}
	return b.String()
}
