package rdb

import (
	"bytes"
	"strconv"
)

// buildExpiring builds a hash whose fields may expire, of 7.4. A time is stored from the earliest one on, less 1, or 0 for never; in a
// listpack, and in release candidates, as it is.
func (b *builder) buildExpiring(in *input, t Type) error {
	var from uint64
	var err error
	if t == HashMetadata || t == HashListpackEx {
		if from, err = in.fixed(8); err != nil {
			return err
		}
	}
	if t == HashListpackEx || t == HashListpackExPre {
		var field, value []byte
		i := 0
		return b.packed(in, listpack, func(v []byte) error {
			i++
			switch i % 3 {
			case 1:
				field = v
				return nil
			case 2:
				value = v
				return nil
			}
			at, err := strconv.ParseUint(string(v), 10, 63)
			if err != nil {
				return malformed("a field's time %q", v)
			}
			return b.expiring(field, value, at)
		})
	}
	return in.times(func() error {
		at, err := in.count()
		if err != nil {
			return err
		}
		field, err := b.string(in)
		if err != nil {
			return err
		}
		value, err := b.string(in)
		if err != nil {
			return err
		}
		if at > 0 && t == HashMetadata {
			at += from - 1
		}
		return b.expiring(field, value, at)
	})
}

// expiring adds a field, and when it expires, in milliseconds, unless at is 0.
func (b *builder) expiring(field, value []byte, at uint64) error {
	if at == 0 || b.version < 12 {
		return b.add(field, value)
	}
	name, when := bytes.Clone(field), strconv.FormatUint(at, 10)
	if err := b.add(field, value); err != nil {
		return err
	}
	if err := b.flush(); err != nil {
		return err
	}
	return b.one("HPEXPIREAT", string(b.key), when, "FIELDS", "1", string(name))
}
