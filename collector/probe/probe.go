// Package probe tells from bytes what is on a disk, a partition or a volume: partition tables and content.
//
// It reads any io.ReaderAt, never writes, and believes nothing: what it reads may be damaged or made to harm. Every offset
// is checked against the size, every count and length has a bound, chains are followed only forward or a limited number of
// times. Whatever the bytes say, a call reads at most a few hundred MiB of metadata, allocates at most some tens, and returns.
//
// Layouts are taken from the kernel headers and the specifications named beside each parser. Each format is one file with
// one function and one line in the list below; there is no registration by side effect.
//
// The numbers of free space come from the superblock: for a filesystem that is mounted they lag behind, and the caller
// asks the kernel instead.
package probe

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/ferry-migrate/ferry/collector/inventory"
)

// ErrUnknown is returned when the bytes carry no signature that this package knows. A blank disk is unknown too.
var ErrUnknown = errors.New("no known signature")

// prober looks for one format. It returns nil when the format is not there.
type prober func(*image) *inventory.Content

// probers in the order of trust: what contains something else comes before what it may contain, so that a member of a mirror
// is not taken for the filesystem that it shows at the same place.
var probers = []prober{
	probeLUKS, probeBitLocker, probeMD, probeLVM, probeZFS, probeBcache,
	probeBtrfs, probeXFS, probeExt, probeNTFS, probeExFAT, probeFAT,
	probeISO, probeSwap, probeSimple,
}

// Content says what the size bytes of r hold. The error is ErrUnknown when nothing was recognised, or the error of r.
func Content(r io.ReaderAt, size int64) (*inventory.Content, error) {
	m := newImage(r, size)
	var found *inventory.Content
	for _, probe := range probers {
		c := probe(m)
		switch {
		case c == nil:
		case found == nil:
			found = c
			if c.Size > size {
				c.Problems = append(c.Problems, fmt.Sprintf("it says it has %d bytes, there are %d", c.Size, size))
			}
		default:
			found.Also = append(found.Also, c.Type)
		}
	}
	if found == nil && m.err != nil {
		return nil, m.err
	}
	if found == nil {
		return nil, ErrUnknown
	}
	return found, nil
}

// headSize covers every signature near the start; one read brings it.
const headSize = 68 << 10

// image reads a device with bounds. It keeps the first error that the device itself made.
type image struct {
	r    io.ReaderAt
	size int64
	head []byte
	err  error
}

func newImage(r io.ReaderAt, size int64) *image {
	m := &image{r: r, size: max(size, 0)}
	m.head = m.read(0, int(min(headSize, m.size)))
	return m
}

// at returns n bytes at off, or nil when they lie outside or cannot be read. The result must not be changed.
func (m *image) at(off int64, n int) []byte {
	if off < 0 || n < 0 || off > m.size || int64(n) > m.size-off {
		return nil
	}
	if off+int64(n) <= int64(len(m.head)) {
		return m.head[off : off+int64(n)]
	}
	return m.read(off, n)
}

func (m *image) read(off int64, n int) []byte {
	b := make([]byte, n)
	got, err := m.r.ReadAt(b, off)
	if got == n {
		return b
	}
	if err != nil && !errors.Is(err, io.EOF) && m.err == nil {
		m.err = fmt.Errorf("read %d bytes at %d: %w", n, off, err)
	}
	return nil
}

// has reports whether the bytes at off are magic.
func (m *image) has(off int64, magic string) bool {
	return string(m.at(off, len(magic))) == magic
}

var (
	le = binary.LittleEndian
	be = binary.BigEndian
)

// uuid formats 16 bytes in the usual order; all zero is "".
func uuid(b []byte) string {
	if len(b) < 16 || isZero(b[:16]) {
		return ""
	}
	h := hex.EncodeToString(b[:16])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// text takes a string that ends at the first zero byte; trailing blanks go, bytes that are not UTF-8 become U+FFFD, and
// control characters '?', so that a label can do no harm to a terminal.
func text(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	s := strings.TrimRight(string(b), " ")
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\ufffd")
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}

func isZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

// product multiplies two counts of a superblock; a result that no disk can have is 0.
func product(a, b uint64) int64 {
	const limit = 1 << 62
	if b != 0 && a > limit/b {
		return 0
	}
	return int64(a * b)
}

// usage makes a Usage of block counts, nil when they contradict each other.
func usage(total, free, block uint64, source string) *inventory.Usage {
	if free > total || product(total, block) == 0 {
		return nil
	}
	return &inventory.Usage{Used: product(total-free, block), Free: product(free, block), Source: source}
}

// named lists the names of the bits set in flags; bits without a name appear as hexadecimal.
func named(flags uint64, names []string) []string {
	var out []string
	for bit := 0; flags>>bit != 0 && bit < 64; bit++ {
		switch {
		case flags>>bit&1 == 0:
		case bit < len(names) && names[bit] != "":
			out = append(out, names[bit])
		default:
			out = append(out, fmt.Sprintf("0x%x", uint64(1)<<bit))
		}
	}
	return out
}

func powerOfTwo(n, low, high uint64) bool { return n >= low && n <= high && n&(n-1) == 0 }
