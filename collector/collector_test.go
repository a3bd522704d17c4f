package collector

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ferry-migrate/ferry/collector/inventory"
	"github.com/ferry-migrate/ferry/internal/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestOneHangsOneFails: the others' facts are there, and what is missing is named.
func TestOneHangsOneFails(t *testing.T) {
	release := make(chan struct{})
	ended := make(chan struct{})
	s := run(context.Background(), 400*time.Millisecond, []Collector{
		part{"good", func(context.Context) (Fill, error) {
			return func(s *inventory.Server) { s.Host.Hostname = "here" }, nil
		}},
		part{"hangs", func(context.Context) (Fill, error) { // as a system call does, deaf to its context
			defer close(ended)
			<-release
			return func(s *inventory.Server) { s.Host.Hostname = "too late" }, nil
		}},
		part{"slow", func(ctx context.Context) (Fill, error) { // hands in what it has when its time is over
			<-ctx.Done()
			return func(s *inventory.Server) { s.OS.Kernel = "seen so far" }, ctx.Err()
		}},
		part{"half", func(context.Context) (Fill, error) {
			return func(s *inventory.Server) { s.OS.ID = "half" }, errors.New("the rest is not readable")
		}},
	})
	require.Equal(t, "here", s.Host.Hostname)
	require.Equal(t, "half", s.OS.ID)
	require.Equal(t, "seen so far", s.OS.Kernel)
	require.Len(t, s.Missing, 3)
	require.Equal(t, "hangs", s.Missing[0].Part)
	require.Contains(t, s.Missing[0].Reason, "not finished")
	require.Equal(t, inventory.Missing{Part: "half", Reason: "the rest is not readable"}, s.Missing[2])
	close(release)
	<-ended
	require.Equal(t, "here", s.Host.Hostname, "a late collector writes nothing")
}

// TestDeviceHangs: a disk that never answers costs only itself.
func TestDeviceHangs(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	in := inspector{open: func(path string) (source, error) {
		if path == "/dev/dead" {
			<-release
			return nil, errors.New("gone")
		}
		return memory(make([]byte, 1<<20)), nil
	}}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	list := []inventory.Disk{{Name: "/dev/dead", Kind: inventory.KindDisk}, {Name: "/dev/fine", Kind: inventory.KindDisk}}
	in.disks(ctx, list)
	require.Contains(t, list[0].Unread, "did not answer")
	require.Empty(t, list[1].Unread)
}

// memory is a device in memory.
type memory []byte

func (m memory) Size() int64  { return int64(len(m)) }
func (m memory) Close() error { return nil }

func (m memory) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > int64(len(m)) {
		return 0, errors.New("outside")
	}
	return copy(p, m[off:]), nil
}

func TestImageMissing(t *testing.T) {
	_, err := Images(context.Background(), []string{t.TempDir() + "/none"})
	require.ErrorContains(t, err, "none")
}

// TestImagePacked: an image that is not raw is named, and what to do about it; so is what is no image at all.
func TestImagePacked(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"disk.qcow2": "QFI\xfb\x00\x00\x00\x03", "disk.vdi": strings.Repeat("<<< ", 16) + "\x7f\x10\xda\xbe", "disk.gz": "\x1f\x8b\x08\x00"} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		_, err := Images(context.Background(), []string{path})
		require.Equal(t, "FERRY-IMAGE-FORMAT", fault.CodeOf(err), name)
		require.NotEmpty(t, fault.RemedyOf(err))
	}
	_, err := Images(context.Background(), []string{dir})
	require.Equal(t, "FERRY-IMAGE-FORMAT", fault.CodeOf(err))
	empty := filepath.Join(dir, "empty")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	s, err := Images(context.Background(), []string{empty})
	require.NoError(t, err)
	var b strings.Builder
	require.NoError(t, WriteTree(&b, s))
	require.Contains(t, b.String(), "nothing recognised")
}

