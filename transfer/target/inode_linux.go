package target

import (
	"math/bits"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/transfer/file"
)

// inode is one open inode on its way to the metadata it should have.
type inode struct {
	fd    int
	opath bool   // fd is O_PATH, so calls go through /proc/self/fd; true for all but regular files and directories
	dirfd int    // where it lies, and
	name  []byte // its name there: the only way to read attributes of an O_PATH descriptor
	// fresh: made by this operation, and have.Perm, UID and GID are right; no attributes, flags, project id.
	fresh   bool
	chowned bool
	have    file.Entry
}

// finish gives the inode all of m but its size, in the order in which nothing undoes what came before: owner (drops set-id
// and capabilities), mode, attributes (an ACL changes the mode to what it was with it), project id, times, flags.
func (a *applier) finish(in *inode, m *file.Meta) error {
	a.proc = a.proc[:0]
	if in.opath {
		a.proc = fdPath(a.proc, in.fd)
	}
	if !in.fresh {
		if err := a.look(in); err != nil {
			return err
		}
	}
	owned, err := a.setOwner(in, m)
	if err == nil {
		err = a.setMode(in, m, owned)
	}
	if err == nil {
		err = a.setXattrs(in, m.Xattrs)
	}
	if err == nil {
		err = a.setProject(in, m.Project)
	}
	if err == nil {
		err = a.setTimes(in, m)
	}
	if err == nil {
		err = a.setFlags(in, m.Flags)
	}
	return err
}

// procPath returns the way to an O_PATH inode, nil for others.
func (a *applier) procPath() *byte {
	if len(a.proc) == 0 {
		return nil
	}
	return &a.proc[0]
}

// fails sorts an error of one of the calls below: a loss of kind, or the end of the session.
func (a *applier) fails(kind LossKind, what string, e unix.Errno) error {
	if fatal(e) {
		return failure("set "+what+" of", a.fullPath(a.op.Name), e)
	}
	a.lose(kind, "set %s: %v", what, e)
	return nil
}

// look reads what the inode has, and clears the flags that forbid changes.
func (a *applier) look(in *inode) error {
	place, err := a.statFD(in.fd, &in.have)
	if err != nil {
		return err
	}
	in.have.Flags, in.have.Project = 0, 0
	if in.opath {
		return nil
	}
	in.have.Flags, in.have.Project, err = a.meta.Flags(in.fd, place.Dev)
	if err != nil {
		a.lose(LossFlags, "%v", err)
		return nil
	}
	if in.have.Flags&file.GuardFlags != 0 && unguardFD(in.fd) {
		in.have.Flags &^= file.GuardFlags
	}
	return nil
}

// setOwner reports whether the inode has its owner.
func (a *applier) setOwner(in *inode, m *file.Meta) (bool, error) {
	if in.have.UID == m.UID && in.have.GID == m.GID {
		return true, nil
	}
	e := a.chown(in, int(m.UID), int(m.GID))
	if e == 0 {
		return true, nil
	}
	if in.have.GID != m.GID && a.chown(in, -1, int(m.GID)) == 0 && in.have.UID == m.UID {
		return true, nil
	}
	if fatal(e) {
		return false, failure("set owner of", a.fullPath(a.op.Name), e)
	}
	a.lose(LossOwner, "set owner %d:%d: %v", m.UID, m.GID, e)
	return false, nil
}

func (a *applier) chown(in *inode, uid, gid int) unix.Errno {
	in.chowned = true
	if in.opath {
		return errnoOf(unix.Fchownat(in.fd, "", uid, gid, unix.AT_EMPTY_PATH))
	}
	return errnoOf(unix.Fchown(in.fd, uid, gid))
}

func errnoOf(err error) unix.Errno {
	if err == nil {
		return 0
	}
	return err.(unix.Errno)
}

// setMode leaves set-id bits out if the owner they would act for could not be set.
func (a *applier) setMode(in *inode, m *file.Meta, owned bool) error {
	const setID = unix.S_ISUID | unix.S_ISGID
	want := m.Perm
	if m.Kind == file.KindSymlink {
		return nil
	}
	if !owned && m.Kind != file.KindDir && want&setID != 0 {
		want &^= setID
		a.lose(LossMode, "set-id bits would act for another owner")
	}
	if in.have.Perm == want && !(in.chowned && want&setID != 0) {
		return nil
	}
	var e unix.Errno
	if in.opath {
		e = errnoOf(unix.Chmod(string(a.proc[:len(a.proc)-1]), want))
	} else {
		e = fchmod(in.fd, want)
	}
	if e != 0 {
		return a.fails(LossMode, "mode", e)
	}
	if want&setID == 0 || a.tree.euid == 0 {
		return nil
	}
	var now file.Entry // the kernel drops the set-group-id bit of a group that we are not in, without an error
	if _, err := a.statFD(in.fd, &now); err != nil {
		return err
	}
	if now.Perm != want {
		a.lose(LossMode, "mode %o became %o", want, now.Perm)
	}
	return nil
}

