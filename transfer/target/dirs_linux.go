package target

import (
	"bytes"
	"container/list"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/file"
)

// maxDirs is how many directory descriptors are kept open while nobody uses them.
const maxDirs = 256

// dir is one directory below the root. It lives while its descriptor is open, somebody uses it, or a directory below it lives.
type dir struct {
	parent *dir // nil for the root
	name   string
	dev    uint64
	ino    uint64
	mount  uint64 // 0 if the kernel cannot tell
	traits traitsOf

	// Guarded by dirs.mu.
	fd    int // -1 while closed
	users int
	kids  int
	at    *list.Element // in dirs.open; nil while closed and for the root
}

// dirs finds directories by path and keeps their descriptors, a bounded number at a time.
//
// A path is walked one component at a time, relative to a descriptor, with O_NOFOLLOW and never "..": for single components
// that is what openat2 promises with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS, on every kernel. No path is ever handed to the
// kernel whole, so it may be longer than PATH_MAX. A descriptor that was closed to stay within the bound is opened again
// through its parents and must then be the same inode. A directory on another mount than its parent is entered only if
// that mount was there when the tree was opened.
type dirs struct {
	root   *dir
	mounts *mountSet

	grow sync.Mutex // held by whoever opens or makes directories
	mu   sync.Mutex
	kids map[dirKey]*dir
	open list.List // of *dir, the one used longest ago first
}

type dirKey struct {
	parent *dir
	name   string
}

// errNoDir is returned when a directory on the way is missing, is something else or may not be entered.
var errNoDir = errors.New("no such directory")

func newDirs(root *dir, mounts *mountSet) *dirs {
	return &dirs{root: root, mounts: mounts, kids: map[dirKey]*dir{}}
}

// acquire returns the directory at path, open until release. make says to make missing directories on the way.
func (d *dirs) acquire(a *applier, path []byte, make bool) (*dir, error) {
	d.mu.Lock()
	n, rest := d.known(path)
	if len(rest) == 0 && n.fd >= 0 {
		n.users++
		d.mu.Unlock()
		return n, nil
	}
	d.mu.Unlock()

	d.grow.Lock()
	defer d.grow.Unlock()
	d.mu.Lock()
	n, rest = d.known(path)
	n.users++
	d.mu.Unlock()
	if err := d.reopen(a, n); err != nil {
		d.release(n)
		return nil, err
	}
	for len(rest) > 0 {
		var name []byte
		name, rest = cutName(rest)
		child, err := d.descend(a, n, name, path[:len(path)-len(rest)], make)
		d.release(n)
		if err != nil {
			return nil, err
		}
		n = child
	}
	return n, nil
}

// known returns the deepest directory in memory on the way to path, and the rest of the path. mu is held.
func (d *dirs) known(path []byte) (*dir, []byte) {
	n := d.root
	for len(path) > 0 {
		name, rest := cutName(path)
		child := d.kids[dirKey{n, string(name)}]
		if child == nil {
			break
		}
		n, path = child, rest
	}
	return n, path
}

func cutName(path []byte) (name, rest []byte) {
	name, rest, _ = bytes.Cut(path, slash)
	return name, rest
}

var slash = []byte{'/'}

// reopen opens n, which the caller uses, if it is closed. grow is held.
func (d *dirs) reopen(a *applier, n *dir) error {
	d.mu.Lock()
	var closed []*dir
	for n.fd < 0 {
		closed = append(closed, n)
		n = n.parent
	}
	n.users++
	d.mu.Unlock()
	for i := len(closed) - 1; i >= 0; i-- {
		c := closed[i]
		fd, st, err := d.openChild(a, n, []byte(c.name))
		if err == nil && (st.dev != c.dev || st.ino != c.ino) {
			unix.Close(fd)
			err = errNoDir
		}
		if err != nil {
			d.release(n)
			if errors.Is(err, errNoDir) {
				err = fault.Operator(CodeChanged, "let nobody else change the target while it is written, then run again",
					fmt.Errorf("directory %q below the target was replaced", c.name))
			}
			return err
		}
		d.mu.Lock()
		c.fd = fd
		c.users++
		c.at = d.open.PushBack(c)
		d.mu.Unlock()
		d.release(n)
		n = c
	}
	d.release(n)
	return nil
}