// TestSegments reads a volume of a striped and a linear segment, at every offset and length.
func TestSegments(t *testing.T) {
	one, two := make(memory, 64), make(memory, 64)
	for i := range one {
		one[i], two[i] = byte(i), byte(100+i)
	}
	s := segments{size: 48, from: map[string]io.ReaderAt{"a": one, "b": two}, list: []inventory.Segment{
		{Type: "striped", Offset: 0, Size: 32, StripeSize: 8, Areas: []inventory.Area{{Physical: "a", Offset: 4}, {Physical: "b", Offset: 0}}},
		{Type: "linear", Offset: 32, Size: 16, Areas: []inventory.Area{{Physical: "b", Offset: 40}}},
	}}
	want := slices.Concat(one[4:12], two[0:8], one[12:20], two[8:16], two[40:56])
	for from := range 48 {
		for n := 1; n <= 48-from; n++ {
			got := make([]byte, n)
			m, err := s.ReadAt(got, int64(from))
			require.NoError(t, err)
			require.Equal(t, n, m)
			require.Equal(t, []byte(want[from:from+n]), got)
		}
	}
	_, err := s.ReadAt(make([]byte, 2), 47)
	require.ErrorIs(t, err, io.EOF)
}

// TestMerge: the kernel is right about where a partition is, the table about what it is; each may know more than the other.
func TestMerge(t *testing.T) {
	got := merge("/dev/nvme0n1", []inventory.Partition{
		{Index: 1, Name: "/dev/nvme0n1p1", Number: "259:1", Start: 10, Size: 20, Active: true},
		{Index: 4, Name: "/dev/nvme0n1p4", Start: 90, Size: 5, Active: true},
		{Index: 2, Name: "/dev/nvme0n1p2", Start: 40, Size: 1024, Active: true},
		{Index: 5, Name: "/dev/mapper/mp5", Size: 7, Active: true}, // of multipath: where it starts is not known
	}, []inventory.Partition{
		{Index: 1, Start: 10, Size: 15, Label: "grown since"}, {Index: 2, Start: 40, Size: 50, Extended: true}, {Index: 3, Start: 60, Size: 1}, {Index: 5, Start: 70, Size: 7},
	})
	require.Equal(t, []inventory.Partition{
		{Index: 1, Name: "/dev/nvme0n1p1", Number: "259:1", Start: 10, Size: 20, Label: "grown since", Active: true},
		{Index: 2, Name: "/dev/nvme0n1p2", Start: 40, Size: 50, Extended: true, Active: true},
		{Index: 3, Name: "/dev/nvme0n1p3", Start: 60, Size: 1},
		{Index: 4, Name: "/dev/nvme0n1p4", Start: 90, Size: 5, Active: true},
		{Index: 5, Name: "/dev/mapper/mp5", Start: 70, Size: 7, Active: true},
	}, got)
}

// TestDisksBelow: an encrypted volume on LVM on RAID on two partitions lies on both disks.
func TestDisksBelow(t *testing.T) {
	s := blank()
	s.Disks = []inventory.Disk{ // what lies on top comes first, to need several rounds
		{Name: "/dev/mapper/home", Kind: inventory.KindCrypt, Number: "254:1", Slaves: []string{"/dev/mapper/vg-home"}, Content: &inventory.Content{Type: "ext4"}},
		{Name: "/dev/md0", Kind: inventory.KindRAID, Slaves: []string{"/dev/sda1", "/dev/sdb1"}},
		{Name: "/dev/sda", Kind: inventory.KindDisk, Partitions: []inventory.Partition{{Name: "/dev/sda1"}}},
		{Name: "/dev/sdb", Kind: inventory.KindDisk, Partitions: []inventory.Partition{{Name: "/dev/sdb1"}}},
	}
	s.VolumeGroups = []inventory.VolumeGroup{{
		Name: "vg", Physical: []inventory.PhysicalVolume{{Device: "/dev/md0"}}, Logical: []inventory.LogicalVolume{{Name: "home", Device: "/dev/mapper/vg-home"}},
	}}
	on := disksBelow(s)
	for _, name := range []string{"/dev/md0", "/dev/mapper/vg-home", "/dev/mapper/home"} {
		require.Equal(t, []string{"/dev/sda", "/dev/sdb"}, on[name], name)
	}
	s.OS.Family = inventory.FamilyLinux
	s.Mounts = []inventory.Mount{{Path: "/", Source: "/dev/mapper/home", Number: "254:1", Kind: "local"}}
	link(s)
	require.Equal(t, "/dev/sda", s.Boot.SystemDisk)
	var b strings.Builder
	require.NoError(t, WriteTree(&b, s))
	require.Regexp(t, `(?m)^└─/dev/sda1 .*\n  └─/dev/md0 .*\n    └─vg .*\n      └─home .*\n        └─/dev/mapper/home .* /$`, b.String())
	require.Equal(t, 1, strings.Count(b.String(), "/dev/mapper/home"))
}
