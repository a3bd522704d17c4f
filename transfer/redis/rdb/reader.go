package rdb

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/ferry-migrate/ferry/internal/fault"
)

// ErrTooLarge is returned for a value above the limit that cannot be taken apart: a module's.
var ErrTooLarge = errors.New("a module's value is larger than what is kept in memory")

// What says what an Entry is.
type What byte

// What entries are.
const (
	Key      What = iota // a key with its value
	Function             // Value is the source of a library of functions
	Script               // Value is a script that EVALSHA may name, from snapshots of 5.0 to 6.2
	Lost                 // data that a module keeps beside the keys, which no command carries; Key is its name
)

// Entry is one thing out of a snapshot.
type Entry struct {
	What     What
	DB       int
	Key      []byte // valid until the next call of Next
	Type     Type
	Value    []byte // as stored, without the type; nil with Large. Valid until the next call of any method
	Large    bool   // above the limit: only Commands can tell the value
	ExpireAt int64  // Unix time in milliseconds, 0 for never
	Idle     int64  // seconds without access, -1 if not known
	Freq     int    // frequency of access as Redis counts it, -1 if not known
}

// The opcodes of a snapshot that are not types of values.
const (
	opSlot        = 244
	opFunction    = 245
	opFunctionPre = 246
	opModuleAux   = 247
	opIdle        = 248
	opFreq        = 249
	opAux         = 250
	opResize      = 251
	opExpireMs    = 252
	opExpire      = 253
	opSelect      = 254
	opEOF         = 255
)

// Reader reads one snapshot. It is not safe for concurrent use.
type Reader struct {
	in      input
	mem     input // over bytes in memory
	version int
	keys    int64
	entry   Entry
	key     []byte
	open    bool // entry is of a value that was not read to its end
	again   bool // entry's value is being or was decoded
}

// NewReader begins to read a snapshot at the front of br and keeps values of up to limit bytes in memory. It takes from br what belongs
// to the snapshot and not a byte more. Errors: ErrMalformed, or FERRY-REDIS-VERSION for a snapshot of a newer version.
func NewReader(br *bufio.Reader, limit int) (*Reader, error) {
	r := &Reader{in: input{br: br, mark: -1, limit: limit}, mem: input{br: bufio.NewReaderSize(eof{}, 16), mark: -1}}
	magic, err := r.in.take(nil, 9)
	if err != nil {
		return nil, err
	}
	if string(magic[:5]) != "REDIS" {
		return nil, malformed("it begins with %q", magic)
	}
	if r.version, err = strconv.Atoi(string(magic[5:])); err != nil || r.version < 1 {
		return nil, malformed("version %q", magic[5:])
	}
	if r.version > MaxVersion {
		return nil, fault.Operator("FERRY-REDIS-VERSION", "use a newer Ferry, or let it read with SCAN (--scan)",
			fmt.Errorf("the snapshot has version %d, known are 1 to %d", r.version, MaxVersion))
	}
	return r, nil
}

// eof is an empty reader.
type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

// Version of the snapshot.
func (r *Reader) Version() int { return r.version }

// Bytes is how much of the snapshot was read.
func (r *Reader) Bytes() int64 { return r.in.n + int64(r.in.pos) }

// Keys is how many keys the snapshot said so far that its databases hold; 0 before version 7.
func (r *Reader) Keys() int64 { return r.keys }

// Next returns the next entry, io.EOF after the last one when the checksum is right. The entry is valid until the next call.
func (r *Reader) Next() (*Entry, error) {
	if err := r.finish(); err != nil {
		return nil, err
	}
	e := &r.entry
	*e = Entry{DB: e.DB, Idle: -1, Freq: -1}
	for {
		op, err := r.in.byte()
		if err != nil {
			return nil, err
		}
		if op < opSlot {
			return e, r.value(Type(op))
		}
		done, err := r.opcode(op)
		if err != nil {
			return nil, err
		}
		if done {
			return e, nil
		}
	}
}

// finish reads a value to its end that the caller did not.
func (r *Reader) finish() error {
	if !r.open {
		return nil
	}
	if r.again {
		return errors.New("the entry before was left half decoded")
	}
	r.open = false
	r.in.rewind()
	return r.in.walk(r.entry.Type)
}

