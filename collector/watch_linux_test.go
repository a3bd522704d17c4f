package collector

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestWatchKernel attaches a disk with a filesystem and mounts it: the kernel's own events make the watcher look.
func TestWatchKernel(t *testing.T) {
	l := newLab(t, "mkfs.ext4")
	image := l.image(16 << 20)
	l.run("mkfs.ext4", "-q", "-F", image)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	changes := Watch(ctx, WatchOptions{Before: l.collect(), Quiet: 50 * time.Millisecond})
	dev := l.attach(image)
	dir := l.mount(dev)
	want := map[string]bool{"disk " + dev + " added": true, "filesystem " + dev + " added": true, "mount " + dir + " added": true}
	for c := range changes {
		for _, e := range c.Events {
			delete(want, e.What+" "+e.Name+" "+e.Change)
		}
		if len(want) == 0 {
			break
		}
	}
	require.Empty(t, want)
	cancel()
	for range changes {
	}
}

func TestIsBlockEvent(t *testing.T) {
	require.True(t, isBlockEvent([]byte("add@/devices/x\x00ACTION=add\x00SUBSYSTEM=block\x00SEQNUM=1\x00")))
	require.False(t, isBlockEvent([]byte("add@/devices/x\x00XSUBSYSTEM=block\x00SUBSYSTEM=net\x00")))
}
