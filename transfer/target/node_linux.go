package target

import (
	"bytes"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/file"
)

func (a *applier) mkdir(d *dir, op *file.Op) error {
	if op.Meta.Kind != file.KindDir {
		return protocolError("directory %q is a %v", op.Name, op.Meta.Kind)
	}
	if err := a.makeDir(d, op.Name, a.fullPath(op.Name)); err != nil {
		if err == errNoDir {
			return nil
		}
		return err
	}
	if op.Meta.Flags&file.EmptyFlags == 0 && d.traits.now().plain {
		return nil
	}
	if fd, e := openDirAt(d.fd, a.cname(op.Name)); e == 0 {
		emptyFlags(fd, op.Meta.Flags)
		unix.Close(fd)
	}
	return nil
}

// makeDir makes the directory called name in d, path from the root, or keeps the one that is there; anything else there is
// moved away. The error is errNoDir if that could not be, which is then reported.
func (a *applier) makeDir(d *dir, name, path []byte) error {
	for try := 0; ; try++ {
		e := mkdirat(d.fd, a.cname(name), 0o700)
		if e == 0 {
			return nil
		}
		if e == unix.EEXIST {
			fd, e := openat(d.fd, a.cname(name), unix.O_PATH|unix.O_NOFOLLOW|unix.O_DIRECTORY, 0)
			if e == 0 {
				unix.Close(fd)
				return nil
			}
		}
		again, err := a.makeRoom(d, path, e, try, LossNotReplaced)
		if err != nil {
			return err
		}
		if !again {
			return errNoDir
		}
	}
}

// dirMeta applies OpDirMeta to the current directory.
func (a *applier) dirMeta(d *dir, op *file.Op) error {
	if op.Meta.Kind != file.KindDir {
		return protocolError("directory %q is a %v", a.dirPath, op.Meta.Kind)
	}
	a.node = inode{fd: d.fd}
	if err := a.finish(&a.node, &op.Meta); err != nil {
		return err
	}
	return d.traits.read(a, d)
}

func (a *applier) symlink(d *dir, op *file.Op) error {
	if op.Meta.Kind != file.KindSymlink || len(op.Data) == 0 || bytes.IndexByte(op.Data, 0) >= 0 {
		return protocolError("symbolic link %q", op.Name)
	}
	a.link = append(append(a.link[:0], op.Data...), 0)
	for try := 0; ; try++ {
		e := symlinkat(&a.link[0], d.fd, a.cname(op.Name))
		if e == 0 {
			return a.finishNode(d, op)
		}
		if again, err := a.makeRoom(d, a.fullPath(op.Name), e, try, LossSymlink); !again {
			return err
		}
	}
}

func (a *applier) mknod(d *dir, op *file.Op) error {
	m := &op.Meta
	mode, kind := uint32(0), LossSpecial
	switch m.Kind {
	case file.KindCharDev:
		mode, kind = unix.S_IFCHR, LossDevice
	case file.KindBlockDev:
		mode, kind = unix.S_IFBLK, LossDevice
	case file.KindFIFO:
		mode = unix.S_IFIFO
	case file.KindSocket:
		mode = unix.S_IFSOCK
	default:
		return protocolError("node %q is a %v", op.Name, m.Kind)
	}
	major, minor := uint32(m.Rdev>>32), uint32(m.Rdev)
	if major >= 1<<12 || minor >= 1<<20 { // mknod takes 12 and 20 bits
		a.lose(LossDevice, "device number %d:%d", major, minor)
		return nil
	}
	for try := 0; ; try++ {
		e := mknodat(d.fd, a.cname(op.Name), mode|m.Perm&0o777, unix.Mkdev(major, minor))
		if e == 0 {
			return a.finishNode(d, op)
		}
		if again, err := a.makeRoom(d, a.fullPath(op.Name), e, try, kind); !again {
			return err
		}
	}
}

// finishNode finishes the symbolic link or node that was just made. It has no descriptor from its making, so it must still
// look new: something put in its place meanwhile is not touched.
func (a *applier) finishNode(d *dir, op *file.Op) error {
	fd, e := openat(d.fd, a.cname(op.Name), unix.O_PATH|unix.O_NOFOLLOW, 0)
	if e != 0 {
		return failure("open", a.fullPath(op.Name), e)
	}
	defer unix.Close(fd)
	a.node = inode{fd: fd, opath: true, dirfd: d.fd, name: op.Name, fresh: d.traits.now().plain}
	have := &a.node.have
	if _, err := a.statFD(fd, have); err != nil {
		return err
	}
	if have.Kind != op.Meta.Kind || have.Nlink != 1 || have.Rdev != op.Meta.Rdev {
		return fault.Operator(CodeChanged, "let nobody else change the target while it is written, then run again",
			fmt.Errorf("%q was replaced as it was made", a.fullPath(op.Name)))
	}
	return a.finish(&a.node, &op.Meta)
}

// setMeta applies OpMeta.
func (a *applier) setMeta(d *dir, op *file.Op) error {
	if op.Meta.Kind == file.KindDir {
		return protocolError("metadata of directory %q", op.Name)
	}
	found, err := a.openNode(d, op.Name, &op.Meta)
	if err != nil {
		return err
	}
	if !found {
		a.need("it is missing")
		return nil
	}
	defer unix.Close(a.node.fd)
	return a.finish(&a.node, &op.Meta)
}

// openNode opens the entry called name as a.node, to set metadata on, if it is of the kind of m.
func (a *applier) openNode(d *dir, name []byte, m *file.Meta) (found bool, err error) {
	if m.Kind == file.KindRegular {
		fd, err := a.openRegular(d, name, unix.O_RDONLY|unix.O_NOATIME)
		a.node = inode{fd: fd}
		return fd >= 0, err
	}
	fd, e := openat(d.fd, a.cname(name), unix.O_PATH|unix.O_NOFOLLOW, 0)
	if e != 0 {
		if fatal(e) {
			return false, failure("open", a.fullPath(name), e)
		}
		return false, nil
	}
	a.node = inode{fd: fd, opath: true, dirfd: d.fd, name: name}
	_, err = a.statFD(fd, &a.node.have)
	if err != nil || a.node.have.Kind != m.Kind || a.node.have.Rdev != m.Rdev {
		unix.Close(fd)
		return false, err
	}
	return true, nil
}
