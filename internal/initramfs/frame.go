package initramfs

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// frame reads the archives in one frame of zstd and nothing behind it: an archive in the clear may follow, which a decoder would take
// for a broken frame.
func frame(in *bufio.Reader, visit func(string)) error {
	magic, err := in.Peek(zstd.HeaderMaxSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	var h zstd.Header
	if err := h.Decode(magic); err != nil || h.Skippable {
		return fmt.Errorf("zstd header is malformed: %w", errors.Join(err, io.ErrUnexpectedEOF))
	}
	z, err := zstd.NewReader(&oneFrame{in: in, left: int64(h.HeaderSize), checksum: h.HasCheckSum},
		zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20))
	if err != nil {
		return noEOF(err)
	}
	defer z.Close()
	if err := unpacked(z, visit); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, io.LimitReader(z, maxUnpacked)) // up to the end of the frame
	return err
}

// oneFrame passes on the bytes of one frame of zstd (RFC 8878, 3.1.1): its header, its blocks, its checksum.
type oneFrame struct {
	in       *bufio.Reader
	left     int64 // of the part that is being passed on
	checksum bool
	last     bool // no block follows
	done     bool // nor a checksum
}

func (f *oneFrame) Read(p []byte) (int, error) {
	if f.left == 0 {
		if err := f.next(); err != nil {
			return 0, err
		}
	}
	n, err := f.in.Read(p[:min(int64(len(p)), f.left)])
	f.left -= int64(n)
	return n, err
}

// next begins the next part.
func (f *oneFrame) next() error {
	switch {
	case f.done:
		return io.EOF
	case f.last:
		f.done = true
		if !f.checksum {
			return io.EOF
		}
		f.left = 4
		return nil
	}
	b, err := f.in.Peek(3)
	if err != nil {
		return noEOF(err)
	}
	head := binary.LittleEndian.Uint32([]byte{b[0], b[1], b[2], 0})
	f.last = head&1 != 0
	f.left = 3 + int64(head>>3)
	if head>>1&3 == 1 { // one byte, repeated
		f.left = 4
	}
	return nil
}
