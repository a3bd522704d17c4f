package target

import (
	"encoding/hex"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/transfer/file"
)

// State says what the tree is based on.
func (t *Tree) State() (TreeState, error) {
	t.life.RLock()
	defer t.life.RUnlock()
	if t.closed {
		return TreeState{}, errClosed
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(t.fd, &fs); err != nil {
		return TreeState{}, failure("look at", []byte(t.path), err)
	}
	a := t.appliers.Get().(*applier)
	defer t.appliers.Put(a)
	var root file.Entry
	if _, err := a.statFD(t.fd, &root); err != nil {
		return TreeState{}, err
	}
	free := fs.Bavail
	if t.euid == 0 {
		free = fs.Bfree
	}
	s := TreeState{
		Device: t.dirs.root.dev, FSID: uint64(uint32(fs.Fsid.Val[0])) | uint64(uint32(fs.Fsid.Val[1]))<<32, UUID: fsUUID(t.fd),
		Inode: root.Ino, Btime: root.Btime, Ctime: root.Ctime, Filesystem: fsName(int64(fs.Type)),
		Free: int64(free) * fs.Frsize, FreeNodes: int64(fs.Ffree), Keeps: t.keeps,
	}
	if fs.Files == 0 { // made as needed: Btrfs
		s.FreeNodes = -1
	}
	var err error
	s.Empty, err = t.isEmpty()
	return s, err
}

// reopen returns another descriptor of the root, to list it with: its access time stays.
func (t *Tree) reopen() (int, error) {
	dot := [2]byte{'.', 0}
	fd, e := openDirAt(t.fd, &dot[0])
	if e != 0 {
		return -1, e
	}
	return fd, nil
}

// isEmpty reports whether there is nothing in the root but what mkfs and this package put there.
func (t *Tree) isEmpty() (bool, error) {
	fd, err := t.reopen()
	if err != nil {
		return false, failure("list", []byte(t.path), err)
	}
	defer unix.Close(fd)
	empty := true
	err = eachDirent(fd, make([]byte, direntSize), func(name []byte, _ uint8) error {
		if s := string(name); s != "lost+found" && s != t.stash.name {
			empty = false
		}
		return nil
	})
	return empty, err
}

// fsIocGetFSUUID is _IOR(0x15, 0, struct fsuuid2): a length byte and 16 bytes (include/uapi/linux/fs.h, Linux 6.9).
const fsIocGetFSUUID = 0x80111500

func fsUUID(fd int) string {
	var u [17]byte
	_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), fsIocGetFSUUID, uintptr(unsafe.Pointer(&u)))
	if e != 0 || u[0] > 16 {
		return ""
	}
	return hex.EncodeToString(u[1 : 1+u[0]])
}

// fsNames are the magic numbers of statfs(2).
var fsNames = map[int64]string{
	unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs", unix.TMPFS_MAGIC: "tmpfs",
	unix.NFS_SUPER_MAGIC: "nfs", unix.F2FS_SUPER_MAGIC: "f2fs", unix.MSDOS_SUPER_MAGIC: "vfat", unix.OVERLAYFS_SUPER_MAGIC: "overlay",
	unix.FUSE_SUPER_MAGIC: "fuse", 0x2fc12fc1: "zfs", 0x5346544e: "ntfs", 0x7366746e: "ntfs3", 0xca451a4e: "bcachefs",
	0x2011bab0: "exfat", unix.CIFS_SUPER_MAGIC: "cifs", unix.SMB2_SUPER_MAGIC: "smb2", unix.RAMFS_MAGIC: "ramfs",
}

func fsName(magic int64) string {
	if name, ok := fsNames[magic&0xffffffff]; ok {
		return name
	}
	return fmt.Sprintf("%#x", magic&0xffffffff)
}
