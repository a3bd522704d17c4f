package manifest

import (
	"bytes"
	"context"
	"hash/crc32"
	"io"
	"os"

	"github.com/zeebo/blake3"
)

// Reader is an open manifest. Cursors read it; they may be used side by side, each by one goroutine.
type Reader struct {
	src    io.ReaderAt
	name   string
	size   int64
	start  int64 // of the first block
	id     ID
	header Header
	totals Totals
	whole  bool
	lost   error // not nil: the file could not be opened, and nothing is read of it
}

// Open opens a manifest that may still be written to: what is in it at the call is what is read. Errors are operator errors:
// FERRY-STATE-DAMAGED (and ErrDamaged), FERRY-STATE-NEWER; a missing file is fs.ErrNotExist.
func Open(path string) (*Reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, storageError("open", path, err)
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, storageError("open", path, err)
	}
	r, err := newReader(f, st.Size(), path)
	if err != nil {
		f.Close()
		return nil, err
	}
	return r, nil
}

func newReader(src io.ReaderAt, size int64, name string) (*Reader, error) {
	r := &Reader{src: src, name: name, size: size}
	var err error
	if r.header, r.id, r.start, err = readHeader(src, name); err != nil {
		return nil, err
	}
	off := size - int64(footerSize)
	if off < r.start {
		return r, nil
	}
	var b [footerSize]byte
	if _, err := src.ReadAt(b[:], off); err != nil && err != io.EOF {
		return nil, storageError("read", name, err)
	}
	var h blockHeader
	if h.parse(b[:], r.id, off) && h.kind == blockFooter && h.pcrc == crc32.Checksum(b[blockHeaderSize:], castagnoli) {
		r.totals.parse(b[blockHeaderSize:])
		r.whole = true
	}
	return r, nil
}

// Header returns what the manifest says of itself.
func (r *Reader) Header() Header { return r.header }

// Complete reports whether the manifest was finished; if not, it is the prefix of one.
func (r *Reader) Complete() bool { return r.whole }

// Totals returns the counts of a complete manifest.
func (r *Reader) Totals() Totals { return r.totals }

// Close closes the file. Cursors fail after it.
func (r *Reader) Close() error {
	if c, ok := r.src.(io.Closer); ok { // not in tests, which read from memory
		return c.Close()
	}
	return nil
}

// block reads the header and the payload of the block at off. ok is false at the end: after the last block of a complete manifest, and
// where an unfinished one was torn. buf is scratch space for the payload.
func (r *Reader) block(off int64, buf []byte) (h blockHeader, payload []byte, ok bool, err error) {
	if off >= r.size {
		return h, buf, false, nil
	}
	var head [blockHeaderSize]byte
	if _, err := r.src.ReadAt(head[:], off); err != nil && err != io.EOF {
		return h, buf, false, storageError("read", r.name, err)
	}
	if !h.parse(head[:], r.id, off) || off+blockHeaderSize+int64(h.payload) > r.size {
		return h, buf, false, r.torn(off)
	}
	if cap(buf) < int(h.payload) {
		buf = make([]byte, max(int(h.payload), 2*blockSoft))
	}
	buf = buf[:h.payload]
	if n, err := r.src.ReadAt(buf, off+blockHeaderSize); n < len(buf) && err != io.EOF {
		return h, buf, false, storageError("read", r.name, err)
	}
	if crc32.Checksum(buf, castagnoli) != h.pcrc {
		return h, buf, false, r.torn(off)
	}
	return h, buf, true, nil
}

// torn says what a bad block at off means: nil if a crash may have left it, ErrDamaged if it was durable once. It was, if the
// manifest is complete, or if any block after it was written when more than off was durable.
func (r *Reader) torn(off int64) error {
	if r.whole {
		return damaged(r.name, "block at byte %d", off)
	}
	const window = 64 << 10
	buf := make([]byte, window)
	for at := off + 1; at < r.size; at += window - blockHeaderSize {
		n, err := r.src.ReadAt(buf, at)
		if err != nil && err != io.EOF {
			return storageError("read", r.name, err)
		}
		for i := 0; ; i++ {
			j := bytes.Index(buf[i:n], []byte(blockMagic))
			if j < 0 {
				break
			}
			i += j
			var h blockHeader
			if h.parse(buf[i:n], r.id, at+int64(i)) && int64(h.durable) > off {
				return damaged(r.name, "block at byte %d", off)
			}
		}
	}
	return nil
}

// Verify reads the whole file and returns ErrDamaged unless every checksum holds and, if it is complete, no block is missing. It does not
// decode the entries.
func (r *Reader) Verify(ctx context.Context) error {
	_, err := r.scan(ctx, 0)
	return err
}

// outline is what the blocks of a manifest say without their entries.
type outline struct {
	end     int64  // after the last whole block
	acked   int64  // after the last block that the acknowledged frames complete
	seq     uint64 // of the last block
	deletes bool   // deletes may have been sent
	done    bool   // and everything before them was acknowledged
}

// scan checks every block and finds out how far the frames up to acked reach. After damage the outline holds for what
// lies before it.
func (r *Reader) scan(ctx context.Context, acked uint64) (o outline, err error) {
	o.end, o.acked = r.start, r.start
	if r.lost != nil {
		return o, r.lost
	}
	chain := blake3.New()
	var buf []byte
	for {
		if err := ctx.Err(); err != nil {
			return o, err
		}
		h, payload, ok, err := r.block(o.end, buf)
		if err != nil || !ok {
			return o, err
		}
		buf = payload
		if h.kind != blockMore {
			if h.seq < o.seq {
				return o, damaged(r.name, "frame %d after %d at byte %d", h.seq, o.seq, o.end)
			}
			o.seq = h.seq
		}
		off := o.end
		o.end += blockHeaderSize + int64(h.payload)
		if h.kind != blockMore && h.seq <= acked {
			o.acked = o.end
		}
		switch h.kind {
		case blockDeletes:
			o.deletes, o.done = true, h.seq <= acked
		case blockFooter:
			sum := payload[footerPayload-32:]
			if !bytes.Equal(chain.Sum(nil), sum) || o.end != r.size {
				return o, damaged(r.name, "footer at byte %d", off)
			}
		}
		var head [blockHeaderSize]byte
		h.put(&head, r.id, off)
		chain.Write(head[:])
	}
}
