package allocmap

import "fmt"

// Flags of a group descriptor: its bitmap was never written, because nothing but the group's own metadata is in use.
const extBlockUninit = 2

// maxRun is how many block bitmaps are read at once where they lie side by side, as flex_bg puts them.
const maxRun = 64

// bitmapRun is a number of groups whose bitmaps lie side by side.
type bitmapRun struct {
	group, block uint64 // the first of them
	descs        [][]byte
}

// scan reads the group descriptors in order, and the bitmaps that they lead to.
func (x *ext) scan() error {
	var run bitmapRun
	for nr := uint64(0); nr*x.perBlock < x.groups; nr++ {
		at := x.descBlock(nr)
		b, err := x.v.read(int64(at)*x.block, int(x.block))
		if err != nil {
			return err
		}
		x.useBlocks(at, 1)
		for i := uint64(0); i < x.perBlock && nr*x.perBlock+i < x.groups; i++ {
			group, desc := nr*x.perBlock+i, b[i*x.descSize:][:x.descSize]
			bitmap, err := x.metadata(group, desc)
			if err != nil {
				return err
			}
			if bitmap == 0 {
				continue
			}
			next := group == run.group+uint64(len(run.descs)) && bitmap == run.block+uint64(len(run.descs))
			if len(run.descs) > 0 && (!next || len(run.descs) == maxRun) {
				if err := x.bitmaps(run); err != nil {
					return err
				}
				run = bitmapRun{}
			}
			if len(run.descs) == 0 {
				run.group, run.block = group, bitmap
			}
			run.descs = append(run.descs, desc)
		}
	}
	if len(run.descs) == 0 {
		return nil
	}
	return x.bitmaps(run)
}

// metadata marks what a group needs for itself, wherever that lies: of a group without a bitmap nothing else says so. It
// returns where the bitmap is, 0 when the group has none.
func (x *ext) metadata(group uint64, desc []byte) (bitmap uint64, err error) {
	if !x.sound(group, desc) {
		return 0, fmt.Errorf("the descriptor of group %d has a wrong checksum", group)
	}
	bitmap = uint64(le.Uint32(desc))
	inodeBitmap, inodes := uint64(le.Uint32(desc[4:])), uint64(le.Uint32(desc[8:]))
	if x.descSize >= 64 {
		bitmap |= uint64(le.Uint32(desc[32:])) << 32
		inodeBitmap |= uint64(le.Uint32(desc[36:])) << 32
		inodes |= uint64(le.Uint32(desc[40:])) << 32
	}
	for _, at := range []uint64{bitmap, inodeBitmap, inodes + x.inodeTable - 1, inodes} {
		if at <= x.first || at >= x.blocks {
			return 0, fmt.Errorf("the descriptor of group %d points outside the filesystem", group)
		}
	}
	x.useBlocks(bitmap, 1)
	x.useBlocks(inodeBitmap, 1)
	x.useBlocks(inodes, x.inodeTable)
	x.useCopies(group)
	if le.Uint16(desc[18:])&extBlockUninit != 0 && x.ro&(extROGDTSum|extROMetaSum) != 0 {
		return 0, nil
	}
	return bitmap, nil
}

// useCopies marks the copies of the superblock and of the group descriptors that a group begins with.
func (x *ext) useCopies(group uint64) {
	start, metagroup := x.start(group), group/x.perBlock
	super := x.hasSuper(group)
	switch {
	case metagroup >= x.firstMeta:
		// The descriptors of a metagroup are in its first group, their copies in the second and the last.
		if n := group % x.perBlock; n <= 1 || n == x.perBlock-1 {
			x.useBlocks(start, 2)
		} else if super {
			x.useBlocks(start, 1)
		}
	case super:
		n := min((x.groups+x.perBlock-1)/x.perBlock, x.firstMeta)
		if start == 0 && x.block == 1024 { // block 0 is the boot block, which precedes the superblock
			n++
		}
		x.useBlocks(start, min(1+n+x.reserved, x.perGroup))
	}
}

// sound checks the checksum of a group descriptor, where it has one.
func (x *ext) sound(group uint64, desc []byte) bool {
	const at = 30 // of the checksum
	number := le.AppendUint32(nil, uint32(group))
	switch want := le.Uint16(desc[at:]); {
	case x.ro&extROMetaSum != 0:
		sum := rawCRC(rawCRC(rawCRC(x.seed, number), desc[:at]), []byte{0, 0})
		return uint16(rawCRC(sum, desc[at+2:])) == want
	case x.ro&extROGDTSum != 0:
		return crc16(crc16(crc16(crc16(0xFFFF, x.uuid), number), desc[:at]), desc[at+2:]) == want
	default:
		return true
	}
}

// crc16 is the checksum of group descriptors before metadata_csum (linux/lib/crc16.c: polynomial 0x8005, reflected).
func crc16(sum uint16, b []byte) uint16 {
	for _, x := range b {
		sum ^= uint16(x)
		for range 8 {
			if sum&1 != 0 {
				sum = sum>>1 ^ 0xA001
			} else {
				sum >>= 1
			}
		}
	}
	return sum
}

// bitmaps reads the bitmaps of a run of groups.
func (x *ext) bitmaps(run bitmapRun) error {
	b, err := x.v.read(int64(run.block)*x.block, len(run.descs)*int(x.block))
	if err != nil {
		return err
	}
	for i, desc := range run.descs {
		x.bitmap(run.group+uint64(i), desc, b[int64(i)*x.block:][:x.block])
	}
	return nil
}

// bitmap marks the clusters that are in use in a group; all of them when the bitmap and the descriptor do not agree.
func (x *ext) bitmap(group uint64, desc, b []byte) {
	start := x.start(group)
	blocks := min(x.perGroup, x.blocks-start)
	ratio := uint64(x.cluster / x.block)
	clusters := int64((blocks + ratio - 1) / ratio)

	free := uint64(le.Uint16(desc[12:]))
	if x.descSize >= 64 {
		free |= uint64(le.Uint16(desc[44:])) << 16
	}
	used := int64(0)
	eachRun(b, clusters, func(_, n int64) { used += n })
	if uint64(clusters-used) != free || !x.bitmapSound(desc, b) {
		x.v.note("group %d is taken as a whole: its bitmap is damaged", group)
		x.useBlocks(start, blocks)
		return
	}
	eachRun(b, clusters, func(first, n int64) { x.useBlocks(start+uint64(first)*ratio, uint64(n)*ratio) })
}

// bitmapSound checks the checksum of a block bitmap, of which small descriptors hold one half.
func (x *ext) bitmapSound(desc, b []byte) bool {
	if x.ro&extROMetaSum == 0 {
		return true
	}
	sum, want := rawCRC(x.seed, b[:x.clustersPerGroup/8]), uint32(le.Uint16(desc[24:]))
	if x.descSize < 64 {
		return sum&0xFFFF == want
	}
	return sum == want|uint32(le.Uint16(desc[56:]))<<16
}
