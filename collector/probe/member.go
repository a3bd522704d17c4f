package probe

import (
	"fmt"
	"strings"

	"github.com/ferry-migrate/ferry/collector/inventory"
)

// probeLUKS finds an encrypted volume of LUKS version 1 or 2 (LUKS2 on-disk format 1.1.3).
func probeLUKS(m *image) *inventory.Content {
	h := m.at(0, 512)
	if h == nil || string(h[:6]) != "LUKS\xba\xbe" {
		return nil
	}
	c := &inventory.Content{Type: "crypto_LUKS", Class: inventory.ClassMember, UUID: text(h[168:208])}
	if v := be.Uint16(h[6:]); v == 1 || v == 2 {
		c.Version = fmt.Sprint(v)
		if v == 2 {
			c.Label = text(h[24:72])
		}
		return c
	}
	return nil
}

// probeMD finds a member of a Linux software RAID (linux/include/uapi/linux/raid/md_p.h): version 1.1 at the start, 1.2 at
// 4 KiB, 1.0 and 0.90 near the end of the device.
func probeMD(m *image) *inventory.Content {
	const magic = 0xa92b4efc
	for _, at := range []struct {
		version string
		off     int64
	}{{"1.1", 0}, {"1.2", 4096}, {"1.0", (m.size/512 - 16) &^ 7 * 512}} {
		sb := m.at(at.off, 256)
		if sb == nil || le.Uint32(sb) != magic || le.Uint32(sb[4:]) != 1 || bounded(le.Uint64(sb[144:])) != at.off/512 {
			continue
		}
		return &inventory.Content{
			Type: "linux_raid_member", Class: inventory.ClassMember, Version: at.version,
			UUID: uuid(sb[16:32]), Label: text(sb[32:64]), Member: uuid(sb[168:184]),
			BlockSize: int64(le.Uint32(sb[88:])) * 512, Features: []string{mdLevel(int32(le.Uint32(sb[72:])))},
		}
	}
	sb := m.at(m.size&^0xFFFF-0x10000, 4096)
	if sb == nil || le.Uint32(sb) != magic || le.Uint32(sb[4:]) != 0 || le.Uint32(sb[8:]) != 90 {
		return nil
	}
	id := make([]byte, 0, 16)
	for _, word := range []int{5, 13, 14, 15} {
		id = be.AppendUint32(id, le.Uint32(sb[4*word:]))
	}
	return &inventory.Content{
		Type: "linux_raid_member", Class: inventory.ClassMember, Version: "0.90",
		UUID: uuid(id), Features: []string{mdLevel(int32(le.Uint32(sb[28:])))},
	}
}

func mdLevel(level int32) string {
	switch level {
	case -1:
		return "linear"
	case -4:
		return "multipath"
	case 0, 1, 4, 5, 6, 10:
		return fmt.Sprintf("raid%d", level)
	default:
		return "unknown"
	}
}

// probeBcache finds a device of the block cache (linux/drivers/md/bcache/bcache_ondisk.h).
func probeBcache(m *image) *inventory.Content {
	if !m.has(4096+24, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81") {
		return nil
	}
	return &inventory.Content{Type: "bcache", Class: inventory.ClassMember, UUID: uuid(m.at(4096+40, 16))}
}

// probeZFS finds a device of a ZFS pool: an uberblock in the first label, then the pool's name in the label's list
// (OpenZFS include/sys/vdev_impl.h). Uberblocks are 1 to 8 KiB apart in the second half of the 256 KiB label.
func probeZFS(m *image) *inventory.Content {
	ring := m.at(128<<10, 128<<10)
	const magic = 0x00bab10c
	found := false
	for at := 0; at+8 <= len(ring) && !found; at += 1 << 10 {
		found = le.Uint64(ring[at:]) == magic || be.Uint64(ring[at:]) == magic
	}
	if !found {
		return nil
	}
	c := &inventory.Content{Type: "zfs_member", Class: inventory.ClassMember}
	list := m.at(16<<10, 112<<10)
	if len(list) < 12 || list[0] != 1 { // 1: the list is in XDR
		return c
	}
	for list = list[12:]; len(list) >= 12; {
		size, name := be.Uint32(list), xdrString(list[8:])
		if size < 12 || uint64(size) > uint64(len(list)) || len(name) > 255 {
			break
		}
		value := list[8:size]
		if skip := 4 + (len(name)+3)&^3 + 8; skip < len(value) { // past the name, the type and the count
			switch value = value[skip:]; {
			case name == "name":
				c.Label = text([]byte(xdrString(value)))
			case name == "pool_guid" && len(value) >= 8:
				c.UUID = fmt.Sprint(be.Uint64(value))
			case name == "guid" && len(value) >= 8:
				c.Member = fmt.Sprint(be.Uint64(value))
			case name == "version" && len(value) >= 8:
				c.Version = fmt.Sprint(be.Uint64(value))
			}
		}
		list = list[size:]
	}
	return c
}

func xdrString(b []byte) string {
	if len(b) < 4 || uint64(be.Uint32(b)) > uint64(len(b)-4) {
		return ""
	}
	return string(b[4 : 4+be.Uint32(b)])
}

// probeISO reads the primary volume descriptor of ISO 9660.
func probeISO(m *image) *inventory.Content {
	d := m.at(32<<10, 2048)
	if d == nil || string(d[1:6]) != "CD001" {
		return nil
	}
	c := &inventory.Content{
		Type: "iso9660", Class: inventory.ClassFilesystem, Label: text(d[40:72]), BlockSize: int64(le.Uint16(d[128:])),
	}
	c.Size = int64(le.Uint32(d[80:])) * c.BlockSize
	if date := text(d[830:846]); len(date) == 16 && strings.Trim(date, "0") != "" {
		c.UUID = date[:4] + "-" + date[4:6] + "-" + date[6:8] + "-" + date[8:10] + "-" + date[10:12] + "-" + date[12:14] + "-" + date[14:]
	}
	return c
}

// simple lists formats of which only the signature is looked at.
var simple = []struct {
	name  string
	class inventory.Class
	off   int64
	magic string
}{
	{"squashfs", inventory.ClassFilesystem, 0, "hsqs"},
	{"erofs", inventory.ClassFilesystem, 1024, "\xe2\xe1\xf5\xe0"},
	{"f2fs", inventory.ClassFilesystem, 1024, "\x10\x20\xf5\xf2"},
	{"ReFS", inventory.ClassFilesystem, 3, "ReFS"},
	{"jfs", inventory.ClassFilesystem, 32 << 10, "JFS1"},
	{"reiserfs", inventory.ClassFilesystem, 64<<10 + 52, "ReIsEr"},
	{"gfs2", inventory.ClassFilesystem, 64 << 10, "\x01\x16\x19\x70\x00\x00\x00\x01"},
	{"ocfs2", inventory.ClassFilesystem, 8 << 10, "OCFSV2"},
	{"udf", inventory.ClassFilesystem, 34<<10 + 1, "NSR0"},
	{"LVM1_member", inventory.ClassMember, 0, "HM\x01\x00"},
	{"ceph_bluestore", inventory.ClassMember, 0, "bluestore block device"},
	{"VMFS_volume_member", inventory.ClassMember, 1 << 20, "\x0d\xd0\x01\xc0"},
}

// probeSimple finds what else is known by a signature alone. Formats with a signature of two bytes are left out: too many
// other bytes look like them.
func probeSimple(m *image) *inventory.Content {
	for _, s := range simple {
		if m.has(s.off, s.magic) {
			return &inventory.Content{Type: s.name, Class: s.class}
		}
	}
	return nil
}
