package target

import (
	"math"
	"os"
	"slices"
	"sort"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/transfer/file"
)

// Foresee finds out, before anything is written, what the filesystem and this process's rights will not keep: the names of LossKinds, and
// the limits of the filesystem. It tries them on a file without a name, which is gone at once; what takes a name is judged by rights and by
// the type of the filesystem. BeginPass finds out the rest.
func (t *Tree) Foresee() (lacks []string, limits file.Limits) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(t.fd, &fs); err != nil {
		return nil, limits
	}
	kind := fsName(int64(fs.Type))
	limits.Name = fs.Namelen
	missing := slices.Clone(simple[kind])
	if _, is := simple[kind]; is {
		limits.Folds, limits.Plain = true, true
	}
	if flags, err := unix.IoctlGetUint32(t.fd, unix.FS_IOC_GETFLAGS); err == nil && flags&file.FlagCasefold != 0 {
		limits.Folds = true
	}
	if kind == "vfat" {
		limits.File = 1<<32 - 1
	}
	if !mayMakeDevices() {
		missing = append(missing, LossDevice)
	}
	if t.euid != 0 {
		missing = append(missing, LossOwner)
	}
	if fd, err := unix.Openat(t.fd, ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600); err == nil {
		defer unix.Close(fd)
		missing = append(missing, tryUnnamed(fd, kind, &limits)...)
	}
	for _, k := range missing {
		lacks = append(lacks, k.String())
	}
	sort.Strings(lacks)
	return slices.Compact(lacks), limits
}

// simple are filesystems with names and content and little else, and what they lack.
var simple = map[string][]LossKind{"vfat": simpleLacks, "exfat": simpleLacks}

var simpleLacks = []LossKind{
	LossOwner, LossMode, LossXattrUser, LossXattrTrusted, LossXattrSecurity, LossACL, LossCapability, LossFlags, LossProject, LossDevice,
	LossSpecial, LossSymlink, LossHardLink, LossTime,
}

// tryUnnamed tries on the file fd what the filesystem keeps.
func tryUnnamed(fd int, kind string, limits *file.Limits) (missing []LossKind) {
	var k Keeps
	k.tryTimes(fd)
	k.tryAttributes(fd)
	k.tryProject(fd)
	k.trySparse(fd)
	limits.File = largestFile(fd)
	limits.Value = largestValue(fd)
	limits.Flags = tryFlags(fd) | flagsOfDirectories
	if !k.Project && kind != "ext4" { // which keeps the flag also without project ids
		limits.Flags &^= file.FlagProjInherit
	}
	k.tryOwner(fd)
	for kind, kept := range map[LossKind]bool{
		LossTime: k.Times, LossXattrUser: k.User, LossXattrTrusted: k.Trusted, LossXattrSecurity: k.Security, LossCapability: k.Security,
		LossACL: k.ACL, LossProject: k.Project, LossSparse: k.Sparse, LossOwner: k.Owner, LossFlags: limits.Flags == file.KeptFlags,
	} {
		if !kept {
			missing = append(missing, kind)
		}
	}
	return missing
}

// flagsOfDirectories cannot be tried on a file.
const flagsOfDirectories = file.FlagDirSync | file.FlagTopDir | file.FlagCasefold | file.FlagProjInherit

// largestFile is how large the filesystem lets the file become, in bytes.
func largestFile(fd int) int64 {
	most := int64(math.MaxInt64)
	var own unix.Rlimit // beyond, the kernel sends a signal
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &own); err == nil && own.Cur < uint64(most) {
		most = int64(own.Cur)
	}
	n := largest(most, func(n int64) bool { return unix.Ftruncate(fd, n) == nil })
	_ = unix.Ftruncate(fd, 0)
	return n
}

// largestValue is how many bytes the value of an attribute may have; 0 if the file can have none.
func largestValue(fd int) int64 {
	const name = "user.ferry"
	value := make([]byte, 64<<10) // XATTR_SIZE_MAX
	n := largest(int64(len(value)), func(n int64) bool { return unix.Fsetxattr(fd, name, value[:n], 0) == nil })
	_ = unix.Fremovexattr(fd, name)
	return n
}

// largest is the largest number up to most for which fits; 0 if none.
func largest(most int64, fits func(int64) bool) int64 {
	low, high := int64(0), most
	for low < high {
		middle := low + (high-low-1)/2 + 1
		if fits(middle) {
			low = middle
		} else {
			high = middle - 1
		}
	}
	return low
}

// mayMakeDevices reports whether this process has CAP_MKNOD where it counts: in the first user namespace.
func mayMakeDevices() bool {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&head, &caps[0]); err != nil || caps[0].Effective&(1<<unix.CAP_MKNOD) == 0 {
		return false
	}
	ids, err := os.ReadFile("/proc/self/uid_map")
	return err != nil || slices.Equal(strings.Fields(string(ids)), []string{"0", "0", "4294967295"})
}
