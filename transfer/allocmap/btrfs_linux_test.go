package allocmap

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// loops attaches images to loop devices, as a filesystem on several devices is found by the kernel only when it has them all.
func loops(t testing.TB, images []string) (devices []string) {
	for _, image := range images {
		dev := strings.TrimSpace(run(t, "losetup", "--find", "--show", image))
		t.Cleanup(func() {
			run(t, "losetup", "-d", dev)
		})
		devices = append(devices, dev)
	}
	return devices
}

// onLoops calls f with devices of images, which are gone afterwards: two filesystems with one identity must not be seen at once.
func onLoops(t *testing.T, name string, images []string, f func(t *testing.T, devices []string)) {
	require.True(t, t.Run(name, func(t *testing.T) {
		devices := loops(t, images)
		f(t, devices)
		run(t, append([]string{"btrfs", "device", "scan", "--forget"}, devices...)...)
	}))
}

func btrfsOptions(devices []string) string {
	options := "x-test"
	for _, d := range devices {
		options += ",device=" + d
	}
	return strings.TrimPrefix(options, "x-test,")
}

// btrfsUsed returns what the block groups count, each copy on its own.
func btrfsUsed(t testing.TB, dev string) (n int64) {
	copies := map[string]int64{"single": 1, "DUP": 2, "RAID0": 1, "RAID1": 2, "RAID10": 2, "RAID1C3": 3, "RAID1C4": 4}
	for _, m := range regexp.MustCompile(`block group used (\d+) .* flags ([A-Z0-9a-z|]+)`).FindAllStringSubmatch(run(t, "btrfs", "inspect-internal", "dump-tree", dev), -1) {
		used, err := strconv.ParseInt(m[1], 10, 64)
		require.NoError(t, err)
		profile := m[2][strings.LastIndex(m[2], "|")+1:]
		n += used * max(copies[profile], 1)
	}
	return n
}

// TestBtrfs copies only what the map says of aged filesystems on one and on several devices; btrfs check with all data, every
// file's content judge. partclone does not: its map of Btrfs (0.3.23) lacks second copies of metadata.
func TestBtrfs(t *testing.T) {
	needRoot(t)
	need(t, "mkfs.btrfs", "btrfs", "mount", "losetup")
	for _, c := range []struct {
		name, options string
		devices       int
		size          int64
	}{
		{"single", "-d single -m dup", 1, 160 * mib},
		{"mixed", "-M", 1, 80 * mib},
		{"old", "-d single -m single -n 4096 -O ^skinny-metadata,^extref,^no-holes -R ^free-space-tree", 1, 160 * mib},
		{"two devices", "-d single -m raid1 --csum xxhash", 2, 128 * mib},
		{"raid0", "-d raid0 -m raid1", 3, 128 * mib},
		{"raid10", "-d raid10 -m raid10 --csum sha256 -n 65536", 4, 128 * mib},
		{"raid5", "-d raid5 -m raid5", 3, 128 * mib},
		{"raid6", "-d raid6 -m raid6", 4, 128 * mib},
	} {
		t.Run(c.name, func(t *testing.T) {
			var images []string
			for range c.devices {
				images = append(images, garbage(t, c.size))
			}
			var want map[string]string
			used := int64(0)
			onLoops(t, "make", images, func(t *testing.T, devices []string) {
				run(t, append(append([]string{"mkfs.btrfs", "-q", "-f", "-K"}, strings.Fields(c.options)...), devices...)...)
				mounted(t, devices[0], btrfsOptions(devices), func(dir string) {
					run(t, "btrfs", "subvolume", "create", filepath.Join(dir, "sub"))
					age(t, filepath.Join(dir, "sub"), 100)
					run(t, "btrfs", "subvolume", "snapshot", filepath.Join(dir, "sub"), filepath.Join(dir, "snapshot"))
					age(t, filepath.Join(dir, "sub"), 110)
					want = hashes(t, dir)
				})
				used = btrfsUsed(t, devices[0])
			})
			maps := scannedWell(t, images...)
			total := int64(0)
			var copies []string
			for i, m := range maps {
				require.Equal(t, "btrfs", m.Volumes[0].Type)
				total += m.Volumes[0].Used
				copies = append(copies, copied(t, images[i], m))
			}
			parity := int64(0)
			if strings.HasPrefix(c.name, "raid5") || strings.HasPrefix(c.name, "raid6") {
				parity = int64(c.devices) * c.size // whole rows: only what is lost is looked for
			}
			near(t, used, total, int64(c.devices)*btrfsReserved+int64(c.devices)*8*kib+parity)
			onLoops(t, "judge", copies, func(t *testing.T, devices []string) {
				run(t, append([]string{"btrfs", "device", "scan"}, devices...)...)
				btrfsCheck(t, devices)
				require.Contains(t, run(t, "btrfs", "inspect-internal", "dump-super", "-s", "1", devices[0]), "[match]", "copy of the superblock")
				mounted(t, devices[0], "ro,"+btrfsOptions(devices), func(dir string) { require.Equal(t, want, hashes(t, dir)) })
			})
			if c.devices > 1 {
				rebuilt(t, c.name, copies, want)
				// Alone, a device is taken as a whole, unless it happens to have every tree.
				if alone := scanned(t, images[0])[0]; alone.Volumes[0].Whole == "" {
					require.Equal(t, maps[0].Extents, alone.Extents)
				}
			}
		})
	}
}

