package track

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/e2e/lab"
	"github.com/ferry-migrate/ferry/transfer/extent"
)

// run runs a program to its end and returns what it said.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	lab.Need(t, name)
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(t, err, "%s %v: %s", name, args, out)
	return strings.TrimSpace(string(out))
}

// loop makes a loop device of size bytes on an image in memory.
func loop(t testing.TB, size int64) string {
	t.Helper()
	dev := run(t, "losetup", "--find", "--show", "--direct-io=on", image(t, size))
	t.Cleanup(func() { run(t, "losetup", "-d", dev) })
	return dev
}

// ownLoop makes one that nobody else takes while it is detached: its number is too high to be found free.
func ownLoop(t testing.TB, size int64) string {
	t.Helper()
	number := 1000 + os.Getpid()%1000
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() { control.Close() })
	require.NoError(t, unix.IoctlSetInt(int(control.Fd()), unix.LOOP_CTL_ADD, number))
	t.Cleanup(func() { require.NoError(t, unix.IoctlSetInt(int(control.Fd()), unix.LOOP_CTL_REMOVE, number)) })
	dev := fmt.Sprintf("/dev/loop%d", number)
	run(t, "losetup", "--direct-io=on", dev, image(t, size))
	t.Cleanup(func() { run(t, "losetup", "-d", dev) })
	return dev
}

// image makes a sparse file in memory.
func image(t testing.TB, size int64) string {
	t.Helper()
	lab.NeedRoot(t)
	name := filepath.Join(lab.Mount(t, "tmpfs", size+1<<20), "image")
	require.NoError(t, os.WriteFile(name, nil, 0o600))
	require.NoError(t, os.Truncate(name, size))
	return name
}

// zram makes a device that has no request queue and takes each bio by itself.
func zram(t testing.TB, size int64) string {
	t.Helper()
	lab.NeedRoot(t)
	number, err := os.ReadFile("/sys/class/zram-control/hot_add")
	if err != nil {
		t.Skip("the kernel has no zram: no device without a request queue can be made")
	}
	n := strings.TrimSpace(string(number))
	t.Cleanup(func() { require.NoError(t, os.WriteFile("/sys/class/zram-control/hot_remove", []byte(n), 0)) })
	require.NoError(t, os.WriteFile("/sys/block/zram"+n+"/disksize", fmt.Append(nil, size), 0))
	return "/dev/zram" + n
}

// partition makes one of a part of dev, in bytes, by hand: the kernel of the test machine reads no partition tables.
func partition(t testing.TB, dev string, start, size int64) string {
	t.Helper()
	run(t, "addpart", dev, "1", fmt.Sprint(start>>9), fmt.Sprint(size>>9))
	t.Cleanup(func() { run(t, "delpart", dev, "1") })
	node := dev + "p1"
	if _, err := os.Stat(node); err == nil {
		return node
	}
	var st unix.Stat_t
	var major, minor uint32
	_, err := fmt.Sscanf(attribute("/sys/class/block/"+filepath.Base(node), "dev"), "%d:%d", &major, &minor)
	require.NoError(t, err)
	require.NoError(t, unix.Mknod(node, unix.S_IFBLK|0o600, int(unix.Mkdev(major, minor))))
	t.Cleanup(func() { os.Remove(node) })
	require.NoError(t, unix.Stat(node, &st))
	return node
}

// watch tracks dev for the length of the test.
func watch(t testing.TB, dev string) *Kernel {
	t.Helper()
	k, err := Open(context.Background(), Options{Device: dev})
	if err != nil && strings.Contains(err.Error(), "BTF") {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, k.Close()) })
	return k
}

// lasting says where a tracker keeps what outlives it. Nothing is left when the test ends.
func lasting(t testing.TB, dev string) Options {
	t.Helper()
	o := Options{Device: dev, StateDir: t.TempDir(), BPFFS: filepath.Join(t.TempDir(), "bpf")}
	t.Cleanup(func() {
		require.NoError(t, Remove(o))
		require.False(t, isBPFFS(o.BPFFS), "still mounted")
	})
	return o
}

func resumed(t testing.TB, o Options) *Kernel {
	t.Helper()
	k, err := Open(context.Background(), o)
	require.NoError(t, err)
	return k
}

// take is a Take that has to be right.
func take(t testing.TB, k *Kernel) extent.List {
	t.Helper()
	list, err := k.Take(context.Background())
	require.NoError(t, err)
	return list
}

func acknowledge(t testing.TB, k *Kernel, list extent.List) {
	t.Helper()
	require.NoError(t, k.Acknowledge(context.Background(), list))
}

// chunks returns a list of one extent.
func chunks(first, n int64) extent.List {
	return extent.List{{Start: first * chunkSize, Size: n * chunkSize}}
}

// write writes one chunk of noise past the page cache.
func write(t testing.TB, dev string, chunk int64) {
	t.Helper()
	f, err := os.OpenFile(dev, os.O_WRONLY|unix.O_DIRECT, 0)
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteAt(noise(t), chunk*chunkSize)
	require.NoError(t, err)
}

// noise returns a chunk of it, aligned for direct writes.
func noise(t testing.TB) []byte {
	t.Helper()
	b, err := unix.Mmap(-1, 0, chunkSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Munmap(b) })
	rand.Read(b)
	return b
}

// content reads all of a device past its page cache.
func content(t testing.TB, dev string) []byte {
	t.Helper()
	d := direct(t, dev)
	size, err := d.Seek(0, 2)
	require.NoError(t, err)
	b, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Munmap(b) })
	_, err = d.ReadAt(b, 0)
	require.NoError(t, err)
	return b
}

func direct(t testing.TB, dev string) *os.File {
	t.Helper()
	f, err := os.OpenFile(dev, os.O_RDONLY|unix.O_DIRECT, 0)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// differing returns the chunks in which a and b differ.
func differing(a, b []byte) extent.List {
	set := extent.Set{}
	for at := 0; at < len(a); at += chunkSize {
		end := min(at+chunkSize, len(a))
		if !bytes.Equal(a[at:end], b[at:end]) {
			set.Add(int64(at), int64(end-at))
		}
	}
	return set.List()
}

// requireGone waits until the kernel has no map of that id; it frees them some time after the last reference is gone.
func requireGone(t testing.TB, id ebpf.MapID) {
	t.Helper()
	require.Eventually(t, func() bool {
		m, err := ebpf.NewMapFromID(id)
		if err == nil {
			m.Close()
		}
		return errors.Is(err, os.ErrNotExist)
	}, 20*time.Second, 20*time.Millisecond)
}
