package allocmap

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
)

// Bounds on a GPT: the specification (UEFI 2.10, chapter 5) has none. 4096 entries are 32 times what tools make.
const (
	maxGPTEntries   = 4096
	maxGPTEntrySize = 4096
)

// gptTable is one copy of a GPT that has passed its checks; places are sectors.
type gptTable struct {
	sector, other int64
	guid, entries []byte
	size          int // of an entry
}

// gptWhole are the types of partitions that are in use as a whole, as they are on the disk (the first three fields are little
// endian).
var gptWhole = map[string]string{
	"\x28\x73\x2a\xc1\x1f\xf8\xd2\x11\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b": "it is an EFI system partition",
	"\x48\x61\x68\x21\x49\x64\x6f\x6e\x74\x4e\x65\x65\x64\x45\x46\x49": "it is a BIOS boot partition",
	"\x8b\xd2\x1a\x9e\x12\xc6\x36\x45\xaa\x26\x8b\x49\x52\x1e\x5a\x8b": "it is a PReP boot partition",
	"\xaa\xc8\x08\x58\x8f\x7e\xe0\x42\x85\xd2\xe1\xe9\x04\x34\xcf\xb3": "it describes a dynamic disk",
	"\xa0\x60\x9b\xaf\x31\x14\x62\x4f\xbc\x68\x33\x11\x71\x4a\x69\xad": "it is part of a dynamic disk",
}

// readGPT lists the partitions, and marks both copies of the table. One of them may be damaged; but they must not contradict
// each other, nor may the MBR.
func readGPT(v *volume, mbr *mbrTable) ([]partition, error) {
	var table *gptTable
	sectors := []int64{v.sector}
	if v.sector == 0 {
		sectors = []int64{512, 4096}
	}
	for _, sector := range sectors {
		t, err := gptCopies(v, sector)
		if err != nil {
			return nil, err
		}
		if t != nil && table != nil {
			return nil, errors.New("there are GPTs for different sector sizes")
		}
		if t != nil {
			table = t
		}
	}
	if table == nil {
		return nil, errors.New("the MBR announces a GPT, but neither of its copies can be read")
	}
	parts, err := table.partitions(v)
	if err != nil {
		return nil, err
	}
	return parts, mbr.agrees(parts, table.sector)
}

// gptCopies reads the primary and the backup table; nil when there is neither.
func gptCopies(v *volume, sector int64) (*gptTable, error) {
	end := v.size/sector - 1
	if end < 3 {
		return nil, nil
	}
	primary := gptCopy(v, sector, 1)
	at := end
	if primary != nil && primary.other > 1 && primary.other < end {
		at = primary.other
		v.note("the backup GPT is not at the end of the disk: the disk has grown since")
	}
	backup := gptCopy(v, sector, at)
	switch {
	case primary == nil && backup == nil:
		return nil, nil
	case primary == nil:
		v.note("the primary GPT is damaged; the backup was used")
		return backup, nil
	case backup == nil:
		v.note("the backup GPT is damaged")
	case !bytes.Equal(primary.entries, backup.entries) || !bytes.Equal(primary.guid, backup.guid):
		return nil, errors.New("the copies of the GPT differ")
	}
	return primary, nil
}

// gptCopy reads one header and its entries and marks them; nil when they are damaged.
func gptCopy(v *volume, sector, lba int64) *gptTable {
	b, err := v.read(lba*sector, int(sector))
	if err != nil || string(b[:8]) != gptMagic {
		return nil
	}
	v.use(lba*sector, sector)
	size := int64(le.Uint32(b[12:]))
	if size < 92 || size > sector {
		return nil
	}
	sum := crc32.Update(0, crc32.IEEETable, b[:16])
	sum = crc32.Update(sum, crc32.IEEETable, make([]byte, 4))
	count, entry := le.Uint32(b[80:]), le.Uint32(b[84:])
	if crc32.Update(sum, crc32.IEEETable, b[20:size]) != le.Uint32(b[16:]) || le.Uint64(b[24:]) != uint64(lba) ||
		count == 0 || count > maxGPTEntries || entry < 128 || entry > maxGPTEntrySize || entry%8 != 0 {
		return nil
	}
	at, ok := product(le.Uint64(b[72:]), uint64(sector))
	if !ok {
		return nil
	}
	entries, err := v.read(at, int(count*entry))
	if err != nil || crc32.ChecksumIEEE(entries) != le.Uint32(b[88:]) {
		return nil
	}
	v.use(at, int64(len(entries)))
	other := int64(min(le.Uint64(b[32:]), maxSize))
	return &gptTable{sector: sector, other: other, guid: b[56:72], entries: entries, size: int(entry)}
}

func (t *gptTable) partitions(v *volume) (out []partition, err error) {
	for i := 0; i*t.size < len(t.entries); i++ {
		e := t.entries[i*t.size:][:t.size]
		if allZero(e[:16]) {
			continue
		}
		first, last := le.Uint64(e[32:]), le.Uint64(e[40:])
		if first == 0 || last < first || last >= uint64(v.size/t.sector) {
			return nil, fmt.Errorf("partition %d reaches outside the disk", i+1)
		}
		out = append(out, partition{
			name: strconv.Itoa(i + 1), start: int64(first) * t.sector, size: int64(last-first+1) * t.sector,
			whole: gptWhole[string(e[:16])],
		})
	}
	return out, nil
}

// agrees fails when a hybrid MBR, which lists partitions beside the GPT, has one that the GPT has not.
func (t *mbrTable) agrees(parts []partition, sector int64) error {
	for i, e := range t.entries {
		if !e.used() || e.kind == 0xEE {
			continue
		}
		found := false
		for _, p := range parts {
			found = found || p.start == e.start*sector && p.size == e.count*sector
		}
		if !found {
			return fmt.Errorf("partition %d of the MBR is not in the GPT", i+1)
		}
	}
	return nil
}
