package rdb

import (
	"errors"
	"math"
	"strconv"
)

// Bounds on one piece of a value, a command: bytes and elements, whichever comes first.
const (
	pieceBytes    = 256 << 10
	pieceElements = 1024
)

// Commands decodes the value of the current entry and calls emit with commands that build it, piece by piece, under its key; the caller
// sees to it that no such key exists, and sets the expiry afterwards. version is of the snapshots that the target reads: what is only
// known to newer servers is left out. The arguments are valid during the call only. It may be called once, right after Next.
func (r *Reader) Commands(version int, emit func(args [][]byte) error) error {
	if r.again {
		return errors.New("the entry was decoded before")
	}
	r.again = true
	e := &r.entry
	b := builder{emit: emit, key: e.Key, version: version}
	in := &r.in
	if e.Large {
		in.rewind()
	} else {
		r.mem.win, r.mem.pos, r.mem.again = e.Value, 0, true
		in = &r.mem
	}
	err := b.build(in, e.Type)
	if err == nil {
		r.open = false
	}
	return err
}

// builder gathers elements into commands.
type builder struct {
	emit    func([][]byte) error
	key     []byte
	version int
	args    [][]byte
	head    int // arguments that each command begins with
	size    int
	text    []byte // of the elements gathered
}

// begin starts commands that begin with name and key.
func (b *builder) begin(name string) {
	b.args = append(b.args[:0], []byte(name), b.key)
	b.head = len(b.args)
}

// add gathers the elements of one member; v stays valid until the command went.
func (b *builder) add(v ...[]byte) error {
	b.args = append(b.args, v...)
	for _, a := range v {
		b.size += len(a)
	}
	if b.size >= pieceBytes || len(b.args) >= pieceElements {
		return b.flush()
	}
	return nil
}

// flush emits what was gathered.
func (b *builder) flush() error {
	if len(b.args) == b.head {
		return nil
	}
	err := b.emit(b.args)
	b.args, b.size, b.text = b.args[:b.head], 0, b.text[:0]
	return err
}

// one emits a command of its own.
func (b *builder) one(args ...string) error {
	command := make([][]byte, len(args))
	for i, a := range args {
		command[i] = []byte(a)
	}
	return b.emit(command)
}

// string reads a string of the stream that stays valid until the next flush.
func (b *builder) string(in *input) ([]byte, error) {
	start := len(b.text)
	var err error
	b.text, err = in.string(b.text)
	return b.text[start:len(b.text):len(b.text)], err
}

func (b *builder) build(in *input, t Type) error {
	var err error
	switch t.Kind() {
	case "string":
		return b.buildString(in)
	case "list":
		b.begin("RPUSH")
		err = b.buildList(in, t)
	case "set":
		b.begin("SADD")
		err = b.buildSet(in, t)
	case "zset":
		b.begin("ZADD")
		err = b.buildZSet(in, t)
	case "hash":
		b.begin("HSET")
		if b.version < 9 { // HSET takes one field before 4.0
			b.begin("HMSET")
		}
		err = b.buildHash(in, t)
	case "stream":
		return b.buildStream(in, t)
	default:
		return ErrTooLarge
	}
	if err == nil {
		err = b.flush()
	}
	return err
}

// buildString makes room for a long string at once, then fills it.
func (b *builder) buildString(in *input) error {
	h, err := in.stringHead()
	if err != nil {
		return err
	}
	if h.length <= pieceBytes { // numbers among them
		v, err := in.body(nil, h)
		if err != nil {
			return err
		}
		return b.emit([][]byte{[]byte("SET"), b.key, v})
	}
	if h.length > maxString {
		return malformed("a string of %d bytes", h.length)
	}
	if err := b.one("SETRANGE", string(b.key), strconv.FormatUint(h.length-1, 10), "\x00"); err != nil {
		return err
	}
	at := uint64(0)
	put := func(v []byte) error {
		args := [][]byte{[]byte("SETRANGE"), b.key, strconv.AppendUint(nil, at, 10), v}
		at += uint64(len(v))
		return b.emit(args)
	}
	if h.coding == encodedLZF {
		return in.lzfPieces(h.stored, h.length, pieceBytes, put)
	}
	for at < h.length {
		if b.text, err = in.take(b.text[:0], min(pieceBytes, h.length-at)); err != nil {
			return err
		}
		if err := put(b.text); err != nil {
			return err
		}
	}
	return nil
}

