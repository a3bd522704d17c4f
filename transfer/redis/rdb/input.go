package rdb

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/ferry-migrate/ferry/internal/fault"
)

// ErrMalformed is returned for bytes that no Redis wrote.
var ErrMalformed = errors.New("malformed snapshot")

func malformed(format string, args ...any) error {
	return fault.Permanent(fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...)))
}

// errLimit says that the value being kept is longer than the limit.
var errLimit = errors.New("value above the limit")

// maxString is the longest string, bytes: no server takes a longer one in a command.
const maxString = 1 << 30

// input is the stream, seen through the window that its buffer holds: what passes is counted and summed up a window at a time, and a
// value that lies in one window whole is not copied.
type input struct {
	br     *bufio.Reader
	win    []byte // what br holds, or what is read again
	pos    int    // in win
	again  bool   // win was kept before and is not br's
	n      int64  // bytes taken from br
	crc    uint64
	mark   int    // where in win the value that is kept goes on, -1 when none is kept
	kept   []byte // the value's bytes from windows before
	limit  int    // on the kept bytes
	packed []byte // scratch for what is compressed
}

// settle gives the bytes that were read back to br for good.
func (in *input) settle() {
	if !in.again {
		in.crc = checksum(in.crc, in.win[:in.pos])
		in.n += int64(in.pos)
		in.br.Discard(in.pos) //nolint:errcheck // they are there
	}
	in.win, in.pos, in.again = nil, 0, false
}

// fill brings the next window.
func (in *input) fill() error {
	if in.mark >= 0 {
		in.kept = append(in.kept, in.win[in.mark:in.pos]...)
		in.mark = in.pos
		if len(in.kept) > in.limit {
			return errLimit
		}
	}
	in.settle()
	if in.mark >= 0 {
		in.mark = 0
	}
	if _, err := in.br.Peek(1); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	in.win, _ = in.br.Peek(in.br.Buffered())
	return nil
}

// keep begins to keep what is read.
func (in *input) keep() { in.kept, in.mark = in.kept[:0], in.pos }

// value ends keeping and returns what was kept; it is valid until the next read.
func (in *input) value() []byte {
	if len(in.kept) == 0 {
		return in.win[in.mark:in.pos]
	}
	in.kept = append(in.kept, in.win[in.mark:in.pos]...)
	in.mark = in.pos
	return in.kept
}

// rewind goes back to where keep was called.
func (in *input) rewind() {
	if len(in.kept) == 0 {
		in.pos = in.mark
	} else {
		in.settle()
		in.win, in.again = in.kept, true
	}
	in.mark = -1
}

func (in *input) byte() (byte, error) {
	if in.pos == len(in.win) {
		if err := in.fill(); err != nil {
			return 0, err
		}
	}
	c := in.win[in.pos]
	in.pos++
	return c, nil
}

// skip passes over n bytes.
func (in *input) skip(n uint64) error {
	for n > 0 {
		if in.pos == len(in.win) {
			if err := in.fill(); err != nil {
				return err
			}
		}
		k := min(n, uint64(len(in.win)-in.pos))
		in.pos += int(k)
		n -= k
	}
	return nil
}

// take appends n bytes to buf, which grows as they come.
func (in *input) take(buf []byte, n uint64) ([]byte, error) {
	if n > maxString {
		return buf, malformed("a string of %d bytes", n)
	}
	for n > 0 {
		if in.pos == len(in.win) {
			if err := in.fill(); err != nil {
				return buf, err
			}
		}
		k := min(n, uint64(len(in.win)-in.pos))
		buf = append(buf, in.win[in.pos:in.pos+int(k)]...)
		in.pos += int(k)
		n -= k
	}
	return buf, nil
}

// fixed reads a number of n bytes, 8 at most, little endian.
func (in *input) fixed(n int) (uint64, error) {
	var b [8]byte
	for i := range n {
		c, err := in.byte()
		if err != nil {
			return 0, err
		}
		b[i] = c
	}
	return binary.LittleEndian.Uint64(b[:]), nil
}

// The special encodings of a string, which stand where its length would.
const (
	encodedInt8  = 0
	encodedInt16 = 1
	encodedInt32 = 2
	encodedLZF   = 3
)

// length reads a length, or if special is set one of the encodings above.
func (in *input) length() (n uint64, special bool, err error) {
	c, err := in.byte()
	if err != nil {
		return 0, false, err
	}
	switch c >> 6 {
	case 0:
		return uint64(c & 0x3f), false, nil
	case 1:
		low, err := in.byte()
		return uint64(c&0x3f)<<8 | uint64(low), false, err
	case 3:
		return uint64(c & 0x3f), true, nil
	}
	size := 0
	switch c {
	case 0x80:
		size = 4
	case 0x81:
		size = 8
	default:
		return 0, false, malformed("a length that begins with %#x", c)
	}
	for range size { // big endian
		c, err := in.byte()
		if err != nil {
			return 0, false, err
		}
		n = n<<8 | uint64(c)
	}
	return n, false, nil
}

// count reads a length that cannot be special.
func (in *input) count() (uint64, error) {
	n, special, err := in.length()
	if err == nil && special {
		return 0, malformed("an encoding where a length should be")
	}
	return n, err
}

// stringHead is what stands before the bytes of a string.
type stringHead struct {
	stored uint64 // bytes that follow in the stream
	length uint64 // of the string itself, unless it is a number
	coding int    // one of the encodings, or -1
}

func (in *input) stringHead() (h stringHead, err error) {
	n, special, err := in.length()
	if err != nil || !special {
		return stringHead{n, n, -1}, err
	}
	switch n {
	case encodedInt8, encodedInt16, encodedInt32:
		return stringHead{1 << n, 0, int(n)}, nil
	case encodedLZF:
		h.coding = encodedLZF
		if h.stored, err = in.count(); err == nil {
			h.length, err = in.count()
		}
		if err == nil && (h.length > maxString || h.stored > maxString) {
			err = malformed("a string of %d bytes", h.length)
		}
		return h, err
	}
	return h, malformed("a string encoded as %d", n)
}

// skipString passes over a string.
func (in *input) skipString() error {
	h, err := in.stringHead()
	if err != nil {
		return err
	}
	return in.skip(h.stored)
}

// string appends a string to buf.
func (in *input) string(buf []byte) ([]byte, error) {
	h, err := in.stringHead()
	if err != nil {
		return buf, err
	}
	return in.body(buf, h)
}

// body appends to buf the string whose head was read.
func (in *input) body(buf []byte, h stringHead) (_ []byte, err error) {
	switch h.coding {
	case -1:
		return in.take(buf, h.length)
	case encodedLZF:
		if in.packed, err = in.take(in.packed[:0], h.stored); err != nil {
			return buf, err
		}
		return lzf(buf, in.packed, int(h.length))
	}
	u, err := in.fixed(int(h.stored))
	shift := 64 - 8*h.stored
	return strconv.AppendInt(buf, int64(u<<shift)>>shift, 10), err
}
