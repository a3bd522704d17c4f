package source

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/transfer/chunk"
	"github.com/ferry-migrate/ferry/transfer/file"
)

// regular reads a file that fits into the job.
func (w *worker) regular(j *job, it *item) error {
	fd, err := w.p.walk.Dirs.Open(it.dir, it.name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	mark, at := len(w.ops), w.at
	for range readTries {
		if it.Size > inlineBytes || it.Size > chunk.Size && int64(len(it.chunks)) != it.Chunks()*chunk.DigestSize {
			break // it grew: the next pass plans it anew
		}
		whole, err := w.regularOnce(fd, it)
		if err != nil {
			return err
		}
		var now file.Entry
		place, err := w.meta.Stat(fd, nil, &now)
		if err != nil {
			return err
		}
		if whole && sameContent(&now, &it.Entry) {
			it.Xattrs = nil
			return nil
		}
		now.Path, now.Gen = it.Path, it.Gen
		it.Entry, it.place = now, place
		w.ops, w.at = w.ops[:mark], at
	}
	return errBusy
}

// regularOnce appends the operations for one reading of the file. whole is false if the file was not as long as expected.
func (w *worker) regularOnce(fd int, it *item) (whole bool, err error) {
	if err := w.describe(fd, it); err != nil {
		return false, err
	}
	w.dir(it.dir)
	sparse := it.place.Alloc < it.Size
	if it.Size > chunk.Size || sparse && it.Size > 0 {
		if holes, err := w.inline(fd, it, sparse); err != nil || holes || it.Size > chunk.Size {
			return !w.short, err
		}
	}
	return w.small(fd, it)
}

// small appends a file of at most one chunk without holes: content goes from the page cache to its place in the frame.
func (w *worker) small(fd int, it *item) (whole bool, err error) {
	size := int(it.Size)
	start := len(w.ops)
	w.ops = file.AppendPut(w.ops, it.bare(), &it.Meta, it.how, chunk.Digest{}, size)
	data := len(w.ops)
	w.ops = grow(w.ops, size+1)
	n, err := readOnce(fd, w.ops[data:data+size+1])
	if err != nil {
		return false, err
	}
	w.read += int64(n)
	if n != size {
		return false, nil
	}
	w.ops = w.ops[:data+size]
	it.Digest = chunk.Sum(w.ops[data:])
	copy(w.ops[data-uvarintLen(uint64(size))-chunk.DigestSize:], it.Digest[:])
	switch {
	case it.act == actFrom && it.fromHash.Equal(it.Digest):
		w.ops = file.AppendFrom(w.ops[:start], it.bare(), &it.Meta, it.from)
		w.saved += it.Size
	case it.base != nil && it.how == file.HowInPlace && it.base.Digest.Equal(it.Digest):
		w.ops = file.AppendMetaOp(w.ops[:start], file.OpMeta, it.bare(), &it.Meta, it.how)
		w.saved += it.Size
	}
	return true, nil
}

// readOnce reads the beginning of a file. The kernel gives all there is at once unless a signal comes between; the caller
// takes a short answer for a file that changed.
func readOnce(fd int, buf []byte) (int, error) {
	for {
		n, err := unix.Pread(fd, buf, 0)
		if err != unix.EINTR {
			return n, err
		}
	}
}

// inline appends a file of several chunks, or with holes, between its OpBegin and OpEnd. holes is false if a file of
// one chunk turned out to have none: then nothing was appended.
func (w *worker) inline(fd int, it *item, sparse bool) (holes bool, err error) {
	w.short = false
	if it.Size <= chunk.Size {
		w.spans, err = dataSpans(w.spans[:0], fd, 0, it.Size)
		if err != nil || len(w.spans) == 1 && w.spans[0] == (span{0, it.Size}) {
			return false, err
		}
	}
	found := it.chunks
	var one [chunk.DigestSize]byte
	if it.Size <= chunk.Size {
		found = one[:]
	}
	start := len(w.ops)
	xattrs := it.Xattrs
	it.Xattrs = nil // they come with OpEnd
	w.ops = file.AppendMetaOp(w.ops, file.OpBegin, it.bare(), &it.Meta, it.how)
	it.Xattrs = xattrs
	body := len(w.ops)
	saved := w.saved
	w.short, err = w.extents(&extents{
		fd: fd, name: it.bare(), size: it.Size, count: chunk.Count(it.Size), old: it.old, found: found, sparse: sparse,
		bad: func(off int64, err error) { w.p.unreadable(it, fmt.Errorf("offset %d: %w", off, err)) },
	})
	if err != nil {
		return true, err
	}
	if it.Size <= chunk.Size {
		it.Digest = chunk.Digest(one)
	}
	switch {
	case it.act == actFrom && bytes.Equal(found, it.old):
		w.ops = file.AppendFrom(w.ops[:start], it.bare(), &it.Meta, it.from)
	case len(w.ops) == body && it.base != nil && it.how == file.HowInPlace && it.base.Size == it.Size:
		w.ops = file.AppendMetaOp(w.ops[:start], file.OpMeta, it.bare(), &it.Meta, it.how)
	case it.act == actFrom && saved != w.saved: // not the file it was: send it whole
		w.ops, w.saved = w.ops[:start], saved
		it.act, it.old, it.how = actFile, nil, file.HowFresh
		return w.inline(fd, it, sparse)
	default:
		w.ops = file.AppendMetaOp(w.ops, file.OpEnd, it.bare(), &it.Meta, it.how)
	}
	return true, nil
}

// grow extends b by n bytes of any content.
func grow(b []byte, n int) []byte {
	if cap(b)-len(b) < n {
		next := make([]byte, len(b), max(2*cap(b), len(b)+n, 512<<10))
		copy(next, b)
		b = next
	}
	return b[:len(b)+n]
}

func uvarintLen(v uint64) int {
	var b [binary.MaxVarintLen64]byte
	return binary.PutUvarint(b[:], v)
}
