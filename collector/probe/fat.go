package probe

import (
	"fmt"
	"math/bits"
	"unicode/utf16"

	"github.com/ferry-migrate/ferry/collector/inventory"
)

// maxFAT bounds how much of a FAT is read to count the free clusters: 16 MiB are 4 million clusters.
const maxFAT = 16 << 20

// fat is the geometry of a FAT filesystem (Microsoft FAT specification 1.03), in sectors unless it says otherwise.
type fat struct {
	sector, perCluster uint64 // bytes; sectors
	reserved, size     uint64 // of one FAT
	root, rootEntries  uint64 // first sector of the fixed root directory
	data, clusters     uint64
	bits               int // 12, 16 or 32 bits in an entry
}

// probeFAT reads FAT12, FAT16 and FAT32, also as EFI system partition.
func probeFAT(m *image) *inventory.Content {
	b := m.at(0, 512)
	if b == nil || b[510] != 0x55 || b[511] != 0xAA || (b[0] != 0xEB && b[0] != 0xE9) {
		return nil
	}
	f, ok := fatGeometry(b)
	if !ok {
		return nil
	}
	serial, label := b[39:43], b[43:54]
	if f.bits == 32 {
		serial, label = b[67:71], b[71:82]
	}
	c := &inventory.Content{
		Type: "vfat", Class: inventory.ClassFilesystem, Version: fmt.Sprintf("FAT%d", f.bits),
		UUID: fatSerial(serial), Label: text(label),
		BlockSize: int64(f.sector * f.perCluster), Size: product(f.data+f.clusters*f.perCluster, f.sector),
	}
	if c.Label == "NO NAME" {
		c.Label = ""
	}
	if l, ok := f.rootLabel(m, le.Uint32(b[44:])); ok {
		c.Label = l
	}
	if free, ok := f.free(m, b); ok {
		c.Usage = usage(f.clusters, free, f.sector*f.perCluster, "bitmap")
	}
	return c
}

func fatGeometry(b []byte) (f fat, ok bool) {
	f.sector, f.perCluster = uint64(le.Uint16(b[11:])), uint64(b[13])
	f.reserved, f.rootEntries = uint64(le.Uint16(b[14:])), uint64(le.Uint16(b[17:]))
	copies, total := uint64(b[16]), uint64(le.Uint16(b[19:]))
	if f.size = uint64(le.Uint16(b[22:])); f.size == 0 {
		f.size = uint64(le.Uint32(b[36:]))
	}
	if total == 0 {
		total = uint64(le.Uint32(b[32:]))
	}
	media := b[21]
	if !powerOfTwo(f.sector, 512, 4096) || !powerOfTwo(f.perCluster, 1, 128) || f.reserved == 0 || copies == 0 || copies > 4 ||
		f.size == 0 || media != 0xF0 && media < 0xF8 {
		return f, false
	}
	f.root = f.reserved + copies*f.size
	f.data = f.root + (f.rootEntries*32+f.sector-1)/f.sector
	if f.data >= total {
		return f, false
	}
	f.clusters = (total - f.data) / f.perCluster
	switch {
	case le.Uint16(b[22:]) == 0:
		f.bits = 32
	case f.clusters < 4085:
		f.bits = 12
	default:
		f.bits = 16
	}
	return f, f.clusters > 0
}

// rootLabel returns the label in the root directory, which outranks the one in the boot sector.
func (f fat) rootLabel(m *image, rootCluster uint32) (string, bool) {
	sector, n := f.root, f.rootEntries*32
	if f.bits == 32 {
		if rootCluster < 2 || uint64(rootCluster) >= f.clusters+2 {
			return "", false
		}
		sector, n = f.data+uint64(rootCluster-2)*f.perCluster, f.perCluster*f.sector
	}
	dir := m.at(product(sector, f.sector), int(n))
	for ; len(dir) >= 32 && dir[0] != 0; dir = dir[32:] {
		if dir[0] != 0xE5 && dir[11]&0x3F != 0x0F && dir[11]&0x08 != 0 {
			return text(dir[:11]), true
		}
	}
	return "", false
}

