package allocmap

import (
	"errors"
	"fmt"
)

func isExFAT(v *volume) bool { return v.has(3, "EXFAT   ") }

// exFAT lists the allocation bitmap in its root directory, by an entry of this type.
const exfatBitmap = 0x81

// scanExFAT reads the allocation bitmap of exFAT (Microsoft exFAT specification 1.00). As the kernel does, it expects the
// bitmap in one piece; and its entry in the first cluster of the root directory, where every mkfs puts it.
func scanExFAT(v *volume) error {
	b, err := v.read(0, 512)
	if err != nil {
		return err
	}
	sectorShift, clusterShift := b[108], b[109]
	if sectorShift < 9 || sectorShift > 12 || clusterShift > 25-sectorShift {
		return errors.New("impossible sector or cluster size")
	}
	sector, cluster := int64(1)<<sectorShift, int64(1)<<(sectorShift+clusterShift)
	total, ok := product(le.Uint64(b[72:]), uint64(sector))
	heap, clusters := int64(le.Uint32(b[88:]))*sector, int64(le.Uint32(b[92:]))
	switch {
	case b[105] != 1 || b[110] != 1:
		return fmt.Errorf("version %d with %d tables is not known", b[105], b[110])
	case le.Uint16(b[106:])&0x6 != 0:
		return errors.New("the filesystem was not unmounted cleanly, or its medium failed")
	case !ok || total > v.size:
		return fmt.Errorf("the filesystem has more bytes than the volume, which has %d", v.size)
	case heap == 0 || clusters == 0 || clusters*cluster > total-heap:
		return errors.New("its clusters are outside the volume")
	}
	at := func(c uint32) int64 { return heap + (int64(c)-2)*cluster }
	root := le.Uint32(b[96:])
	if root < 2 {
		return errors.New("it has no root directory")
	}
	dir, err := v.read(at(root), int(min(cluster, 64<<10)))
	if err != nil {
		return err
	}
	for ; len(dir) >= 32 && dir[0] != 0; dir = dir[32:] {
		if dir[0] != exfatBitmap {
			continue
		}
		first, size := le.Uint32(dir[20:]), le.Uint64(dir[24:])
		if first < 2 || size != uint64((clusters+7)/8) {
			return errors.New("its allocation bitmap does not fit")
		}
		v.use(0, heap)
		v.tail(heap + clusters*cluster)
		return bitmapPieces(v, at(first), clusters, func(first, n int64) { v.use(heap+first*cluster, n*cluster) })
	}
	return errors.New("its root directory names no allocation bitmap")
}

// bitmapPieces calls f with every run of set bits among the n bits of a bitmap at off.
func bitmapPieces(v *volume, off, n int64, f func(first, count int64)) error {
	return v.pieces(off, (n+7)/8, func(at int64, b []byte) error {
		eachRun(b, min(n-8*at, 8*int64(len(b))), func(first, count int64) { f(8*at+first, count) })
		return nil
	})
}
