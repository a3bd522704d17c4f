package device

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/internal/fault"
)

func TestTargetRefusals(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	require.NoError(t, unix.Mkfifo(fifo, 0o600))
	refused(t, dir, TargetOptions{}, CodeTargetKind, "")
	refused(t, fifo, TargetOptions{}, CodeTargetKind, "")
	refused(t, "/dev/null", TargetOptions{}, CodeTargetKind, "")
	refused(t, filepath.Join(dir, "absent"), TargetOptions{}, CodeTargetMissing, "absent")
	refused(t, filepath.Join(dir, "no/where"), TargetOptions{Create: true}, CodeTargetMissing, "")

	image := blank(t, dir, 8*mib)
	dev := loop(t, image)
	refused(t, dev, TargetOptions{Size: 9 * mib}, CodeTargetSmall, "8388608")
	refused(t, image, TargetOptions{}, CodeTargetInUse, dev)
	readOnly := loop(t, blank(t, dir, mib), "--read-only")
	refused(t, readOnly, TargetOptions{}, CodeTargetReadOnly, readOnly)

	mnt, _ := filesystem(t, "tmpfs", mib)
	require.NoError(t, os.WriteFile(filepath.Join(mnt, "image"), nil, 0o600))
	tool(t, "mount", "-o", "remount,ro", mnt)
	refused(t, filepath.Join(mnt, "image"), TargetOptions{}, CodeTargetReadOnly, "")
	refused(t, filepath.Join(mnt, "new"), TargetOptions{Create: true}, CodeTargetReadOnly, "")
}

// TestRefusesData puts one byte where tables, volume managers and filesystems leave theirs.
func TestRefusesData(t *testing.T) {
	for _, at := range []int64{0, 510, 1024, 64*kib + 64, mib - 1, 15 * mib, 16*mib - 1} {
		image := blank(t, t.TempDir(), 16*mib)
		f, err := os.OpenFile(image, os.O_RDWR, 0)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte{1}, at)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		refused(t, image, TargetOptions{}, CodeTargetData, strconv.FormatInt(at, 10))
		require.NoError(t, target(t, image, TargetOptions{Overwrite: true}).Close())
	}
	require.NoError(t, target(t, blank(t, t.TempDir(), 100), TargetOptions{}).Close(), "smaller than its ends")
}

func TestRefusesWhatIsMounted(t *testing.T) {
	need(t, "mkfs.ext4", "addpart", "delpart", "mkswap", "swapon")
	image := blank(t, t.TempDir(), 64*mib)
	dev := loop(t, image)
	parts := partitions(t, dev, 16*mib, 32*mib)
	over := TargetOptions{Overwrite: true}
	tool(t, "mkfs.ext4", "-q", parts[0])
	mnt := mounted(t, parts[0], "defaults")
	for _, path := range []string{parts[0], dev, image} {
		refused(t, path, over, CodeTargetMounted, mnt)
	}
	require.NoError(t, target(t, parts[1], over).Close(), "the partition beside it is free")

	tool(t, "mkswap", parts[1])
	tool(t, "swapon", parts[1])
	defer tool(t, "swapoff", parts[1])
	refused(t, parts[1], over, CodeTargetInUse, "swap")
}

// partitions makes partitions of a size each, behind a first MiB; the kernel here reads no tables.
func partitions(t *testing.T, dev string, sizes ...int64) (out []string) {
	t.Helper()
	start := int64(mib)
	for i, size := range sizes {
		n := strconv.Itoa(i + 1)
		tool(t, "addpart", dev, n, strconv.FormatInt(start/512, 10), strconv.FormatInt(size/512, 10))
		t.Cleanup(func() { tool(t, "delpart", dev, n) })
		start += size
		out = append(out, dev+"p"+n)
	}
	return out
}

// TestRefusesItsSource names the source in every way there is.
func TestRefusesItsSource(t *testing.T) {
	need(t, "addpart", "delpart")
	dir := t.TempDir()
	image := blank(t, dir, 64*mib)
	link, hard := filepath.Join(dir, "link"), filepath.Join(dir, "hard")
	require.NoError(t, os.Symlink(image, link))
	require.NoError(t, os.Link(image, hard))
	needRoot(t)
	bind := t.TempDir()
	tool(t, "mount", "--bind", dir, bind)
	t.Cleanup(func() { require.NoError(t, unix.Unmount(bind, 0)) })
	dev := loop(t, image)
	parts := partitions(t, dev, 16*mib, 16*mib)
	nested := loop(t, parts[0])
	byLink := filepath.Join(dir, "by-id")
	require.NoError(t, os.Symlink(dev, byLink))
	other := loop(t, blank(t, dir, 64*mib))

	open := func(path string) Identity { return source(t, path, SourceOptions{Tracked: true}).Identity() }
	all := []string{image, link, hard, filepath.Join(bind, filepath.Base(image)), dev, byLink}
	for _, a := range all {
		for _, b := range append(all, parts[0], nested) {
			require.True(t, open(a).Overlaps(open(b)), "%s and %s", a, b)
			require.True(t, open(b).Overlaps(open(a)), "%s and %s", b, a)
			refused(t, b, TargetOptions{Overwrite: true, Sources: []Identity{open(a)}}, CodeTargetIsSource, b)
		}
		require.False(t, open(a).Overlaps(open(other)))
	}
	require.True(t, open(nested).Overlaps(open(parts[0])))
	require.False(t, open(parts[0]).Overlaps(open(parts[1])), "side by side")
	require.False(t, open(nested).Overlaps(open(parts[1])))
	require.Equal(t, open(image).Key, open(hard).Key)
	require.NotEqual(t, open(parts[0]).Key, open(parts[1]).Key)

	mnt := mounted(t, fsOn(t, other), "defaults")
	inside := blank(t, mnt, mib)
	require.True(t, open(other).Overlaps(open(inside)), "an image on the disk")
}

