package target

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/transfer/file"
)

// hardLink applies OpLink.
func (a *applier) hardLink(d *dir, op *file.Op) error {
	ok, e, err := a.linkPath(d, op)
	if ok || err != nil {
		return err
	}
	if e == unix.ENOENT {
		a.need("the file it is a hard link to is missing")
		return nil
	}
	if a.lost == 0 {
		a.lose(LossHardLink, "%v", e)
		a.need("hard link not possible, copy wanted")
	}
	return nil
}

// from applies OpFrom: the old inode is taken from the stash, or from its path as it is now.
func (a *applier) from(d *dir, op *file.Op) error {
	if op.Meta.Kind == file.KindDir {
		return protocolError("directory %q from %q", op.Name, op.Path)
	}
	ok, err := false, error(nil)
	if fd, key, found := a.tree.stash.find(op.Path); found {
		ok, _, err = a.linkInode(d, op.Name, fd, key)
	}
	if !ok && err == nil {
		ok, _, err = a.linkPath(d, op)
	}
	if err != nil {
		return err
	}
	if !ok {
		a.need("the file it was is gone")
		return nil
	}
	found, err := a.openNode(d, op.Name, &op.Meta)
	if err != nil {
		return err
	}
	if !found {
		a.need("the file it was is of another kind")
		return nil
	}
	defer unix.Close(a.node.fd)
	if op.Meta.Kind == file.KindRegular && a.entry.Size != op.Meta.Size {
		a.need("the file it was has another size")
		return nil
	}
	return a.finish(&a.node, &op.Meta)
}

// linkPath makes the operation's name a hard link to the operation's path.
func (a *applier) linkPath(d *dir, op *file.Op) (ok bool, e unix.Errno, err error) {
	parent, name := splitPath(op.Path)
	if len(name) == 0 {
		return false, 0, protocolError("hard link %q to the root", op.Name)
	}
	if len(parent) == 0 && string(name) == a.tree.stash.name {
		return false, 0, protocolError("name %q is not the source's", name)
	}
	old, err := a.tree.dirs.acquire(a, parent, false)
	if errors.Is(err, errNoDir) {
		return false, unix.ENOENT, nil
	}
	if err != nil {
		return false, 0, err
	}
	defer a.tree.dirs.release(old)
	return a.linkInode(d, op.Name, old.fd, name)
}

// linkInode makes name in d another name of old in olddir, and moves away whatever else has the name. A symbolic link is not
// followed. Flags that forbid links are cleared and set again: the old name gets no operation of its own.
func (a *applier) linkInode(d *dir, name []byte, olddir int, old []byte) (ok bool, e unix.Errno, err error) {
	for try := 0; try < maxTries; try++ {
		e = linkat(olddir, a.cname2(old), d.fd, a.cname(name))
		switch e {
		case 0:
			return true, 0, nil
		case unix.EEXIST:
			if sameInode(olddir, old, d.fd, name) {
				return true, 0, nil
			}
			if ok, err := a.displace(d, name, a.fullPath(name)); !ok {
				return false, e, err
			}
			continue
		case unix.ENOENT: // which of the two names?
			if !exists(olddir, old) {
				return false, e, nil
			}
			return false, e, a.vanished()
		case unix.EPERM, unix.EACCES:
			if a.openDir(d, e) {
				continue
			}
			if flags := a.unguard(olddir, a.cname2(old)); flags != 0 {
				defer a.guard(olddir, a.cname2(old), flags)
				continue
			}
		}
		if fatal(e) {
			return false, e, failure("link", a.fullPath(name), e)
		}
		return false, e, nil
	}
	return false, e, nil
}

func exists(dirfd int, name []byte) bool {
	var st unix.Stat_t
	return unix.Fstatat(dirfd, string(name), &st, unix.AT_SYMLINK_NOFOLLOW) == nil
}

func sameInode(dir1 int, name1 []byte, dir2 int, name2 []byte) bool {
	var a, b unix.Stat_t
	return unix.Fstatat(dir1, string(name1), &a, unix.AT_SYMLINK_NOFOLLOW) == nil &&
		unix.Fstatat(dir2, string(name2), &b, unix.AT_SYMLINK_NOFOLLOW) == nil && a.Dev == b.Dev && a.Ino == b.Ino
}
