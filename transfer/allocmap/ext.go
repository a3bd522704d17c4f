package allocmap

import (
	"errors"
	"fmt"
)

// Features of ext2, ext3 and ext4 that this package knows the meaning of (linux/fs/ext4/ext4.h). With any other the place or
// meaning of the bitmaps could be different.
const (
	extIncompatRecover    = 0x4
	extIncompatJournalDev = 0x8
	extIncompatMetaBG     = 0x10
	extIncompat64Bit      = 0x80
	extIncompatSeed       = 0x2000
	extIncompatKnown      = 0x2 | extIncompatRecover | extIncompatMetaBG | 0x40 | extIncompat64Bit |
		0x100 | 0x200 | 0x400 | extIncompatSeed | 0x4000 | 0x8000 | 0x10000 | 0x20000 // filetype, extents, mmp, flex_bg, ea_inode, large_dir, inline_data, encrypt, casefold

	extStateValid  = 0x1
	extStateErrors = 0x2
	extStateReplay = 0x20 // of fast commits

	extCompatJournal = 0x4
	extCompatSparse2 = 0x200

	extROSparse   = 0x1
	extROGDTSum   = 0x10
	extROBigalloc = 0x200
	extROMetaSum  = 0x400
	extROKnown    = extROSparse | 0x2 | 0x4 | 0x8 | extROGDTSum | 0x20 | 0x40 | 0x100 | extROBigalloc | extROMetaSum |
		0x1000 | 0x2000 | 0x4000 | 0x8000 | 0x10000 // large_file, huge_file, dir_nlink, extra_isize, quota, read-only, project, shared_blocks, verity, orphan_present
)

// ext is the geometry of a filesystem. Blocks, clusters and groups are counted as its superblock does.
type ext struct {
	v                    *volume
	compat, incompat, ro uint32

	block, cluster     int64 // bytes
	first, blocks      uint64
	perGroup, groups   uint64 // blocks in a group; groups
	clustersPerGroup   uint64
	descSize, perBlock uint64 // of a group descriptor; descriptors in a block
	firstMeta          uint64 // descriptor block from which on each lies in its own group (meta_bg)
	reserved           uint64 // blocks kept for more descriptors
	inodeTable         uint64 // blocks of it in a group
	backups            [2]uint32
	uuid               []byte
	seed               uint32 // of checksums
}

func extSuper(v *volume) []byte {
	b, err := v.read(1024, 1024)
	if err != nil || le.Uint16(b[56:]) != 0xEF53 {
		return nil
	}
	return b
}

func isExt(v *volume) bool { return extSuper(v) != nil }

// scanExt reads the block bitmaps of ext2, ext3 and ext4 (linux/fs/ext4/ext4.h, struct ext4_super_block and ext4_group_desc).
func scanExt(v *volume) error {
	sb := extSuper(v)
	if le.Uint32(sb[96:])&extIncompatJournalDev != 0 {
		v.report.Type = "jbd"
		return errors.New("it is the journal of another filesystem")
	}
	x, err := readExt(v, sb)
	if err != nil {
		return err
	}
	v.report.Type = x.name()
	if err := x.settled(sb); err != nil {
		return err
	}
	v.use(0, max(x.block, 4096)) // boot code, and the superblock, which no bitmap covers when blocks have 1 KiB
	if err := x.scan(); err != nil {
		return err
	}
	v.tail(int64(x.blocks) * x.block)
	return nil
}

// name is that of the oldest driver that knows the features, as blkid has it.
func (x *ext) name() string {
	switch {
	case x.incompat&^0x16 != 0 || x.ro&^0x7 != 0:
		return "ext4"
	case x.compat&extCompatJournal != 0:
		return "ext3"
	default:
		return "ext2"
	}
}

// settled fails when the bitmaps are older than the files.
func (x *ext) settled(sb []byte) error {
	state := le.Uint16(sb[58:])
	switch {
	case state&extStateErrors != 0:
		return errors.New("the filesystem has recorded errors")
	case x.incompat&extIncompatRecover != 0 && le.Uint32(sb[228:]) != 0:
		return errors.New("the journal, which is on another device, was not replayed")
	case x.incompat&extIncompatRecover != 0:
		return errors.New("the journal was not replayed: it holds newer bitmaps")
	case state&extStateReplay != 0:
		return errors.New("the replay of its fast commits was interrupted")
	case state&extStateValid == 0:
		return errors.New("the filesystem was not unmounted cleanly")
	}
	return nil
}