// value reads key and value of the entry.
func (r *Reader) value(t Type) (err error) {
	e := &r.entry
	if t == Module {
		return fault.Operator("FERRY-REDIS-MODULE", "upgrade the module on the source, or let Ferry read with SCAN (--scan)",
			errors.New("a module's value in the form of Redis 4.0 release candidates"))
	}
	if t.Version() == 0 {
		return malformed("a value of type %d", t)
	}
	if r.key, err = r.in.string(r.key[:0]); err != nil {
		return err
	}
	e.What, e.Key, e.Type = Key, r.key, t
	r.in.keep()
	err = r.in.walk(t)
	r.again = false
	if errors.Is(err, errLimit) {
		if t == Module2 {
			return fault.Operator("FERRY-REDIS-MODULE", "leave the key out with --exclude",
				fmt.Errorf("key %q: %w", e.Key, ErrTooLarge))
		}
		e.Large, r.open = true, true
		return nil
	}
	if err == nil {
		e.Value = r.in.value()
		r.in.mark = -1
	}
	return err
}

// opcode reads what is not a value, and reports whether the entry is complete with it.
func (r *Reader) opcode(op byte) (done bool, err error) {
	e, in := &r.entry, &r.in
	var n uint64
	switch op {
	case opSelect:
		if n, err = in.count(); n > 1<<30 {
			return false, malformed("database %d", n)
		}
		e.DB = int(n)
	case opExpire:
		n, err = in.fixed(4)
		e.ExpireAt = int64(int32(n)) * 1000
	case opExpireMs:
		n, err = in.fixed(8)
		e.ExpireAt = int64(n)
	case opFreq:
		n, err = in.fixed(1)
		e.Freq = int(n)
	case opIdle:
		n, err = in.count()
		e.Idle = int64(min(n, 1<<40))
	case opResize:
		if n, err = in.count(); err == nil {
			r.keys += int64(min(n, 1<<50))
			err = in.skipCount()
		}
	case opSlot:
		err = in.each(in.skipCount, in.skipCount, in.skipCount)
	case opAux:
		return r.aux()
	case opFunction:
		e.What = Function
		e.Value, err = in.string(nil)
		return true, err
	case opFunctionPre:
		return false, fault.Operator("FERRY-REDIS-VERSION", "upgrade the source to a release", errors.New("functions in the form of release candidates of 7.0"))
	case opModuleAux:
		if n, err = in.count(); err == nil {
			e.What, e.Key = Lost, []byte(moduleName(n))
			err = in.walkModule()
		}
		return true, err
	case opEOF:
		return false, r.end()
	}
	return false, err
}

// aux reads a field about the snapshot. Only scripts matter.
func (r *Reader) aux() (done bool, err error) {
	name, err := r.in.string(nil)
	if err != nil {
		return false, err
	}
	if string(name) != "lua" {
		return false, r.in.skipString()
	}
	r.entry.What = Script
	r.entry.Value, err = r.in.string(nil)
	return true, err
}

// end checks the checksum and returns io.EOF.
func (r *Reader) end() error {
	r.in.settle()
	if r.version < 5 {
		return io.EOF
	}
	crc := r.in.crc
	sum, err := r.in.fixed(8)
	r.in.settle()
	if err != nil {
		return err
	}
	if sum != 0 && sum != crc {
		return malformed("its checksum is %016x, it should be %016x", sum, crc)
	}
	return io.EOF
}

// AppendPayload appends what RESTORE takes for the value of the entry: as DUMP makes it, in the oldest version that has the type.
func (e *Entry) AppendPayload(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, byte(e.Type))
	dst = append(dst, e.Value...)
	dst = append(dst, byte(e.Type.Version()), byte(e.Type.Version()>>8))
	crc := checksum(0, dst[start:])
	for range 8 {
		dst = append(dst, byte(crc))
		crc >>= 8
	}
	return dst
}

// PayloadSize is how many bytes AppendPayload appends.
func (e *Entry) PayloadSize() int { return 1 + len(e.Value) + 2 + 8 }

// Text appends the value of the current entry, of type String and not large, to dst.
func (r *Reader) Text(dst []byte) ([]byte, error) {
	r.mem.win, r.mem.pos, r.mem.again = r.entry.Value, 0, true
	return r.mem.string(dst)
}

// TextSize is how long Text is, of a number at most.
func (r *Reader) TextSize() int {
	r.mem.win, r.mem.pos, r.mem.again = r.entry.Value, 0, true
	h, err := r.mem.stringHead()
	if err != nil || h.length == 0 {
		return 20
	}
	return int(h.length)
}