// btrfsCheck judges a filesystem in a /dev of its own: btrfs check looks at every block device there is, and lacks one of its own when
// one of another test goes away meanwhile.
func btrfsCheck(t *testing.T, devices []string) {
	t.Helper()
	const alone = `mount -t tmpfs tmpfs "$0" && cp -a "$@" "$0" && mount --move "$0" /dev && exec btrfs check --readonly --check-data-csum "$1"`
	run(t, append([]string{"unshare", "-m", "sh", "-c", alone, t.TempDir()}, devices...)...)
}

// rebuilt loses the first device of a copy with parity or copies: what was free must not matter for what is rebuilt.
func rebuilt(t *testing.T, name string, copies []string, want map[string]string) {
	if name == "raid0" || name == "two devices" {
		return
	}
	onLoops(t, "rebuild", copies[1:], func(t *testing.T, devices []string) {
		run(t, append([]string{"btrfs", "device", "scan"}, devices...)...)
		mounted(t, devices[0], "ro,degraded,"+btrfsOptions(devices), func(dir string) { require.Equal(t, want, hashes(t, dir)) })
	})
}

// TestBtrfsFrozen maps a filesystem that was written to and synced file by file: while it is frozen the map is exact; before, its log
// has blocks that no tree lists, and chunks are taken as a whole.
func TestBtrfsFrozen(t *testing.T) {
	needRoot(t)
	need(t, "mkfs.btrfs", "mount")
	image := garbage(t, 160*mib)
	run(t, "mkfs.btrfs", "-q", "-f", "-K", "-m", "single", image)
	mounted(t, image, "loop,commit=300", func(dir string) {
		age(t, dir, 60)
		run(t, "sync", "-f", dir)
		f, err := os.Create(filepath.Join(dir, "logged"))
		require.NoError(t, err)
		for range 3 {
			_, err = f.Write(make([]byte, 64*kib))
			require.NoError(t, err)
			require.NoError(t, f.Sync())
		}
		require.NoError(t, f.Close())
		m := scanned(t, image)[0]
		require.Contains(t, strings.Join(m.Volumes[0].Notes, ""), "log was not replayed")
		frozen(t, dir, func() {
			m := scannedWell(t, image)[0]
			require.Less(t, m.Volumes[0].Used, int64(100*mib))
			to := copied(t, image, m)
			run(t, "btrfs", "check", "--readonly", "--check-data-csum", "--force", to)
		})
	})
}

// crowded counts how many reads are in flight at once.
type crowded struct {
	io.ReaderAt
	now, most atomic.Int64
}

func (c *crowded) ReadAt(p []byte, off int64) (int, error) {
	n := c.now.Add(1)
	defer c.now.Add(-1)
	c.most.Store(max(c.most.Load(), n))
	for range 1000 { // let the others in
		runtime.Gosched()
	}
	return c.ReaderAt.ReadAt(p, off)
}

// TestBtrfsAhead has an extent tree of many leaves: some are read at once.
func TestBtrfsAhead(t *testing.T) {
	need(t, "mkfs.btrfs")
	dir := t.TempDir()
	for i := range 1500 {
		require.NoError(t, os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), make([]byte, 5000), 0o600))
	}
	image := blank(t, 160*mib)
	run(t, "mkfs.btrfs", "-q", "-f", "-m", "single", "--rootdir", dir, image)
	want := scannedWell(t, image)[0]
	d := device(t, image)
	c := &crowded{ReaderAt: d.R}
	got, err := Scan(context.Background(), Device{R: c, Size: d.Size})
	require.NoError(t, err)
	require.Equal(t, want, got[0])
	require.Greater(t, c.most.Load(), int64(1))
	require.LessOrEqual(t, c.most.Load(), int64(btrfsAhead))
}

