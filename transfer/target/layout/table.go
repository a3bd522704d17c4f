package layout

import (
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"strconv"
	"strings"
	"unicode/utf16"
)

// A write is bytes that belong at an offset of a disk.
type write struct {
	at   int64
	data []byte
}

// gptEntries is the size of the array of a GPT in bytes: 128 entries of 128.
const gptEntries = 128 * 128

var le = binary.LittleEndian

// writes are the bytes of the disk's table, in the order in which a cut leaves either the old table or the new one: the copy at the end of the disk,
// the array, the header that names it, and the first sector last. What is before byte 440 of that, boot code, is not among them.
func (d *Disk) writes() []write {
	if d.Table.Style == MBR {
		return d.mbr()
	}
	return d.gpt()
}

// gpt lays out a GUID partition table (UEFI 2.10, 5.3).
func (d *Disk) gpt() []write {
	entries := make([]byte, gptEntries)
	for _, p := range d.Table.Partitions {
		e := entries[(p.Index-1)*128:][:128]
		putGUID(e, p.Type)
		putGUID(e[16:], p.UUID)
		le.PutUint64(e[32:], uint64(p.Start/d.Sector))
		le.PutUint64(e[40:], uint64((p.Start+p.Size)/d.Sector-1))
		if p.Boot {
			le.PutUint64(e[48:], 1<<2)
		}
		for i, c := range utf16.Encode([]rune(p.Label)) {
			le.PutUint16(e[56+2*i:], c)
		}
	}
	room := usable(GPT, d.Size, d.Sector)
	last := d.Size/d.Sector - 1
	header := func(self, other, array int64) []byte {
		h := make([]byte, d.Sector)
		copy(h, "EFI PART\x00\x00\x01\x00\x5c\x00\x00\x00")
		le.PutUint64(h[24:], uint64(self))
		le.PutUint64(h[32:], uint64(other))
		le.PutUint64(h[40:], uint64(room.start/d.Sector))
		le.PutUint64(h[48:], uint64(room.end/d.Sector-1))
		putGUID(h[56:], d.Table.ID)
		le.PutUint64(h[72:], uint64(array))
		le.PutUint32(h[80:], 128)
		le.PutUint32(h[84:], 128)
		le.PutUint32(h[88:], crc32.ChecksumIEEE(entries))
		le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:92]))
		return h
	}
	protect := make([]byte, 512-440)
	putEntry(protect[6:], 0xee, false, 1, min(last, 1<<32-1))
	protect[70], protect[71] = 0x55, 0xaa
	return []write{
		{room.end, entries}, {last * d.Sector, header(last, 1, room.end/d.Sector)},
		{2 * d.Sector, entries}, {d.Sector, header(1, last, 2)}, {440, protect},
	}
}

// mbr lays out a table as DOS had it: four entries in the first sector, and a chain of such sectors inside the extended partition, one before each
// logical one.
func (d *Disk) mbr() (out []write) {
	first := make([]byte, 512-440)
	id, _ := strconv.ParseUint(d.Table.ID, 16, 32) // checked
	le.PutUint32(first, uint32(id))
	first[70], first[71] = 0x55, 0xaa
	var extended *Partition
	var logical []*Partition
	for _, p := range d.Table.sorted() {
		if p.Extended {
			extended = p
		}
		if p.logical(MBR) {
			logical = append(logical, p)
			continue
		}
		putEntry(first[6+16*(p.Index-1):], p.code(), p.Boot, p.Start/d.Sector, p.Size/d.Sector)
	}
	if extended != nil && len(logical) == 0 {
		out = append(out, write{extended.Start, link()})
	}
	// The sector with the entry of a logical partition is right before it, that of the first at the start of the extended one.
	at := func(i int) int64 {
		if i == 0 {
			return extended.Start
		}
		return logical[i].Start - d.Sector
	}
	for i, p := range logical {
		sector := link()
		putEntry(sector[446:], p.code(), p.Boot, (p.Start-at(i))/d.Sector, p.Size/d.Sector)
		if i+1 < len(logical) {
			next := at(i + 1)
			putEntry(sector[462:], 0x05, false, (next-extended.Start)/d.Sector, (logical[i+1].Start+logical[i+1].Size-next)/d.Sector)
		}
		out = append(out, write{at(i), sector})
	}
	return append(out, write{440, first})
}

func link() []byte {
	sector := make([]byte, 512)
	sector[510], sector[511] = 0x55, 0xaa
	return sector
}

// code is the type of a partition in an MBR.
func (p *Partition) code() byte {
	code, _ := strconv.ParseUint(p.Type, 16, 8) // checked
	return byte(code)
}

// putEntry writes an entry of an MBR, sectors only: cylinders and heads say "too large for us", as everybody's do.
func putEntry(e []byte, code byte, active bool, start, sectors int64) {
	if active {
		e[0] = 0x80
	}
	copy(e[1:], "\xfe\xff\xff")
	e[4] = code
	copy(e[5:], "\xfe\xff\xff")
	le.PutUint32(e[8:], uint32(start))
	le.PutUint32(e[12:], uint32(sectors))
}

// putGUID writes a GUID as UEFI stores it: the first three fields little-endian.
func putGUID(to []byte, text string) {
	b, _ := hex.DecodeString(strings.ReplaceAll(text, "-", "")) // checked
	for i, from := range []int{3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15} {
		to[i] = b[from]
	}
}
