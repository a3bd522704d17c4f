package allocmap

import (
	"errors"
	"strconv"
)

// maxLogical bounds the chain of an extended partition; the kernel stops at 256 minors of a disk at the latest.
const maxLogical = 256

// mbrEntry is one of the four entries of a boot record, in sectors.
type mbrEntry struct {
	status, kind byte
	start, count int64
}

func (e mbrEntry) used() bool     { return e.kind != 0 && e.count != 0 }
func (e mbrEntry) extended() bool { return e.kind == 0x05 || e.kind == 0x0F || e.kind == 0x85 }

// mbrTable is a decoded boot record.
type mbrTable struct {
	entries    [4]mbrEntry
	protective bool // an entry of type EE announces a GPT
}

// readMBR decodes the first sector; nil when it lacks the signature.
func readMBR(v *volume) *mbrTable { return bootRecord(v, 0) }

func bootRecord(v *volume, off int64) *mbrTable {
	b, err := v.read(off, 512)
	if err != nil || b[510] != 0x55 || b[511] != 0xAA {
		return nil
	}
	t := &mbrTable{}
	for i := range t.entries {
		e := b[446+16*i:]
		t.entries[i] = mbrEntry{e[0], e[4], int64(le.Uint32(e[8:])), int64(le.Uint32(e[12:]))}
		t.protective = t.protective || e[4] == 0xEE
	}
	return t
}

// plausible tells a table from the boot sector of a filesystem, which ends in the same two bytes.
func (t *mbrTable) plausible(v *volume) bool {
	if t == nil {
		return false
	}
	some := false
	for _, e := range t.entries {
		if e.status&0x7F != 0 || e.used() && (e.start == 0 || e.start*512 >= v.size) {
			return false
		}
		some = some || e.used()
	}
	return some
}

// mbrWhole are the types of partitions that are in use as a whole.
var mbrWhole = map[byte]string{
	0x12: "it starts the firmware's tools", 0x27: "it starts Windows' recovery", 0x41: "it is a boot partition", 0x42: "it is part of a dynamic disk",
	0xEF: "it is an EFI system partition", 0xEE: "it stands for a GPT",
}

// partitions lists the partitions, logical ones included.
func (t *mbrTable) partitions(v *volume) ([]partition, error) {
	sector := max(v.sector, 512)
	var out []partition
	logical := 5
	for i, e := range t.entries {
		if !e.used() {
			continue
		}
		p := partition{
			name: strconv.Itoa(i + 1), start: e.start * sector, size: e.count * sector,
			whole: mbrWhole[e.kind], extended: e.extended(),
		}
		if p.end() > v.size {
			return nil, errors.New("partition " + p.name + " reaches outside the disk")
		}
		out = append(out, p)
		if p.extended {
			inside, err := chain(v, p, logical, sector)
			if err != nil {
				return nil, err
			}
			out, logical = append(out, inside...), logical+len(inside)
		}
	}
	return out, nil
}

// chain follows the boot records in an extended partition. Each must lie behind the one before, so a chain that refers to
// itself ends.
func chain(v *volume, ext partition, index int, sector int64) (out []partition, err error) {
	at := ext.start
	for range maxLogical {
		t := bootRecord(v, at)
		if t == nil {
			return nil, errors.New("the chain of logical partitions breaks")
		}
		v.use(at, sector)
		if e := t.entries[0]; e.used() {
			p := partition{name: strconv.Itoa(index), start: at + e.start*sector, size: e.count * sector, whole: mbrWhole[e.kind]}
			if e.extended() || e.start == 0 || p.end() > ext.end() {
				return nil, errors.New("the chain of logical partitions is damaged")
			}
			out, index = append(out, p), index+1
		}
		next := t.entries[1]
		if t.entries[2].used() || t.entries[3].used() || next.used() && !next.extended() {
			return nil, errors.New("the chain of logical partitions is damaged")
		}
		if !next.used() {
			return out, nil
		}
		to := ext.start + next.start*sector
		if to <= at || to > ext.end()-sector {
			return nil, errors.New("the chain of logical partitions turns back or leaves its partition")
		}
		at = to
	}
	return nil, errors.New("there are too many logical partitions")
}