func fsOn(t *testing.T, dev string) string {
	tool(t, "mkfs.ext4", "-q", dev)
	return dev
}

// TestClaims holds a target and tries to take it in other ways.
func TestClaims(t *testing.T) {
	need(t, "mkfs.ext4", "addpart", "delpart")
	dev := loop(t, blank(t, t.TempDir(), 32*mib))
	fsOn(t, dev)
	over := TargetOptions{Overwrite: true}
	to := target(t, dev, over)
	refused(t, dev, over, CodeTargetInUse, dev)
	require.Equal(t, unix.EBUSY, unix.Mount(dev, t.TempDir(), "ext4", 0, ""))
	part := partitions(t, dev, mib)[0]
	refused(t, part, over, CodeTargetInUse, part)
	require.NoError(t, to.Close())
	require.NoError(t, target(t, part, over).Close())

	path := filepath.Join(t.TempDir(), "image")
	image := target(t, path, TargetOptions{Size: mib, Create: true})
	refused(t, path, over, CodeTargetInUse, "process "+strconv.Itoa(os.Getpid()))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	for _, at := range qemuWrites { // as a QEMU does that is started on it
		require.ErrorIs(t, unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_RDLCK, Start: at, Len: 1}), unix.EAGAIN)
	}
	require.NoError(t, image.Close())
}

func TestFailedClaimLeavesNothing(t *testing.T) {
	dir, _ := filesystem(t, "ext4", 16*mib)
	path := filepath.Join(dir, "image")
	refused(t, path, TargetOptions{Create: true, Size: 1 << 50}, CodeTargetFull, "too large")
	require.NoFileExists(t, path)
}

// TestSourceWritten has the image open for writing in each way that writers have.
func TestSourceWritten(t *testing.T) {
	image := blank(t, t.TempDir(), mib)
	check := func(says string) {
		t.Helper()
		_, err := OpenSource(image, SourceOptions{})
		require.Equal(t, CodeSourceWritten, fault.CodeOf(err), "%v", err)
		require.Contains(t, err.Error(), says)
		require.NoError(t, source(t, image, SourceOptions{Tracked: true}).Close())
	}
	require.NoError(t, source(t, image, SourceOptions{}).Close())
	reader, err := os.Open(image)
	require.NoError(t, err)
	defer reader.Close()
	require.NoError(t, source(t, image, SourceOptions{}).Close(), "others may read")
	t.Run("process", func(t *testing.T) {
		f, err := os.OpenFile(image, os.O_WRONLY, 0)
		require.NoError(t, err)
		defer f.Close()
		check("process " + strconv.Itoa(os.Getpid()))
	})
	t.Run("mapping", func(t *testing.T) {
		f, err := os.OpenFile(image, os.O_RDWR, 0)
		require.NoError(t, err)
		m, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		check("another program")
		require.NoError(t, unix.Munmap(m))
	})
	t.Run("loop", func(t *testing.T) { check(loop(t, image)) })
	t.Run("read-only loop", func(t *testing.T) {
		loop(t, image, "--read-only")
		require.NoError(t, source(t, image, SourceOptions{}).Close())
	})
	require.NoError(t, source(t, image, SourceOptions{}).Close())
}

// TestQEMU has a real one keep an image from us, and us from it.
func TestQEMU(t *testing.T) {
	const qemu = "qemu-system-x86_64"
	var said string
	need(t, qemu)
	image := blank(t, t.TempDir(), mib)
	args := []string{"-nodefaults", "-machine", "pc", "-accel", "tcg", "-m", "16", "-S", "-display", "none", "-qmp", "stdio", "-drive", "if=virtio,format=raw,file=" + image}
	cmd := exec.Command(qemu, args...)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	defer cmd.Process.Kill()
	_, err = in.Write([]byte(`{"execute":"qmp_capabilities"}`))
	require.NoError(t, err)
	for r := bufio.NewReader(out); !strings.Contains(said, "return"); { // its answer: the image is open
		said, err = r.ReadString('\n')
		require.NoError(t, err)
	}
	_, err = OpenSource(image, SourceOptions{})
	refused(t, image, TargetOptions{}, CodeTargetInUse, qemu[:15]) // as long as names of processes are
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait() // killed
	in.Close()
	require.Equal(t, CodeSourceWritten, fault.CodeOf(err), "%v", err)

	target(t, image, TargetOptions{})
	refusal, err := exec.Command(qemu, args...).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(refusal), "lock")
}
