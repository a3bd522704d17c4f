package device

import (
	"context"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/extent"
)

// odd is the size of sources of no whole number of anything.
const odd = 5*mib + 1000

// places gives every test device and image: a filesystem each, and loop devices of both sector sizes. size must be whole sectors for those.
func places(t *testing.T, size int, f func(t *testing.T, path string, content []byte)) {
	data := noise(size, 1)
	for _, kind := range []string{"ext4", "xfs", "btrfs", "tmpfs"} {
		t.Run(kind, func(t *testing.T) {
			dir, _ := filesystem(t, kind, max(int64(4*size), 300*mib))
			f(t, imageOf(t, dir, data), data)
		})
	}
	for _, sector := range []int{512, 4096} {
		t.Run("loop"+strconv.Itoa(sector), func(t *testing.T) {
			whole := data[:size/sector*sector]
			f(t, loop(t, imageOf(t, room(t), whole), "--sector-size", strconv.Itoa(sector)), whole)
		})
	}
}

func TestReadsEverywhere(t *testing.T) {
	places(t, odd, func(t *testing.T, path string, data []byte) {
		s := source(t, path, SourceOptions{})
		size := int64(len(data))
		require.Equal(t, size, s.Size())
		require.Empty(t, s.Cached())
		r := rand.New(rand.NewPCG(1, 2))
		for range 80 {
			off := r.Int64N(size)
			p := make([]byte, 1+r.IntN(1<<r.IntN(22)))
			n, err := s.ReadAt(p, off)
			if want := min(int64(len(p)), size-off); want < int64(len(p)) {
				require.ErrorIs(t, err, io.EOF)
				p = p[:want]
			} else {
				require.NoError(t, err)
			}
			require.Equal(t, len(p), n)
			same(t, data[off:off+int64(n)], p, "ReadAt")
		}
		_, err := s.ReadAt(make([]byte, 1), size)
		require.ErrorIs(t, err, io.EOF)

		list := extent.List{{Start: 0, Size: 1}, {Start: 511, Size: 2}, {Start: 4096, Size: 3 * mib}, {Start: 4*mib - 3, Size: size - 4*mib + 3}}
		got, bad, err := copied(s, list)
		require.NoError(t, err)
		require.Empty(t, bad)
		for _, e := range list {
			same(t, data[e.Start:e.End()], got[e.Start:e.End()], "Fill")
		}
	})
}

// TestLeavesThePageCache reads an image that is not cached, both ways that a filesystem may have, and finds nothing cached afterwards.
func TestLeavesThePageCache(t *testing.T) {
	dir, _ := filesystem(t, "ext4", 64*mib)
	path := imageOf(t, dir, noise(16*mib, 2))
	for name, open := range map[string]func(*Source){"direct": func(*Source) {}, "dropping": func(s *Source) {
		_, err := unix.FcntlInt(s.dev.File().Fd(), unix.F_SETFL, 0)
		require.NoError(t, err)
		s.r, s.align = dropping{s.dev.File()}, 1
	}} {
		t.Run(name, func(t *testing.T) {
			f, err := os.Open(path)
			require.NoError(t, err)
			defer f.Close()
			for range 10 { // a kernel that is short of memory drops some of its own accord
				_, err = io.Copy(io.Discard, io.NewSectionReader(f, 0, 16*mib))
				require.NoError(t, err)
				if cached(t, path) == 16*mib {
					break
				}
			}
			require.Equal(t, 16*mib, cached(t, path), "the test sees what is cached")
			require.NoError(t, unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))

			s := source(t, path, SourceOptions{})
			open(s)
			_, _, err = copied(s, extent.List{{Start: 0, Size: s.Size()}})
			require.NoError(t, err)
			require.Less(t, cached(t, path), mib)
		})
	}
}

func TestDataIsWhatIsNoHole(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs", "btrfs", "tmpfs"} {
		t.Run(kind, func(t *testing.T) {
			dir, _ := filesystem(t, kind, 300*mib)
			path := blank(t, dir, 1<<40)
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			require.NoError(t, err)
			defer f.Close()
			for _, at := range []int64{0, 1 << 30, 1<<40 - 64*kib} {
				_, err := f.WriteAt(noise(64*kib, 3), at)
				require.NoError(t, err)
			}
			require.NoError(t, f.Sync())
			list, err := source(t, path, SourceOptions{Tracked: true}).Data(context.Background())
			require.NoError(t, err)
			require.Equal(t, extent.List{{Start: 0, Size: 64 * kib}, {Start: 1 << 30, Size: 64 * kib}, {Start: 1<<40 - 64*kib, Size: 64 * kib}}, list)
		})
	}
	dev := loop(t, blank(t, t.TempDir(), mib))
	list, err := source(t, dev, SourceOptions{}).Data(context.Background())
	require.NoError(t, err)
	require.Equal(t, extent.List{{Start: 0, Size: mib}}, list)
}

func TestSourceBecameShorter(t *testing.T) {
	path := imageOf(t, t.TempDir(), noise(4*mib, 5))
	s := source(t, path, SourceOptions{})
	require.NoError(t, os.Truncate(path, mib))
	_, _, err := copied(s, extent.List{{Start: 0, Size: s.Size()}})
	require.Equal(t, CodeSourceChanged, fault.CodeOf(err))
}

func TestSourceRefusals(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	require.NoError(t, unix.Mkfifo(fifo, 0o600))
	for path, code := range map[string]string{
		dir: CodeSourceKind, fifo: CodeSourceKind, "/dev/null": CodeSourceKind, filepath.Join(dir, "absent"): CodeSourceMissing,
	} {
		_, err := OpenSource(path, SourceOptions{})
		require.Equal(t, code, fault.CodeOf(err), "%s: %v", path, err)
		require.NotEmpty(t, fault.RemedyOf(err))
	}
}

// TestWithoutDirectReads reads an image on a filesystem that has none.
func TestWithoutDirectReads(t *testing.T) {
	needRoot(t)
	need(t, "mksquashfs")
	dir, data := t.TempDir(), noise(odd, 14)
	path := imageOf(t, dir, data)
	squashed := filepath.Join(room(t), "squashed")
	tool(t, "mksquashfs", dir, squashed, "-quiet", "-no-progress")
	path = filepath.Join(mounted(t, squashed, "loop"), filepath.Base(path))
	s := source(t, path, SourceOptions{})
	require.Contains(t, s.Cached(), "no direct reads")
	got, bad, err := copied(s, extent.List{{Start: 0, Size: odd}})
	require.NoError(t, err)
	require.Empty(t, bad)
	same(t, data, got, "Fill")
	require.Less(t, cached(t, path), mib)
	refused(t, path, TargetOptions{}, CodeTargetReadOnly, "")
}
