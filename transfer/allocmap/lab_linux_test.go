package allocmap

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/transfer/extent"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

func need(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("needs the program %s", p)
		}
	}
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it mounts filesystems")
	}
}

func run(t testing.TB, args ...string) string {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "LVM_SUPPRESS_FD_WARNINGS=1", "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%v\n%s", args, out)
	return string(out)
}

// room returns a directory for images until the test ends: in memory where there is enough of it, since a filesystem on a loop
// device syncs all of its image again and again.
func room(t testing.TB) string {
	t.Helper()
	var st unix.Statfs_t
	if unix.Statfs("/dev/shm", &st) != nil || int64(st.Bavail)*st.Bsize < 4<<30 {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("/dev/shm", "ferry-allocmap-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// garbage makes an image full of bytes that mean nothing, as far as a filesystem with little in it reaches: what a copy leaves out
// is then seen in it.
func garbage(t testing.TB, size int64) string {
	t.Helper()
	f, err := os.CreateTemp(room(t), "image")
	require.NoError(t, err)
	defer f.Close()
	r := rand.NewChaCha8([32]byte{7})
	_, err = io.CopyN(f, r, min(size, 96*mib))
	require.NoError(t, err)
	require.NoError(t, f.Truncate(size))
	return f.Name()
}

// blank makes a sparse image.
func blank(t testing.TB, size int64) string {
	t.Helper()
	f, err := os.CreateTemp(room(t), "image")
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, f.Truncate(size))
	return f.Name()
}

func device(t testing.TB, image string) Device {
	t.Helper()
	f, err := os.Open(image)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	size, err := f.Seek(0, io.SeekEnd)
	require.NoError(t, err)
	return Device{R: f, Size: size}
}

func scanned(t testing.TB, images ...string) []Map {
	t.Helper()
	var devices []Device
	for _, image := range images {
		devices = append(devices, device(t, image))
	}
	maps, err := Scan(context.Background(), devices...)
	require.NoError(t, err)
	for i, m := range maps {
		for j, e := range m.Extents {
			require.True(t, e.Size > 0 && e.Start >= 0 && e.End() <= devices[i].Size && (j == 0 || m.Extents[j-1].End() < e.Start), "%v", e)
		}
	}
	return maps
}

// scannedWell maps images of which everything must be understood.
func scannedWell(t testing.TB, images ...string) []Map {
	t.Helper()
	maps := scanned(t, images...)
	for _, m := range maps {
		for _, v := range m.Volumes {
			require.Empty(t, v.Whole, v.Path)
			for _, note := range v.Notes {
				require.NotContains(t, note, "whole", v.Path)
			}
		}
	}
	return maps
}

// copied makes a sparse image that has only what the map says.
func copied(t testing.TB, image string, m Map) string {
	t.Helper()
	d := device(t, image)
	to := blank(t, d.Size)
	f, err := os.OpenFile(to, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	for _, e := range m.Extents {
		_, err := io.Copy(io.NewOffsetWriter(f, e.Start), io.NewSectionReader(d.R, e.Start, e.Size))
		require.NoError(t, err)
	}
	return to
}

// mounted calls f with a directory where an image, or a device, is mounted.
func mounted(t testing.TB, image string, options string, f func(dir string)) {
	t.Helper()
	dir := t.TempDir()
	run(t, "mount", "-o", options, image, dir)
	defer unmount(t, dir)
	f(dir)
}

// unmount waits for processes of others that look into every filesystem, a collector for one: nothing tells when they have gone.
func unmount(t testing.TB, dir string) {
	t.Helper()
	var err error
	for range 200 {
		if err = unix.Unmount(dir, 0); !errors.Is(err, unix.EBUSY) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	require.NoError(t, err)
}

// age fills a directory as use does: files that grow in turn, so that they are in pieces; some removed, some rewritten.
func age(t testing.TB, dir string, files int) {
	t.Helper()
	r := rand.New(rand.NewPCG(1, uint64(files)))
	data := make([]byte, 256*kib)
	rand.NewChaCha8([32]byte{byte(files)}).Read(data)
	name := func(i int) string { return filepath.Join(dir, fmt.Sprintf("d%d", i%7), fmt.Sprintf("file %d", i)) }
	for i := range 7 {
		require.NoError(t, os.MkdirAll(filepath.Dir(name(i)), 0o755))
	}
	write := func(i, n int) {
		f, err := os.OpenFile(name(i), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		require.NoError(t, err)
		at := r.IntN(len(data) - n)
		_, err = f.Write(data[at : at+n])
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	for round := range 4 {
		for i := range files {
			if r.IntN(3) > 0 {
				write(i, r.IntN(8*kib<<(i%5)))
			}
		}
		for i := range files {
			if i%3 == round && r.IntN(2) == 0 {
				os.Remove(name(i))
			}
		}
		if round == 1 { // space is given out when it is written back
			run(t, "sync", "-f", dir)
		}
	}
	require.NoError(t, os.Symlink(strings.Repeat("x", 200), filepath.Join(dir, "link"+strconv.Itoa(files))))
}

// hashes returns what every file below a directory holds.
func hashes(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		h := sha256.New()
		_, err = io.Copy(h, f)
		out[strings.TrimPrefix(path, dir)] = fmt.Sprintf("%x", h.Sum(nil))
		return err
	}))
	return out
}

// partclone returns what partclone has in use, by its ranges.
func partclone(t testing.TB, kind, image string) extent.List {
	t.Helper()
	out := filepath.Join(t.TempDir(), "domain")
	run(t, "partclone."+kind, "-D", "-F", "-s", image, "-o", out, "-L", out+".log")
	b, err := os.ReadFile(out)
	require.NoError(t, err)
	set := extent.NewSet(1 << 20)
	for _, line := range strings.Split(string(b), "\n") {
		f := strings.Fields(line)
		if len(f) != 3 || f[2] != "+" {
			continue
		}
		start, err := strconv.ParseInt(f[0], 0, 64)
		require.NoError(t, err)
		size, err := strconv.ParseInt(f[1], 0, 64)
		require.NoError(t, err)
		set.Add(start, size)
	}
	require.NotEmpty(t, set.List())
	return set.List()
}

// near fails unless got is at least want, and no more than 2 % and slack above.
func near(t testing.TB, want, got, slack int64) {
	t.Helper()
	require.GreaterOrEqual(t, got, want)
	require.LessOrEqual(t, got, want+want/50+slack, "%d bytes in use, want about %d", got, want)
}
