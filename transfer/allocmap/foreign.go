package allocmap

// foreign formats are recognised and taken as a whole. Those are listed that leave room for an old filesystem's signature, or
// show that of a filesystem which is not theirs alone.
var foreign = []format{
	{"crypto_LUKS", at(0, "LUKS\xba\xbe"), nil},
	{"BitLocker", at(3, "-FVE-FS-"), nil},
	{"linux_raid_member", isMD, nil},
	{"zfs_member", isZFS, nil},
	{"bcache", at(4096+24, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"), nil},
	{"LVM1_member", at(0, "HM\x01\x00"), nil},
	{"iso9660", at(32<<10+1, "CD001"), nil},
	{"f2fs", at(1024, "\x10\x20\xf5\xf2"), nil},
	{"jfs", at(32<<10, "JFS1"), nil},
	{"reiserfs", at(64<<10+52, "ReIsEr"), nil},
	{"gfs2", at(64<<10, "\x01\x16\x19\x70\x00\x00\x00\x01"), nil},
	{"ocfs2", at(8<<10, "OCFSV2"), nil},
	{"VMFS_volume_member", at(1<<20, "\x0d\xd0\x01\xc0"), nil},
	{"ceph_bluestore", at(0, "bluestore block device"), nil},
}

func at(off int64, magic string) func(*volume) bool {
	return func(v *volume) bool { return v.has(off, magic) }
}

// isMD finds a member of a Linux software RAID (linux/include/uapi/linux/raid/md_p.h): metadata 1.1 at the start, 1.2 at
// 4 KiB, 1.0 and 0.90 near the end.
func isMD(v *volume) bool {
	const magic = "\xfc\x4e\x2b\xa9"
	for _, off := range []int64{0, 4096, (v.size/512 - 16) &^ 7 * 512} {
		b, err := v.read(off, 160)
		if err == nil && string(b[:4]) == magic && le.Uint32(b[4:]) == 1 && le.Uint64(b[144:]) == uint64(off/512) {
			return true
		}
	}
	return v.has(v.size&^0xFFFF-0x10000, magic+"\x00\x00\x00\x00")
}

// isZFS finds an uberblock in one of the two labels at the start, or the two at the end (OpenZFS include/sys/vdev_impl.h).
func isZFS(v *volume) bool {
	const label, ring, magic = 256 << 10, 128 << 10, 0x00bab10c
	end := v.size &^ (label - 1)
	for _, at := range []int64{0, label, end - 2*label, end - label} {
		b, err := v.read(at+ring, ring)
		if err != nil {
			continue
		}
		for ; len(b) > 0; b = b[1<<10:] {
			if le.Uint64(b) == magic || be.Uint64(b) == magic {
				return true
			}
		}
	}
	return false
}