func (a *applier) setProject(in *inode, project uint32) error {
	if in.have.Project == project || in.opath {
		return nil
	}
	var x file.Fsxattr
	err := file.FsGetXattr(in.fd, &x)
	if err == nil {
		x.Project = project
		err = file.FsSetXattr(in.fd, &x)
	}
	if err != nil {
		return a.fails(LossProject, "project id", errnoOf(err))
	}
	return nil
}

func (a *applier) setTimes(in *inode, m *file.Meta) error {
	if !in.fresh && in.have.Mtime == m.Mtime && in.have.Atime == m.Atime {
		return nil
	}
	a.ts[0] = unix.Timespec{Sec: m.Atime.Sec, Nsec: int64(m.Atime.Nsec)}
	a.ts[1] = unix.Timespec{Sec: m.Mtime.Sec, Nsec: int64(m.Mtime.Nsec)}
	if e := utimens(in.fd, a.procPath(), &a.ts); e != 0 {
		return a.fails(LossTime, "times", e)
	}
	if a.tree.keeps.Times && uint64(m.Mtime.Sec) < 1<<31 && uint64(m.Atime.Sec) < 1<<31 {
		return nil
	}
	var now file.Entry // filesystems round and clamp without an error
	if _, err := a.statFD(in.fd, &now); err != nil {
		return err
	}
	if now.Mtime != m.Mtime {
		a.lose(LossTime, "mtime %d.%09d became %d.%09d", m.Mtime.Sec, m.Mtime.Nsec, now.Mtime.Sec, now.Mtime.Nsec)
	}
	if now.Atime != m.Atime {
		a.lose(LossTime, "atime %d.%09d became %d.%09d", m.Atime.Sec, m.Atime.Nsec, now.Atime.Sec, now.Atime.Nsec)
	}
	return nil
}

// setFlags sets the inode flags, i and a among them, so it comes last.
func (a *applier) setFlags(in *inode, want uint32) error {
	if in.have.Flags == want || in.opath {
		return nil
	}
	can := a.tree.keeps.Flags
	if in.have.Kind == file.KindDir {
		can = a.tree.keeps.DirFlags
	}
	missing := want &^ can &^ in.have.Flags
	want &= can | in.have.Flags
	if want != in.have.Flags {
		now, e := changeFlags(in.fd, in.have.Flags, want)
		if e != 0 && fatal(e) {
			return failure("set inode flags of", a.fullPath(a.op.Name), e)
		}
		missing |= now ^ want
	}
	if missing != 0 {
		a.lose(LossFlags, "inode flags %#x cannot be kept", missing)
	}
	return nil
}

// changeFlags changes the flags in file.KeptFlags from have to want, together, or one by one if the filesystem refuses some.
// It returns what the inode has then.
func changeFlags(fd int, have, want uint32) (now uint32, e unix.Errno) {
	raw, err := unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS)
	if err != nil {
		return have, errnoOf(err)
	}
	err = unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, int(raw&^file.KeptFlags|want))
	if err != nil {
		for _, group := range [2]uint32{^file.GuardFlags, file.GuardFlags} {
			for todo := (have ^ want) & group; todo != 0; todo &= todo - 1 {
				bit := uint32(1) << bits.TrailingZeros32(todo)
				if now, err := unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS); err == nil {
					e = max(e, errnoOf(unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, int(now^bit))))
				}
			}
		}
	}
	now, err = unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS)
	return now & file.KeptFlags, max(e, errnoOf(err))
}

// emptyFlags gives a new, still empty inode the flags that only take now. What does not take is found by setFlags.
func emptyFlags(fd int, want uint32) {
	if raw, err := unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS); err == nil && raw&file.EmptyFlags != want&file.EmptyFlags {
		_, _ = changeFlags(fd, raw&file.KeptFlags, raw&file.KeptFlags&^file.EmptyFlags|want&file.EmptyFlags)
	}
}

// unguardFD clears the flags that forbid changes and reports whether there were any.
func unguardFD(fd int) bool {
	raw, err := unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS)
	return err == nil && raw&file.GuardFlags != 0 &&
		unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, int(raw&^file.GuardFlags)) == nil
}
