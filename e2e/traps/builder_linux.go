package traps

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// builder makes entries below dir; every failure ends the test. Names are relative to dir, "" is dir itself.
type builder struct {
	t   testing.TB
	dir string
	fs  string
}

// Two points in time that no file made now has. Their nanoseconds survive no rounding.
var (
	old   = unix.Timespec{Sec: 1_000_000_000, Nsec: 123_456_789}
	older = unix.Timespec{Sec: 900_000_000, Nsec: 987_654_321}
)

func (b builder) path(name string) string { return filepath.Join(b.dir, name) }

func (b builder) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatalf("trap %s: %v", filepath.Base(b.dir), err)
	}
}

func (b builder) mkdir(name string, mode uint32) {
	b.t.Helper()
	b.must(unix.Mkdir(b.path(name), 0o700))
	b.must(unix.Chmod(b.path(name), mode))
}

func (b builder) file(name string, data []byte, mode uint32) {
	b.t.Helper()
	b.must(os.WriteFile(b.path(name), data, 0o600))
	b.must(unix.Chmod(b.path(name), mode))
}

func (b builder) text(name string) {
	b.t.Helper()
	b.file(name, []byte("content of "+name+"\n"), 0o644)
}

func (b builder) symlink(to, name string) { b.t.Helper(); b.must(unix.Symlink(to, b.path(name))) }

// link makes name another name of the entry called first, without following it.
func (b builder) link(first, name string) {
	b.t.Helper()
	b.must(unix.Linkat(unix.AT_FDCWD, b.path(first), unix.AT_FDCWD, b.path(name), 0))
}

func (b builder) node(name string, mode uint32, major, minor uint32) {
	b.t.Helper()
	b.must(unix.Mknod(b.path(name), mode, int(unix.Mkdev(major, minor))))
}

func (b builder) chown(name string, uid, gid int) {
	b.t.Helper()
	b.must(os.Lchown(b.path(name), uid, gid))
}

func (b builder) xattr(name, attr string, value []byte) {
	b.t.Helper()
	b.must(unix.Lsetxattr(b.path(name), attr, value, 0))
}

func (b builder) times(name string, atime, mtime unix.Timespec) {
	b.t.Helper()
	b.must(unix.UtimesNanoAt(unix.AT_FDCWD, b.path(name), []unix.Timespec{atime, mtime}, unix.AT_SYMLINK_NOFOLLOW))
}

// flag adds inode flags (FS_*_FL of linux/fs.h) to what is set.
func (b builder) flag(name string, add int) {
	b.t.Helper()
	b.must(AddFlags(b.path(name), add))
}

// Inode flags that a test sets and clears: FS_IMMUTABLE_FL, FS_APPEND_FL, FS_NODUMP_FL, FS_NOATIME_FL.
const (
	Immutable = 0x10
	Append    = 0x20
	nodump    = 0x40
	noAtime   = 0x80
)

// AddFlags sets inode flags of a file or directory.
func AddFlags(path string, add int) error { return changeFlags(path, add, 0) }

// ClearFlags clears inode flags of a file or directory.
func ClearFlags(path string, clear int) error { return changeFlags(path, 0, clear) }

func changeFlags(path string, add, clear int) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	now, err := unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil {
		return &os.PathError{Op: "get flags", Path: path, Err: err}
	}
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, int(now)&^clear|add); err != nil {
		return &os.PathError{Op: "set flags", Path: path, Err: err}
	}
	return nil
}

// Noise returns n bytes that do not compress, the same ones for the same seed.
func Noise(seed uint64, n int) []byte {
	var s [32]byte
	binary.LittleEndian.PutUint64(s[:], seed)
	data := make([]byte, n)
	_, _ = rand.NewChaCha8(s).Read(data)
	return data
}
