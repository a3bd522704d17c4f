package manifest

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"

	"github.com/ferry-migrate/ferry/transfer/chunk"
	"github.com/ferry-migrate/ferry/transfer/file"
)

// Position is the place of an entry in a manifest. It is good as long as the file is.
type Position struct {
	block int64  // offset of the block in the file
	at    uint32 // offset of the record in the decoded block
}

// Cursor reads the entries of a manifest in order, and the chunk digests of each. Its methods are for one goroutine.
type Cursor struct {
	r       *Reader
	limit   int64 // blocks from here on are not read
	payload []byte
	raw     []byte // decoded block
	at      int    // where in raw the next record starts
	block   int64  // offset of the block in raw; negative if none
	next    int64  // offset of the block after it
	seq     uint64
	deletes bool

	entry  file.Entry
	live   bool   // entry is valid
	path   []byte // of the last entry read; entry.Path is this
	before []byte // the path before, to check the order
	sorted bool   // there is one
	prefix int    // length of path if it is from this block, else 0: prefixes start anew in each
	pos    Position

	chunks   int64  // no run of the entry reaches beyond
	run      []byte // digests of the last run that were not returned
	runFirst int64  // index of the first of them
	runEnd   int64  // index after the last run
	index    int64  // next chunk that Chunks returns
}

// Cursor returns a cursor before the first entry.
func (r *Reader) Cursor() *Cursor {
	return &Cursor{r: r, limit: math.MaxInt64, block: -1, next: r.start}
}

// At returns a cursor on the entry at p.
func (r *Reader) At(p Position) (*Cursor, error) {
	c := r.Cursor()
	return c, c.Seek(p)
}

// Current returns the entry the cursor is on: nil before the first Advance and at the end. It is valid until the next
// Advance, Next or Seek.
func (c *Cursor) Current() *file.Entry {
	if !c.live {
		return nil
	}
	return &c.entry
}

// passBits say what the pass under way does. In a complete manifest they are not seen.
const passBits = file.StateSent | file.StateRelink

// Next advances and returns the entry, or io.EOF at the end.
func (c *Cursor) Next() (*file.Entry, error) {
	if err := c.Advance(); err != nil {
		return nil, err
	}
	if !c.live {
		return nil, io.EOF
	}
	return &c.entry, nil
}

// Advance moves to the next entry; digests of the current one that were not read are passed over. At the end it returns nil
// and Current is nil; so several cursors merge without special cases. The end of a prefix is its last whole block.
func (c *Cursor) Advance() error {
	c.live = false
	for {
		tag, ok, err := c.record()
		if err != nil || !ok {
			return err
		}
		if tag == recordEntry {
			return c.readEntry()
		}
		if err := c.readRun(); err != nil {
			return err
		}
	}
}

// Position returns the place of the current entry.
func (c *Cursor) Position() Position { return c.pos }

// Seek moves to the entry at p, which came from a cursor on the same file. It is fast when p lies in the block read last.
func (c *Cursor) Seek(p Position) error {
	c.live, c.sorted = false, false
	if c.block != p.block {
		c.next, c.block, c.raw = p.block, -1, c.raw[:0]
		if _, err := c.load(); err != nil {
			return err
		}
	}
	if c.at > int(p.at) {
		c.at, c.prefix = 0, 0
	}
	c.chunks, c.runEnd = math.MaxInt64, 0 // the block may start with runs of an entry that was not read
	for c.block == p.block && c.at <= int(p.at) {
		if err := c.Advance(); err != nil {
			return err
		}
		if c.live && c.pos == p {
			return nil
		}
	}
	c.live = false
	return damaged(c.r.name, "no entry at byte %d+%d", p.block, p.at)
}

// Chunks fills dst with digests of the current entry's chunks in order, chunk.DigestSize bytes each, and returns how many it
// put there: 0 when all Entry.Chunks were returned. Those that no run holds are unknown.
func (c *Cursor) Chunks(dst []byte) (int, error) {
	if !c.live {
		return 0, nil
	}
	want := min(int64(len(dst)/chunk.DigestSize), c.chunks-c.index)
	for done := int64(0); done < want; {
		if len(c.run) == 0 {
			more, err := c.nextRun()
			if err != nil {
				return int(done), err
			}
			if !more {
				clear(dst[done*chunk.DigestSize : want*chunk.DigestSize])
				c.index += want - done
				break
			}
		}
		rest := dst[done*chunk.DigestSize : want*chunk.DigestSize]
		if gap := c.runFirst - c.index; gap > 0 {
			gap = min(gap, want-done)
			clear(rest[:gap*chunk.DigestSize])
			c.index += gap
			done += gap
			continue
		}
		n := int64(copy(rest, c.run) / chunk.DigestSize)
		c.run = c.run[n*chunk.DigestSize:]
		c.runFirst += n
		c.index += n
		done += n
	}
	return int(max(want, 0)), nil
}

