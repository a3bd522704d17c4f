package traps

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

func modes(b builder) {
	for _, m := range []uint32{0, 0o1, 0o400, 0o444, 0o600, 0o644, 0o777, 0o1644, 0o2755, 0o4755, 0o6755, 0o7777} {
		b.text(fmt.Sprintf("f%04o", m))
		b.chown(fmt.Sprintf("f%04o", m), 1000, 1001) // clears set-id bits, so the mode comes after
		b.must(unix.Chmod(b.path(fmt.Sprintf("f%04o", m)), m))
		b.mkdir(fmt.Sprintf("d%04o", m), m)
		b.text(fmt.Sprintf("d%04o/inside", m))
	}
	b.node("fifo4000", unix.S_IFIFO|0o600, 0, 0)
	b.must(unix.Chmod(b.path("fifo4000"), 0o4711))
}

func owners(b builder) {
	for _, id := range []int{0, 1, 1000, 65534, 65536, 1<<31 - 1, 1 << 31, 1<<32 - 2} {
		name := fmt.Sprint("o", id)
		b.text(name)
		b.chown(name, id, 1<<32-2-id)
		b.mkdir("d"+name, 0o2770)
		b.text("d" + name + "/inside")
		b.chown("d"+name, id, 7)
		b.symlink("nowhere", "s"+name)
		b.chown("s"+name, id, id)
	}
}

func times(b builder) {
	for name, sec := range map[string]int64{"1930": -1_262_304_000, "second before": -1, "epoch": 0, "second after": 1, "2037": 2_145_916_800,
		"2100": 4_102_444_800, "2400": 13_569_465_600} {
		for _, nsec := range []int64{0, 1, 500_000_000, 999_999_999} {
			at, mt := unix.Timespec{Sec: sec + 60, Nsec: 999_999_999 - nsec}, unix.Timespec{Sec: sec, Nsec: nsec}
			file := fmt.Sprint(name, " ", nsec)
			b.text(file)
			b.times(file, at, mt)
			b.symlink("x", file+" link")
			b.times(file+" link", at, mt)
			b.mkdir(file+" dir", 0o755)
			b.text(file + " dir/inside")
			b.times(file+" dir", at, mt)
		}
	}
	b.node("fifo", unix.S_IFIFO|0o600, 0, 0)
	b.times("fifo", older, old)
}

// entries calls f with one entry of each kind that takes every namespace of extended attributes.
func entries(b builder, f func(name string)) {
	b.text("file")
	b.mkdir("dir", 0o755)
	for _, name := range []string{"file", "dir"} {
		f(name)
	}
}

func xattrs(b builder) {
	big := 1000 // ext4 keeps all attributes of an inode in one block
	if b.fs != "ext4" {
		big = 3000
	}
	entries(b, func(name string) {
		b.xattr(name, "user.empty", nil)
		b.xattr(name, "user.zeroes\xff", []byte("a\x00b\x00"))
		b.xattr(name, "user."+strings.Repeat("n", 200), []byte("long name"))
		b.xattr(name, "user.big", bytes.Repeat([]byte{0x5a, 0}, big/2))
		b.xattr(name, "trusted.ferry", []byte("trusted"))
		b.xattr(name, "security.ferry", []byte("security"))
	})
	b.symlink("nowhere", "symlink")
	b.xattr("symlink", "trusted.link", []byte("of a link"))
	b.node("fifo", unix.S_IFIFO|0o600, 0, 0)
	b.xattr("fifo", "trusted.fifo", []byte("of a fifo"))
	// As many small ones as fit the least filesystem.
	b.text("crowd")
	for i := range 40 {
		b.xattr("crowd", fmt.Sprint("user.", i), []byte{byte(i)})
	}
}

// acl encodes a POSIX ACL as the kernel's posix_acl_xattr.h does: version 2, then tag, permissions and id of each entry.
func acl(entries ...[3]uint32) []byte {
	out := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range entries {
		out = binary.LittleEndian.AppendUint16(out, uint16(e[0]))
		out = binary.LittleEndian.AppendUint16(out, uint16(e[1]))
		out = binary.LittleEndian.AppendUint32(out, e[2])
	}
	return out
}