// free counts the free clusters; of a FAT too large to be read it believes the count that FAT32 keeps.
func (f fat) free(m *image, boot []byte) (n uint64, ok bool) {
	if f.size*f.sector > maxFAT {
		info := m.at(int64(f.sector)*int64(le.Uint16(boot[48:])), 512)
		if f.bits != 32 || info == nil || le.Uint32(info[484:]) != 0x61417272 {
			return 0, false
		}
		n = uint64(le.Uint32(info[488:]))
		return n, n <= f.clusters
	}
	table := m.at(product(f.reserved, f.sector), int(f.size*f.sector))
	for i := uint64(2); i < f.clusters+2; i++ {
		at := i * uint64(f.bits) / 8
		if at+uint64(f.bits+7)/8 > uint64(len(table)) {
			return 0, false
		}
		var v uint32
		switch f.bits {
		case 12:
			v = uint32(le.Uint16(table[at:])) >> (i & 1 * 4) & 0xFFF
		case 16:
			v = uint32(le.Uint16(table[at:]))
		default:
			v = le.Uint32(table[at:]) & 0x0FFFFFFF
		}
		if v == 0 {
			n++
		}
	}
	return n, true
}

func fatSerial(b []byte) string {
	v := le.Uint32(b)
	if v == 0 {
		return ""
	}
	return fmt.Sprintf("%04X-%04X", v>>16, v&0xFFFF)
}

// probeExFAT reads exFAT (Microsoft exFAT specification 1.00).
func probeExFAT(m *image) *inventory.Content {
	b := m.at(0, 512)
	if b == nil || string(b[3:11]) != "EXFAT   " || b[108] < 9 || b[108] > 12 || b[109] > 25-b[108] {
		return nil
	}
	sector, cluster := int64(1)<<b[108], int64(1)<<(b[108]+b[109])
	clusters := uint64(le.Uint32(b[92:]))
	c := &inventory.Content{
		Type: "exfat", Class: inventory.ClassFilesystem, Version: fmt.Sprintf("%d.%02d", b[105], b[104]),
		UUID: fatSerial(b[100:104]), BlockSize: cluster, Size: product(le.Uint64(b[72:]), uint64(sector)),
		Dirty: le.Uint16(b[106:])&2 != 0,
	}
	// The entries of the root directory: 0x83 is the label, 0x81 says where the allocation bitmap is.
	heap, first := int64(le.Uint32(b[88:]))*sector, int64(le.Uint32(b[96:]))
	dir := m.at(heap+(first-2)*cluster, int(min(cluster, 64<<10)))
	for ; len(dir) >= 32 && dir[0] != 0; dir = dir[32:] {
		switch dir[0] {
		case 0x83:
			u := make([]uint16, min(int(dir[1]), 11))
			for i := range u {
				u[i] = le.Uint16(dir[2+2*i:])
			}
			c.Label = text([]byte(string(utf16.Decode(u))))
		case 0x81:
			at := int64(le.Uint32(dir[20:]))
			if used, ok := countBits(m, heap+(at-2)*cluster, clusters); ok {
				c.Usage = usage(clusters, clusters-min(used, clusters), uint64(cluster), "bitmap")
			}
		}
	}
	return c
}

// maxBitmap bounds how much of an allocation bitmap is read.
const maxBitmap = 32 << 20

// countBits counts which of the first n bits at off are set. What pads the last byte is set or not as the maker liked.
func countBits(m *image, off int64, n uint64) (used uint64, ok bool) {
	if n/8 > maxBitmap {
		return 0, false
	}
	for n > 0 {
		step := min(n, 8<<20)
		b := m.at(off, int((step+7)/8))
		if b == nil {
			return 0, false
		}
		for _, x := range b {
			used += uint64(bits.OnesCount8(x))
		}
		if odd := step % 8; odd != 0 {
			used -= uint64(bits.OnesCount8(b[len(b)-1] >> odd))
		}
		off, n = off+int64(len(b)), n-step
	}
	return used, true
}