// whole reads a string that holds a packed value; it stays valid, as its elements have to.
func whole(in *input) ([]byte, error) { return in.string(nil) }

func (b *builder) buildList(in *input, t Type) error {
	one := func(v []byte) error { return b.add(v) }
	if t == ListZiplist {
		return b.packed(in, ziplist, one)
	}
	return in.times(func() error {
		plain := t == List
		if t == ListQuicklist2 {
			container, err := in.count()
			if err != nil {
				return err
			}
			plain = container == 1
		}
		switch {
		case plain:
			v, err := b.string(in)
			if err != nil {
				return err
			}
			return b.add(v)
		case t == ListQuicklist:
			return b.packed(in, ziplist, one)
		default:
			return b.packed(in, listpack, one)
		}
	})
}

// packed reads a packed value and calls each with its elements.
func (b *builder) packed(in *input, walk func([]byte, func([]byte) error) error, each func([]byte) error) error {
	v, err := whole(in)
	if err != nil {
		return err
	}
	return walk(v, each)
}

func (b *builder) buildSet(in *input, t Type) error {
	one := func(v []byte) error { return b.add(v) }
	switch t {
	case SetIntset:
		return b.packed(in, intset, one)
	case SetListpack:
		return b.packed(in, listpack, one)
	}
	return in.times(func() error {
		v, err := b.string(in)
		if err != nil {
			return err
		}
		return b.add(v)
	})
}

// pairs calls add with every two elements.
func pairs(add func(a, b []byte) error) func([]byte) error {
	var first []byte
	second := false
	return func(v []byte) error {
		second = !second
		if second {
			first = v
			return nil
		}
		return add(first, v)
	}
}

func (b *builder) buildZSet(in *input, t Type) error {
	swapped := pairs(func(member, score []byte) error { return b.add(score, member) })
	switch t {
	case ZSetZiplist:
		return b.packed(in, ziplist, swapped)
	case ZSetListpack:
		return b.packed(in, listpack, swapped)
	}
	return in.times(func() error {
		member, err := b.string(in)
		if err != nil {
			return err
		}
		score, err := in.score(t)
		if err != nil {
			return err
		}
		return b.add(score, member)
	})
}

// score reads a number as ZADD takes it.
func (in *input) score(t Type) ([]byte, error) {
	if t == ZSet2 {
		bits, err := in.fixed(8)
		return appendScore(nil, math.Float64frombits(bits)), err
	}
	n, err := in.byte()
	if err != nil {
		return nil, err
	}
	switch n {
	case 253:
		return nil, malformed("a score that is no number")
	case 254:
		return []byte("inf"), nil
	case 255:
		return []byte("-inf"), nil
	}
	return in.take(nil, uint64(n))
}

func appendScore(dst []byte, f float64) []byte {
	switch {
	case math.IsInf(f, 1):
		return append(dst, "inf"...)
	case math.IsInf(f, -1):
		return append(dst, "-inf"...)
	}
	return strconv.AppendFloat(dst, f, 'g', -1, 64)
}

func (b *builder) buildHash(in *input, t Type) error {
	two := pairs(func(field, value []byte) error { return b.add(field, value) })
	switch t {
	case HashZipmap:
		return b.packed(in, zipmap, two)
	case HashZiplist:
		return b.packed(in, ziplist, two)
	case HashListpack:
		return b.packed(in, listpack, two)
	case Hash:
		return in.times(func() error {
			field, err := b.string(in)
			if err != nil {
				return err
			}
			value, err := b.string(in)
			if err != nil {
				return err
			}
			return b.add(field, value)
		})
	}
	return b.buildExpiring(in, t)
}
