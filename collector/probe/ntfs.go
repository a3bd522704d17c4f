package probe

import (
	"fmt"
	"unicode/utf16"

	"github.com/ferry-migrate/ferry/collector/inventory"
)

// Record numbers and attribute types of the NTFS master file table that are read here (linux/fs/ntfs3/ntfs.h).
const (
	mftVolume = 3
	mftBitmap = 6

	attrVolumeName = 0x60
	attrVolumeInfo = 0x70
	attrData       = 0x80
)

// ntfs is the geometry of an NTFS volume, in bytes.
type ntfs struct {
	m                    *image
	sector, cluster, mft int64
	record               int64
	clusters             uint64
}

// probeNTFS reads the boot sector of NTFS, the volume's name and version from its record, and counts its bitmap.
func probeNTFS(m *image) *inventory.Content {
	b := m.at(0, 512)
	if b == nil || string(b[3:11]) != "NTFS    " {
		return nil
	}
	v, sectors, ok := ntfsGeometry(m, b)
	if !ok {
		return nil
	}
	c := &inventory.Content{
		Type: "ntfs", Class: inventory.ClassFilesystem, UUID: fmt.Sprintf("%016X", le.Uint64(b[72:])),
		BlockSize: v.cluster, Size: product(sectors, uint64(v.sector)),
	}
	// The first cluster run of $MFT holds its system records: sixteen records fit before it can be fragmented.
	if rec := v.fileRecord(mftVolume); rec != nil {
		name := attribute(rec, attrVolumeName)
		c.Label = text([]byte(utf16Text(resident(name))))
		if info := resident(attribute(rec, attrVolumeInfo)); len(info) >= 12 {
			c.Version = fmt.Sprintf("%d.%d", info[8], info[9])
			c.Dirty = le.Uint16(info[10:])&1 != 0
		}
	} else {
		c.Problems = append(c.Problems, "the record of $Volume cannot be read")
	}
	if used, ok := v.usedClusters(); ok {
		c.Usage = usage(v.clusters, v.clusters-min(used, v.clusters), uint64(v.cluster), "bitmap")
	}
	return c
}

func ntfsGeometry(m *image, b []byte) (v ntfs, sectors uint64, ok bool) {
	sector, per := uint64(le.Uint16(b[11:])), uint64(b[13])
	if per > 0x80 { // a negative power of two since Windows 10: clusters up to 2 MiB
		per = 1 << min(0x100-per, 63)
	}
	sectors = le.Uint64(b[40:])
	if !powerOfTwo(sector, 256, 4096) || !powerOfTwo(per, 1, 1<<13) || sectors == 0 || product(sectors, sector) == 0 {
		return v, 0, false
	}
	v = ntfs{m: m, sector: int64(sector), cluster: int64(sector * per), clusters: sectors / per}
	v.mft = product(le.Uint64(b[48:]), uint64(v.cluster))
	if s := int8(b[64]); s < 0 && s > -32 {
		v.record = 1 << -s
	} else {
		v.record = int64(s) * v.cluster
	}
	return v, sectors, v.record >= 256 && v.record <= 64<<10
}

// fileRecord returns record n of the master file table with its update sequence applied, nil when it is damaged.
func (v ntfs) fileRecord(n int64) []byte {
	raw := v.m.at(v.mft+n*v.record, int(v.record))
	if raw == nil || string(raw[:4]) != "FILE" {
		return nil
	}
	rec := append([]byte(nil), raw...)
	at, count := int(le.Uint16(rec[4:])), int(le.Uint16(rec[6:]))
	if at < 40 || count < 1 || at+2*count > len(rec) || (count-1)*512 > len(rec) {
		return nil
	}
	for i := 1; i < count; i++ {
		end := i*512 - 2
		if le.Uint16(rec[end:]) != le.Uint16(rec[at:]) {
			return nil
		}
		copy(rec[end:], rec[at+2*i:at+2*i+2])
	}
	return rec
}

// attribute returns the first unnamed attribute of a type, header included; nil when there is none.
func attribute(rec []byte, kind uint32) []byte {
	at := int(le.Uint16(rec[20:]))
	for at+24 <= len(rec) {
		n := int(le.Uint32(rec[at+4:]))
		if le.Uint32(rec[at:]) == 0xFFFFFFFF || n < 24 || n > len(rec)-at {
			return nil
		}
		if le.Uint32(rec[at:]) == kind && rec[at+9] == 0 {
			return rec[at : at+n]
		}
		at += n
	}
	return nil
}

// resident returns the value of a resident attribute.
func resident(a []byte) []byte {
	if len(a) < 24 || a[8] != 0 {
		return nil
	}
	n, off := int(le.Uint32(a[16:])), int(le.Uint16(a[20:]))
	if off > len(a) || n > len(a)-off {
		return nil
	}
	return a[off : off+n]
}

func utf16Text(b []byte) string {
	u := make([]uint16, len(b)/2)
	for i := range u {
		u[i] = le.Uint16(b[2*i:])
	}
	return string(utf16.Decode(u))
}

// usedClusters counts the bits of $Bitmap, whose runs are in the data attribute of its record.
func (v ntfs) usedClusters() (used uint64, ok bool) {
	rec := v.fileRecord(mftBitmap)
	if rec == nil {
		return 0, false
	}
	a := attribute(rec, attrData)
	if len(a) < 64 || a[8] != 1 || v.clusters/8 > maxBitmap {
		return 0, false
	}
	off := int(le.Uint16(a[32:]))
	if off > len(a) {
		return 0, false
	}
	left, lcn := v.clusters, int64(0) // bits that are still to be counted
	for runs := a[off:]; left > 0; {
		length, delta, n, ok := run(runs)
		if !ok || length == 0 {
			return 0, false
		}
		runs, lcn = runs[n:], lcn+delta
		if lcn < 0 || uint64(lcn) > v.clusters || length > v.clusters {
			return 0, false
		}
		size := min(left, length*uint64(v.cluster)*8)
		part, ok := countBits(v.m, lcn*v.cluster, size)
		if !ok {
			return 0, false
		}
		used, left = used+part, left-size
	}
	return used, true
}

// run decodes one mapping pair: a length and the distance of its first cluster from the one before.
func run(b []byte) (length uint64, delta int64, n int, ok bool) {
	if len(b) == 0 || b[0] == 0 {
		return 0, 0, 0, false
	}
	ln, dn := int(b[0]&15), int(b[0]>>4)
	if ln == 0 || ln > 8 || dn == 0 || dn > 8 || len(b) < 1+ln+dn {
		return 0, 0, 0, false // a sparse run cannot be part of the bitmap
	}
	for i := ln; i > 0; i-- {
		length = length<<8 | uint64(b[i])
	}
	delta = int64(int8(b[ln+dn]))
	for i := ln + dn - 1; i > ln; i-- {
		delta = delta<<8 | int64(b[i])
	}
	return length, delta, 1 + ln + dn, true
}

// probeBitLocker finds a volume encrypted by BitLocker.
func probeBitLocker(m *image) *inventory.Content {
	if !m.has(3, "-FVE-FS-") {
		return nil
	}
	return &inventory.Content{Type: "BitLocker", Class: inventory.ClassMember}
}
