package allocmap

import (
	"errors"
	"fmt"
	"hash/crc32"
)

// Features of XFS version 5 that this package knows (linux/fs/xfs/libxfs/xfs_format.h). needsrepair and the zoned device are
// left out on purpose.
const (
	xfsROKnown        = 0x1 | 0x2 | 0x4 | 0x8                              // finobt, rmapbt, reflink, inobtcount
	xfsIncompatKnown  = 0x1 | 0x2 | 0x4 | 0x8 | 0x20 | 0x40 | 0x80 | 0x100 // ftype, sparse inodes, meta_uuid, bigtime, nrext64, exchange, parent, metadir
	xfsFeatures2Known = 0x2 | 0x8 | 0x10 | 0x80 | 0x100 | 0x200            // of version 4: lazysbcount, attr2, parent, projid32, crc, ftype
	xfsMetaUUID       = 0x4                                                // metadata carries another UUID than the user sees
)

// minXFSGroup is the least size of an allocation group in bytes, unless it is the last.
const minXFSGroup = 16 << 20

// xfs is the geometry of a filesystem.
type xfs struct {
	v              *volume
	block, sector  int64 // bytes
	blocks         uint64
	agBlocks, ags  uint64
	logStart, logs uint64 // where the log is, as allocation group and block; its blocks
	shift          uint8  // of the group in a block number of the whole filesystem
	v5             bool
	uuid           []byte // what metadata carries
}

func xfsSuper(v *volume) []byte {
	b, err := v.read(0, 512)
	if err != nil || string(b[:4]) != "XFSB" {
		return nil
	}
	return b
}

func isXFS(v *volume) bool { return xfsSuper(v) != nil }

// scanXFS reads the trees of free space of XFS versions 4 and 5 (linux/fs/xfs/libxfs/xfs_format.h, struct xfs_dsb, xfs_agf
// and xfs_btree_block; big endian): what is not in them is in use.
func scanXFS(v *volume) error {
	x, err := readXFS(v, xfsSuper(v))
	if err != nil {
		return err
	}
	if err := x.settled(); err != nil {
		return err
	}
	for ag := range x.ags {
		if err := x.group(ag); err != nil {
			if v.ctx.Err() != nil {
				return err
			}
			v.note("allocation group %d is taken as a whole: %v", ag, err)
			x.useBlocks(ag, 0, x.groupBlocks(ag))
		}
	}
	v.tail(int64(x.blocks) * x.block)
	return nil
}

func readXFS(v *volume, sb []byte) (*xfs, error) {
	version := be.Uint16(sb[100:])
	x := &xfs{
		v: v, block: int64(be.Uint32(sb[4:])), sector: int64(be.Uint16(sb[102:])), blocks: be.Uint64(sb[8:]),
		agBlocks: uint64(be.Uint32(sb[84:])), ags: uint64(be.Uint32(sb[88:])),
		logStart: be.Uint64(sb[48:]), logs: uint64(be.Uint32(sb[96:])), shift: sb[124],
		v5: version&0xF == 5, uuid: sb[32:48],
	}
	switch {
	case version&0xF != 4 && !x.v5:
		return nil, fmt.Errorf("XFS version %d is not known", version&0xF)
	case !x.v5 && version&0x8000 != 0 && be.Uint32(sb[200:])&^xfsFeatures2Known != 0:
		return nil, fmt.Errorf("it has unknown features: features2 %#x", be.Uint32(sb[200:]))
	case sb[126] != 0:
		return nil, errors.New("mkfs did not finish")
	case !powerOfTwo(uint64(x.block), 512, 64<<10) || !powerOfTwo(uint64(x.sector), 512, uint64(min(x.block, 32<<10))):
		return nil, errors.New("impossible block size")
	case x.blocks == 0 || x.blocks >= maxSize/uint64(x.block) || x.ags == 0 ||
		x.agBlocks < minXFSGroup/uint64(x.block) && x.ags > 1 ||
		x.ags != (x.blocks+x.agBlocks-1)/x.agBlocks || x.shift > 31 || x.agBlocks > 1<<x.shift:
		return nil, errors.New("impossible allocation groups")
	case int64(x.blocks)*x.block > v.size:
		return nil, fmt.Errorf("the filesystem has %d bytes, the volume %d", int64(x.blocks)*x.block, v.size)
	}
	if x.v5 {
		if bad := be.Uint32(sb[216:]) &^ xfsIncompatKnown; bad != 0 {
			return nil, fmt.Errorf("it has unknown features, or must be repaired: incompat %#x", bad)
		}
		if bad := be.Uint32(sb[212:]) &^ xfsROKnown; bad != 0 {
			return nil, fmt.Errorf("it has unknown features: read-only compat %#x", bad)
		}
		if be.Uint32(sb[216:])&xfsMetaUUID != 0 {
			x.uuid = sb[248:264]
		}
		full, err := v.read(0, int(x.sector))
		if err != nil {
			return nil, err
		}
		if !xfsSum(full, 224) {
			return nil, errors.New("the checksum of the superblock is wrong")
		}
	}
	if be.Uint64(sb[16:]) != 0 {
		v.note("it has a realtime section, which is on another device")
	}
	return x, nil
}

