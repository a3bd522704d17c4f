package target

import (
	"bytes"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/transfer/file"
)

// setXattrs makes the attributes of the inode those of want, in the canonical encoding: sets what differs, removes what the
// source does not have. What the host made for itself (file.HostXattr) stays, and so does a security.* label the kernel gave
// a new file and does not let go (SELinux, Smack).
func (a *applier) setXattrs(in *inode, want []byte) error {
	if in.fresh && len(want) == 0 {
		return nil
	}
	have, err := a.readXattrs(in)
	if err != nil {
		return err
	}
	var last []byte
	haveName, haveValue, have, _ := file.NextXattr(have)
	for len(want) > 0 {
		name, value, rest, err := file.NextXattr(want)
		if err != nil {
			return protocolError("attributes of %q: %w", a.op.Name, err)
		}
		if last != nil && bytes.Compare(last, name) >= 0 || bytes.IndexByte(name, 0) >= 0 {
			return protocolError("attributes of %q are not in order", a.op.Name)
		}
		last, want = name, rest
		for len(haveName) > 0 && bytes.Compare(haveName, name) < 0 {
			if err := a.removeXattr(in, haveName); err != nil {
				return err
			}
			haveName, haveValue, have, _ = file.NextXattr(have)
		}
		same := bytes.Equal(haveName, name) && bytes.Equal(haveValue, value)
		if bytes.Equal(haveName, name) {
			haveName, haveValue, have, _ = file.NextXattr(have)
		}
		if same {
			continue
		}
		if err := a.setXattr(in, name, value); err != nil {
			return err
		}
	}
	for len(haveName) > 0 {
		if err := a.removeXattr(in, haveName); err != nil {
			return err
		}
		haveName, _, have, _ = file.NextXattr(have)
	}
	return nil
}

// readXattrs returns what the inode has, in a buffer of the applier.
func (a *applier) readXattrs(in *inode) (enc []byte, err error) {
	switch {
	case in.fresh:
		return nil, nil
	case in.opath:
		enc, err = a.meta.XattrsAt(in.dirfd, in.name)
	default:
		enc, err = a.meta.Xattrs(in.fd)
	}
	if err != nil {
		a.lose(LossXattrOther, "%v", err)
	}
	return enc, nil
}

func (a *applier) setXattr(in *inode, name, value []byte) error {
	if file.HostXattr(name) {
		a.lose(xattrLoss(name), "attribute %q belongs to its host", name)
		return nil
	}
	var first *byte
	if len(value) > 0 {
		first = &value[0]
	}
	var e unix.Errno
	if path := a.procPath(); path != nil {
		_, _, e = unix.Syscall6(unix.SYS_SETXATTR, uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(a.cname2(name))),
			uintptr(unsafe.Pointer(first)), uintptr(len(value)), 0, 0)
	} else {
		_, _, e = unix.Syscall6(unix.SYS_FSETXATTR, uintptr(in.fd), uintptr(unsafe.Pointer(a.cname2(name))),
			uintptr(unsafe.Pointer(first)), uintptr(len(value)), 0, 0)
	}
	if e == 0 {
		return nil
	}
	if (e == unix.ENOSPC || e == unix.EDQUOT) && !a.tree.isFull() { // the inode's room for attributes, not the disk
		e = unix.E2BIG
	}
	if fatal(e) {
		return failure("set attribute "+string(name)+" of", a.fullPath(a.op.Name), e)
	}
	a.lose(xattrLoss(name), "set attribute %q of %d bytes: %v", name, len(value), e)
	return nil
}

func (a *applier) removeXattr(in *inode, name []byte) error {
	var e unix.Errno
	if path := a.procPath(); path != nil {
		_, _, e = unix.Syscall(unix.SYS_REMOVEXATTR, uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(a.cname2(name))), 0)
	} else {
		_, _, e = unix.Syscall(unix.SYS_FREMOVEXATTR, uintptr(in.fd), uintptr(unsafe.Pointer(a.cname2(name))), 0)
	}
	switch {
	case e == 0 || e == unix.ENODATA || isLabel(name):
		return nil
	case fatal(e):
		return failure("remove attribute "+string(name)+" of", a.fullPath(a.op.Name), e)
	}
	a.lose(xattrLoss(name), "remove attribute %q: %v", name, e)
	return nil
}

// isLabel reports whether a security module gives every inode this attribute.
func isLabel(name []byte) bool {
	return string(name) == "security.selinux" || bytes.HasPrefix(name, []byte("security.SMACK64"))
}

// xattrLoss returns the kind of loss that an attribute of this name is.
func xattrLoss(name []byte) LossKind {
	if string(name) == "security.capability" {
		return LossCapability
	}
	namespace, _, _ := bytes.Cut(name, []byte{'.'})
	switch string(namespace) {
	case "user":
		return LossXattrUser
	case "trusted":
		return LossXattrTrusted
	case "security":
		return LossXattrSecurity
	case "system":
		return LossACL
	}
	return LossXattrOther
}
