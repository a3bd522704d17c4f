package target

import (
	"bytes"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/transfer/chunk"
	"github.com/ferry-migrate/ferry/transfer/file"
)

// The fields that a check names in Differ. The source matches them with losses.
const (
	fieldMissing = "missing"
	fieldKind    = "kind"
	fieldMode    = "mode"
	fieldOwner   = "owner"
	fieldSize    = "size"
	fieldMtime   = "mtime"
	fieldAtime   = "atime"
	fieldDevice  = "device"
	fieldFlags   = "flags"
	fieldProject = "project"
	fieldXattrs  = "xattrs"
	fieldLink    = "link"
	fieldContent = "content"
)

// check applies OpCheck. Nothing is changed. Content is read back past the page cache where the filesystem lets go of it,
// which takes that it was synced before; access times stay.
func (a *applier) check(op *file.Op) error {
	want := &op.Entry
	if len(op.Name) == 0 && len(a.dirPath) > 0 {
		return protocolError("check without a name")
	}
	d, err := a.here(false)
	if errors.Is(err, errNoDir) {
		a.differ(fieldMissing, want.Kind.String(), "its directory cannot be opened")
		return nil
	}
	if err != nil {
		return err
	}
	have := &a.node.have
	place, err := a.meta.Stat(d.fd, op.Name, have)
	if err != nil {
		if fatal(err) {
			return failure("look at", a.fullPath(op.Name), err)
		}
		a.differ(fieldMissing, want.Kind.String(), err.Error())
		return nil
	}
	if have.Kind != want.Kind {
		a.differ(fieldKind, want.Kind.String(), have.Kind.String())
		return nil
	}
	if len(want.Link) > 0 {
		return a.checkLink(op, have, place)
	}
	if want.State&file.StateQuick != 0 {
		a.checkQuick(want, have)
		return nil
	}
	if op.First == 0 {
		a.checkStat(want, have)
	}
	return a.checkInside(d, op, have.Size, place)
}

func (a *applier) differ(field, want, got string) {
	a.r.Differ(a.fullPath(a.op.Name), field, want, got)
}

// checkStat compares what a stat tells.
func (a *applier) checkStat(want, have *file.Entry) {
	if want.Kind != file.KindSymlink && want.Perm != have.Perm {
		a.differ(fieldMode, fmt.Sprintf("%04o", want.Perm), fmt.Sprintf("%04o", have.Perm))
	}
	if want.UID != have.UID || want.GID != have.GID {
		a.differ(fieldOwner, fmt.Sprintf("%d:%d", want.UID, want.GID), fmt.Sprintf("%d:%d", have.UID, have.GID))
	}
	if want.Kind == file.KindRegular && want.Size != have.Size {
		a.differ(fieldSize, fmt.Sprint(want.Size), fmt.Sprint(have.Size))
	}
	if want.Rdev != have.Rdev {
		a.differ(fieldDevice, fmt.Sprintf("%d:%d", want.Rdev>>32, uint32(want.Rdev)), fmt.Sprintf("%d:%d", have.Rdev>>32, uint32(have.Rdev)))
	}
	if want.Mtime != have.Mtime {
		a.differ(fieldMtime, timeString(want.Mtime), timeString(have.Mtime))
	}
	if want.Atime != have.Atime {
		a.differ(fieldAtime, timeString(want.Atime), timeString(have.Atime))
	}
}

// checkQuick compares size and mtime.
func (a *applier) checkQuick(want, have *file.Entry) {
	if want.Kind == file.KindRegular && want.Size != have.Size {
		a.differ(fieldSize, fmt.Sprint(want.Size), fmt.Sprint(have.Size))
	}
	if want.Mtime != have.Mtime {
		a.differ(fieldMtime, timeString(want.Mtime), timeString(have.Mtime))
	}
}

func timeString(t file.Time) string { return fmt.Sprintf("%d.%09d", t.Sec, t.Nsec) }

// checkLink compares a hard link with the path it should share its inode with; the rest was checked there.
func (a *applier) checkLink(op *file.Op, have *file.Entry, place file.Place) error {
	parent, name := splitPath(op.Entry.Link)
	if !file.ValidPath(op.Entry.Link) {
		return protocolError("hard link to %q", op.Entry.Link)
	}
	ino := have.Ino
	d, err := a.tree.dirs.acquire(a, parent, false)
	if err != nil && !errors.Is(err, errNoDir) {
		return err
	}
	same := false
	if err == nil {
		other, err := a.meta.Stat(d.fd, name, &a.entry)
		same = err == nil && a.entry.Ino == ino && other.Dev == place.Dev
		a.tree.dirs.release(d)
	}
	if !same {
		a.differ(fieldLink, "hard link to "+string(op.Entry.Link), "another inode")
	}
	return nil
}

