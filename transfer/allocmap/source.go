package allocmap

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"
)

var (
	le         = binary.LittleEndian
	be         = binary.BigEndian
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// source reads a volume within its bounds, and stops when the context does. It carries the context because io.ReaderAt, which
// the volumes stacked upon it need, has no place for one.
type source struct {
	ctx  context.Context
	r    io.ReaderAt
	size int64
}

var errOutside = errors.New("outside the volume")

// ReadAt fills p or fails; there is no short read.
func (s source) ReadAt(p []byte, off int64) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	if off < 0 || off > s.size || int64(len(p)) > s.size-off {
		return 0, fmt.Errorf("%d bytes at %d: %w", len(p), off, errOutside)
	}
	n, err := s.r.ReadAt(p, off)
	switch {
	case n == len(p):
		return n, nil
	case err == nil:
		err = io.ErrUnexpectedEOF
	}
	return n, fmt.Errorf("read %d bytes at %d: %w", len(p), off, err)
}

// read returns n bytes at off.
func (s source) read(off int64, n int) ([]byte, error) {
	if off < 0 || n < 0 || off > s.size || int64(n) > s.size-off {
		return nil, fmt.Errorf("%d bytes at %d: %w", n, off, errOutside)
	}
	b := make([]byte, n)
	_, err := s.ReadAt(b, off)
	return b, err
}

// has reports whether the bytes at off are magic.
func (s source) has(off int64, magic string) bool {
	b, err := s.read(off, len(magic))
	return err == nil && string(b) == magic
}

// pieces calls f with the n bytes at off, piece by piece. f must not keep its argument.
func (s source) pieces(off, n int64, f func(at int64, b []byte) error) error {
	buf := make([]byte, min(n, 1<<20))
	for at := int64(0); at < n; at += int64(len(buf)) {
		b := buf[:min(n-at, int64(len(buf)))]
		if _, err := s.ReadAt(b, off+at); err != nil {
			return err
		}
		if err := f(at, b); err != nil {
			return err
		}
	}
	return nil
}

// eachRun calls f with every run of set bits among the first n bits of b, the lowest bit of a byte first.
func eachRun(b []byte, n int64, f func(first, count int64)) {
	for i := nextBit(b, 0, n, 0); i < n; {
		end := nextBit(b, i, n, ^uint64(0))
		f(i, end-i)
		i = nextBit(b, end, n, 0)
	}
}

// nextBit returns the first bit from i on that differs from those of same, which are all zero or all one; n when none does.
func nextBit(b []byte, i, n int64, same uint64) int64 {
	for i < n {
		if w := (word(b, i/64*8) ^ same) >> (i % 64); w != 0 {
			return min(i+int64(bits.TrailingZeros64(w)), n)
		}
		i = (i | 63) + 1
	}
	return n
}

// word returns the 64 bits at off; behind the end there are zeroes.
func word(b []byte, off int64) (w uint64) {
	if off+8 <= int64(len(b)) {
		return le.Uint64(b[off:])
	}
	for i := int64(len(b)) - 1; i >= off; i-- {
		w = w<<8 | uint64(b[i])
	}
	return w
}

// rawCRC is CRC-32C without the inversions at its ends, as ext4 chains it.
func rawCRC(seed uint32, b []byte) uint32 { return ^crc32.Update(^seed, castagnoli, b) }

func powerOfTwo(n, low, high uint64) bool { return n >= low && n <= high && n&(n-1) == 0 }

func allZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

// maxSize bounds sizes and offsets taken from a disk: no device has more bytes, and their sums do not overflow.
const maxSize = 1 << 61

// product multiplies two counts of a superblock; ok is false when no device could have that many bytes.
func product(a, b uint64) (n int64, ok bool) {
	hi, lo := bits.Mul64(a, b)
	return int64(lo), hi == 0 && lo < maxSize
}
