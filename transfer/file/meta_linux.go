package file

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// MetaReader reads metadata of inodes relative to descriptors, without following symbolic links and, on the usual path,
// without allocating. Names are one path component. It needs /proc for attributes of what cannot be opened.
//
// A MetaReader is used by one goroutine at a time. Slices it returns are valid until its next call.
type MetaReader struct {
	name    [MaxName + 1]byte
	path    []byte // "/proc/self/fd/N/name" with its zero byte
	names   []byte // as listxattr gave them
	value   []byte
	index   [][]byte // names, sorted
	enc     []byte
	statx   unix.Statx_t
	handle  fileHandle
	devices []deviceTraits
	Alias   Alias // set before the first call
}

// deviceTraits remembers what a filesystem answered "not supported" to.
type deviceTraits struct {
	dev       uint64
	noFlags   bool
	noProject bool
}

// Place says which filesystem and mount an inode was reached through.
type Place struct {
	Dev   uint64 // device number as the kernel encodes it
	Mount uint64 // mount id as /proc/self/mountinfo has it; 0 if the kernel (before 5.8) does not tell with statx
	Attrs uint64 // STATX_ATTR_* bits, 0 where statx is missing
	Alloc int64  // bytes the filesystem has allocated; less than the size where there are holes (or compression)
}

// Stat fills kind, mode, owner, size, device, times and identity of e (without Gen) from the inode called name in dirfd, or
// from dirfd itself if name is empty. A symbolic link is not followed, an automount not triggered. Other fields are left.
func (r *MetaReader) Stat(dirfd int, name []byte, e *Entry) (Place, error) {
	ptr, err := r.cname(name)
	if err != nil {
		return Place{}, err
	}
	const flags = unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT | unix.AT_EMPTY_PATH | unix.AT_STATX_SYNC_AS_STAT
	const mask = unix.STATX_BASIC_STATS | unix.STATX_BTIME | unix.STATX_MNT_ID
	st := &r.statx
	_, _, errno := unix.Syscall6(unix.SYS_STATX, uintptr(dirfd), uintptr(unsafe.Pointer(ptr)), flags, mask,
		uintptr(unsafe.Pointer(st)), 0)
	if errno == unix.ENOSYS {
		return r.statOld(dirfd, name, e)
	}
	if errno != 0 {
		return Place{}, errno
	}
	setMode(e, uint32(st.Mode), int64(st.Size), uint64(st.Rdev_major)<<32|uint64(st.Rdev_minor))
	e.UID, e.GID, e.Nlink, e.Ino = st.Uid, st.Gid, st.Nlink, st.Ino
	e.Mtime = Time{st.Mtime.Sec, st.Mtime.Nsec}
	e.Atime = Time{st.Atime.Sec, st.Atime.Nsec}
	e.Ctime = Time{st.Ctime.Sec, st.Ctime.Nsec}
	e.Btime = Time{}
	if st.Mask&unix.STATX_BTIME != 0 {
		e.Btime = Time{st.Btime.Sec, st.Btime.Nsec}
	}
	p := Place{Dev: unix.Mkdev(st.Dev_major, st.Dev_minor), Attrs: st.Attributes, Alloc: int64(st.Blocks) * 512}
	if st.Mask&unix.STATX_MNT_ID != 0 {
		p.Mount = st.Mnt_id
	}
	return p, nil
}

// statOld is Stat for kernels before 4.11.
func (r *MetaReader) statOld(dirfd int, name []byte, e *Entry) (Place, error) {
	var st unix.Stat_t
	err := unix.Fstatat(dirfd, string(name), &st, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT|unix.AT_EMPTY_PATH)
	if err != nil {
		return Place{}, err
	}
	rdev := uint64(unix.Major(uint64(st.Rdev)))<<32 | uint64(unix.Minor(uint64(st.Rdev)))
	setMode(e, st.Mode, st.Size, rdev)
	e.UID, e.GID, e.Nlink, e.Ino = st.Uid, st.Gid, uint32(st.Nlink), st.Ino
	e.Mtime = Time{st.Mtim.Sec, uint32(st.Mtim.Nsec)}
	e.Atime = Time{st.Atim.Sec, uint32(st.Atim.Nsec)}
	e.Ctime = Time{st.Ctim.Sec, uint32(st.Ctim.Nsec)}
	e.Btime = Time{}
	return Place{Dev: uint64(st.Dev), Alloc: st.Blocks * 512}, nil
}

