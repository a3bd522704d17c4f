package rdb

import "fmt"

// walk passes over a value.
func (in *input) walk(t Type) error {
	switch t {
	case String, HashZipmap, ListZiplist, SetIntset, ZSetZiplist, HashZiplist, HashListpack, ZSetListpack, SetListpack, HashListpackExPre:
		return in.skipString()
	case HashListpackEx:
		return in.each(in.skipFixed8, in.skipString)
	case List, Set, ListQuicklist:
		return in.times(in.skipString)
	case Hash:
		return in.times(in.skipString, in.skipString)
	case ZSet:
		return in.times(in.skipString, in.skipASCIIScore)
	case ZSet2:
		return in.times(in.skipString, in.skipFixed8)
	case ListQuicklist2:
		return in.times(in.skipCount, in.skipString)
	case HashMetadataPre:
		return in.times(in.skipCount, in.skipString, in.skipString)
	case HashMetadata:
		if err := in.skipFixed8(); err != nil {
			return err
		}
		return in.times(in.skipCount, in.skipString, in.skipString)
	case StreamListpacks, StreamListpacks2, StreamListpacks3:
		return in.walkStream(t)
	case Module2:
		if err := in.skipCount(); err != nil {
			return err
		}
		return in.walkModule()
	}
	return malformed("%v", t)
}

// each runs the parts in order.
func (in *input) each(parts ...func() error) error {
	for _, part := range parts {
		if err := part(); err != nil {
			return err
		}
	}
	return nil
}

// times reads a count and runs the parts in order that many times.
func (in *input) times(parts ...func() error) error {
	n, err := in.count()
	for ; n > 0 && err == nil; n-- {
		err = in.each(parts...)
	}
	return err
}

func (in *input) skipCount() error {
	_, err := in.count()
	return err
}

func (in *input) skipFixed8() error { return in.skip(8) }

func (in *input) skipASCIIScore() error {
	n, err := in.byte()
	if err != nil || n >= 253 { // not a number, and the infinities
		return err
	}
	return in.skip(uint64(n))
}

// walkStream follows rdbSaveObject of a stream: nodes, the stream's own numbers, groups with their pending entries and consumers.
func (in *input) walkStream(t Type) error {
	if err := in.times(in.skipString, in.skipString); err != nil {
		return err
	}
	numbers, times := 3, 1 // length, last id; seen time
	if t >= StreamListpacks2 {
		numbers = 8 // and first id, greatest deleted id, entries ever added
	}
	if t >= StreamListpacks3 {
		times = 2 // and active time
	}
	for range numbers {
		if err := in.skipCount(); err != nil {
			return err
		}
	}
	pending := func() error { return in.times(func() error { return in.skip(16 + 8) }, in.skipCount) }
	owned := func() error { return in.times(func() error { return in.skip(16) }) }
	consumer := func() error {
		return in.each(in.skipString, func() error { return in.skip(uint64(8 * times)) }, owned)
	}
	group := []func() error{in.skipString, in.skipCount, in.skipCount}
	if t >= StreamListpacks2 {
		group = append(group, in.skipCount) // entries read
	}
	return in.times(append(group, pending, func() error { return in.times(consumer) })...)
}

// The parts of a module's value.
const (
	moduleEnd    = 0
	moduleSigned = 1
	moduleUint   = 2
	moduleFloat  = 3
	moduleDouble = 4
	moduleString = 5
)

// walkModule passes over the parts of a module's value or data.
func (in *input) walkModule() error {
	for {
		part, err := in.count()
		if err != nil {
			return err
		}
		switch part {
		case moduleEnd:
			return nil
		case moduleSigned, moduleUint:
			err = in.skipCount()
		case moduleFloat:
			err = in.skip(4)
		case moduleDouble:
			err = in.skip(8)
		case moduleString:
			err = in.skipString()
		default:
			err = malformed("part %d of a module's value", part)
		}
		if err != nil {
			return err
		}
	}
}

// moduleName decodes the name of a module's type from its id: nine characters of six bits, then ten bits of a version (module.c).
func moduleName(id uint64) string {
	const set = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	var name [9]byte
	for i := range name {
		name[i] = set[id>>(10+6*(8-i))&63]
	}
	return fmt.Sprintf("%s version %d", name[:], id&1023)
}
