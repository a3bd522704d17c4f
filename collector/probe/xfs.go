package probe

import (
	"strconv"

	"github.com/ferry-migrate/ferry/collector/inventory"
)

var (
	xfsIncompat = []string{"ftype", "sparse", "meta_uuid", "bigtime", "needsrepair", "nrext64", "exchange", "parent", "metadir"}
	xfsROCompat = []string{"finobt", "rmapbt", "reflink", "inobtcount"}
)

// probeXFS reads the superblock of XFS versions 4 and 5 (linux/fs/xfs/libxfs/xfs_format.h, struct xfs_dsb; big endian).
func probeXFS(m *image) *inventory.Content {
	sb := m.at(0, 512)
	if sb == nil || string(sb[:4]) != "XFSB" {
		return nil
	}
	block, blocks := uint64(be.Uint32(sb[4:])), be.Uint64(sb[8:])
	version := be.Uint16(sb[100:])
	inode, sector := uint64(be.Uint16(sb[104:])), uint64(be.Uint16(sb[102:]))
	if !powerOfTwo(block, 512, 64<<10) || !powerOfTwo(sector, 512, 32<<10) || product(blocks, block) == 0 {
		return nil
	}
	c := &inventory.Content{
		Type: "xfs", Class: inventory.ClassFilesystem, Version: strconv.Itoa(int(version & 0xf)),
		UUID: uuid(sb[32:]), Label: text(sb[108:120]),
		BlockSize: int64(block), Size: product(blocks, block),
		Usage:  usage(blocks, be.Uint64(sb[144:]), block, "superblock"),
		Inodes: &inventory.Inodes{Size: int64(inode), Count: bounded(be.Uint64(sb[128:])), Free: bounded(be.Uint64(sb[136:]))},
		Dirty:  sb[126] != 0,
	}
	if version&0xf == 5 {
		c.Features = append([]string{"crc"}, named(uint64(be.Uint32(sb[216:])), xfsIncompat)...)
		c.Features = append(c.Features, named(uint64(be.Uint32(sb[212:])), xfsROCompat)...)
		if be.Uint32(sb[216:])&16 != 0 {
			c.Problems = append(c.Problems, "marked as needing repair: run xfs_repair")
		}
	}
	if be.Uint64(sb[16:]) != 0 {
		c.Features = append(c.Features, "realtime")
	}
	if be.Uint64(sb[48:]) == 0 {
		c.Features = append(c.Features, "external_log")
	}
	return c
}

// bounded turns a count from a disk into an int64; what no disk can hold becomes 0.
func bounded(n uint64) int64 {
	if n > 1<<62 {
		return 0
	}
	return int64(n)
}
