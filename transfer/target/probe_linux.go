package target

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/bits"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/transfer/file"
)

// stashName derives the name of the stash from the identity of the root.
func stashName(dev, ino uint64) string {
	h := fnv.New32a()
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], dev)
	binary.LittleEndian.PutUint64(b[8:], ino)
	h.Write(b[:])
	return fmt.Sprintf("%s%08x", stashPrefix, h.Sum32())
}

// probe finds out what the filesystem and this process's rights keep, by trying it in the stash's directory.
func (t *Tree) probe() error {
	if err := t.stash.reset(false); err != nil { // what a killed run left
		return err
	}
	t.stash.mu.Lock()
	err := t.stash.open(true)
	fd := t.stash.fd
	t.stash.mu.Unlock()
	if err != nil {
		return err
	}
	if fd < 0 {
		return rootError(t.path, unix.EACCES)
	}
	_ = unix.Fremovexattr(fd, "system.posix_acl_default")
	a := t.appliers.Get().(*applier)
	defer t.appliers.Put(a)
	p := prober{a: a, t: t, dir: fd}
	p.run()
	if err := t.stash.reset(false); err != nil {
		return err
	}
	if p.failed != 0 {
		return failure("probe", []byte(t.path), p.failed)
	}
	t.dirs.closeIdle() // their traits were read without knowing
	return t.dirs.root.traits.read(a, t.dirs.root)
}

// prober makes entries in dir; whoever called it removes them.
type prober struct {
	a      *applier
	t      *Tree
	dir    int
	failed unix.Errno
}

func (p *prober) run() {
	fd, err := unix.Openat(p.dir, "file", unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o777)
	if err != nil {
		p.failed = errnoOf(err)
		return
	}
	defer unix.Close(fd)
	var e file.Entry
	if _, err := p.a.statFD(fd, &e); err != nil {
		p.failed = unix.EIO
		return
	}
	p.t.umask = 0o777 &^ e.Perm
	k := &p.t.keeps
	k.Mode = unix.Fchmod(fd, 0o6640) == nil && p.perm(fd) == 0o6640 && unix.Fchmod(fd, 0o600) == nil && p.perm(fd) == 0o600
	k.tryTimes(fd)
	k.tryAttributes(fd)
	p.flags(fd)
	k.trySparse(fd)
	k.Devices = unix.Mknodat(p.dir, "device", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))) == nil
	k.Specials = unix.Mknodat(p.dir, "fifo", unix.S_IFIFO|0o600, 0) == nil
	k.Symlinks = unix.Symlinkat("nowhere", p.dir, "symlink") == nil
	k.HardLinks = unix.Linkat(p.dir, "file", p.dir, "link", 0) == nil
	k.tryOwner(fd)
	p.t.foreseen = p.owners() && k.Mode && p.t.foreseen
}

func (p *prober) perm(fd int) uint32 {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 1 << 31
	}
	return st.Mode & 0o7777
}

func (k *Keeps) tryTimes(fd int) {
	ts := [2]unix.Timespec{{Sec: 1_000_000_001, Nsec: 123456789}, {Sec: 1_000_000_003, Nsec: 987654321}}
	var st unix.Stat_t
	k.Times = utimens(fd, nil, &ts) == 0 && unix.Fstat(fd, &st) == nil && st.Atim == ts[0] && st.Mtim == ts[1]
}

// smallACL is a POSIX ACL as the kernel takes it: version 2, then tag, permission and id of the owner, a user, the group,
// the mask and others (include/uapi/linux/posix_acl_xattr.h).
func smallACL() []byte {
	acl := []byte{2, 0, 0, 0}
	for _, e := range [][3]uint32{{1, 6, 1<<32 - 1}, {2, 4, 0}, {4, 4, 1<<32 - 1}, {16, 4, 1<<32 - 1}, {32, 0, 1<<32 - 1}} {
		acl = binary.LittleEndian.AppendUint16(acl, uint16(e[0]))
		acl = binary.LittleEndian.AppendUint16(acl, uint16(e[1]))
		acl = binary.LittleEndian.AppendUint32(acl, e[2])
	}
	return acl
}

func (k *Keeps) tryOwner(fd int) { k.Owner = unix.Fchown(fd, 12345, 54321) == nil }

func (k *Keeps) trySparse(fd int) {
	k.Sparse = unix.Ftruncate(fd, 1<<20) == nil &&
		unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 1<<19) == nil
}

func (k *Keeps) tryAttributes(fd int) {
	k.User = unix.Fsetxattr(fd, "user.ferry", []byte{1}, 0) == nil
	k.Trusted = unix.Fsetxattr(fd, "trusted.ferry", []byte{1}, 0) == nil
	k.Security = unix.Fsetxattr(fd, "security.ferry", []byte{1}, 0) == nil
	k.ACL = unix.Fsetxattr(fd, "system.posix_acl_access", smallACL(), 0) == nil
}

// flags tries each inode flag on a file and on a directory, and the project id.
func (p *prober) flags(fd int) {
	k := &p.t.keeps
	own, _ := unix.IoctlGetUint32(p.dir, unix.FS_IOC_GETFLAGS)
	start, _ := unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS)
	p.t.foreseen = start&file.KeptFlags&^own == 0 // else a mount option sets some
	k.Flags = tryFlags(fd)
	if unix.Mkdirat(p.dir, "directory", 0o700) == nil {
		if d, err := unix.Openat(p.dir, "directory", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0); err == nil {
			k.DirFlags = tryFlags(d)
			unix.Close(d)
		}
	}
	k.tryProject(fd)
}

func (k *Keeps) tryProject(fd int) {
	var x file.Fsxattr
	if file.FsGetXattr(fd, &x) == nil {
		x.Project++
		k.Project = file.FsSetXattr(fd, &x) == nil
	}
}

func tryFlags(fd int) (can uint32) {
	start, err := unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS)
	if err != nil {
		return 0
	}
	for todo := file.KeptFlags; todo != 0; todo &= todo - 1 {
		bit := uint32(1) << bits.TrailingZeros32(todo)
		if unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, int(start|bit)) != nil {
			continue
		}
		if now, err := unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS); err == nil && now&bit != 0 {
			can |= bit
		}
		_ = unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, int(start))
	}
	return can
}

// owners finds out whether new entries take the group of their directory (mount options grpid and bsdgroups), and reports
// whether it knows owner and group of a new entry. Only a privileged process can: others look at every one.
func (p *prober) owners() bool {
	if p.t.euid != 0 || unix.Fchown(p.dir, -1, int(p.t.egid)+1) != nil || unix.Fchmod(p.dir, 0o700) != nil {
		return false
	}
	var st unix.Stat_t
	if unix.Mknodat(p.dir, "group", unix.S_IFREG|0o600, 0) == nil && unix.Fstatat(p.dir, "group", &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
		p.t.grpid = st.Gid == p.t.egid+1
		return st.Uid == p.t.euid
	}
	return false
}