func acls(b builder) {
	const owner, user, group, named, mask, other, none = 0x1, 0x2, 0x4, 0x8, 0x10, 0x20, 1<<32 - 1
	access := acl([3]uint32{owner, 7, none}, [3]uint32{user, 5, 1000}, [3]uint32{user, 0, 65537}, [3]uint32{group, 4, none},
		[3]uint32{named, 6, 1001}, [3]uint32{mask, 6, none}, [3]uint32{other, 0, none})
	entries(b, func(name string) {
		b.xattr(name, "system.posix_acl_access", access)
		b.times(name, old, older)
	})
	b.xattr("dir", "system.posix_acl_default", access)
	b.text("dir/inherits") // must not get more than its own
	b.mkdir("dir/subdir", 0o700)
	b.times("dir", old, older)
}

func capabilities(b builder) {
	// struct vfs_cap_data revision 2 with the effective bit, and revision 3, which adds the root user of a namespace.
	v2 := binary.LittleEndian.AppendUint32(nil, 0x02000001)
	v2 = append(v2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	v3 := append(binary.LittleEndian.AppendUint32(nil, 0x03000001), v2[4:]...)
	v3 = binary.LittleEndian.AppendUint32(v3, 100000)
	for name, value := range map[string][]byte{"ping": v2, "container": v3} {
		b.text(name)
		b.chown(name, 1000, 1000)
		b.xattr(name, "security.capability", value) // a write or a change of owner would drop it
		b.times(name, old, older)
	}
	b.file("large", Noise(1, 300<<10), 0o4755)
	b.xattr("large", "security.capability", v2)
}

func selinux(b builder) {
	entries(b, func(name string) { b.xattr(name, "security.selinux", []byte("system_u:object_r:etc_t:s0\x00")) })
	b.symlink("file", "symlink")
	b.xattr("symlink", "security.selinux", []byte("system_u:object_r:bin_t:s0\x00"))
}

func flags(b builder) {
	for name, f := range map[string]int{"immutable": Immutable, "append": Append, "nodump": nodump, "all": Immutable | Append | nodump} {
		b.text(name)
		b.file(name+" large", Noise(uint64(f), 200<<10), 0o644)
		b.mkdir(name+" dir", 0o755)
		b.mkdir(name+" dir/sub", 0o755)
		b.text(name + " dir/sub/file")
		b.text(name + " dir/file")
		b.symlink("file", name+" dir/symlink")
		for _, n := range []string{name, name + " large", name + " dir/sub", name + " dir"} {
			b.times(n, old, older)
			b.flag(n, f)
		}
	}
	b.text("linked")
	b.link("linked", "linked too")
	b.flag("linked", Immutable)
}

func noatime(b builder) {
	entries(b, func(name string) { b.flag(name, noAtime) })
}

// fsxattr is struct fsxattr of linux/fs.h.
type fsxattr struct{ XFlags, ExtSize, Extents, Project, CowExtSize, _, _ uint32 }

const (
	getFsxattr     = 0x801c581f // FS_IOC_FSGETXATTR
	setFsxattr     = 0x401c5820 // FS_IOC_FSSETXATTR
	projectInherit = 0x200      // FS_XFLAG_PROJINHERIT
)

func projects(b builder) {
	entries(b, func(name string) {
		f, err := os.Open(b.path(name))
		b.must(err)
		defer f.Close()
		var x fsxattr
		b.must(ioctl(f, getFsxattr, &x))
		x.Project = 42
		if name == "dir" {
			x.XFlags |= projectInherit
		}
		b.must(ioctl(f, setFsxattr, &x))
	})
	b.text("dir/inside") // 42 by inheritance
	b.times("dir", old, older)
}

func ioctl(f *os.File, request uintptr, x *fsxattr) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(x))); errno != 0 {
		return &os.PathError{Op: "ioctl", Path: f.Name(), Err: errno}
	}
	return nil
}
