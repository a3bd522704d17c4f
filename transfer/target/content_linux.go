package target

import (
	"bytes"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/transfer/chunk"
	"github.com/ferry-migrate/ferry/transfer/file"
)

// checkContent compares a small file with its digest, or a run of chunks of a larger one with theirs. Holes are not read: the
// filesystem says where they are, and they are as good as zeroes. The file is size bytes long and takes alloc.
func (a *applier) checkContent(op *file.Op, fd int, size, alloc int64) error {
	digests := op.Digests
	if op.Entry.Size <= chunk.Size {
		if !op.Entry.Digest.Known() {
			return nil
		}
		digests = op.Entry.Digest[:]
	}
	off := op.First * chunk.Size
	length := int64(len(digests)/chunk.DigestSize) * chunk.Size
	if err := unix.Fadvise(fd, off, length, unix.FADV_DONTNEED); err != nil && fatal(err) {
		return failure("check", a.fullPath(op.Name), err)
	}
	c := contentCheck{a: a, fd: fd, off: off, end: min(off+length, op.Entry.Size), size: min(size, op.Entry.Size), want: digests}
	if alloc >= size {
		c.hole = c.size // it has none
	}
	for same := true; same && len(c.want) > 0; {
		if a.tree.closing.Load() {
			return errClosed
		}
		var err error
		if same, err = c.next(); err != nil {
			return failure("read back", a.fullPath(op.Name), err)
		}
	}
	return nil
}

// contentCheck compares the chunks from off on with the digests in want.
type contentCheck struct {
	a        *applier
	fd       int
	off, end int64 // what is left to compare
	size     int64 // holes end here: beyond, there is no file
	data     int64 // no data lies between off and here,
	hole     int64 // and no hole between there and here
	want     []byte
}

// next compares the hole at off, or as much data as the buffer takes. Once it found a difference, which it tells, nothing is left to do.
func (c *contentCheck) next() (same bool, err error) {
	if c.off >= c.hole && c.off < c.size {
		var e unix.Errno
		if c.data, c.hole, e = nextData(c.fd, c.off, c.size); e != 0 {
			return false, e
		}
	}
	if n := c.empty(); n > 0 {
		return c.compareHole(n), nil
	}
	if c.a.data == nil {
		c.a.data = make([]byte, dataSize)
	}
	until := c.end
	if c.hole > c.off { // with the rest of the chunk that the data ends in
		until = min(until, (c.hole+chunk.Size-1)/chunk.Size*chunk.Size)
	}
	n, err := preadAll(c.fd, c.a.data[:max(min(until-c.off, dataSize), 0)], c.off)
	if err != nil {
		return false, err
	}
	return c.compare(c.a.data[:n]), nil
}

// empty returns how many chunks from off on are a hole altogether.
func (c *contentCheck) empty() int64 {
	switch until := min(c.data, c.end); {
	case until <= c.off:
		return 0
	case until == c.end: // the last may be short
		return chunk.Count(until - c.off)
	default:
		return (until - c.off) / chunk.Size
	}
}

// holes is what the digests of a long hole look like.
var holes = bytes.Repeat(chunk.Hole[:], 1024)

// compareHole compares n chunks that are a hole.
func (c *contentCheck) compareHole(n int64) bool {
	for step := int64(0); n > 0; n -= step {
		step = int64(len(holes) / chunk.DigestSize)
		if n < step || !bytes.HasPrefix(c.want, holes) {
			step = 1
			if want := chunk.Digest(c.want[:chunk.DigestSize]); !reachedByHole(want, min(chunk.Size, c.end-c.off)) {
				return c.differs(want, chunk.Hole)
			}
		}
		c.want, c.off = c.want[step*chunk.DigestSize:], c.off+step*chunk.Size
	}
	return true
}

// compare compares data, which was read at off; none means that the file ends too early.
func (c *contentCheck) compare(data []byte) bool {
	for first := true; len(c.want) > 0 && (first || len(data) > 0); first = false {
		part := data[:min(len(data), chunk.Size)]
		want := chunk.Digest(c.want[:chunk.DigestSize])
		if got, ok := sameChunk(part, want); !ok {
			return c.differs(want, got)
		}
		c.want, data, c.off = c.want[chunk.DigestSize:], data[len(part):], c.off+chunk.Size
	}
	return true
}

func (c *contentCheck) differs(want, got chunk.Digest) bool {
	c.a.differ(fieldContent, fmt.Sprintf("digest %x of the chunk at %d", want, c.off), fmt.Sprintf("%x", got))
	return false
}

// sameChunk compares content read back with its digest: a hole reads as zeroes, and what the source could not read has none.
func sameChunk(data []byte, want chunk.Digest) (got chunk.Digest, same bool) {
	if !want.Known() || want == chunk.Hole && chunk.IsZero(data) {
		return want, true
	}
	got = chunk.Sum(data)
	return got, got == want
}

var zeroChunk = chunk.Sum(zeroes[:chunk.Size])

// reachedByHole reports whether a hole of length bytes, a chunk at most, has the content that want is the digest of.
func reachedByHole(want chunk.Digest, length int64) bool {
	switch {
	case !want.Known() || want == chunk.Hole:
		return true
	case length == chunk.Size:
		return want == zeroChunk
	}
	return want == chunk.Sum(zeroes[:length])
}
