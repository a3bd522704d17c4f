package device

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/internal/fault"
)

// TestWritesEverywhere writes and zeroes at random and compares with a model: what the target reads back, and what others read there.
func TestWritesEverywhere(t *testing.T) {
	places(t, odd, func(t *testing.T, path string, model []byte) {
		to := target(t, path, TargetOptions{Size: int64(len(model)), Overwrite: true})
		r := rand.New(rand.NewPCG(3, 4))
		for i := range 120 {
			off := r.IntN(len(model))
			n := min(1+r.IntN(1<<r.IntN(21)), len(model)-off)
			switch i % 3 {
			case 0, 1:
				p := noise(n, byte(i))
				copy(model[off:], p)
				_, err := to.WriteAt(p, int64(off))
				require.NoError(t, err)
			default:
				clear(model[off : off+n])
				require.NoError(t, to.Zero(context.Background(), int64(off), int64(n)))
			}
			if i%40 == 0 {
				got := make([]byte, len(model))
				_, err := to.ReadAt(got, 0)
				require.NoError(t, err)
				same(t, model, got, "read back")
			}
		}
		require.NoError(t, to.Sync())
		require.NoError(t, to.Close())
		same(t, model, content(t, path), "the target")
	})
}

func TestWritesFromAllSidesLeaveLittleCached(t *testing.T) {
	dir, _ := filesystem(t, "ext4", 300*mib)
	path := filepath.Join(dir, "image")
	to := target(t, path, TargetOptions{Size: 40 * mib, Create: true})
	require.True(t, to.fresh)
	data := noise(40*mib, 9)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for at := w * 256 * kib; at < len(data); at += 4 * 256 * kib {
				if _, err := to.WriteAt(data[at:at+256*kib], int64(at)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	require.LessOrEqual(t, cached(t, path), 2*windowSize+4*mib)
	require.NoError(t, to.Sync())
	same(t, data, content(t, path), "the image")
}

// TestZeroesAreCheap looks at what an image occupies.
func TestZeroesAreCheap(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs", "btrfs", "tmpfs"} {
		t.Run(kind, func(t *testing.T) {
			dir, _ := filesystem(t, kind, 300*mib)
			path := filepath.Join(dir, "image")
			to := target(t, path, TargetOptions{Size: 1 << 40, Create: true})
			occupied := func() int64 {
				require.NoError(t, to.Sync())
				var st unix.Stat_t
				require.NoError(t, unix.Stat(path, &st))
				return st.Blocks * 512
			}
			require.Less(t, occupied(), int64(mib))
			_, err := to.WriteAt(noise(16*mib, 10), 1<<30)
			require.NoError(t, err)
			require.GreaterOrEqual(t, occupied(), int64(16*mib))
			require.NoError(t, to.Zero(context.Background(), 0, 1<<40))
			require.Less(t, occupied(), int64(mib))
			require.EqualValues(t, 1<<40, to.Size())
		})
	}
}

// TestZeroOut is the way of devices whose kernel or driver punches no holes.
func TestZeroOut(t *testing.T) {
	data := noise(mib, 15)
	dev := loop(t, imageOf(t, room(t), data))
	to := target(t, dev, TargetOptions{Overwrite: true})
	require.NoError(t, zeroOut(int(to.file.Fd()), 4096, 8192))
	require.True(t, unsupported(zeroOut(int(to.file.Fd()), 1, 8192)), "written instead")
	clear(data[4096:12288])
	require.NoError(t, to.Sync())
	same(t, data, content(t, dev), "the device")
}

func TestZeroStopsWithItsContext(t *testing.T) {
	to := target(t, filepath.Join(t.TempDir(), "image"), TargetOptions{Size: 1 << 40, Create: true})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, to.Zero(ctx, 0, 1<<40), context.Canceled)
	require.NoError(t, to.Sync())
}

func TestNothingOutsideTheTarget(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	to := target(t, path, TargetOptions{Size: mib, Create: true})
	for _, c := range [][2]int64{{-1, 1}, {mib - 1, 2}, {mib, 1}, {1 << 62, 1 << 62}, {0, -1}} {
		require.Error(t, to.inside(c[0], c[1]))
		require.Error(t, to.Zero(context.Background(), c[0], c[1]))
	}
	_, err := to.WriteAt([]byte("xx"), mib-1)
	require.Error(t, err)
	require.Len(t, content(t, path), mib)
}

// TestFull fills the filesystem of an image, and that of the image below a loop device, where the kernel tells of it late.
func TestFull(t *testing.T) {
	dir, _ := filesystem(t, "tmpfs", 4*mib)
	to := target(t, filepath.Join(dir, "image"), TargetOptions{Size: 64 * mib, Create: true})
	kept := noise(mib, 11)
	_, err := to.WriteAt(kept, 0)
	require.NoError(t, err)
	_, err = to.WriteAt(noise(8*mib, 12), 2*mib)
	require.Equal(t, CodeTargetFull, fault.CodeOf(err), "%v", err)
	require.Contains(t, err.Error(), "of 4194304 bytes are free")
	require.NoError(t, to.Sync(), "nothing is lost that was taken")
	same(t, kept, content(t, filepath.Join(dir, "image"))[:mib], "what was there")

	small, _ := filesystem(t, "tmpfs", 4*mib)
	thin := target(t, loop(t, blank(t, small, 64*mib)), TargetOptions{})
	err = nil
	piece := noise(mib, 13)
	for at := int64(0); at < 64*mib && err == nil; at += mib {
		_, err = thin.WriteAt(piece, at)
	}
	for range 2 {
		require.Equal(t, CodeTargetFailing, fault.CodeOf(thin.Sync()), "not all of it is on the disk, and stays so")
	}
}
