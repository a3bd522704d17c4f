package probe

import (
	"hash/crc32"

	"github.com/ferry-migrate/ferry/collector/inventory"
)

// Feature names of ext2/3/4 as dumpe2fs prints them (e2fsprogs lib/e2p/feature.c), by bit.
var (
	extCompat   = []string{"dir_prealloc", "imagic_inodes", "has_journal", "ext_attr", "resize_inode", "dir_index", "lazy_bg", "", "snapshot_bitmap", "sparse_super2", "fast_commit", "stable_inodes", "orphan_file"}
	extIncompat = []string{"compression", "filetype", "needs_recovery", "journal_dev", "meta_bg", "", "extent", "64bit", "mmp", "flex_bg", "ea_inode", "", "dirdata", "metadata_csum_seed", "large_dir", "inline_data", "encrypt", "casefold"}
	extROCompat = []string{"sparse_super", "large_file", "", "huge_file", "uninit_bg", "dir_nlink", "extra_isize", "", "quota", "bigalloc", "metadata_csum", "replica", "read-only", "project", "shared_blocks", "verity", "orphan_present"}
)

// probeExt reads the superblock of ext2, ext3 and ext4 (linux/fs/ext4/ext4.h, struct ext4_super_block).
func probeExt(m *image) *inventory.Content {
	sb := m.at(1024, 1024)
	if sb == nil || le.Uint16(sb[56:]) != 0xEF53 {
		return nil
	}
	logBlock := le.Uint32(sb[24:])
	blocks, free := uint64(le.Uint32(sb[4:])), uint64(le.Uint32(sb[12:]))
	compat, incompat, ro := le.Uint32(sb[92:]), le.Uint32(sb[96:]), le.Uint32(sb[100:])
	if logBlock > 6 || blocks == 0 {
		return nil
	}
	block := uint64(1024) << logBlock
	if incompat&0x80 != 0 {
		blocks |= uint64(le.Uint32(sb[0x150:])) << 32
		free |= uint64(le.Uint32(sb[0x158:])) << 32
	}
	c := &inventory.Content{
		Type: extType(compat, incompat, ro), Class: inventory.ClassFilesystem,
		UUID: uuid(sb[104:]), Label: text(sb[120:136]),
		BlockSize: int64(block), Size: product(blocks, block), Usage: usage(blocks, free, block, "superblock"),
		Dirty: le.Uint16(sb[58:])&1 == 0 || incompat&4 != 0,
	}
	c.Features = append(named(uint64(compat), extCompat), append(named(uint64(incompat), extIncompat), named(uint64(ro), extROCompat)...)...)
	inodeSize := int64(128)
	if le.Uint32(sb[76:]) > 0 {
		inodeSize = int64(le.Uint16(sb[88:]))
	}
	c.Inodes = &inventory.Inodes{Size: inodeSize, Count: int64(le.Uint32(sb)), Free: int64(le.Uint32(sb[16:]))}
	if ro&0x400 != 0 && le.Uint32(sb[1020:]) != ^crc32.Update(0, castagnoli, sb[:1020]) {
		c.Problems = append(c.Problems, "checksum of the superblock is wrong")
	}
	if le.Uint16(sb[58:])&2 != 0 {
		c.Problems = append(c.Problems, "the filesystem has recorded errors: run e2fsck")
	}
	if c.Type == "jbd" {
		c.Class, c.Usage, c.Inodes = inventory.ClassMember, nil, nil
	}
	return c
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// extType names the oldest driver that can mount the filesystem, as blkid does.
func extType(compat, incompat, ro uint32) string {
	switch {
	case incompat&0x8 != 0:
		return "jbd"
	case incompat&^0x16 != 0 || ro&^0x7 != 0:
		return "ext4"
	case compat&0x4 != 0:
		return "ext3"
	default:
		return "ext2"
	}
}