// Run returns the digests of the current entry's next chunks that are kept together, and the index of the first; none at the end.
// They point into the cursor and are valid until its next call. It is the fast way to copy them, and the only one that does
// not count through the gaps of a file of exabytes.
func (c *Cursor) Run() (first int64, digests []byte, err error) {
	if len(c.run) == 0 {
		if more, err := c.nextRun(); err != nil || !more {
			return 0, nil, err
		}
	}
	first, digests = c.runFirst, c.run
	c.run, c.index = nil, c.runEnd
	return first, digests, nil
}

// skipTo makes chunk i of the current entry the next to be returned; it must not lie before the last returned.
func (c *Cursor) skipTo(i int64) error {
	for c.runEnd <= i {
		more, err := c.nextRun()
		if err != nil {
			return err
		}
		if !more {
			c.run = nil
			break
		}
	}
	if past := (i - c.runFirst) * chunk.DigestSize; len(c.run) > 0 && past > 0 {
		c.run, c.runFirst = c.run[past:], i
	}
	c.index = i
	return nil
}

// nextRun reads the next run of the current entry, if there is one.
func (c *Cursor) nextRun() (bool, error) {
	if !c.live {
		return false, nil
	}
	tag, ok, err := c.record()
	if err != nil || !ok || tag != recordRun {
		return false, err
	}
	return true, c.readRun()
}

// record loads blocks until there is a record to read, and returns its tag.
func (c *Cursor) record() (tag byte, ok bool, err error) {
	for c.at >= len(c.raw) {
		if ok, err := c.load(); err != nil || !ok {
			return 0, false, err
		}
	}
	tag = c.raw[c.at]
	if tag != recordEntry && tag != recordRun {
		return 0, false, c.bad("record")
	}
	return tag, true, nil
}

func (c *Cursor) bad(what string) error {
	return damaged(c.r.name, "%s at byte %d+%d", what, c.block, c.at)
}

// load decodes the next block. It returns false at the end, again and again.
func (c *Cursor) load() (bool, error) {
	if c.next >= c.limit {
		return false, nil
	}
	h, payload, ok, err := c.r.block(c.next, c.payload)
	if err != nil || !ok {
		return false, err
	}
	c.payload = payload
	if h.kind != blockMore {
		c.seq = h.seq
	}
	c.raw, c.at, c.prefix = c.raw[:0], 0, 0
	c.block = c.next
	c.next += blockHeaderSize + int64(h.payload)
	switch h.kind {
	case blockDeletes:
		c.deletes = true
	case blockRecords, blockMore:
		if c.raw, ok = h.decompress(c.raw, payload); !ok {
			return false, c.bad("compressed block")
		}
	}
	return true, nil
}

func (c *Cursor) readEntry() error {
	c.pos = Position{block: c.block, at: uint32(c.at)}
	c.before = append(c.before[:0], c.path...)
	e := &c.entry
	rest, path, err := file.DecodeEntry(c.raw[c.at+1:], e, c.path[:c.prefix])
	if err != nil {
		return c.bad(err.Error())
	}
	c.path, c.prefix = path, len(path)
	if what := c.checkPaths(); what != "" {
		return c.bad(what)
	}
	if c.r.whole { // what the pass did was acknowledged, and says nothing to the next
		if e.State&file.StateSent != 0 {
			e.State, e.Resume = e.State&^file.StatePartial, 0
		}
		e.State &^= passBits
	}
	c.chunks = e.Chunks()
	if e.Resume > c.chunks {
		return c.bad("resume")
	}
	c.at = len(c.raw) - len(rest)
	c.run, c.runEnd, c.index = nil, 0, 0
	c.sorted, c.live = true, true
	return nil
}

// checkPaths returns what is wrong with the paths of the entry just decoded, "" if nothing is. What path shares with the one before it,
// up to a '/', was checked then.
func (c *Cursor) checkPaths() string {
	shared := 0
	if c.sorted {
		for shared < len(c.before) && shared < len(c.path) && c.before[shared] == c.path[shared] {
			shared++
		}
		if file.ComparePath(c.before[shared:], c.path[shared:]) >= 0 {
			return "order of paths"
		}
	}
	name := bytes.LastIndexByte(c.path[:shared], '/') + 1
	if name > 0 && name == len(c.path) || !file.ValidPath(c.path[name:]) {
		return "path"
	}
	if link := c.entry.Link; len(link) > 0 && (!file.ValidPath(link) || file.ComparePath(link, c.path) >= 0) {
		return "link"
	}
	return ""
}

func (c *Cursor) readRun() error {
	b := c.raw[c.at+1:]
	first, n := binary.Uvarint(b)
	if n <= 0 {
		return c.bad("run")
	}
	b = b[n:]
	count, n := binary.Uvarint(b)
	if n <= 0 || count == 0 || count > runMax {
		return c.bad("run")
	}
	b = b[n:]
	size := int(count) * chunk.DigestSize
	if size > len(b) || first > math.MaxInt64 || int64(first) < c.runEnd || int64(first) > c.chunks-int64(count) {
		return c.bad("run")
	}
	c.runFirst, c.run = int64(first), b[:size:size]
	c.runEnd = int64(first) + int64(count)
	c.at = len(c.raw) - len(b) + size
	return nil
}
