package track

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/e2e/lab"
	"github.com/ferry-migrate/ferry/transfer/extent"
)

// sparse makes fio write 4 KiB of each of n chunks.
func sparse(t testing.TB, dev string, n string) {
	t.Helper()
	run(t, "fio", "--name=sparse", "--filename="+dev, "--direct=1", "--rw=write:60k", "--bs=4k", "--number_ios="+n, "--size=100%",
		"--ioengine=libaio", "--iodepth=16")
}

// TestEachOfManyWrites writes 4 KiB to each of 65,536 chunks: none is missing.
func TestEachOfManyWrites(t *testing.T) {
	dev := loop(t, 65536*chunkSize)
	k := watch(t, dev)
	require.Empty(t, take(t, k))
	sparse(t, dev, "65536")
	require.Equal(t, chunks(0, 65536), take(t, k))
	acknowledge(t, k, chunks(0, 65536))
	require.Empty(t, take(t, k))
}

// TestKinds writes in every way there is, to a whole disk, a partition and a device without a request queue: the tracker says exactly
// what is written, or at least all of what differs.
func TestKinds(t *testing.T) {
	const size = 128 << 20
	kinds := map[string]func(t *testing.T) (tracked, written string, shift int64){
		"disk": func(t *testing.T) (string, string, int64) { dev := loop(t, size); return dev, dev, 0 },
		"partition": func(t *testing.T) (string, string, int64) {
			part := partition(t, loop(t, size+3*chunkSize), 2*chunkSize, size)
			return part, part, 0
		},
		"disk by partition": func(t *testing.T) (string, string, int64) {
			dev := loop(t, size+3*chunkSize)
			return dev, partition(t, dev, 2*chunkSize, size), 2
		},
		"zram": func(t *testing.T) (string, string, int64) { dev := zram(t, size); return dev, dev, 0 },
	}
	for kind, made := range kinds {
		t.Run(kind, func(t *testing.T) {
			tracked, dev, shift := made(t)
			k := watch(t, tracked)
			exactly := func(want extent.List) {
				t.Helper()
				got := take(t, k)
				require.Equal(t, want, got)
				acknowledge(t, k, got)
			}
			write(t, dev, 7)
			exactly(chunks(shift+7, 1))

			f, err := os.OpenFile(dev, os.O_RDWR, 0)
			require.NoError(t, err)
			defer f.Close()
			_, err = f.WriteAt(noise(t)[:12<<10], 9*chunkSize-6<<10) // through the page cache, over a boundary
			require.NoError(t, err)
			require.NoError(t, f.Sync())
			exactly(chunks(shift+8, 2))

			require.NoError(t, f.Sync()) // a flush and nothing else
			_, err = f.ReadAt(noise(t), 100*chunkSize)
			require.NoError(t, err)
			exactly(nil)

			require.NoError(t, unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 30*chunkSize, 5*chunkSize))
			exactly(chunks(shift+30, 5)) // write-zeroes; after the next a loop device on tmpfs has none
			require.NoError(t, unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_ZERO_RANGE|unix.FALLOC_FL_KEEP_SIZE, 20*chunkSize, 40*chunkSize))
			exactly(chunks(shift+20, 40))
			run(t, "blkdiscard", "-f", "-o", "1310720", "-l", "65536", dev)
			exactly(chunks(shift+20, 1))
			run(t, "blkdiscard", "-f", dev) // more than is marked chunk by chunk
			got := take(t, k)
			require.True(t, got.Contains(extent.Extent{Start: shift * chunkSize, Size: size}), "%v", got)
			acknowledge(t, k, got)

			before := content(t, tracked)
			run(t, "mkfs.ext4", "-q", "-F", "-E", "nodiscard", dev)
			changed := differing(before, content(t, tracked))
			got = take(t, k)
			require.Empty(t, changed.Subtract(got))
			require.Less(t, got.Bytes(), int64(size/4), "much more than what mkfs wrote")
		})
	}
}

// TestOtherDevices writes to a disk beside the tracked one, and to the disk around the tracked partition.
func TestOtherDevices(t *testing.T) {
	dev, other := loop(t, 64<<20), loop(t, 64<<20)
	k := watch(t, partition(t, dev, 10*chunkSize, 10*chunkSize))
	write(t, other, 12)
	write(t, dev, 9)
	write(t, dev, 20)
	require.Empty(t, take(t, k))
	write(t, dev, 10)
	require.Equal(t, chunks(0, 1), take(t, k))
}

// TestPeek shows all and changes nothing.
func TestPeek(t *testing.T) {
	dev := loop(t, 64<<20)
	o := lasting(t, dev)
	k := resumed(t, o)
	defer k.Close()
	write(t, dev, 1)
	acknowledge(t, k, nil)
	before, err := os.ReadFile(filepath.Join(o.StateDir, pendingFile))
	require.NoError(t, err)
	for range 2 {
		list, err := k.Peek(context.Background())
		require.NoError(t, err)
		require.Equal(t, chunks(1, 1), list)
	}
	after, err := os.ReadFile(filepath.Join(o.StateDir, pendingFile))
	require.NoError(t, err)
	require.Equal(t, before, after)
	require.Equal(t, chunks(1, 1), take(t, k))
	status, err := k.Status(context.Background())
	require.NoError(t, err)
	require.True(t, status.Outlives, "%v", status.Bound)
	require.EqualValues(t, chunkSize, status.Marked)
}

func TestUnavailable(t *testing.T) {
	lab.NeedRoot(t)
	_, err := Open(context.Background(), Options{Device: "/dev/null"})
	require.ErrorIs(t, err, ErrUnavailable)
	_, err = Open(context.Background(), Options{Device: "/dev/missing"})
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestMarkedWhileCleared sets a mark beside one that is just being cleared: both stay.
func TestMarkedWhileCleared(t *testing.T) {
	dev := loop(t, 64<<20)
	k := watch(t, dev)
	write(t, dev, 3)
	require.NoError(t, k.programs.clear(func(extent.Extent) bool {
		k.programs.mark(flight{4 << sectorBits, chunkSize})
		return true
	}))
	require.Equal(t, chunks(3, 2), take(t, k))
}
