package target

import (
	"encoding/hex"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/transfer/chunk"
	"github.com/ferry-migrate/ferry/transfer/file"
)

// stashPrefix begins the name of the hidden directory in the root. What follows comes from the identity of the root, so a
// later run finds what a killed one left.
const stashPrefix = ".ferry-stash-"

// stash keeps, during a pass, regular files that were replaced, each under the digest of its path, so that OpFrom finds what
// a path was when the pass began. It is emptied when a pass begins and ends, and when the disk is full.
type stash struct {
	tree *Tree
	name string
	on   atomic.Bool // the pass keeps a stash

	mu sync.Mutex
	fd int // of the directory; -1 while there is none
}

// keep moves the regular file called name in dirfd, path from the root, into the stash. done is false if it is something
// else, or not wanted because the stash already has what the path was when the pass began.
func (s *stash) keep(a *applier, dirfd int, name, path []byte) (done bool, err error) {
	var st unix.Stat_t
	if unix.Fstatat(dirfd, string(name), &st, unix.AT_SYMLINK_NOFOLLOW) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return false, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.open(true); err != nil || s.fd < 0 {
		return false, err
	}
	key := stashKey(path)
	for try := 0; try < 2; try++ {
		e := moveAside(dirfd, a.cname(name), s.fd, &key[0])
		switch {
		case e == 0:
			return true, nil
		case (e == unix.EPERM || e == unix.EACCES) && a.unguard(dirfd, a.cname(name)) != 0:
			continue
		case fatal(e):
			return false, failure("set aside", path, e)
		}
		break
	}
	return false, nil
}

// moveAside renames without replacing.
func moveAside(olddir int, old *byte, newdir int, name *byte) unix.Errno {
	_, _, e := unix.Syscall6(unix.SYS_RENAMEAT2, uintptr(olddir), uintptr(unsafe.Pointer(old)), uintptr(newdir),
		uintptr(unsafe.Pointer(name)), unix.RENAME_NOREPLACE, 0)
	if e != unix.ENOSYS && e != unix.EINVAL { // before 3.15, or the filesystem does not know the flag
		return e
	}
	if fd, e := openat(newdir, name, unix.O_PATH|unix.O_NOFOLLOW, 0); e == 0 {
		unix.Close(fd)
		return unix.EEXIST
	}
	return renameat(olddir, old, newdir, name)
}

// find returns where the stash has what path was. The descriptor stays valid until the pass ends.
func (s *stash) find(path []byte) (fd int, key []byte, found bool) {
	if !s.on.Load() {
		return -1, nil, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd < 0 {
		return -1, nil, false
	}
	k := stashKey(path)
	key = k[:len(k)-1]
	return s.fd, key, exists(s.fd, key)
}

// stashKey is the digest of path in hexadecimal with a zero byte.
func stashKey(path []byte) (key [2*chunk.DigestSize + 1]byte) {
	sum := chunk.Sum(path)
	hex.Encode(key[:], sum[:])
	return key
}

// open opens the directory; make says to make it if it is missing. fd stays -1 if it cannot be had. mu is held.
func (s *stash) open(make bool) error {
	if s.fd >= 0 {
		return nil
	}
	name := append([]byte(s.name), 0)
	fd, e := openDirAt(s.tree.fd, &name[0])
	if e == unix.ENOENT && make {
		e = s.tree.inRoot(func() unix.Errno { return mkdirat(s.tree.fd, &name[0], 0o700) })
		if e == 0 {
			fd, e = openDirAt(s.tree.fd, &name[0])
		}
	}
	switch {
	case e == 0:
		s.fd = fd
	case fatal(e):
		return failure("make", name[:len(name)-1], e)
	}
	return nil
}

// release empties the stash because the disk is full, and reports whether there was anything in it.
func (s *stash) release() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	removed, err := s.empty()
	if removed == 0 || err != nil {
		return false
	}
	return syncfs(s.fd) == nil // journals and garbage collectors give blocks back only then
}

// reset removes the stash and says whether there is one from now on. No operation may be under way.
func (s *stash) reset(on bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.on.Store(on)
	if _, err := s.empty(); err != nil || s.fd < 0 {
		return err
	}
	unix.Close(s.fd)
	s.fd = -1
	name := append([]byte(s.name), 0)
	if e := s.tree.inRoot(func() unix.Errno { return unlinkat(s.tree.fd, &name[0], unix.AT_REMOVEDIR) }); e != 0 {
		return failure("remove", []byte(s.name), e)
	}
	return nil
}

// empty removes all files in the stash; the directory stays, for whoever is linking from it. mu is held.
func (s *stash) empty() (removed int, err error) {
	if err := s.open(false); err != nil || s.fd < 0 {
		return 0, err
	}
	a := s.tree.appliers.Get().(*applier)
	defer s.tree.appliers.Put(a)
	for before := -1; before != removed; {
		before = removed
		err := eachDirent(s.fd, a.direntBuf(), func(name []byte, _ uint8) error {
			e := unlinkat(s.fd, &name[0], 0)
			if e == unix.EPERM && a.unguard(s.fd, &name[0]) != 0 {
				e = unlinkat(s.fd, &name[0], 0)
			}
			if e == unix.EISDIR { // of a probe
				e = unlinkat(s.fd, &name[0], unix.AT_REMOVEDIR)
			}
			if e != 0 {
				return failure("empty", []byte(s.name), e)
			}
			removed++
			return nil
		})
		if err != nil {
			return removed, err
		}
	}
	return removed, nil
}

func (s *stash) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd >= 0 {
		unix.Close(s.fd)
		s.fd = -1
	}
}

// inRoot runs change, which makes or removes an entry of the root that is not the source's, and leaves the root's times and
// flags as they were.
func (t *Tree) inRoot(change func() unix.Errno) unix.Errno {
	var st unix.Stat_t
	if err := unix.Fstat(t.fd, &st); err != nil {
		return errnoOf(err)
	}
	flags, _ := unix.IoctlGetUint32(t.fd, unix.FS_IOC_GETFLAGS)
	guarded := flags&file.GuardFlags != 0 && unguardFD(t.fd)
	e := change()
	ts := [2]unix.Timespec{st.Atim, st.Mtim}
	utimens(t.fd, nil, &ts) // fails where the root is not ours: then its times cannot be kept either
	if guarded {
		e = max(e, errnoOf(unix.IoctlSetPointerInt(t.fd, unix.FS_IOC_SETFLAGS, int(flags))))
	}
	return e
}
