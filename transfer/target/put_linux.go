package target

import (
	"github.com/ferry-migrate/ferry/transfer/chunk"
	"github.com/ferry-migrate/ferry/transfer/file"

	"golang.org/x/sys/unix"
)

// maxTries bounds how often an operation clears its way before it gives up on a name.
const maxTries = 5

// put applies OpPut. The usual path is four system calls: open, write, utimensat, close.
func (a *applier) put(d *dir, op *file.Op) error {
	if op.Meta.Kind != file.KindRegular || op.How == file.HowCopy {
		return protocolError("content for a %v", op.Meta.Kind)
	}
	if sum := chunk.Sum(op.Data); string(sum[:]) != string(op.Digests) {
		return protocolError("digest of %q does not match its content", op.Name)
	}
	if op.How == file.HowInPlace {
		if done, err := a.putInPlace(d, op); done || err != nil {
			return err
		}
	}
	in, err := a.create(d, op.Name, &op.Meta, op.Meta.Perm&0o777)
	if in == nil || err != nil {
		return err
	}
	e := unix.Errno(0)
	if len(op.Data) > 0 {
		e = pwriteAll(in.fd, op.Data, 0)
	}
	if e != 0 {
		err = a.contentFails(e)
	} else {
		err = a.finish(in, &op.Meta)
	}
	unix.Close(in.fd)
	if err != nil { // half a file must not become what OpFrom finds when the operation is done again
		unlinkat(d.fd, a.cname(op.Name), 0)
	}
	return err
}

// putInPlace writes into the regular file that is there; done is false if there is none that can be written.
func (a *applier) putInPlace(d *dir, op *file.Op) (done bool, err error) {
	fd, err := a.openRegular(d, op.Name, unix.O_WRONLY)
	if fd < 0 || err != nil {
		return false, err
	}
	defer unix.Close(fd)
	size := a.entry.Size
	if e := pwriteAll(fd, op.Data, 0); e != 0 {
		return true, a.contentFails(e)
	}
	if size > int64(len(op.Data)) {
		if err := unix.Ftruncate(fd, int64(len(op.Data))); err != nil {
			return true, a.contentFails(errnoOf(err))
		}
	}
	a.node = inode{fd: fd}
	return true, a.finish(&a.node, &op.Meta)
}

// contentFails sorts an error of writing content.
func (a *applier) contentFails(e unix.Errno) error {
	if e == unix.EFBIG {
		a.lose(LossTooLarge, "%v", e)
		return nil
	}
	return failure("write", a.fullPath(a.op.Name), e)
}

// create makes a new regular file, open for writing, and moves away whatever has its name. It returns nil if the name cannot
// be had, which is then reported.
func (a *applier) create(d *dir, name []byte, m *file.Meta, perm uint32) (*inode, error) {
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW
	for try := 0; ; try++ {
		fd, e := openat(d.fd, a.cname(name), flags, perm)
		if e != 0 {
			if again, err := a.makeRoom(d, a.fullPath(name), e, try, LossNotReplaced); !again {
				return nil, err
			}
			continue
		}
		in := a.made(d, fd, m.Kind, perm&^a.tree.umask)
		if m.Flags&file.EmptyFlags != 0 || !in.fresh {
			emptyFlags(fd, m.Flags)
			in.fresh = in.fresh && m.Flags&file.EmptyFlags == 0
		}
		return in, nil
	}
}

// made describes the inode that this process just made in d.
func (a *applier) made(d *dir, fd int, kind file.Kind, perm uint32) *inode {
	traits := d.traits.now()
	in := &a.node
	*in = inode{fd: fd, fresh: traits.plain}
	in.have.Kind, in.have.Perm = kind, perm
	in.have.UID, in.have.GID = a.tree.euid, traits.gid
	return in
}

// makeRoom deals with what keeps an entry, path from the root, from being made in d: it removes what is there or makes the
// directory writable, and says to try again. Otherwise the entry is reported lost, as kind unless the name is at fault, or
// the error ends the session.
func (a *applier) makeRoom(d *dir, path []byte, e unix.Errno, try int, kind LossKind) (again bool, err error) {
	_, name := splitPath(path)
	switch {
	case try >= maxTries:
		kind = LossNotReplaced
	case e == unix.EEXIST || e == unix.EISDIR || e == unix.ELOOP:
		return a.displace(d, name, path)
	case (e == unix.EPERM || e == unix.EACCES) && a.openDir(d, e):
		return true, nil
	case e == unix.ENOENT:
		return false, a.vanished()
	case fatal(e):
		return false, failure("make", path, e)
	case e == unix.ENAMETOOLONG && kind == LossSymlink && len(name) <= unix.NAME_MAX:
		kind = LossSymlinkLong
	case e == unix.ENAMETOOLONG || e == unix.EILSEQ || e == unix.EINVAL && kind != LossDevice:
		kind = LossName
	}
	a.lose(kind, "%v", e)
	return false, nil
}

// openRegular opens the regular file called name in d with flags, and leaves its stat in a.entry. fd is -1 if there is no
// regular file there, or none that this process may open. What is there is looked at before it is opened, so that no
// device, FIFO or file mounted over the name ever is.
func (a *applier) openRegular(d *dir, name []byte, flags int) (fd int, err error) {
	node, e := openat(d.fd, a.cname(name), unix.O_PATH|unix.O_NOFOLLOW, 0)
	if e != 0 {
		if fatal(e) {
			return -1, failure("open", a.fullPath(name), e)
		}
		return -1, nil
	}
	defer unix.Close(node)
	place, err := a.statFD(node, &a.entry)
	if err != nil || a.entry.Kind != file.KindRegular {
		return -1, err
	}
	if err := mountOf(node, &place); err != nil || !sameMount(d, node, place) {
		return -1, mountError(a.fullPath(name))
	}
	a.proc = fdPath(a.proc[:0], node)
	flags |= unix.O_NONBLOCK | unix.O_NOCTTY
	fd, e = openat(unix.AT_FDCWD, &a.proc[0], flags, 0)
	switch {
	case e == unix.EPERM && flags&unix.O_NOATIME != 0: // not the owner
		fd, e = openat(unix.AT_FDCWD, &a.proc[0], flags&^unix.O_NOATIME, 0)
	case a.op.Code == file.OpCheck:
	case e == unix.EPERM && unguardPath(&a.proc[0]):
		fd, e = openat(unix.AT_FDCWD, &a.proc[0], flags, 0)
	case e == unix.EACCES && a.entry.UID == a.tree.euid && a.allowOwner(a.entry.Perm|0o600):
		fd, e = openat(unix.AT_FDCWD, &a.proc[0], flags, 0)
	}
	if e != 0 {
		if fatal(e) {
			return -1, failure("open", a.fullPath(name), e)
		}
		return -1, nil
	}
	return fd, nil
}

// allowOwner gives the inode that a.proc leads to another mode for as long as this operation works on it.
func (a *applier) allowOwner(perm uint32) bool {
	return unix.Chmod(string(a.proc[:len(a.proc)-1]), perm) == nil
}

// unguardPath clears the flags that forbid changes of the regular file or directory that path leads to.
func unguardPath(path *byte) bool {
	fd, e := openat(unix.AT_FDCWD, path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if e != 0 {
		return false
	}
	defer unix.Close(fd)
	return unguardFD(fd)
}
