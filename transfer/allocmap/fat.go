package allocmap

import (
	"errors"
	"fmt"
)

// fat is the geometry of a FAT filesystem (Microsoft FAT specification 1.03), in sectors unless it says otherwise.
type fat struct {
	sector, perCluster     int64 // bytes; sectors
	reserved, size, copies int64 // size of one table
	data, clusters, total  int64
	bits                   int // 12, 16 or 32 in an entry
}

func fatBoot(v *volume) []byte {
	b, err := v.read(0, 512)
	if err != nil || b[510] != 0x55 || b[511] != 0xAA || b[0] != 0xEB && b[0] != 0xE9 {
		return nil
	}
	if _, ok := readFAT(b); !ok {
		return nil
	}
	return b
}

func isFAT(v *volume) bool { return fatBoot(v) != nil }

func readFAT(b []byte) (f fat, ok bool) {
	f = fat{
		sector: int64(le.Uint16(b[11:])), perCluster: int64(b[13]), reserved: int64(le.Uint16(b[14:])), copies: int64(b[16]),
		size: int64(le.Uint16(b[22:])), total: int64(le.Uint16(b[19:])),
	}
	small := f.size != 0
	if !small {
		f.size = int64(le.Uint32(b[36:]))
	}
	if f.total == 0 {
		f.total = int64(le.Uint32(b[32:]))
	}
	if !powerOfTwo(uint64(f.sector), 512, 4096) || !powerOfTwo(uint64(f.perCluster), 1, 128) || f.reserved == 0 ||
		f.copies == 0 || f.copies > 4 || f.size == 0 || b[21] != 0xF0 && b[21] < 0xF8 {
		return f, false
	}
	root := (int64(le.Uint16(b[17:]))*32 + f.sector - 1) / f.sector
	f.data = f.reserved + f.copies*f.size + root
	f.clusters = (f.total - f.data) / f.perCluster
	switch {
	case f.data >= f.total || f.clusters == 0:
		return f, false
	case !small:
		f.bits = 32
	case f.clusters < 4085:
		f.bits = 12
	default:
		f.bits = 16
	}
	return f, true
}

// scanFAT takes a cluster as in use when any copy of the table says so.
func scanFAT(v *volume) error {
	b := fatBoot(v)
	f, _ := readFAT(b)
	dirty, version := b[37], uint16(0)
	if f.bits == 32 {
		dirty, version = b[65], le.Uint16(b[42:])
	}
	end := (f.clusters + 2) * int64(f.bits) // bits of the table that mean something
	switch {
	case version != 0:
		return fmt.Errorf("FAT32 version %#x is not known", version)
	case f.total*f.sector > v.size:
		return fmt.Errorf("the filesystem has %d bytes, the volume %d", f.total*f.sector, v.size)
	case (end+7)/8 > f.size*f.sector:
		return errors.New("its table is too short for its clusters")
	case dirty&1 != 0:
		return errors.New("the filesystem was not unmounted cleanly")
	}
	v.use(0, f.data*f.sector)
	for i := range f.copies {
		if err := f.table(v, (f.reserved+i*f.size)*f.sector); err != nil {
			return err
		}
	}
	v.tail((f.data + f.clusters*f.perCluster) * f.sector)
	return nil
}

// table marks the clusters that one copy of the table, which begins at off, has in use.
func (f fat) table(v *volume, off int64) error {
	const batch = 512 << 10 // clusters: their entries end on a byte whatever their width
	cluster := f.perCluster * f.sector
	for first := int64(0); first < f.clusters+2; first += batch {
		n := min(batch, f.clusters+2-first)
		b, err := v.read(off+first*int64(f.bits)/8, int((n*int64(f.bits)+7)/8))
		if err != nil {
			return err
		}
		for i := range n {
			entry := f.entry(b, i)
			switch c := first + i; {
			case c == 1 && f.bits > 12 && entry>>(f.bits-1-f.bits/32*4)&1 == 0: // bit 15, or 27 of 32
				return errors.New("the filesystem was not unmounted cleanly")
			case c >= 2 && entry != 0:
				v.use(f.data*f.sector+(c-2)*cluster, cluster)
			}
		}
	}
	return nil
}

// entry returns entry i of a piece of the table.
func (f fat) entry(b []byte, i int64) uint32 {
	switch f.bits {
	case 12:
		return uint32(le.Uint16(b[i*3/2:])) >> (i & 1 * 4) & 0xFFF
	case 16:
		return uint32(le.Uint16(b[2*i:]))
	default:
		return le.Uint32(b[4*i:]) & 0x0FFFFFFF
	}
}
