package lab

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

const prefix = "ferry-lab-"

// makers say how a filesystem is made on an image. ext4 goes without project ids: a kernel without quotas cannot mount them
// writable. XFS always has them.
var makers = map[string][]string{
	"ext4":  {"mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard"},
	"xfs":   {"mkfs.xfs", "-q", "-f", "-K"},
	"btrfs": {"mkfs.btrfs", "-q", "-f", "-K"},
}

// smallest is the least size in bytes that mkfs takes.
var smallest = map[string]int64{"ext4": 8 << 20, "xfs": 300 << 20, "btrfs": 128 << 20}

var sweepOnce sync.Once

// Filesystem is one that Make made.
type Filesystem struct {
	Dir  string // where it is mounted
	base string
	lock *os.File
}

// ErrMissing says that this machine lacks a tool or a filesystem.
var ErrMissing = errors.New("not available on this machine")

// Make mounts a new filesystem of type fs ("ext4", "xfs", "btrfs" or "tmpfs") with size bytes, or the least that type allows.
// Access times stand still there, or every look at a tree would change it; Remount changes that. Needs root. The caller closes it.
func Make(fs string, size int64) (*Filesystem, error) {
	sweepOnce.Do(func() { _ = Sweep() }) // what cannot be swept now is tried again by the next process
	base, lock, err := newBase()
	if err != nil {
		return nil, err
	}
	f := &Filesystem{Dir: filepath.Join(base, "m"), base: base, lock: lock}
	if err := f.make(fs, size); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (f *Filesystem) make(fs string, size int64) error {
	if err := os.Mkdir(f.Dir, 0o755); err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	if fs == "tmpfs" {
		return run("mount", "-t", "tmpfs", "-o", fmt.Sprintf("noatime,mode=755,size=%d", size), "ferry-lab", f.Dir)
	}
	maker, ok := makers[fs]
	if !ok {
		return fmt.Errorf("lab: no filesystem %q", fs)
	}
	image := filepath.Join(f.base, "image")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	if err := os.Truncate(image, max(size, smallest[fs])); err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	if err := run(maker[0], append(maker[1:], image)...); err != nil {
		return err
	}
	// The loop device is of mount's making, so the kernel detaches it with the filesystem.
	return run("mount", "-t", fs, "-o", "loop,noatime", image, f.Dir)
}

// Close unmounts the filesystem, with all mounted below it, and removes it. A second call does nothing.
func (f *Filesystem) Close() error {
	if f.lock == nil {
		return nil
	}
	defer f.lock.Close()
	f.lock = nil
	return remove(f.base)
}

// Mount gives the test a filesystem as Make does, until it ends, and returns where it is mounted. It skips the test unless
// root, and where a tool or the kernel lacks the filesystem.
func Mount(t testing.TB, fs string, size int64) string {
	t.Helper()
	NeedRoot(t)
	f, err := Make(fs, size)
	if errors.Is(err, ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() && os.Getenv("FERRY_LAB_KEEP") != "" {
			t.Logf("lab: kept %s", f.base)
			return
		}
		if err := f.Close(); err != nil {
			t.Errorf("lab: %v", err)
		}
	})
	return f.Dir
}

// Offline unmounts a filesystem that Mount made on an image, lets edit have the image, and mounts it again.
func Offline(t testing.TB, mnt string, edit func(image string)) {
	t.Helper()
	image := filepath.Join(filepath.Dir(mnt), "image")
	if err := unix.Unmount(mnt, 0); err != nil {
		t.Fatalf("unmount %s: %v", mnt, err)
	}
	edit(image)
	if err := run("mount", "-o", "loop,noatime", image, mnt); err != nil {
		t.Fatal(err)
	}
}

// Remount gives a mounted filesystem another option, "strictatime" for example.
func Remount(t testing.TB, mnt, option string) {
	t.Helper()
	if err := run("mount", "-o", "remount,"+option, mnt); err != nil {
		t.Fatal(err)
	}
}

// NeedRoot skips the test unless root.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it mounts filesystems and sets owners")
	}
}

// Need skips the test when a program is not installed.
func Need(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("needs the program %s", p)
		}
	}
}

// newBase makes a locked directory. It gets its name once it is locked, or another process would sweep it in between.
func newBase() (base string, lock *os.File, err error) {
	made, err := os.MkdirTemp("", "."+prefix)
	if err != nil {
		return "", nil, fmt.Errorf("lab: %w", err)
	}
	base = filepath.Join(filepath.Dir(made), strings.TrimPrefix(filepath.Base(made), "."))
	// A test may look at it as another user.
	if err = os.Chmod(made, 0o755); err == nil {
		lock, err = lockDir(made)
	}
	if err == nil {
		err = os.Rename(made, base)
	}
	if err != nil {
		os.RemoveAll(made)
		return "", nil, fmt.Errorf("lab: %w", err)
	}
	return base, lock, nil
}

// lockDir takes the lock of a lab directory, which fails while its owner lives.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return f, nil
}

// Sweep tears down what killed processes left.
func Sweep() error {
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*"))
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	for _, dir := range dirs {
		lock, err := lockDir(dir)
		if err != nil {
			continue // its owner lives
		}
		err = remove(dir)
		lock.Close()
		if err != nil {
			return fmt.Errorf("sweep: %w", err)
		}
	}
	return nil
}

// remove unmounts everything below dir and removes it.
func remove(dir string) error {
	points, err := mountsBelow(dir)
	if err != nil {
		return err
	}
	for i := len(points) - 1; i >= 0; i-- {
		// A process that a test left behind must not keep the next test from starting: the error tells of it.
		if err := unix.Unmount(points[i], 0); err != nil {
			if err := unix.Unmount(points[i], unix.MNT_DETACH); err != nil {
				return fmt.Errorf("unmount %s: %w", points[i], err)
			}
			defer os.RemoveAll(dir)
			return fmt.Errorf("unmount %s: %w: something still uses it", points[i], err)
		}
	}
	return os.RemoveAll(dir)
}

// mountsBelow returns the mount points below dir in the order they were mounted (see proc_pid_mountinfo(5)).
func mountsBelow(dir string) (points []string, err error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("mounts: %w", err)
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for s.Scan() {
		fields := strings.Fields(s.Text())
		if len(fields) < 5 {
			continue
		}
		point := unescape.Replace(fields[4])
		if strings.HasPrefix(point, dir+"/") {
			points = append(points, point)
		}
	}
	return points, s.Err()
}

var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

func run(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("%s: %w", name, ErrMissing)
	case err != nil && strings.Contains(string(out), "unknown filesystem type"):
		return fmt.Errorf("%s: %w", strings.TrimSpace(string(out)), ErrMissing)
	case err != nil:
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}