// xfsSum checks the checksum of a block, which lies at a place of its own in each structure.
func xfsSum(b []byte, at int) bool {
	sum := crc32.Update(0, castagnoli, b[:at])
	sum = crc32.Update(sum, castagnoli, []byte{0, 0, 0, 0})
	return crc32.Update(sum, castagnoli, b[at+4:]) == le.Uint32(b[at:])
}

// groupBlocks returns the number of blocks in an allocation group; the last may be short.
func (x *xfs) groupBlocks(ag uint64) uint64 { return min(x.agBlocks, x.blocks-ag*x.agBlocks) }

// useBlocks marks blocks of an allocation group, given by the first and the one behind the last.
func (x *xfs) useBlocks(ag, from, to uint64) {
	x.v.use(int64(ag*x.agBlocks+from)*x.block, int64(to-from)*x.block)
}

// group marks what is in use in an allocation group. It fails unless the free blocks add up to what the header of the group
// says.
func (x *xfs) group(ag uint64) error {
	b, err := x.v.read(int64(ag*x.agBlocks)*x.block+x.sector, int(x.sector))
	if err != nil {
		return err
	}
	switch {
	case string(b[:4]) != "XAGF" || be.Uint32(b[4:]) != 1 || uint64(be.Uint32(b[8:])) != ag || uint64(be.Uint32(b[12:])) != x.groupBlocks(ag):
		return errors.New("its header is damaged")
	case x.v5 && (string(b[64:80]) != string(x.uuid) || !xfsSum(b, 216)):
		return errors.New("the checksum of its header is wrong")
	}
	w := &xfsFree{xfs: x, ag: ag}
	if err := w.walk(be.Uint32(b[16:]), int(be.Uint32(b[28:]))-1); err != nil {
		return err
	}
	x.useBlocks(ag, w.next, x.groupBlocks(ag))
	if w.total != uint64(be.Uint32(b[52:])) {
		return fmt.Errorf("%d free blocks were found, its header counts %d", w.total, be.Uint32(b[52:]))
	}
	return nil
}

// maxXFSLevels bounds the height of a free-space tree; a group of 1 TiB of the smallest extents has 7.
const maxXFSLevels = 9

// xfsFree walks the tree of free space by block number of one allocation group.
type xfsFree struct {
	*xfs
	ag          uint64
	next, total uint64 // the block behind the last free one so far; free blocks so far
}

// walk reads the tree block at a level; leaves have level 0. Records ascend, so no block of the tree counts twice.
func (w *xfsFree) walk(at uint32, level int) error {
	if level < 0 || level > maxXFSLevels || uint64(at) >= w.groupBlocks(w.ag) {
		return errors.New("its tree of free space leads outside")
	}
	b, err := w.v.read(int64(w.ag*w.agBlocks+uint64(at))*w.block, int(w.block))
	if err != nil {
		return err
	}
	magic, header := "ABTB", 16
	if w.v5 {
		magic, header = "AB3B", 56
	}
	n, most := int(be.Uint16(b[6:])), (len(b)-header)/8
	if level > 0 {
		most = (len(b) - header) / 12 // a key of 8 bytes, and behind all of those a pointer of 4
	}
	if string(b[:4]) != magic || int(be.Uint16(b[4:])) != level || n > most {
		return fmt.Errorf("block %d of its tree of free space is damaged", at)
	}
	if w.v5 && (string(b[32:48]) != string(w.uuid) || uint64(be.Uint32(b[48:])) != w.ag || !xfsSum(b, 52)) {
		return fmt.Errorf("block %d of its tree of free space has a wrong checksum", at)
	}
	if level == 0 {
		return w.leaf(b[header:][:8*n])
	}
	for i := range n {
		before := w.total
		if err := w.walk(be.Uint32(b[header+8*most+4*i:]), level-1); err != nil {
			return err
		}
		if w.total == before {
			return errors.New("its tree of free space has an empty branch")
		}
	}
	return nil
}

func (w *xfsFree) leaf(records []byte) error {
	for ; len(records) > 0; records = records[8:] {
		at, n := uint64(be.Uint32(records)), uint64(be.Uint32(records[4:]))
		if at < w.next || n == 0 || at+n > w.groupBlocks(w.ag) {
			return errors.New("its tree of free space is out of order")
		}
		w.useBlocks(w.ag, w.next, at)
		w.next, w.total = at+n, w.total+n
	}
	return nil
}
