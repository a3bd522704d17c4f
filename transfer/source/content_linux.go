package source

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/transfer/chunk"
	"github.com/ferry-migrate/ferry/transfer/file"
)

// span is a range of bytes of a file that holds data.
type span struct{ from, to int64 }

// dataSpans appends the ranges of [from, to) that hold data. Filesystems without SEEK_DATA say that all does.
func dataSpans(dst []span, fd int, from, to int64) ([]span, error) {
	for from < to {
		start, err := unix.Seek(fd, from, unix.SEEK_DATA)
		switch {
		case err == unix.ENXIO: // only a hole is left
			return dst, nil
		case err == unix.EINVAL || err == unix.EOPNOTSUPP:
			return append(dst, span{from, to}), nil
		case err != nil:
			return dst, fmt.Errorf("seek data: %w", err)
		case start >= to:
			return dst, nil
		}
		end, err := unix.Seek(fd, start, unix.SEEK_HOLE)
		if err != nil {
			if err == unix.ENXIO { // shortened meanwhile
				return dst, nil
			}
			return dst, fmt.Errorf("seek hole: %w", err)
		}
		end = min(end, to)
		dst = append(dst, span{start, end})
		from = end
	}
	return dst, nil
}

// extents reads count chunks of fd from the chunk first on, and appends to ops whatever makes the target's file equal there.
// size is the size of the file; old holds the digests of what the target has, nothing if it has nothing. The digests found go to found, which
// has room for count. A chunk that cannot be read gets an unknown digest and is reported by bad.
type extents struct {
	fd     int
	name   []byte
	size   int64
	first  int64
	count  int64
	old    []byte
	found  []byte
	sparse bool
	bad    func(off int64, err error)
}

func (w *worker) extents(x *extents) (short bool, err error) {
	from := x.first * chunk.Size
	to := min(x.size, from+x.count*chunk.Size)
	w.spans = w.spans[:0]
	if x.sparse {
		if w.spans, err = dataSpans(w.spans, x.fd, from, to); err != nil {
			return false, err
		}
	} else if to > from {
		w.spans = append(w.spans, span{from, to})
	}
	buf := w.scratch[:to-from]
	short, err = w.readSpans(x, buf, from)
	if err != nil {
		return short, err
	}
	run := -1 // first chunk of the extent that is being gathered
	s := 0
	for i := int64(0); i < x.count; i++ {
		lo := from + i*chunk.Size
		hi := min(lo+chunk.Size, to)
		for s < len(w.spans) && w.spans[s].to <= lo {
			s++
		}
		data := s < len(w.spans) && w.spans[s].from < hi
		full := data && w.spans[s].from <= lo && w.spans[s].to >= hi
		d := digestAt(x.found, i)
		if w.unread(i) {
			*d = chunk.Digest{}
		} else if data {
			*d = chunk.Sum(buf[lo-from : hi-from])
		} else {
			*d = chunk.Hole
		}
		same := len(x.old) > 0 && d.Equal(*digestAt(x.old, i))
		send := data && !same && d.Known() && !(full && chunk.IsZero(buf[lo-from:hi-from]))
		if !send && run >= 0 {
			w.flushRun(x, buf, from, run, i)
			run = -1
		}
		switch {
		case send:
			if run < 0 {
				run = int(i)
			}
		case same || !d.Known():
		case data:
			w.ops = file.AppendRange(w.ops, file.OpZero, x.name, lo, hi-lo)
		case len(x.old) > 0:
			w.ops = file.AppendRange(w.ops, file.OpPunch, x.name, lo, hi-lo)
		}
		if same && data {
			w.saved += hi - lo
		}
	}
	if run >= 0 {
		w.flushRun(x, buf, from, run, x.count)
	}
	if x.sparse {
		w.punchGaps(x, from, to)
	}
	return short, nil
}

// flushRun appends one extent of the chunks [a, b) of the job.
func (w *worker) flushRun(x *extents, buf []byte, from int64, a int, b int64) {
	lo := int64(a) * chunk.Size
	hi := min(b*chunk.Size, int64(len(buf)))
	w.ops = file.AppendExtent(w.ops, x.name, from+lo, x.found[a*chunk.DigestSize:b*chunk.DigestSize], int(hi-lo))
	w.ops = append(w.ops, buf[lo:hi]...)
}

// punchGaps makes holes of the gaps inside chunks that were sent whole.
func (w *worker) punchGaps(x *extents, from, to int64) {
	at := from
	for i := 0; i <= len(w.spans); i++ {
		end, next := to, to
		if i < len(w.spans) {
			end, next = w.spans[i].from, w.spans[i].to
		}
		if end > at && w.sentAround(x, from, at, end) {
			w.ops = file.AppendRange(w.ops, file.OpPunch, x.name, at, end-at)
		}
		at = next
	}
}

// sentAround reports whether one of the two chunks at the ends of the gap [a, b) holds data and differs from what the target has.
func (w *worker) sentAround(x *extents, from, a, b int64) bool {
	for _, off := range [2]int64{a, b - 1} {
		i := (off - from) / chunk.Size
		d := *digestAt(x.found, i)
		if d.Known() && d != chunk.Hole && !(len(x.old) > 0 && d.Equal(*digestAt(x.old, i))) {
			return true
		}
	}
	return false
}

// readSpans fills buf, which starts at from, with the spans; what lies between is zero.
func (w *worker) readSpans(x *extents, buf []byte, from int64) (short bool, err error) {
	w.lost = w.lost[:0]
	at := from
	for _, s := range w.spans {
		clear(buf[at-from : s.from-from])
		n, err := readFull(x.fd, buf[s.from-from:s.to-from], s.from)
		w.read += int64(n)
		if errors.Is(err, unix.EIO) {
			w.readChunks(x, buf, from, s)
		} else if err != nil {
			return false, err
		} else if int64(n) < s.to-s.from {
			short = true
			clear(buf[s.from-from+int64(n) : s.to-from])
		}
		at = s.to
	}
	clear(buf[at-from:])
	return short, nil
}

// readChunks reads a span chunk by chunk after an I/O error, to lose no more than the disk has lost.
func (w *worker) readChunks(x *extents, buf []byte, from int64, s span) {
	for lo := s.from; lo < s.to; {
		hi := min(s.to, lo-lo%chunk.Size+chunk.Size)
		part := buf[lo-from : hi-from]
		n, err := readFull(x.fd, part, lo)
		clear(part[n:])
		if err != nil {
			w.lost = append(w.lost, (lo-from)/chunk.Size)
			x.bad(lo, err)
		}
		lo = hi
	}
}

// unread reports whether chunk i of the job could not be read.
func (w *worker) unread(i int64) bool {
	for _, l := range w.lost {
		if l == i {
			return true
		}
	}
	return false
}

// readFull reads until buf is full or the file ends.
func readFull(fd int, buf []byte, off int64) (n int, err error) {
	for n < len(buf) {
		m, err := unix.Pread(fd, buf[n:], off+int64(n))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return n, err
		}
		if m == 0 {
			break
		}
		n += m
	}
	return n, nil
}

func digestAt(digests []byte, i int64) *chunk.Digest {
	return (*chunk.Digest)(digests[i*chunk.DigestSize:])
}