// TestBtrfsGroupTree gives a filesystem a block-group tree, which Debian's mkfs cannot: the items move from the extent tree to the
// leaf of another tree. The map stays the same; without the items it does not.
func TestBtrfsGroupTree(t *testing.T) {
	need(t, "mkfs.btrfs")
	image := blank(t, 128*mib)
	run(t, "mkfs.btrfs", "-q", "-f", "-m", "single", "-R", "free-space-tree", image)
	before := scannedWell(t, image)[0]
	v := opened(t, image)
	super, err := readBtrfs(v)
	require.NoError(t, err)
	trees := &btrfsTrees{super: super, devices: map[uint64]*volume{1: v}}
	require.NoError(t, trees.loadChunks())

	write := func(logical uint64, b []byte) {
		le.PutUint32(b, crc32c(b[32:]))
		c := trees.chunk(logical)
		patch(t, image, int64(c.copies(logical - c.start)[0].offset), b)
	}
	items := func(b []byte, f func(header []byte, k btrfsKey, data []byte)) {
		for i := range int(le.Uint32(b[96:])) {
			h := b[btrfsHeader+25*i:][:25]
			f(h, decodeKey(h), b[btrfsHeader+le.Uint32(h[17:]):][:le.Uint32(h[21:])])
		}
	}
	leaf := func(p btrfsPointer) []byte {
		b, err := trees.node(p)
		require.NoError(t, err)
		require.Zero(t, b[100], "the tree has one block")
		return b
	}
	const freeSpaceTree, noItem = 10, 193
	roots := leaf(btrfsPointer{logical: super.root, generation: super.generation})
	pointers := map[uint64]btrfsPointer{}
	items(roots, func(h []byte, k btrfsKey, data []byte) {
		if k.kind == btrfsRootItem {
			pointers[k.object] = btrfsPointer{logical: le.Uint64(data[176:]), generation: le.Uint64(data[160:])}
		}
		if k.object == freeSpaceTree {
			le.PutUint64(h, btrfsGroupTree)
		}
	})
	extents, groups := leaf(pointers[btrfsExtentTree]), leaf(pointers[freeSpaceTree])
	clear(groups[96:100])
	clear(groups[btrfsHeader:])
	n, end := 0, len(groups)-btrfsHeader
	items(extents, func(h []byte, k btrfsKey, data []byte) {
		if k.kind != btrfsGroupItem {
			return
		}
		end -= len(data)
		to := groups[btrfsHeader+25*n:]
		copy(to, h)
		le.PutUint32(to[17:], uint32(end))
		copy(groups[btrfsHeader+end:], data)
		n++
		h[8] = noItem
	})
	require.NotZero(t, n)
	le.PutUint32(groups[96:], uint32(n))
	write(super.root, roots)
	write(pointers[btrfsExtentTree].logical, extents)
	write(pointers[freeSpaceTree].logical, groups)
	b, err := v.read(64*kib, 4096)
	require.NoError(t, err)
	le.PutUint64(b[0xB4:], btrfsBlockGroupTree)
	le.PutUint32(b, crc32c(b[32:]))
	patch(t, image, 64*kib, b)
	require.Equal(t, before.Extents, scannedWell(t, image)[0].Extents)

	le.PutUint32(groups[96:], uint32(n-1))
	write(pointers[freeSpaceTree].logical, groups)
	require.Contains(t, fmt.Sprint(scanned(t, image)[0].Volumes[0].Notes), "its extents do not add up")
}

// TestBtrfsDoubt has filesystems that cannot be believed.
func TestBtrfsDoubt(t *testing.T) {
	need(t, "mkfs.btrfs")
	for _, c := range []struct {
		at   int64
		data []byte
		sum  bool // put the checksum of the superblock right
		why  string
	}{
		{64*kib + 0x48, []byte{0xff}, false, "checksum"},
		{64*kib + 0xBC + 3, []byte{0x80}, true, "incompat 0x80000000"},
		{64*kib + 0xB4 + 3, []byte{0x80}, true, "compat 0x80000000"},
		{64*kib + 0x38 + 7, []byte{0x80}, true, "unknown flags"},
		{64*kib + 0x48, []byte{0xff}, true, "no sound copy"},
		{64*kib + 0xD1 + 5, []byte{1}, true, "of the device, which has"},
		{64*kib + 0xC9, []byte{0}, true, "in the place of another"},
	} {
		image := blank(t, 128*mib)
		run(t, "mkfs.btrfs", "-q", "-f", image)
		scannedWell(t, image)
		f, err := os.OpenFile(image, os.O_RDWR, 0)
		require.NoError(t, err)
		_, err = f.WriteAt(c.data, c.at)
		require.NoError(t, err)
		if c.sum {
			b := make([]byte, 4096)
			_, err = f.ReadAt(b, 64*kib)
			require.NoError(t, err)
			_, err = f.WriteAt(binary.LittleEndian.AppendUint32(nil, crc32c(b[32:])), 64*kib)
			require.NoError(t, err)
		}
		f.Close()
		v := scanned(t, image)[0].Volumes[0]
		require.Contains(t, v.Whole, c.why)
	}
	image := blank(t, 128*mib)
	run(t, "mkfs.btrfs", "-q", "-f", image)
	for _, m := range scanned(t, image, image) {
		require.Contains(t, m.Volumes[0].Whole, "twice")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := Scan(ctx, device(t, image))
	require.ErrorIs(t, err, context.Canceled)
}

func crc32c(b []byte) uint32 { return ^rawCRC(^uint32(0), b) }
