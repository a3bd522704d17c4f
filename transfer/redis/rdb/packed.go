package rdb

import (
	"encoding/binary"
	"strconv"
)

// packed reads small values that Redis keeps in one piece of memory: ziplists, listpacks, intsets and zipmaps. After the first error
// it is at its end.
type packed struct {
	b   []byte
	err error
}

func (p *packed) take(n int) []byte {
	if n < 0 || n > len(p.b) {
		p.fail()
		return nil
	}
	v := p.b[:n:n]
	p.b = p.b[n:]
	return v
}

func (p *packed) fail() {
	if p.err == nil {
		p.err = malformed("a packed value")
	}
	p.b = nil
}

func (p *packed) byte() byte {
	if v := p.take(1); v != nil {
		return v[0]
	}
	return 0
}

// uint reads n bytes, little endian.
func (p *packed) uint(n int) uint64 {
	var b [8]byte
	copy(b[:], p.take(n))
	return binary.LittleEndian.Uint64(b[:])
}

// int reads n bytes, little endian, with a sign, and writes them as a decimal.
func (p *packed) int(n int) []byte {
	shift := 64 - 8*n
	return strconv.AppendInt(nil, int64(p.uint(n)<<shift)>>shift, 10)
}

// ziplist calls each with every element (ziplist.c): a length of the entry before, an encoding, the data.
func ziplist(b []byte, each func([]byte) error) error {
	p := &packed{b: b}
	for p.take(10); p.err == nil; {
		switch c := p.byte(); c {
		case 255:
			return p.err
		case 254:
			p.take(4)
		}
		if v := p.ziplistEntry(); p.err == nil {
			if err := each(v); err != nil {
				return err
			}
		}
	}
	return p.err
}

func (p *packed) ziplistEntry() []byte {
	c := p.byte()
	switch c >> 6 {
	case 0:
		return p.take(int(c & 0x3f))
	case 1:
		return p.take(int(c&0x3f)<<8 | int(p.byte()))
	case 2:
		if v := p.take(4); v != nil {
			return p.take(int(binary.BigEndian.Uint32(v)))
		}
		return nil
	}
	switch c {
	case 0xc0:
		return p.int(2)
	case 0xd0:
		return p.int(4)
	case 0xe0:
		return p.int(8)
	case 0xf0:
		return p.int(3)
	case 0xfe:
		return p.int(1)
	}
	if n := int64(c&0x0f) - 1; c > 0xf0 && n >= 0 && n <= 12 {
		return strconv.AppendInt(nil, n, 10)
	}
	p.fail()
	return nil
}

// listpack calls each with every element (listpack.c): an encoding, the data, the length of both for the way back.
func listpack(b []byte, each func([]byte) error) error {
	p := &packed{b: b}
	for p.take(6); p.err == nil; {
		before := len(p.b)
		c := p.byte()
		if c == 0xff {
			return p.err
		}
		v := p.listpackEntry(c)
		p.take(backLength(before - len(p.b)))
		if p.err == nil {
			if err := each(v); err != nil {
				return err
			}
		}
	}
	return p.err
}

func (p *packed) listpackEntry(c byte) []byte {
	switch {
	case c < 0x80:
		return strconv.AppendInt(nil, int64(c), 10)
	case c < 0xc0:
		return p.take(int(c & 0x3f))
	case c < 0xe0:
		n := int64(c&0x1f)<<8 | int64(p.byte())
		return strconv.AppendInt(nil, n<<51>>51, 10)
	case c < 0xf0:
		return p.take(int(c&0x0f)<<8 | int(p.byte()))
	}
	switch c {
	case 0xf0:
		return p.take(int(p.uint(4)))
	case 0xf1:
		return p.int(2)
	case 0xf2:
		return p.int(3)
	case 0xf3:
		return p.int(4)
	case 0xf4:
		return p.int(8)
	}
	p.fail()
	return nil
}

// backLength is how many bytes listpack.c takes to write n for the way back.
func backLength(n int) int {
	switch {
	case n <= 127:
		return 1
	case n < 16383:
		return 2
	case n < 2097151:
		return 3
	case n < 268435455:
		return 4
	default:
		return 5
	}
}

// intset calls each with every element (intset.c): the width of one, their number, the elements.
func intset(b []byte, each func([]byte) error) error {
	p := &packed{b: b}
	width, n := p.uint(4), p.uint(4)
	if width != 2 && width != 4 && width != 8 {
		p.fail()
	}
	for ; n > 0 && p.err == nil; n-- {
		if v := p.int(int(width)); p.err == nil {
			if err := each(v); err != nil {
				return err
			}
		}
	}
	return p.err
}

// zipmap calls each with every field and every value in turn (zipmap.c): a length, behind that of a value a count of unused bytes.
func zipmap(b []byte, each func([]byte) error) error {
	p := &packed{b: b}
	p.take(1)
	for value := false; p.err == nil; value = !value {
		n := int(p.byte())
		switch n {
		case 255:
			return p.err
		case 254:
			n = int(p.uint(4))
		}
		unused := 0
		if value {
			unused = int(p.byte())
		}
		v := p.take(n)
		p.take(unused)
		if p.err == nil {
			if err := each(v); err != nil {
				return err
			}
		}
	}
	return p.err
}