func setMode(e *Entry, mode uint32, size int64, rdev uint64) {
	e.Kind = kindOf(mode)
	e.Perm = mode & 0o7777
	e.Size, e.Rdev = 0, 0
	switch e.Kind {
	case KindRegular:
		e.Size = size
	case KindCharDev, KindBlockDev:
		e.Rdev = rdev
	}
}

func kindOf(mode uint32) Kind {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return KindRegular
	case unix.S_IFDIR:
		return KindDir
	case unix.S_IFLNK:
		return KindSymlink
	case unix.S_IFCHR:
		return KindCharDev
	case unix.S_IFBLK:
		return KindBlockDev
	case unix.S_IFIFO:
		return KindFIFO
	case unix.S_IFSOCK:
		return KindSocket
	}
	return 0
}

// Flags returns the inode flags in KeptFlags and the project id of an open regular file or directory on device dev. Both are
// 0 where the filesystem has none. Descriptors of devices must not be passed: the request would go to the driver.
func (r *MetaReader) Flags(fd int, dev uint64) (flags, project uint32, err error) {
	t := r.traits(dev)
	if !t.noFlags {
		flags, err = unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS)
		if t.noFlags = unsupported(err); err != nil && !t.noFlags {
			return 0, 0, fmt.Errorf("read inode flags: %w", err)
		}
	}
	if !t.noProject {
		var x Fsxattr
		err = FsGetXattr(fd, &x)
		if t.noProject = unsupported(err); err != nil && !t.noProject {
			return 0, 0, fmt.Errorf("read project id: %w", err)
		}
		project = x.Project
	}
	return flags & KeptFlags, project, nil
}

func (r *MetaReader) traits(dev uint64) *deviceTraits {
	for i := range r.devices {
		if r.devices[i].dev == dev {
			return &r.devices[i]
		}
	}
	r.devices = append(r.devices, deviceTraits{dev: dev})
	return &r.devices[len(r.devices)-1]
}

func unsupported(err error) bool {
	return err == unix.ENOTTY || err == unix.EOPNOTSUPP || err == unix.EINVAL || err == unix.ENOSYS
}

// Fsxattr is struct fsxattr of include/uapi/linux/fs.h.
type Fsxattr struct {
	XFlags, ExtSize, NextExtents, Project, CowExtSize uint32
	_                                                 [8]byte
}

// _IOR and _IOW('X', 31 and 32, struct fsxattr).
const (
	fsIocFsGetXattr = 0x801c581f
	fsIocFsSetXattr = 0x401c5820
)

// FsGetXattr reads the extended inode attributes of fd (FS_IOC_FSGETXATTR); the error is a bare errno.
func FsGetXattr(fd int, x *Fsxattr) error { return fsxattr(fd, fsIocFsGetXattr, x) }

// FsSetXattr sets them (FS_IOC_FSSETXATTR); the error is a bare errno.
func FsSetXattr(fd int, x *Fsxattr) error { return fsxattr(fd, fsIocFsSetXattr, x) }

func fsxattr(fd int, request uintptr, x *Fsxattr) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(x)))
	if errno != 0 {
		return errno
	}
	return nil
}

// fileHandle is struct file_handle with room for MAX_HANDLE_SZ bytes.
type fileHandle struct {
	size uint32
	kind int32
	data [128]byte
}

// Alias makes Handle answer for inodes of one Btrfs subvolume as if they lay in another: those of a snapshot are the inodes of its
// origin, the subvolume aside.
type Alias struct{ From, To uint64 } // subvolumes; 0 for none

