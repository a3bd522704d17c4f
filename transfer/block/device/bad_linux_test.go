package device

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/extent"
)

// faulty is a disk that fails reads which touch bad, and wants whole sectors.
type faulty struct {
	data []byte
	bad  extent.List
	err  error
	cost time.Duration // of a read that fails
}

func (f faulty) ReadAt(p []byte, off int64) (int, error) {
	if off%512 != 0 || len(p)%512 != 0 {
		return 0, unix.EINVAL
	}
	if len(f.bad.Within(extent.Extent{Start: off, Size: int64(len(p))})) > 0 {
		time.Sleep(f.cost)
		return 0, fmt.Errorf("pread: %w", f.err)
	}
	return bytes.NewReader(f.data).ReadAt(p, off)
}

func (f faulty) source() *Source {
	return &Source{facts: facts{path: "disk", sector: 512, device: true}, reader: reader{r: f, size: int64(len(f.data)), align: minimum}}
}

// copied reads a list of extents, a MiB at a time.
func copied(s *Source, list extent.List) (got []byte, bad extent.List, err error) {
	got = make([]byte, s.size)
	var set extent.Set
	for _, e := range list {
		for at := e.Start; at < e.End() && err == nil; at += mib {
			var left extent.List
			left, err = s.Fill(context.Background(), got[at:min(at+mib, e.End())], at)
			for _, b := range left {
				set.Add(b.Start, b.Size)
			}
		}
	}
	return got, set.List(), err
}

// TestBadSectors puts bad sectors anywhere and reads any extents: what is left out is those sectors and nothing else.
func TestBadSectors(t *testing.T) {
	data := noise(mib+mib/2+512, 6)
	sectors := int64(len(data) / 512)
	rapid.Check(t, func(t *rapid.T) {
		var bad, list extent.Set
		for range rapid.IntRange(0, 8).Draw(t, "bad") {
			bad.Add(rapid.Int64Range(0, sectors-1).Draw(t, "sector")*512, rapid.Int64Range(1, 20).Draw(t, "sectors")*512)
		}
		for range rapid.IntRange(1, 5).Draw(t, "extents") {
			start := rapid.Int64Range(0, int64(len(data)-1)).Draw(t, "start")
			list.Add(start, rapid.Int64Range(1, int64(len(data))-start).Draw(t, "size"))
		}
		f := faulty{data: data, bad: bad.List(), err: unix.EIO}
		got, left, err := copied(f.source(), list.List())
		if err != nil {
			t.Fatal(err)
		}
		var want extent.List
		expect := make([]byte, len(data))
		for _, e := range list.List() {
			want = append(want, bad.List().Within(e)...)
			for _, good := range bad.List().Gaps(e) {
				copy(expect[good.Start:good.End()], data[good.Start:])
			}
		}
		if fmt.Sprint(want) != fmt.Sprint(left) {
			t.Fatalf("bad %v, want %v", left, want)
		}
		if !bytes.Equal(expect, got) {
			t.Fatal("the rest differs")
		}
	})
}

// TestSlowDisk has a disk take a minute for each read that fails: it is read more and more coarsely, and given up in the end.
func TestSlowDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := faulty{data: make([]byte, 64*mib), err: unix.EIO, cost: time.Minute}
		for at := int64(0); at < 8; at++ {
			f.bad = append(f.bad, extent.Extent{Start: at * 8 * mib, Size: 512})
		}
		began := time.Now()
		_, bad, err := copied(f.source(), extent.List{{Start: 0, Size: 64 * mib}})
		require.NoError(t, err)
		require.Less(t, time.Since(began), giveUp*patient)
		require.Equal(t, extent.Extent{Start: 0, Size: 512}, bad[0], "the first with patience")
		require.EqualValues(t, mib, bad[7].Size, "the last without")

		for at := int64(8); at < 64; at++ {
			f.bad = append(f.bad, extent.Extent{Start: at * mib, Size: 512})
		}
		began = time.Now()
		_, _, err = copied(f.source(), extent.List{{Start: 0, Size: 64 * mib}})
		require.Equal(t, CodeSourceFailing, fault.CodeOf(err))
		require.Less(t, time.Since(began), giveUp*patient+2*time.Minute)
	})
}

func TestDeadDisk(t *testing.T) {
	f := faulty{data: make([]byte, 256*mib), bad: extent.List{{Start: 0, Size: 256 * mib}}, err: unix.EIO}
	_, bad, err := copied(f.source(), extent.List{{Start: 0, Size: 256 * mib}})
	require.Equal(t, CodeSourceFailing, fault.CodeOf(err))
	require.EqualValues(t, deadBytes, bad.Bytes())

	f.err = unix.ENXIO
	_, bad, err = copied(f.source(), extent.List{{Start: 0, Size: 256 * mib}})
	require.Equal(t, CodeSourceGone, fault.CodeOf(err))
	require.Empty(t, bad)
}

func TestFillEndsWithItsContext(t *testing.T) {
	why := errors.New("why")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(why)
	f := faulty{data: make([]byte, mib), bad: extent.List{{Start: 0, Size: 512}}, err: unix.EIO}
	_, err := f.source().Fill(ctx, make([]byte, mib), 0)
	require.ErrorIs(t, err, why)
}

// TestRealBadBlock alters a block of a file below Btrfs, which then cannot read it: neither directly nor through a loop device.
func TestRealBadBlock(t *testing.T) {
	needRoot(t)
	need(t, "mkfs.btrfs")
	const at = 3*mib + 8192
	data := noise(8*mib, 7)
	image := blank(t, room(t), 128*mib)
	tool(t, "mkfs.btrfs", "-q", "-f", "-K", image)
	dir := t.TempDir()
	tool(t, "mount", "-o", "loop", image, dir)
	path := imageOf(t, dir, data)
	require.NoError(t, unix.Unmount(dir, 0))
	disk, err := os.ReadFile(image)
	require.NoError(t, err)
	where := bytes.Index(disk, data[at:at+4096])
	require.Positive(t, where, "the block is in the image")
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("spoilt"), int64(where))
	require.NoError(t, err)
	require.NoError(t, f.Close())
	tool(t, "mount", "-o", "loop", image, dir)
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, 0)) })

	for _, p := range []string{path, loop(t, path)} {
		s := source(t, p, SourceOptions{Tracked: true})
		got, bad, err := copied(s, extent.List{{Start: 0, Size: s.Size()}})
		require.NoError(t, err)
		require.Equal(t, extent.List{{Start: at, Size: 4096}}, bad, p)
		want := bytes.Clone(data)
		clear(want[at : at+4096])
		same(t, want, got, p)
	}
}

// TestShrunkBelowLoop takes the end of an image away from its loop device, which then cannot read it.
func TestShrunkBelowLoop(t *testing.T) {
	data := noise(8*mib, 8)
	image := imageOf(t, t.TempDir(), data)
	s := source(t, loop(t, image), SourceOptions{})
	require.NoError(t, os.Truncate(image, 6*mib))
	got, bad, err := copied(s, extent.List{{Start: 0, Size: s.Size()}})
	require.NoError(t, err)
	require.Equal(t, extent.List{{Start: 6 * mib, Size: 2 * mib}}, bad)
	same(t, data[:6*mib], got[:6*mib], "what is left")
}