// descend opens, or makes, the directory called name in n, path from the root, and keeps it. grow is held.
func (d *dirs) descend(a *applier, n *dir, name, path []byte, make bool) (*dir, error) {
	if n == d.root && string(name) == a.tree.stash.name {
		return nil, protocolError("directory %q is not the source's", name)
	}
	fd, st, err := d.openChild(a, n, name)
	if err == errNoDir && make {
		if err = a.makeDir(n, name, bytes.TrimSuffix(path, slash)); err == nil {
			fd, st, err = d.openChild(a, n, name)
		}
	}
	if err != nil {
		return nil, err
	}
	c := &dir{parent: n, name: string(name), dev: st.dev, ino: st.ino, mount: st.mount, fd: fd, users: 1}
	if err := c.traits.read(a, c); err != nil {
		unix.Close(fd)
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	n.kids++
	c.at = d.open.PushBack(c)
	d.kids[dirKey{n, c.name}] = c
	return c, nil
}

type dirStat struct{ dev, ino, mount uint64 }

// openChild opens the directory called name in n; errNoDir if there is none.
func (d *dirs) openChild(a *applier, n *dir, name []byte) (int, dirStat, error) {
	fd, e := openDirAt(n.fd, a.cname(name))
	if e == unix.EACCES && a.op.Code != file.OpCheck && a.tree.openUp(n.fd, a.cname(name)) {
		fd, e = openDirAt(n.fd, a.cname(name))
	}
	if e != 0 {
		if fatal(e) {
			return -1, dirStat{}, failure("open directory", name, e)
		}
		return -1, dirStat{}, errNoDir
	}
	var entry file.Entry
	place, err := a.statFD(fd, &entry)
	if err == nil {
		err = d.mounts.admit(n, name, fd, &place)
	}
	if err != nil {
		unix.Close(fd)
		return -1, dirStat{}, err
	}
	return fd, dirStat{place.Dev, entry.Ino, place.Mount}, nil
}

// openDirAt opens a directory to work in, without touching its access time where the kernel lets us.
func openDirAt(dirfd int, name *byte) (int, unix.Errno) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_NONBLOCK
	fd, e := openat(dirfd, name, flags|unix.O_NOATIME, 0)
	if e == unix.EPERM { // neither owner nor privileged
		fd, e = openat(dirfd, name, flags, 0)
	}
	return fd, e
}

// release gives back what acquire returned, and closes what has been idle longest beyond the bound.
func (d *dirs) release(n *dir) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n.users--
	if n.at != nil {
		d.open.MoveToBack(n.at)
	}
	d.trim(maxDirs)
}

// trim closes descriptors that nobody uses until max are left, if possible. mu is held.
func (d *dirs) trim(max int) {
	for e := d.open.Front(); e != nil && d.open.Len() > max; {
		next := e.Next()
		if old := e.Value.(*dir); old.users == 0 {
			d.close(old)
		}
		e = next
	}
}

// closeIdle closes every descriptor that nobody uses.
func (d *dirs) closeIdle() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.trim(0)
}

// close closes the descriptor of n and forgets n, and its parents, when nothing holds them in memory. mu is held.
func (d *dirs) close(n *dir) {
	unix.Close(n.fd)
	n.fd = -1
	d.open.Remove(n.at)
	n.at = nil
	for n.parent != nil && n.fd < 0 && n.users == 0 && n.kids == 0 {
		if key := (dirKey{n.parent, n.name}); d.kids[key] == n {
			delete(d.kids, key)
		}
		n = n.parent
		n.kids--
	}
}

// forget makes the directory called name in n unknown, because it was removed or moved. Its descriptors age out.
func (d *dirs) forget(n *dir, name []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.kids, dirKey{n, string(name)})
}

// closeAll closes every descriptor. Nobody may use any.
func (d *dirs) closeAll() {
	d.closeIdle()
	unix.Close(d.root.fd)
	d.root.fd = -1
}
