package allocmap

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// BenchmarkScan maps new filesystems of 1 TiB; bytes are those of the device.
func BenchmarkScan(b *testing.B) {
	const size = 1 << 40
	for _, command := range []string{"mke2fs -q -F -t ext4", "mkfs.xfs -q -f -K -l size=64m", "mkfs.btrfs -q -f -K -m single", "mkntfs -Q -q -F -c 4096", "mkfs.vfat -F 32 -s 128"} {
		args := strings.Fields(command)
		b.Run(args[0], func(b *testing.B) {
			need(b, args[0])
			image := blank(b, size)
			run(b, append(args, image)...)
			d := device(b, image)
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Scan(b.Context(), d); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestHuge maps sparse images of 16 TiB of which 2 GiB are in use. All that is ever allocated is less than what a process may
// have at once.
func TestHuge(t *testing.T) {
	needRoot(t)
	need(t, "mount")
	const size, used = 16<<40 - mib, 2 << 30
	for _, c := range []struct {
		name, command string
		metadata      int64 // at most
	}{
		{"ext4", "mke2fs -q -F -t ext4 -O 64bit -N 65536", 3 << 30},
		{"xfs", "mkfs.xfs -q -f -K -l size=64m", 256 * mib},
		{"btrfs", "mkfs.btrfs -q -f -K -m single", 256 * mib},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := strings.Fields(c.command)
			need(t, args[0])
			image := blank(t, size)
			run(t, append(args, image)...)
			mounted(t, image, "loop", func(dir string) {
				f, err := os.Create(filepath.Join(dir, "file"))
				require.NoError(t, err)
				defer f.Close()
				require.NoError(t, unix.Fallocate(int(f.Fd()), 0, 0, used))
			})
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			m := scannedWell(t, image)[0]
			runtime.ReadMemStats(&after)
			t.Logf("%v, %d extents, %d bytes in use, %d bytes allocated in all", time.Since(start), len(m.Extents), m.Volumes[0].Used, after.TotalAlloc-before.TotalAlloc)
			require.GreaterOrEqual(t, m.Volumes[0].Used, int64(used))
			require.Less(t, m.Volumes[0].Used, used+c.metadata)
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(256*mib))
		})
	}
}
