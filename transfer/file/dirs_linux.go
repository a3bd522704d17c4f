package file

import (
	"bytes"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// Dirs keeps the descriptors of directories, a bounded number at a time. Everything is opened relative to a descriptor, one
// name at a time and never through a symbolic link, so a path may be longer than the kernel's PATH_MAX, and a directory that
// moves while it is read stays the one that was listed.
//
// A descriptor closed to stay within the bound is opened again through its parents and must then be the same inode. Dirs is
// safe for concurrent use.
type Dirs struct {
	mu   sync.Mutex
	max  int
	open int
	idle Dir // ring of directories with a descriptor and no user, the least recently used at idle.next
}

// Dir is one directory below a root. Its Path never changes.
type Dir struct {
	Path   []byte // from the root, "" for the root
	parent *Dir
	name   []byte // NUL-terminated
	dev    uint64
	ino    uint64

	fd         int // -1 when closed
	users      int
	prev, next *Dir // in the idle ring
}

// ErrMoved is returned when a directory is no longer where it was listed.
var ErrMoved = fmt.Errorf("directory was replaced while it was read")

// NewDirs returns a table for at most max descriptors in use by nobody; those in use are not bounded by it.
func NewDirs(max int) *Dirs {
	s := &Dirs{max: max}
	s.idle.prev, s.idle.next = &s.idle, &s.idle
	return s
}

// Root adopts fd as a root directory. The table closes it in Close.
func (s *Dirs) Root(fd int) (*Dir, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("stat root: %w", err)
	}
	return &Dir{fd: fd, users: 1, dev: uint64(st.Dev), ino: st.Ino}, nil
}

// child returns the directory called name (NUL-terminated) in parent, without opening it.
func child(parent *Dir, name []byte, dev, ino uint64) *Dir {
	bare := name[:len(name)-1]
	path := make([]byte, 0, len(parent.Path)+1+len(bare))
	path = append(path, parent.Path...)
	if len(path) > 0 {
		path = append(path, '/')
	}
	return &Dir{Path: append(path, bare...), parent: parent, name: name, dev: dev, ino: ino, fd: -1}
}

// Acquire returns a descriptor of d that stays open until Release.
func (s *Dirs) Acquire(d *Dir) (int, error) {
	s.mu.Lock()
	if d.fd >= 0 {
		if d.users == 0 {
			s.unlink(d)
		}
		d.users++
		s.mu.Unlock()
		return d.fd, nil
	}
	s.mu.Unlock()

	pfd, err := s.Acquire(d.parent)
	if err != nil {
		return -1, err
	}
	fd, err := openDir(pfd, &d.name[0])
	s.Release(d.parent)
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || uint64(st.Dev) != d.dev || st.Ino != d.ino {
		unix.Close(fd)
		return -1, ErrMoved
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	if d.fd >= 0 { // somebody else opened it meanwhile
		unix.Close(fd)
		if d.users == 0 {
			s.unlink(d)
		}
	} else {
		d.fd = fd
		s.open++
	}
	d.users++
	return d.fd, nil
}

// Release gives back what Acquire returned.
func (s *Dirs) Release(d *Dir) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d.users--
	if d.users > 0 || d.parent == nil {
		return
	}
	d.prev, d.next = s.idle.prev, &s.idle
	d.prev.next, d.next.prev = d, d
	for s.open > s.max && s.idle.next != &s.idle {
		old := s.idle.next
		s.unlink(old)
		s.closeDir(old)
	}
}

// OpenPath opens the directory at path, below root, one component at a time. The caller closes the descriptor.
func (s *Dirs) OpenPath(root *Dir, path []byte) (int, error) {
	at, err := s.Acquire(root)
	if err != nil {
		return -1, err
	}
	defer s.Release(root)
	fd, err := openDir(at, &[]byte(".\x00")[0])
	for err == nil && len(path) > 0 {
		name, rest, _ := bytes.Cut(path, []byte("/"))
		next, openErr := openDir(fd, &append(bytes.Clone(name), 0)[0])
		unix.Close(fd)
		fd, path, err = next, rest, openErr
	}
	if err != nil {
		return -1, err
	}
	return fd, nil
}

// Close closes all descriptors that nobody uses, and the root.
func (s *Dirs) Close(root *Dir) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.idle.next != &s.idle {
		old := s.idle.next
		s.unlink(old)
		s.closeDir(old)
	}
	if root.fd >= 0 {
		unix.Close(root.fd)
		root.fd = -1
	}
}

func (s *Dirs) unlink(d *Dir) {
	d.prev.next, d.next.prev = d.next, d.prev
	d.prev, d.next = nil, nil
}

func (s *Dirs) closeDir(d *Dir) {
	unix.Close(d.fd)
	d.fd = -1
	s.open--
}

// openDir opens a directory for listing without touching its access time where the kernel lets us.
func openDir(dirfd int, name *byte) (int, error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC | unix.O_NONBLOCK
	fd, err := sysOpenat(dirfd, name, flags|unix.O_NOATIME, 0)
	if err == unix.EPERM { // not the owner and not privileged
		fd, err = sysOpenat(dirfd, name, flags, 0)
	}
	return fd, err
}