// The file handle of an inode on Btrfs (FILEID_BTRFS_WITHOUT_PARENT, struct btrfs_fid): inode u64, subvolume u64, generation u32.
const (
	btrfsHandle      = 0x4d
	btrfsHandleBytes = 20
)

// subvolume returns where in the last handle the subvolume is, nil on other filesystems than Btrfs.
func (h *fileHandle) subvolume() []byte {
	if h.kind != btrfsHandle || h.size != btrfsHandleBytes {
		return nil
	}
	return h.data[8:16]
}

// Subvolume returns the number of the Btrfs subvolume that dirfd lies on, 0 on other filesystems.
func (r *MetaReader) Subvolume(dirfd int) (uint64, error) {
	if _, _, err := r.Handle(dirfd, nil); err != nil {
		return 0, fmt.Errorf("subvolume: %w", err)
	}
	id := r.handle.subvolume()
	if id == nil {
		return 0, nil
	}
	return binary.NativeEndian.Uint64(id), nil
}

// Handle returns a digest of the file handle of name in dirfd, or of dirfd itself if name is empty, and the id of the mount
// it was reached through. The handle holds the inode's generation and, on Btrfs, the subvolume. gen is 0, without an error,
// on filesystems that cannot be exported and where the call is missing.
func (r *MetaReader) Handle(dirfd int, name []byte) (gen uint64, mount int32, err error) {
	ptr, err := r.cname(name)
	if err != nil {
		return 0, 0, err
	}
	h := &r.handle
	h.size = uint32(len(h.data))
	_, _, errno := unix.Syscall6(unix.SYS_NAME_TO_HANDLE_AT, uintptr(dirfd), uintptr(unsafe.Pointer(ptr)),
		uintptr(unsafe.Pointer(h)), uintptr(unsafe.Pointer(&mount)), unix.AT_EMPTY_PATH, 0)
	switch errno {
	case 0:
		if id := h.subvolume(); id != nil && r.Alias.From != 0 && binary.NativeEndian.Uint64(id) == r.Alias.From {
			binary.NativeEndian.PutUint64(id, r.Alias.To)
		}
		return fnv64(uint32(h.kind), h.data[:min(int(h.size), len(h.data))]), mount, nil
	case unix.EOPNOTSUPP, unix.ENOSYS, unix.EOVERFLOW, unix.EPERM: // EPERM: what container runtimes answer
		return 0, 0, nil
	}
	return 0, 0, errno
}

// MountID returns the id of the mount that the open descriptor fd was reached through, as /proc/self/mountinfo has it, on
// kernels whose statx does not tell (see Place). It is 0, without an error, before 3.15.
func MountID(fd int) (uint64, error) {
	f, err := unix.Open("/proc/self/fdinfo/"+strconv.Itoa(fd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("mount id: %w", err)
	}
	defer unix.Close(f)
	var buf [512]byte
	n, err := unix.Read(f, buf[:])
	if err != nil {
		return 0, fmt.Errorf("mount id: %w", err)
	}
	_, rest, found := strings.Cut(string(buf[:n]), "mnt_id:")
	if !found {
		return 0, nil
	}
	line, _, _ := strings.Cut(rest, "\n")
	id, err := strconv.ParseUint(strings.TrimSpace(line), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("mount id: %w", err)
	}
	return id, nil
}

// fnv64 is 64-bit FNV-1a; never 0. Handles are not chosen by an attacker who gains by a collision: it costs a re-read.
func fnv64(kind uint32, b []byte) uint64 {
	h := uint64(14695981039346656037) ^ uint64(kind)
	for _, c := range b {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return max(h, 1)
}

func (r *MetaReader) cname(name []byte) (*byte, error) {
	if len(name) > MaxName {
		return nil, unix.ENAMETOOLONG
	}
	if bytes.IndexByte(name, 0) >= 0 {
		return nil, unix.EINVAL
	}
	n := copy(r.name[:], name)
	r.name[n] = 0
	return &r.name[0], nil
}