func readExt(v *volume, sb []byte) (*ext, error) {
	x := &ext{
		v: v, compat: le.Uint32(sb[92:]), incompat: le.Uint32(sb[96:]), ro: le.Uint32(sb[100:]),
		first: uint64(le.Uint32(sb[20:])), blocks: uint64(le.Uint32(sb[4:])),
		perGroup: uint64(le.Uint32(sb[32:])), clustersPerGroup: uint64(le.Uint32(sb[36:])),
		descSize: 32, reserved: uint64(le.Uint16(sb[206:])), uuid: sb[104:120],
		backups: [2]uint32{le.Uint32(sb[0x24C:]), le.Uint32(sb[0x250:])},
	}
	if bad := x.incompat &^ extIncompatKnown; bad != 0 {
		return nil, fmt.Errorf("it has unknown features: incompat %#x", bad)
	}
	if bad := x.ro &^ extROKnown; bad != 0 {
		return nil, fmt.Errorf("it has unknown features: read-only compat %#x", bad)
	}
	if x.incompat&extIncompat64Bit != 0 {
		x.blocks |= uint64(le.Uint32(sb[0x150:])) << 32
		x.descSize = uint64(le.Uint16(sb[254:]))
	}
	logBlock, logCluster := le.Uint32(sb[24:]), le.Uint32(sb[28:])
	if x.ro&extROBigalloc == 0 {
		logCluster, x.clustersPerGroup = logBlock, x.perGroup
	}
	if logBlock > 6 || logCluster < logBlock || logCluster > 20 {
		return nil, errors.New("impossible block size")
	}
	x.block, x.cluster = 1024<<logBlock, 1024<<logCluster
	if x.ro&extROMetaSum != 0 {
		if rawCRC(^uint32(0), sb[:1020]) != le.Uint32(sb[1020:]) {
			return nil, errors.New("the checksum of the superblock is wrong")
		}
		if x.seed = rawCRC(^uint32(0), x.uuid); x.incompat&extIncompatSeed != 0 {
			x.seed = le.Uint32(sb[0x270:])
		}
	}
	x.firstMeta = ^uint64(0)
	if x.incompat&extIncompatMetaBG != 0 {
		x.firstMeta = uint64(le.Uint32(sb[260:]))
	}
	return x, x.check(uint64(le.Uint32(sb[40:])), sb)
}

// check completes the geometry and refuses what cannot be.
func (x *ext) check(inodes uint64, sb []byte) error {
	block := uint64(x.block)
	inodeSize := uint64(128)
	if le.Uint32(sb[76:]) > 0 {
		inodeSize = uint64(le.Uint16(sb[88:]))
	}
	ratio := uint64(x.cluster / x.block)
	switch {
	case !powerOfTwo(x.descSize, 32, min(block, 1024)):
		return errors.New("impossible size of group descriptors")
	case x.clustersPerGroup == 0 || x.clustersPerGroup > 8*block || x.clustersPerGroup%8 != 0 || x.perGroup != x.clustersPerGroup*ratio:
		return errors.New("impossible size of block groups")
	case x.first > 1 || x.blocks <= x.first || x.blocks >= maxSize/block:
		return errors.New("impossible number of blocks")
	case int64(x.blocks*block) > x.v.size:
		return fmt.Errorf("the filesystem has %d bytes, the volume %d", x.blocks*block, x.v.size)
	case inodes == 0 || inodes > 8*block || inodeSize < 128 || inodeSize > block:
		return errors.New("impossible inodes")
	}
	x.groups = (x.blocks - x.first + x.perGroup - 1) / x.perGroup
	x.perBlock = block / x.descSize
	x.inodeTable = (inodes*inodeSize + block - 1) / block
	return nil
}

// hasSuper reports whether a group begins with a copy of the superblock.
func (x *ext) hasSuper(group uint64) bool {
	switch {
	case group == 0:
		return true
	case x.compat&extCompatSparse2 != 0:
		return group == uint64(x.backups[0]) || group == uint64(x.backups[1])
	case group == 1 || x.ro&extROSparse == 0:
		return true
	case group%2 == 0:
		return false
	}
	for _, base := range []uint64{3, 5, 7} {
		n := group
		for n%base == 0 {
			n /= base
		}
		if n == 1 {
			return true
		}
	}
	return false
}

// start returns the first block of a group.
func (x *ext) start(group uint64) uint64 { return x.first + group*x.perGroup }

// descBlock returns where block nr of the group descriptors is.
func (x *ext) descBlock(nr uint64) uint64 {
	if nr < x.firstMeta {
		// The superblock's own block comes first: block 0, or 1 where blocks have 1 KiB.
		super := uint64(0)
		if x.block == 1024 {
			super = 1
		}
		return super + 1 + nr
	}
	group := nr * x.perBlock
	at := x.start(group)
	if x.hasSuper(group) {
		at++
	}
	if x.block == 1024 && nr == 0 && x.first == 0 { // the superblock is in block 1 although block 0 belongs to the group
		at++
	}
	return at
}

// useBlocks marks n blocks.
func (x *ext) useBlocks(start, n uint64) {
	if start < x.blocks {
		n = min(n, x.blocks-start)
		x.v.use(int64(start)*x.block, int64(n)*x.block)
	}
}
