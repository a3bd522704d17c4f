package device

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/internal/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	kib = 1 << 10
	mib = 1 << 20
)

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it makes loop devices and mounts")
	}
}

func need(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("needs the program %s", p)
		}
	}
}

func tool(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	require.NoError(t, err, "%v\n%s", args, out)
	return strings.TrimSpace(string(out))
}

// noise is n bytes that are the same for the same seed.
func noise(n int, seed byte) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// room returns a directory for images until the test ends: in memory where there is enough of it, since filesystems on loop devices sync
// all the time.
func room(t testing.TB) string {
	t.Helper()
	var st unix.Statfs_t
	if unix.Statfs("/dev/shm", &st) != nil || int64(st.Bavail)*st.Bsize < 4<<30 {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("/dev/shm", "ferry-device-")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// imageOf writes an image file below dir.
func imageOf(t testing.TB, dir string, content []byte) string {
	t.Helper()
	path := filepath.Join(dir, "image"+strconv.Itoa(rand.IntN(1<<30)))
	require.NoError(t, os.WriteFile(path, content, 0o600))
	tool(t, "sync", path) // a loop device reads it from the disk
	return path
}

func blank(t testing.TB, dir string, size int64) string {
	t.Helper()
	path := imageOf(t, dir, nil)
	require.NoError(t, os.Truncate(path, size))
	return path
}

// loop attaches an image until the test ends.
func loop(t testing.TB, image string, options ...string) string {
	t.Helper()
	needRoot(t)
	dev := tool(t, append(append([]string{"losetup", "--find", "--show"}, options...), image)...)
	t.Cleanup(func() { tool(t, "losetup", "-d", dev) })
	stale, err := filepath.Glob(filepath.Join("/sys/block", filepath.Base(dev), filepath.Base(dev)+"p*")) // of who had the device before, and was killed
	require.NoError(t, err)
	for _, part := range stale {
		tool(t, "delpart", dev, part[strings.LastIndexByte(part, 'p')+1:])
	}
	return dev
}

// mounted mounts a device or an image until the test ends.
func mounted(t testing.TB, what string, options string) string {
	t.Helper()
	needRoot(t)
	dir := t.TempDir()
	tool(t, "mount", "-o", options, what, dir)
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, 0)) })
	return dir
}

// filesystem makes a filesystem on an image and mounts it.
func filesystem(t testing.TB, kind string, size int64) (dir, image string) {
	t.Helper()
	needRoot(t)
	if kind == "tmpfs" {
		dir := t.TempDir()
		tool(t, "mount", "-t", "tmpfs", "-o", "size="+strconv.FormatInt(size, 10), "device-test", dir)
		t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, 0)) })
		return dir, ""
	}
	maker := map[string][]string{
		"ext4":  {"mkfs.ext4", "-q", "-F", "-E", "nodiscard"},
		"xfs":   {"mkfs.xfs", "-q", "-f", "-K"},
		"btrfs": {"mkfs.btrfs", "-q", "-f", "-K"},
	}[kind]
	need(t, maker[0])
	image = blank(t, room(t), size)
	tool(t, append(maker, image)...)
	return mounted(t, image, "loop,noatime"), image
}

func source(t testing.TB, path string, o SourceOptions) *Source {
	t.Helper()
	s, err := OpenSource(path, o)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

func target(t testing.TB, path string, o TargetOptions) *Target {
	t.Helper()
	to, err := OpenTarget(path, o)
	require.NoError(t, err)
	t.Cleanup(func() { to.Close() })
	return to
}

// refused checks that a target is refused with a code and a remedy, and what it says.
func refused(t testing.TB, path string, o TargetOptions, code, says string) {
	t.Helper()
	to, err := OpenTarget(path, o)
	if err == nil {
		to.Close()
	}
	require.Equal(t, code, fault.CodeOf(err), "%v", err)
	require.NotEmpty(t, fault.RemedyOf(err))
	require.Contains(t, err.Error(), says)
}

// content is what a device or an image holds, read by other means.
func content(t testing.TB, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	b, err := io.ReadAll(f)
	require.NoError(t, err)
	return b
}

func same(t testing.TB, want, got []byte, what string) {
	t.Helper()
	require.True(t, bytes.Equal(want, got), "%s: differs", what) // not Equal: it would print them
}

// cached is how much of a file the page cache holds, bytes.
func cached(t testing.TB, path string) int {
	t.Helper()
	need(t, "fincore")
	n, err := strconv.Atoi(tool(t, "fincore", "--bytes", "--noheadings", "--output", "RES", path))
	require.NoError(t, err)
	return n
}
