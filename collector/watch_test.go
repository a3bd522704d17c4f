package collector

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/collector/inventory"
)

func TestDiff(t *testing.T) {
	before, now := blank(), blank()
	before.Disks = []inventory.Disk{
		{Name: "/dev/sda", Kind: inventory.KindDisk, Size: 10, Partitions: []inventory.Partition{{Name: "/dev/sda1", Size: 5}, {Name: "/dev/sda2", Size: 5}}},
		{Name: "/dev/sdb", Kind: inventory.KindDisk, Size: 7},
	}
	now.Disks = []inventory.Disk{
		{Name: "/dev/sda", Kind: inventory.KindDisk, Size: 20, Partitions: []inventory.Partition{
			{Name: "/dev/sda1", Size: 5, Content: &inventory.Content{Type: "ext4", UUID: "u", Usage: &inventory.Usage{Used: 3}}}, {Name: "/dev/sda2", Size: 4},
		}},
	}
	now.VolumeGroups = []inventory.VolumeGroup{{Name: "vg", Size: 9, Logical: []inventory.LogicalVolume{{Name: "lv", Size: 4, Kind: "linear"}, {Name: "lv_tmeta", Internal: true}}}}
	now.Mounts = []inventory.Mount{{Path: "/data", Source: "/dev/sda1", Type: "ext4", Kind: "local"}, {Path: "/proc", Kind: "pseudo"}}
	require.Equal(t, []Event{
		{"disk", "/dev/sda", "grown", "10 B", "20 B"},
		{"disk", "/dev/sdb", "removed", "7 B disk", ""},
		{"filesystem", "/dev/sda1", "added", "", "0 B ext4 u"},
		{"mount", "/data", "added", "", "0 B /dev/sda1 ext4"},
		{"partition", "/dev/sda2", "shrunk", "5 B", "4 B"},
		{"volume", "vg/lv", "added", "", "4 B linear"},
		{"volume group", "vg", "added", "", "9 B"},
	}, Diff(before, now))
	now.Disks[0].Partitions[0].Content.Usage.Used = 4 // how full it is changes all the time
	require.Empty(t, Diff(now, now))
	var b bytes.Buffer
	require.NoError(t, WriteChange(&b, Change{At: time.Unix(0, 0).UTC(), Events: Diff(before, now)[:1]}))
	require.Equal(t, "1970-01-01T00:00:00Z  disk /dev/sda grown: 10 B → 20 B\n", b.String())
}

// TestWatch sends a burst of events: one look, one change; a look without a difference is no change; the end closes.
func TestWatch(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	events := make(chan struct{})
	looks := make(chan int64)
	o := WatchOptions{
		Quiet: time.Millisecond, Interval: time.Hour,
		events: func(context.Context) <-chan struct{} { return events },
		collect: func(context.Context) *inventory.Server {
			s := blank()
			s.Disks = []inventory.Disk{{Name: "/dev/sda", Size: <-looks}}
			return s
		},
	}
	changes := Watch(ctx, o)
	looks <- 1 // the first look is what changes are measured against
	for range 5 {
		events <- struct{}{}
	}
	looks <- 1 // nothing has changed
	events <- struct{}{}
	looks <- 2
	c := <-changes
	require.Equal(t, []Event{{"disk", "/dev/sda", "grown", "1 B", "2 B"}}, c.Events)
	require.EqualValues(t, 2, c.Now.Disks[0].Size)
	cancel()
	_, open := <-changes
	require.False(t, open)
}

// TestWatchInterval: without any event it is looked after the interval.
func TestWatchInterval(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	size := int64(0)
	changes := Watch(ctx, WatchOptions{
		Interval: time.Millisecond,
		events:   func(context.Context) <-chan struct{} { c := make(chan struct{}); close(c); return c },
		collect: func(context.Context) *inventory.Server {
			size++
			s := blank()
			s.Disks = []inventory.Disk{{Name: "/dev/sda", Size: size}}
			return s
		},
	})
	require.Equal(t, "grown", (<-changes).Events[0].Change)
	cancel()
	for range changes {
	}
}
