package target

import (
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/transfer/file"
)

// dirTraits is what a directory passes on to entries made in it.
type dirTraits struct {
	gid uint32
	// plain: nothing but the group. Else a new entry may start with an ACL, inode flags or a project id of the directory,
	// and is looked at before it gets its own.
	plain bool
}

// traitsOf holds the traits of one directory; they change when the directory's metadata is set.
type traitsOf struct{ p atomic.Pointer[dirTraits] }

func (t *traitsOf) now() dirTraits { return *t.p.Load() }

// read looks at the open directory d again.
func (t *traitsOf) read(a *applier, d *dir) error {
	var e file.Entry
	place, err := a.statFD(d.fd, &e)
	if err != nil {
		return err
	}
	flags, project, err := a.meta.Flags(d.fd, place.Dev)
	if err != nil {
		flags = file.KeptFlags // unreadable: take nothing for granted
	}
	tree := a.tree
	traits := dirTraits{
		gid:   tree.egid,
		plain: flags == 0 && project == 0 && tree.foreseen && !hasDefaultACL(d.fd),
	}
	if tree.grpid || e.Perm&unix.S_ISGID != 0 {
		traits.gid = e.GID
	}
	t.p.Store(&traits)
	return nil
}

var defaultACL = []byte("system.posix_acl_default\x00")

func hasDefaultACL(fd int) bool {
	_, _, e := unix.Syscall6(unix.SYS_FGETXATTR, uintptr(fd), uintptr(unsafe.Pointer(&defaultACL[0])), 0, 0, 0, 0)
	return e == 0
}
