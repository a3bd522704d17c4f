package probe

import (
	"bytes"
	"crypto/sha256"
	"hash/crc32"
	"io"

	"github.com/ferry-migrate/ferry/collector/inventory"
)

// Feature names as /sys/fs/btrfs spells them (linux/fs/btrfs/sysfs.c), by bit.
var (
	btrfsIncompat = []string{"mixed_backref", "default_subvol", "mixed_groups", "compress_lzo", "compress_zstd", "big_metadata", "extended_iref", "raid56", "skinny_metadata", "no_holes", "metadata_uuid", "raid1c34", "zoned", "extent_tree_v2", "raid_stripe_tree", "", "simple_quota"}
	btrfsROCompat = []string{"free_space_tree", "free_space_tree_valid", "verity", "block_group_tree"}
)

// btrfsSuper is a superblock of Btrfs (linux/include/uapi/linux/btrfs_tree.h, struct btrfs_super_block; first copy at 64 KiB).
type btrfsSuper struct {
	fsid, metaFSID, deviceUUID string
	label                      string
	root, chunkRoot            uint64 // logical addresses
	total, used, devices       uint64
	sector, node               uint32
	incompat, compatRO         uint64
	csumType                   uint16
	deviceID                   uint64
	deviceSize, deviceUsed     uint64
	sysChunks                  []byte
	csumBad, logTree           bool
}

func readBtrfs(m *image) (s btrfsSuper, ok bool) {
	b := m.at(64<<10, 4096)
	if b == nil || string(b[0x40:0x48]) != "_BHRfS_M" || le.Uint64(b[0x30:]) != 64<<10 {
		return s, false
	}
	s = btrfsSuper{
		fsid: uuid(b[0x20:]), root: le.Uint64(b[0x50:]), chunkRoot: le.Uint64(b[0x58:]), logTree: le.Uint64(b[0x60:]) != 0,
		total: le.Uint64(b[0x70:]), used: le.Uint64(b[0x78:]), devices: le.Uint64(b[0x88:]),
		sector: le.Uint32(b[0x90:]), node: le.Uint32(b[0x94:]), compatRO: le.Uint64(b[0xB4:]), incompat: le.Uint64(b[0xBC:]),
		csumType: le.Uint16(b[0xC4:]), deviceID: le.Uint64(b[0xC9:]), deviceSize: le.Uint64(b[0xD1:]), deviceUsed: le.Uint64(b[0xD9:]),
		deviceUUID: uuid(b[0xC9+66:]), label: text(b[0x12B:0x22B]), metaFSID: uuid(b[0x23B:]),
	}
	if s.incompat&(1<<10) == 0 || s.metaFSID == "" {
		s.metaFSID = s.fsid
	}
	if !powerOfTwo(uint64(s.sector), 512, 64<<10) || !powerOfTwo(uint64(s.node), uint64(s.sector), 64<<10) {
		return s, false
	}
	if n := le.Uint32(b[0xA0:]); n <= 2048 {
		s.sysChunks = b[0x32B:][:n]
	}
	s.csumBad = !btrfsSum(s.csumType, b)
	return s, true
}

// btrfsSum checks the checksum of a block, which covers all but its first 32 bytes. Types that are not known pass.
func btrfsSum(kind uint16, block []byte) bool {
	switch kind {
	case 0:
		return le.Uint32(block) == crc32.Checksum(block[32:], castagnoli)
	case 2:
		sum := sha256.Sum256(block[32:])
		return bytes.Equal(sum[:], block[:32])
	default: // 1 is xxhash64, 3 is BLAKE2b
		return true
	}
}

func probeBtrfs(m *image) *inventory.Content {
	s, ok := readBtrfs(m)
	if !ok {
		return nil
	}
	c := &inventory.Content{
		Type: "btrfs", Class: inventory.ClassFilesystem, UUID: s.fsid, Member: s.deviceUUID, Label: s.label,
		BlockSize: int64(s.sector), Size: bounded(s.total), Dirty: s.logTree,
		Features: append(named(s.incompat, btrfsIncompat), named(s.compatRO, btrfsROCompat)...),
	}
	if s.used <= s.total {
		c.Usage = &inventory.Usage{Used: bounded(s.used), Free: bounded(s.total - s.used), Source: "superblock"}
	}
	if s.devices > 1 { // the size of all devices says nothing about this one
		c.Size = bounded(s.deviceSize)
	}
	if s.csumBad {
		c.Problems = append(c.Problems, "checksum of the superblock is wrong")
	}
	return c
}

// BtrfsDevice is a device of a Btrfs filesystem that was found by Content.
type BtrfsDevice struct {
	Name string
	R    io.ReaderAt
	Size int64
}

// Btrfs describes the filesystem on devices, which must all be members of the same one and not mounted: of a mounted one the
// trees change while they are read. Facts of the superblock are complete on return; what the trees would not tell is named
// in Problems. ErrUnknown means that the first device has no Btrfs.
func Btrfs(devices []BtrfsDevice) (inventory.Btrfs, error) {
	var out inventory.Btrfs
	var super btrfsSuper
	t := &btrfsTrees{devices: map[uint64]*image{}}
	for i, d := range devices {
		m := newImage(d.R, d.Size)
		s, ok := readBtrfs(m)
		if !ok {
			if i == 0 {
				return out, ErrUnknown
			}
			continue
		}
		if i == 0 {
			super = s
		}
		t.devices[s.deviceID] = m
		out.Devices = append(out.Devices, inventory.BtrfsDevice{
			ID: s.deviceID, UUID: s.deviceUUID, Name: d.Name, Size: bounded(s.deviceSize), Used: bounded(s.deviceUsed),
		})
	}
	out.UUID, out.Label, out.NumDevices = super.fsid, super.label, int(min(super.devices, 1<<20))
	out.Size, out.Used = bounded(super.total), bounded(super.used)
	out.NodeSize, out.SectorSize = int64(super.node), int64(super.sector)
	out.Features = append(named(super.incompat, btrfsIncompat), named(super.compatRO, btrfsROCompat)...)
	out.Profiles, out.Subvolumes, out.MountPaths = []inventory.BtrfsProfile{}, []inventory.Subvolume{}, []string{}
	t.super = super
	if err := t.describe(&out); err != nil {
		out.Problems = append(out.Problems, err.Error())
	}
	return out, nil
}
