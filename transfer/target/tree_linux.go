package target

import (
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/file"
)

// Tree applies operations to the directory tree below a root, which it has locked. The zero value is not usable.
type Tree struct {
	path     string
	fd       int
	lock     int // descriptor of a lock file, -1 if the root itself is locked
	dirs     *dirs
	files    *files
	stash    stash
	appliers sync.Pool

	life    sync.RWMutex // read-held by everything that works; held by what must be alone
	closing atomic.Bool
	closed  bool

	euid, egid uint32
	umask      uint32 // of the process, as it was at the start
	grpid      bool   // new entries take the group of their directory
	foreseen   bool   // it is known with which owner, group, mode and flags a new file starts
	keeps      Keeps
	probed     bool
	inPass     bool
}

// OpenTree opens and locks root, a directory that exists. Nothing is written before BeginPass. Nobody else may write there
// until Close: a second target is refused; what other programs do is not prevented, but never followed out of the root.
func OpenTree(root string, o TreeOptions) (*Tree, error) {
	path, err := filepath.Abs(root)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		return nil, rootError(root, err)
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, rootError(root, err)
	}
	t := &Tree{path: path, fd: fd, lock: -1, files: newFiles(),
		euid: uint32(unix.Geteuid()), egid: uint32(unix.Getegid())}
	t.appliers.New = func() any { return &applier{tree: t} }
	if err := t.open(o); err != nil {
		t.free()
		return nil, err
	}
	return t, nil
}

func rootError(root string, err error) error {
	return fault.Operator(CodeRoot, "give an existing directory that this user may write to", fmt.Errorf("open target %s: %w", root, err))
}

func (t *Tree) open(o TreeOptions) error {
	if err := t.acquireLock(o); err != nil {
		return err
	}
	if err := unix.Access("/proc/self/fd", unix.F_OK); err != nil {
		return fault.Operator(CodeProc, "mount /proc", fmt.Errorf("the target needs /proc: %w", err))
	}
	a := t.appliers.Get().(*applier)
	defer t.appliers.Put(a)
	var root file.Entry
	place, err := a.statFD(t.fd, &root)
	if err == nil {
		err = mountOf(t.fd, &place)
	}
	if err != nil {
		return err
	}
	before, err := readMounts(t.path)
	if err != nil {
		return fault.Permanent(err)
	}
	top := &dir{fd: t.fd, dev: place.Dev, ino: root.Ino, mount: place.Mount}
	t.dirs = newDirs(top, &mountSet{before: before, entered: map[uint64]int{}})
	t.stash = stash{tree: t, fd: -1, name: stashName(place.Dev, root.Ino)}
	return top.traits.read(a, top)
}

// acquireLock locks the directory itself, or, where that is not possible (NFS), a file in the state directory.
func (t *Tree) acquireLock(o TreeOptions) error {
	const how = unix.LOCK_EX | unix.LOCK_NB
	err := unix.Flock(t.fd, how)
	if err != nil && err != unix.EWOULDBLOCK && o.StateDir != "" {
		key := stashKey([]byte(t.path))
		name := filepath.Join(o.StateDir, "target-"+string(key[:16])+".lock")
		if t.lock, err = unix.Open(name, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600); err == nil {
			err = unix.Flock(t.lock, how)
		}
	}
	if err == unix.EWOULDBLOCK {
		return fault.Operator(CodeBusy, "wait for the other run, or stop it", fmt.Errorf("target %s: another target writes there", t.path))
	}
	if err != nil {
		return fault.Permanent(fmt.Errorf("lock target %s: %w", t.path, err))
	}
	return nil
}

// Sync makes everything that was applied before durable. An error, also one of a write that failed in the background, is the
// end of the session: what was not durable before may be lost. (Kernels before 5.8 do not report those.)
func (t *Tree) Sync() error {
	t.life.RLock()
	defer t.life.RUnlock()
	if t.closed {
		return errClosed
	}
	if err := syncfs(t.fd); err != nil {
		return err
	}
	return t.dirs.mounts.sync()
}

func syncfs(fd int) error {
	err := unix.Syncfs(fd)
	if err == unix.ENOSYS {
		unix.Sync()
		return nil
	}
	if err != nil {
		return failure("sync", []byte("target"), err)
	}
	return nil
}

// BeginPass empties the stash and lets operations that write in. stash says that HowFresh keeps what it replaces for OpFrom:
// in a first pass nothing there is worth it. The first call finds out what the filesystem keeps.
func (t *Tree) BeginPass(stash bool) error {
	t.life.Lock()
	defer t.life.Unlock()
	if t.closed {
		return errClosed
	}
	if !t.probed {
		if err := t.probe(); err != nil {
			return err
		}
		t.probed = true
	}
	t.inPass = true
	return t.stash.reset(stash)
}

// EndPass removes the stash and lets no more writing in. What remains is what the source sent.
func (t *Tree) EndPass() error {
	t.life.Lock()
	defer t.life.Unlock()
	if t.closed {
		return errClosed
	}
	return t.endPass()
}

func (t *Tree) endPass() error {
	if !t.inPass {
		return nil
	}
	t.inPass = false
	return t.stash.reset(false)
}

// Close stops what is under way, removes the stash and unlocks the root. It does not sync.
func (t *Tree) Close() error {
	t.closing.Store(true)
	t.life.Lock()
	defer t.life.Unlock()
	if t.closed {
		return nil
	}
	t.closed = true
	err := t.endPass()
	t.free()
	return err
}

// free closes all descriptors.
func (t *Tree) free() {
	t.files.closeAll()
	t.stash.close()
	if t.dirs != nil {
		t.dirs.mounts.close()
		t.dirs.closeAll()
	} else {
		unix.Close(t.fd)
	}
	if t.lock >= 0 {
		unix.Close(t.lock)
	}
}

// isFull reports whether the filesystem has no room left, as opposed to one inode.
func (t *Tree) isFull() bool {
	var fs unix.Statfs_t
	return unix.Fstatfs(t.fd, &fs) == nil && fs.Bavail*uint64(fs.Bsize) < 1<<20
}
