package rdb

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
)

// Flags of an entry of a stream (t_stream.c).
const (
	entryDeleted    = 1
	entrySameFields = 2
)

// streamID is the id of an entry.
type streamID struct{ ms, seq uint64 }

func (id streamID) String() string { return fmt.Sprintf("%d-%d", id.ms, id.seq) }

// rawID reads an id as the keys of a radix tree hold it: 16 bytes, big endian.
func (in *input) rawID() (streamID, error) {
	var b [16]byte
	v, err := in.take(b[:0], 16)
	if err != nil {
		return streamID{}, err
	}
	return streamID{binary.BigEndian.Uint64(v), binary.BigEndian.Uint64(v[8:])}, nil
}

// counts reads n lengths.
func (in *input) counts(n int) ([]uint64, error) {
	v := make([]uint64, n)
	for i := range v {
		var err error
		if v[i], err = in.count(); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// buildStream builds a stream entry by entry, then its last id, then its groups, as rewriting an append-only file does (aof.c). When a
// consumer was last seen is not kept, and what is pending of deleted entries is not either: no command sets them.
func (b *builder) buildStream(in *input, t Type) error {
	entries := 0
	err := in.times(func() error {
		start, err := whole(in)
		if err != nil {
			return err
		}
		if len(start) != 16 {
			return malformed("a stream's node id of %d bytes", len(start))
		}
		node, err := whole(in)
		if err != nil {
			return err
		}
		first := streamID{binary.BigEndian.Uint64(start), binary.BigEndian.Uint64(start[8:])}
		return b.buildNode(first, node, &entries)
	})
	if err != nil {
		return err
	}
	numbers := 3
	if t >= StreamListpacks2 {
		numbers = 8
	}
	n, err := in.counts(numbers)
	if err != nil {
		return err
	}
	last := streamID{n[1], n[2]}
	if entries == 0 { // a stream may be empty, but XADD alone makes one
		id := last
		if id == (streamID{}) {
			id.seq = 1
		}
		if err := b.one("XADD", string(b.key), "MAXLEN", "0", id.String(), "x", "y"); err != nil {
			return err
		}
	}
	set := []string{"XSETID", string(b.key), last.String()}
	if t >= StreamListpacks2 && b.version >= 10 {
		set = append(set, "ENTRIESADDED", strconv.FormatUint(n[7], 10), "MAXDELETEDID", streamID{n[5], n[6]}.String())
	}
	if err := b.one(set...); err != nil {
		return err
	}
	return in.times(func() error { return b.buildGroup(in, t) })
}

// buildNode adds the entries of one node. first is the id that theirs count from; the entry in front holds the fields most of them have.
func (b *builder) buildNode(first streamID, node []byte, entries *int) error {
	var all [][]byte
	if err := listpack(node, func(v []byte) error { all = append(all, v); return nil }); err != nil {
		return err
	}
	at := 0
	next := func() []byte {
		if at++; at > len(all) {
			return nil
		}
		return all[at-1]
	}
	number := func() int64 {
		n, err := strconv.ParseInt(string(next()), 10, 64)
		if err != nil {
			at = len(all) + 1
		}
		return n
	}
	live, deleted, common := number(), number(), number()
	if common < 0 || int(common) > len(all)-3 || at > len(all) {
		return malformed("the head of a stream's node")
	}
	fields := all[3 : 3+common]
	at += int(common)
	number() // 0 ends the head
	for range live + deleted {
		flags := number()
		id := streamID{first.ms + uint64(number()), first.seq + uint64(number())}
		args := [][]byte{[]byte("XADD"), b.key, []byte(id.String())}
		if flags&entrySameFields != 0 {
			for _, f := range fields {
				args = append(args, f, next())
			}
		} else {
			n := number()
			if n < 0 || n > int64(len(all)) {
				return malformed("an entry of %d fields in a stream", n)
			}
			for range n {
				args = append(args, next(), next())
			}
		}
		number() // the length, for the way back
		if at > len(all) {
			return malformed("a stream's node that ends early")
		}
		if flags&entryDeleted != 0 {
			continue
		}
		*entries++
		if err := b.emit(args); err != nil {
			return err
		}
	}
	return nil
}

// pendingEntry is one that was delivered and not acknowledged.
type pendingEntry struct {
	id    streamID
	at    uint64 // Unix time of delivery, milliseconds
	count uint64 // how often delivered
}

func compareID(a, b streamID) int {
	switch {
	case a == b:
		return 0
	case a.ms < b.ms || a.ms == b.ms && a.seq < b.seq:
		return -1
	default:
		return 1
	}
}

func (b *builder) buildGroup(in *input, t Type) error {
	name, err := whole(in)
	if err != nil {
		return err
	}
	numbers := 2
	if t >= StreamListpacks2 {
		numbers = 3
	}
	n, err := in.counts(numbers)
	if err != nil {
		return err
	}
	create := []string{"XGROUP", "CREATE", string(b.key), string(name), streamID{n[0], n[1]}.String()}
	if numbers == 3 && b.version >= 10 && n[2] != 1<<64-1 {
		create = append(create, "ENTRIESREAD", strconv.FormatUint(n[2], 10))
	}
	if err := b.one(create...); err != nil {
		return err
	}
	var pending []pendingEntry
	err = in.times(func() error {
		id, err := in.rawID()
		if err != nil {
			return err
		}
		at, err := in.fixed(8)
		if err != nil {
			return err
		}
		count, err := in.count()
		pending = append(pending, pendingEntry{id, at, count})
		return err
	})
	if err != nil {
		return err
	}
	return in.times(func() error { return b.buildConsumer(in, t, string(name), pending) })
}

// buildConsumer makes a consumer of a group and gives it what is pending for it.
func (b *builder) buildConsumer(in *input, t Type, group string, pending []pendingEntry) error {
	name, err := whole(in)
	if err != nil {
		return err
	}
	times := uint64(8)
	if t >= StreamListpacks3 {
		times = 16
	}
	if err := in.skip(times); err != nil {
		return err
	}
	if b.version >= 10 {
		if err := b.one("XGROUP", "CREATECONSUMER", string(b.key), group, string(name)); err != nil {
			return err
		}
	}
	return in.times(func() error {
		id, err := in.rawID()
		if err != nil {
			return err
		}
		i, found := slices.BinarySearchFunc(pending, id, func(p pendingEntry, id streamID) int { return compareID(p.id, id) })
		if !found {
			return malformed("a consumer's entry that its group does not have")
		}
		p := pending[i]
		return b.one("XCLAIM", string(b.key), group, string(name), "0", id.String(), "TIME", strconv.FormatUint(p.at, 10),
			"RETRYCOUNT", strconv.FormatUint(p.count, 10), "JUSTID", "FORCE")
	})
}