// checkInside compares what needs the entry opened: attributes, flags, project id, content.
func (a *applier) checkInside(d *dir, op *file.Op, size int64, place file.Place) error {
	want := &op.Entry
	fd := -1
	switch want.Kind {
	case file.KindRegular:
		opened, err := a.openRegular(d, op.Name, unix.O_RDONLY|unix.O_NOATIME)
		if err != nil {
			return err
		}
		if opened < 0 {
			a.differ(fieldContent, "readable", "cannot be opened")
			return nil
		}
		defer unix.Close(opened)
		fd = opened
	case file.KindDir:
		if len(op.Name) == 0 {
			fd = d.fd
			break
		}
		opened, e := openDirAt(d.fd, a.cname(op.Name))
		if e != 0 {
			a.differ(fieldContent, "readable", e.Error())
			return nil
		}
		defer unix.Close(opened)
		fd = opened
	}
	if op.First == 0 {
		if err := a.checkAttributes(d, op, fd, place.Dev); err != nil {
			return err
		}
	}
	switch want.Kind {
	case file.KindRegular:
		return a.checkContent(op, fd, size, place.Alloc)
	case file.KindSymlink:
		return a.checkSymlink(d, op)
	}
	return nil
}

// checkAttributes compares flags, project id and extended attributes. fd is -1 for what is never opened.
func (a *applier) checkAttributes(d *dir, op *file.Op, fd int, dev uint64) error {
	want := &op.Entry
	var enc []byte
	var err error
	if fd >= 0 {
		flags, project, err := a.meta.Flags(fd, dev)
		if err != nil {
			return failure("check", a.fullPath(op.Name), err)
		}
		if flags != want.Flags {
			a.differ(fieldFlags, fmt.Sprintf("%#x", want.Flags), fmt.Sprintf("%#x", flags))
		}
		if project != want.Project {
			a.differ(fieldProject, fmt.Sprint(want.Project), fmt.Sprint(project))
		}
		enc, err = a.meta.Xattrs(fd)
		if err != nil {
			a.differ(fieldXattrs, "readable", err.Error())
			return nil
		}
	} else if enc, err = a.meta.XattrsAt(d.fd, op.Name); err != nil {
		a.differ(fieldXattrs, "readable", err.Error())
		return nil
	}
	got := file.XattrDigest(enc)
	if got == want.Xattr || file.XattrDigest(withoutLabels(enc)) == want.Xattr {
		return nil
	}
	a.differ(fieldXattrs, fmt.Sprintf("digest %x", want.Xattr), fmt.Sprintf("digest %x: %s", got, xattrNames(enc)))
	return nil
}

// withoutLabels leaves out what a security module of this host gives every inode.
func withoutLabels(enc []byte) []byte {
	var out []byte
	for rest := enc; len(rest) > 0; {
		name, value, next, err := file.NextXattr(rest)
		if err != nil {
			return enc
		}
		if !isLabel(name) {
			out = file.AppendXattr(out, string(name), value)
		}
		rest = next
	}
	return out
}

func xattrNames(enc []byte) string {
	var names []byte
	for len(enc) > 0 {
		name, _, rest, err := file.NextXattr(enc)
		if err != nil {
			break
		}
		names, enc = append(append(names, name...), ' '), rest
	}
	return string(bytes.TrimSpace(names))
}

func (a *applier) checkSymlink(d *dir, op *file.Op) error {
	if a.data == nil {
		a.data = make([]byte, dataSize)
	}
	n, err := unix.Readlinkat(d.fd, string(op.Name), a.data[:64<<10])
	if err != nil {
		return failure("check", a.fullPath(op.Name), err)
	}
	if got := chunk.Sum(a.data[:n]); op.Entry.Digest.Known() && got != op.Entry.Digest {
		a.differ(fieldContent, fmt.Sprintf("a link with digest %x", op.Entry.Digest), fmt.Sprintf("%q", a.data[:n]))
	}
	return nil
}
