package target

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/file"
)

// displace moves whatever is called name in d, path from the root, out of the way: a regular file to the stash if the pass
// keeps one, else it is removed, a directory with all below it. ok is false if that failed for this entry alone, which is
// then reported.
func (a *applier) displace(d *dir, name, path []byte) (ok bool, err error) {
	return a.remove(d, name, path, a.tree.stash.on.Load())
}

// remove removes the entry called name in d, path from the root; keep says to stash regular files.
func (a *applier) remove(d *dir, name, path []byte, keep bool) (ok bool, err error) {
	a.tree.files.forget(path)
	if keep {
		if done, err := a.tree.stash.keep(a, d.fd, name, path); done || err != nil {
			return done, err
		}
	}
	for try := 0; try < maxTries; try++ {
		e := unlinkat(d.fd, a.cname(name), 0)
		switch e {
		case 0, unix.ENOENT:
			return true, nil
		case unix.EISDIR:
			a.tree.dirs.forget(d, name)
			return a.removeTree(d, name, path, keep)
		case unix.EPERM, unix.EACCES:
			if a.openDir(d, e) || a.unguard(d.fd, a.cname(name)) != 0 {
				continue
			}
		}
		if fatal(e) {
			return false, failure("remove", path, e)
		}
		a.lose(LossNotReplaced, "remove: %v", e)
		return false, nil
	}
	a.lose(LossNotReplaced, "remove: it comes back")
	return false, nil
}

// openDir makes d writable after e: it clears the flags that forbid changes, or, of an own directory, gives the owner all
// permissions. The OpDirMeta that the source sends for every directory it touches sets both again.
func (a *applier) openDir(d *dir, e unix.Errno) bool {
	if e == unix.EPERM {
		return unguardFD(d.fd)
	}
	var now file.Entry
	if _, err := a.meta.Stat(d.fd, nil, &now); err != nil || now.UID != a.tree.euid || now.Perm&0o700 == 0o700 {
		return false
	}
	return fchmod(d.fd, now.Perm|0o700) == 0
}

// openUp gives the owner all permissions of the directory called name, if it is this process's own.
func (t *Tree) openUp(dirfd int, name *byte) bool {
	fd, e := openat(dirfd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_DIRECTORY, 0)
	if e != 0 {
		return false
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Uid != t.euid || st.Mode&0o700 == 0o700 {
		return false
	}
	path := fdPath(nil, fd)
	return unix.Chmod(string(path[:len(path)-1]), st.Mode&0o7777|0o700) == nil
}

// unguard clears the flags that forbid changes of the regular file or directory called name and returns those there were.
func (a *applier) unguard(dirfd int, name *byte) (were uint32) {
	node, e := openat(dirfd, name, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if e != 0 {
		return 0
	}
	defer unix.Close(node)
	var now file.Entry
	if _, err := a.meta.Stat(node, nil, &now); err != nil || now.Kind != file.KindRegular && now.Kind != file.KindDir {
		return 0
	}
	path := fdPath(nil, node)
	fd, e := openat(unix.AT_FDCWD, &path[0], unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if e != 0 {
		return 0
	}
	defer unix.Close(fd)
	raw, err := unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS)
	if err != nil || !unguardFD(fd) {
		return 0
	}
	return raw & file.GuardFlags
}

// guard sets flags that unguard cleared.
func (a *applier) guard(dirfd int, name *byte, flags uint32) {
	fd, e := openat(dirfd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if e != 0 {
		return
	}
	defer unix.Close(fd)
	if raw, err := unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS); err == nil {
		_ = unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, int(raw|flags))
	}
}

func (a *applier) vanished() error {
	return fault.Operator(CodeChanged, "let nobody else change the target while it is written, then run again",
		fmt.Errorf("directory %q vanished", a.dirPath))
}
