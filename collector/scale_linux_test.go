package collector

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/collector/inventory"
)

// bigSystem makes a tree with many disks and mounts.
func bigSystem(t testing.TB, disks, mounts int) string {
	dir, err := os.MkdirTemp(memoryDir(), "ferry-scale-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	write := func(name, content string) {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(content+"\n"), 0o644))
	}
	for i := range disks {
		d := fmt.Sprintf("sys/block/sd%05d/", i)
		for name, v := range map[string]string{"dev": fmt.Sprintf("8:%d", i*16), "size": "2097152", "removable": "0", "ro": "0", "queue/logical_block_size": "512",
			"queue/physical_block_size": "4096", "queue/rotational": "1", "device/vendor": "ACME", "device/model": "disk", "device/wwid": fmt.Sprintf("naa.%016x", i)} {
			write(d+name, v)
		}
		part := fmt.Sprintf("%ssd%05d1/", d, i)
		for name, v := range map[string]string{"partition": "1", "dev": fmt.Sprintf("8:%d", i*16+1), "start": "2048", "size": "2095104"} {
			write(part+name, v)
		}
	}
	var b strings.Builder
	for i := range mounts {
		fmt.Fprintf(&b, "%d 1 8:%d / /mnt/%d rw,relatime shared:1 - ext4 /dev/sd%05d1 rw\n", i+20, i%max(disks, 1)*16+1, i, i%max(disks, 1))
	}
	write("proc/self/mountinfo", b.String())
	write("proc/uptime", "1.0 1.0")
	write("proc/stat", "cpu  1 0 1 8 0 0 0 0 0 0\ncpu0 1 0 1 8 0 0 0 0 0 0")
	write("proc/meminfo", "MemTotal: 1000 kB\nMemFree: 500 kB\nMemAvailable: 500 kB")
	write("proc/loadavg", "0 0 0 1/1 1")
	return dir
}

// memoryDir is a filesystem in memory where there is one: sysfs is one too, and thousands of files on a disk take their time.
func memoryDir() string {
	if st, err := os.Stat("/dev/shm"); err == nil && st.IsDir() {
		return "/dev/shm"
	}
	return ""
}

// TestScale collects 2,000 disks and 10,000 mounts within a second and 64 MiB.
func TestScale(t *testing.T) {
	dir := bigSystem(t, 2000, 10000)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	s := Collect(context.Background(), Options{Root: dir})
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	require.Empty(t, s.Missing)
	require.Len(t, s.Disks, 2000)
	require.Len(t, s.Mounts, 10000)
	allocated := int64(after.TotalAlloc - before.TotalAlloc)
	t.Logf("%v, %s allocated in all", took, size(allocated))
	require.Less(t, took, 10*time.Second) // under the race detector on a busy machine; the benchmark has the figure
	require.Less(t, int64(after.HeapInuse-min(before.HeapInuse, after.HeapInuse)), int64(64<<20))
}

func BenchmarkCollect(b *testing.B) {
	dir := bigSystem(b, 2000, 10000)
	b.ReportAllocs()
	for b.Loop() {
		Collect(context.Background(), Options{Root: dir})
	}
}

// TestStuckMount: a mount that never answers is named, the others are measured.
func TestStuckMount(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	list := []inventory.Mount{{Path: "/fine", Kind: "local"}, {Path: "/nfs", Source: "srv:/x", Type: "nfs4", Kind: "network"}}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	missing := measure(ctx, list, func(path string) (unix.Statfs_t, error) {
		if path == "/nfs" {
			<-release
		}
		return unix.Statfs_t{Blocks: 10, Bfree: 4, Frsize: 4096, Files: 5, Ffree: 2}, nil
	})
	require.Equal(t, &inventory.Usage{Used: 6 * 4096, Free: 4 * 4096, Source: "statfs"}, list[0].Usage)
	require.Len(t, missing, 1)
	require.Equal(t, "/nfs", missing[0].Subject)
	require.Contains(t, missing[0].Reason, "srv:/x of type nfs4: does not answer")
}

func TestMarkViews(t *testing.T) {
	table := strings.Join([]string{
		"20 1 8:1 / / rw - ext4 /dev/sda1 rw",
		"21 20 8:2 / /data rw - ext4 /dev/sda2 rw",
		"22 20 8:1 /srv /srv2 rw - ext4 /dev/sda1 rw", // bind of a directory
		"23 20 8:2 / /again rw - ext4 /dev/sda2 rw",   // the whole again
		"24 21 8:3 / /data rw - xfs /dev/sda3 rw",     // over /data
		"25 21 8:4 / /data/below rw - xfs /dev/sda4 rw",
		"26 20 0:40 /@ /sub rw - btrfs /dev/sdb rw",
		"27 20 0:40 /@home /home rw - btrfs /dev/sdb rw",
		`28 20 8:5 / /a\040b\134c\011\012\043x ro - ext4 /dev/sda5 rw`,
		"this is no mount",
		"30 20 0:51 / /run/x rw shared:1 master:2 - tmpfs  rw,size=1k", // without a source
	}, "\n")
	dir := unpack(t, "-- proc/self/mountinfo --\n"+table)
	list, err := readMounts(root(dir))
	require.ErrorContains(t, err, "this is no mount")
	var bind, over []string
	for _, m := range list {
		if m.Bind {
			bind = append(bind, m.Path)
		}
		if m.Overmount {
			over = append(over, fmt.Sprint(m.ID))
		}
	}
	require.Equal(t, []string{"/srv2", "/again"}, bind)
	require.Equal(t, []string{"21", "25"}, over)
	require.Equal(t, "/a b\\c\t\n#x", list[8].Path)
	require.True(t, list[8].ReadOnly)
	require.Equal(t, []string{"/run/x", "", "rw,size=1k"}, []string{list[9].Path, list[9].Source, list[9].Super})
}

// FuzzTables reads hostile tables of /proc and /etc, which a container or a damaged system may have.
func FuzzTables(f *testing.F) {
	f.Add("20 1 8:1 / / rw - ext4 /dev/sda1 rw\n", "/swap\\040file file 10 1 -2", "UUID=x / ext4 defaults 0 1", "eth0 00000000 0100000A 0003 0 0 0 00000000")
	f.Add("1 1 0:0 / \\377\\9 rw", "a b", "\"", "x")
	f.Fuzz(func(t *testing.T, mounts, swaps, fstab, routes string) {
		dir, err := os.MkdirTemp(memoryDir(), "ferry-fuzz-")
		require.NoError(t, err)
		defer os.RemoveAll(dir)
		for name, content := range map[string]string{"proc/self/mountinfo": mounts, "proc/swaps": swaps, "etc/fstab": fstab, "etc/crypttab": fstab, "proc/net/route": routes, "proc/net/ipv6_route": routes, "etc/os-release": fstab, "etc/resolv.conf": fstab} {
			path := filepath.Join(dir, name)
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
			require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		}
		s := blank()
		r := root(dir)
		s.Mounts, _ = readMounts(r)
		s.Swaps, s.Fstab, s.Crypttab = readSwaps(r), readFstab(r), readCrypttab(r)
		s.Routes = append(routes4(r), routes6(r)...)
		s.OS, s.DNS = readOS(r), readResolv(r)
		link(s)
		Preflight(s)
	})
}
