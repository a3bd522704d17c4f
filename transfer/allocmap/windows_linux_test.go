package allocmap

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/transfer/extent"
)

// fill writes files into an image through a command that takes a file and a name, and returns what is to be found there.
func fill(t testing.TB, put func(file, name string)) map[string]string {
	t.Helper()
	dir := t.TempDir()
	source := rand.NewChaCha8([32]byte{3})
	r := rand.New(source)
	for i := range 25 {
		data := make([]byte, r.IntN(200*kib<<(i%3)))
		source.Read(data)
		file := filepath.Join(dir, fmt.Sprintf("f%d", i))
		require.NoError(t, os.WriteFile(file, data, 0o600))
		put(file, filepath.Base(file))
	}
	return hashes(t, dir)
}

// ntfsMounted calls f with a directory where ntfs-3g shows an image.
func ntfsMounted(t testing.TB, image, options string, f func(dir string)) {
	t.Helper()
	dir := t.TempDir()
	run(t, "ntfs-3g", "-o", options, image, dir)
	defer func() {
		unmount(t, dir)
		// The driver is a process, which writes on after the unmount; it holds a lock on the image as long as it lives.
		image, err := os.OpenFile(image, os.O_RDWR, 0)
		require.NoError(t, err)
		defer image.Close()
		require.NoError(t, unix.FcntlFlock(image.Fd(), unix.F_SETLKW, &unix.Flock_t{Type: unix.F_WRLCK}))
	}()
	f(dir)
}

// TestNTFS copies only what the map says; ntfsfix, ntfsclone's count of clusters, every file's content and partclone's own map
// judge.
func TestNTFS(t *testing.T) {
	needRoot(t)
	need(t, "mkntfs", "ntfsfix", "ntfsclone", "ntfs-3g")
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("needs /dev/fuse to mount NTFS")
	}
	for _, c := range []struct {
		name, options string
		size          int64
		partclone     bool
	}{
		{"default", "", 64 * mib, true},
		{"512 B clusters", "-c 512", 24*mib + 512, false},
		{"64 KiB clusters", "-c 65536", 96*mib + 5*kib, false},
		{"2 MiB clusters", "-c 2097152", 160 * mib, false},
		{"4 KiB sectors", "-s 4096 -c 4096", 64 * mib, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			image := garbage(t, c.size)
			run(t, append(append([]string{"mkntfs", "-Q", "-q", "-F"}, strings.Fields(c.options)...), image)...)
			var want map[string]string
			ntfsMounted(t, image, "rw", func(dir string) {
				age(t, dir, 60)
				want = hashes(t, dir)
			})
			m := scannedWell(t, image)[0]
			require.Equal(t, "ntfs", m.Volumes[0].Type)
			to := copied(t, image, m)
			require.Contains(t, run(t, "ntfsfix", "-n", to), "processed successfully")
			run(t, "ntfsclone", "--force", "--save-image", "--output", filepath.Join(t.TempDir(), "clone"), to) // counts every file's clusters
			ntfsMounted(t, to, "ro", func(dir string) { require.Equal(t, want, hashes(t, dir)) })
			if c.partclone {
				need(t, "partclone.ntfs")
				p := partclone(t, "ntfs", image)
				require.Empty(t, p.Subtract(m.Extents), "partclone has in use what we have not")
				near(t, p.Bytes(), m.Volumes[0].Used, 64*kib)
			}
		})
	}
}

// opened returns a volume of an image as a parser gets it.
func opened(t testing.TB, image string) *volume {
	d := device(t, image)
	return &volume{source: source{context.Background(), d.R, d.Size}, used: extent.NewSet(limitExtents)}
}

func patch(t testing.TB, image string, at int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteAt(b, at)
	require.NoError(t, err)
}

// TestNTFSFragmented moves $Bitmap into three pieces, in another order on the disk.
func TestNTFSFragmented(t *testing.T) {
	need(t, "mkntfs", "ntfsfix", "ntfsclone", "ntfscp")
	image := garbage(t, 24*mib)
	run(t, "mkntfs", "-Q", "-q", "-F", "-c", "512", image)
	fill(t, func(file, name string) { run(t, "ntfscp", "-q", image, file, name) })
	before := scannedWell(t, image)[0]

	n, err := readNTFS(opened(t, image))
	require.NoError(t, err)
	rec, err := n.file(mftBitmap)
	require.NoError(t, err)
	runs, size, err := n.data(rec, mftBitmap)
	require.NoError(t, err)
	require.Len(t, runs, 1)
	require.EqualValues(t, 12, runs[0].count, "clusters of the bitmap")
	bitmap, err := n.v.read(runs[0].start*512, int(size))
	require.NoError(t, err)
	for i := range runs[0].count {
		bitmap[(runs[0].start+i)/8] &^= 1 << ((runs[0].start + i) % 8)
	}
	free := before.Extents.Gaps(extent.Extent{Start: 0, Size: n.clusters * 512})
	at := func(i int) int64 { return (free[i].Start + 511) / 512 }
	pieces := []int64{at(len(free) - 1), at(0), at(len(free)-1) + 100}
	var pairs []byte
	last := int64(0)
	for _, p := range pieces {
		pairs = append(pairs, 0x31, 4, byte(p-last), byte((p-last)>>8), byte((p-last)>>16))
		for i := range int64(4) {
			bitmap[(p+i)/8] |= 1 << ((p + i) % 8)
		}
		last = p
	}
	for i, p := range pieces {
		patch(t, image, p*512, append(bitmap, make([]byte, 12*512-len(bitmap))...)[i*4*512:][:4*512])
	}
	a, err := firstAttribute(rec, attrData)
	require.NoError(t, err)
	// The attribute grows by as much as the pairs need, in steps of 8 bytes; what follows it moves on.
	grow := (int(le.Uint16(a[32:])) + len(pairs) + 1 - len(a) + 7) &^ 7
	end := cap(rec) - cap(a) + len(a)
	copy(rec[end+grow:], rec[end:])
	a = a[:len(a)+grow]
	clear(a[le.Uint16(a[32:]):])
	copy(a[le.Uint16(a[32:]):], pairs)
	le.PutUint32(a[4:], uint32(len(a)))
	le.PutUint32(rec[24:], le.Uint32(rec[24:])+uint32(grow))
	patch(t, image, n.mft*n.cluster+mftBitmap*n.record, torn(rec))

	after := scannedWell(t, image)[0]
	require.Equal(t, before.Volumes[0].Used, after.Volumes[0].Used)
	to := copied(t, image, after)
	require.Contains(t, run(t, "ntfsfix", "-n", to), "processed successfully")
	run(t, "ntfsclone", "--force", "--save-image", "--output", filepath.Join(t.TempDir(), "clone"), to)
}

// TestNTFSAttributeList moves what describes $Bitmap to another record, as NTFS does when it is in too many pieces.
func TestNTFSAttributeList(t *testing.T) {
	need(t, "mkntfs")
	image := garbage(t, 8*mib)
	run(t, "mkntfs", "-Q", "-q", "-F", image)
	before := scannedWell(t, image)[0]
	n, err := readNTFS(opened(t, image))
	require.NoError(t, err)
	rec, err := n.file(mftBitmap)
	require.NoError(t, err)
	at := n.mft * n.cluster
	const other = 18 // a free record
	for _, base := range []uint64{mftBitmap, mftSelf} {
		a, err := firstAttribute(rec, attrData)
		require.NoError(t, err)
		first := slices.Clone(rec)
		offset := cap(rec) - cap(a)
		list := make([]byte, 24+32) // a resident attribute with one entry
		le.PutUint32(list, attrList)
		le.PutUint32(list[4:], uint32(len(list)))
		le.PutUint32(list[16:], 32)
		le.PutUint16(list[20:], 24)
		le.PutUint32(list[24:], attrData)
		le.PutUint16(list[28:], 32)
		le.PutUint64(list[24+16:], other)
		clear(first[offset:])
		copy(first[offset:], list)
		le.PutUint32(first[offset+len(list):], attrEnd)
		second := slices.Clone(rec)
		clear(second[56:])
		le.PutUint16(second[20:], 56)
		le.PutUint64(second[32:], base)
		copy(second[56:], a)
		le.PutUint32(second[56+len(a):], attrEnd)
		patch(t, image, at+mftBitmap*n.record, torn(first))
		patch(t, image, at+other*n.record, torn(second))
		if base == mftBitmap {
			require.Equal(t, before.Extents, scannedWell(t, image)[0].Extents)
		} else {
			require.Contains(t, scanned(t, image)[0].Volumes[0].Whole, "$Bitmap: its record is damaged", "it belongs to another file")
		}
	}
}

// torn undoes fixup.
func torn(rec []byte) []byte {
	at := int(le.Uint16(rec[4:]))
	for i := 1; i < int(le.Uint16(rec[6:])); i++ {
		copy(rec[at+2*i:], rec[i*512-2:i*512])
		copy(rec[i*512-2:], rec[at:at+2])
	}
	return rec
}

// TestNTFSDoubt has volumes whose bitmap cannot be believed.
func TestNTFSDoubt(t *testing.T) {
	need(t, "mkntfs")
	image := func() (string, *ntfs) {
		image := blank(t, 16*mib)
		run(t, "mkntfs", "-Q", "-q", "-F", image)
		scannedWell(t, image)
		n, err := readNTFS(opened(t, image))
		require.NoError(t, err)
		return image, n
	}
	whole := func(image, why string) { require.Contains(t, scanned(t, image)[0].Volumes[0].Whole, why) }
	start := func(n *ntfs, number int64) int64 {
		rec, err := n.file(number)
		require.NoError(t, err)
		runs, _, err := n.data(rec, number)
		require.NoError(t, err)
		return runs[0].start * n.cluster
	}

	name, n := image()
	rec, err := n.file(mftVolume)
	require.NoError(t, err)
	info, err := firstAttribute(rec, attrVolumeInfo)
	require.NoError(t, err)
	value, _ := resident(info)
	value[10] |= 1
	patch(t, name, n.mft*n.cluster+mftVolume*n.record, torn(rec))
	whole(name, "marked for a check")

	name, n = image()
	page := func(users, flags uint16, lsn uint64) []byte {
		p := make([]byte, 4096)
		copy(p, "RSTR\x1e\x00\x09\x00")
		le.PutUint32(p[16:], 4096)
		le.PutUint32(p[20:], 4096)
		le.PutUint16(p[24:], 48)
		le.PutUint64(p[48:], lsn)
		le.PutUint16(p[48+12:], users)
		le.PutUint16(p[48+14:], flags)
		return p
	}
	log := start(n, mftLogFile)
	patch(t, name, log, append(page(0, 0, 7), page(0xFFFF, 2, 6)...))
	whole(name, "$LogFile holds newer")
	patch(t, name, log, append(page(0, 0, 7), page(0xFFFF, 2, 7)...))
	whole(name, "$LogFile holds newer")
	patch(t, name, log, append(page(0, 0, 7), page(0xFFFF, 0, 8)...))
	scannedWell(t, name)
	patch(t, name, log, append(page(0, 2, 7), page(0, 2, 7)...))
	scannedWell(t, name)

	name, n = image()
	patch(t, name, n.mft*n.cluster+mftBitmap*n.record+510, []byte{1, 2})
	whole(name, "$Bitmap: its record is damaged")
}

// TestFAT copies only what the map says; fsck.vfat, every file's content and partclone's own map judge.
func TestFAT(t *testing.T) {
	need(t, "mkfs.vfat", "fsck.vfat", "mcopy")
	for _, c := range []struct {
		name, options string
		size          int64
		partclone     string
	}{
		{"fat12", "-F 12", 4 * mib, ""}, // partclone 0.3.23 counts clusters of FAT12 that are free
		{"fat16", "-F 16 -s 4", 40 * mib, "fat16"},
		{"fat32", "-F 32 -s 1", 40 * mib, "fat32"},
		{"fat32 4k sectors", "-F 32 -S 4096 -s 1", 300 * mib, ""},
		{"one table", "-F 16 -f 1 -r 512", 20 * mib, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			image := garbage(t, c.size)
			run(t, append(append([]string{"mkfs.vfat"}, strings.Fields(c.options)...), image)...)
			names := []string{}
			want := fill(t, func(file, name string) {
				if len(names) < 12 {
					run(t, "mcopy", "-i", image, file, "::"+name)
				}
				names = append(names, name)
			})
			run(t, "mdel", "-i", image, "::f2", "::f5", "::f7")
			m := scannedWell(t, image)[0]
			to := copied(t, image, m)
			clusters := regexp.MustCompile(`(\d+)/\d+ clusters`).FindStringSubmatch(run(t, "fsck.vfat", "-n", to))
			used, err := strconv.ParseInt(clusters[1], 10, 64)
			require.NoError(t, err)
			f, ok := readFAT(fatBoot(opened(t, image)))
			require.True(t, ok)
			near(t, f.data*f.sector+used*f.perCluster*f.sector, m.Volumes[0].Used, 64*kib)
			for i, name := range names[:12] {
				if i == 2 || i == 5 || i == 7 {
					continue
				}
				dir := t.TempDir()
				run(t, "mcopy", "-i", to, "::"+name, dir)
				require.Equal(t, want["/"+name], hashes(t, dir)["/"+name])
			}
			if c.partclone != "" {
				need(t, "partclone."+c.partclone)
				p := partclone(t, c.partclone, image)
				require.Empty(t, p.Subtract(m.Extents), "partclone has in use what we have not")
				near(t, p.Bytes(), m.Volumes[0].Used, 64*kib)
			}
			patch(t, image, 37+28*int64(strings.Count(c.name, "32")&1), []byte{1})
			require.Contains(t, scanned(t, image)[0].Volumes[0].Whole, "not unmounted cleanly")
		})
	}
}

// TestExFAT compares with partclone's map; nothing here could fill the filesystem.
func TestExFAT(t *testing.T) {
	need(t, "mkfs.exfat", "fsck.exfat")
	image := garbage(t, 64*mib)
	run(t, "mkfs.exfat", "-c", "4096", image)
	m := scannedWell(t, image)[0]
	require.Less(t, m.Volumes[0].Used, int64(8*mib))
	run(t, "fsck.exfat", "-n", copied(t, image, m))
	need(t, "partclone.exfat")
	require.Empty(t, partclone(t, "exfat", image).Subtract(m.Extents), "partclone has in use what we have not")
	patch(t, image, 106, []byte{2})
	require.Contains(t, scanned(t, image)[0].Volumes[0].Whole, "not unmounted cleanly")
}

// TestSwap keeps the header alone, unless a system sleeps in the rest.
func TestSwap(t *testing.T) {
	need(t, "mkswap", "swaplabel")
	for _, page := range []int64{4096, 65536} {
		image := garbage(t, 8*mib)
		run(t, "mkswap", "--pagesize", fmt.Sprint(page), "-L", "swap", image)
		m := scannedWell(t, image)[0]
		require.Equal(t, extent.List{{Start: 0, Size: page}}, m.Extents)
		require.Contains(t, run(t, "swaplabel", copied(t, image, m)), "swap")
		patch(t, image, page-10, []byte("S1SUSPEND\x00"))
		require.Contains(t, scanned(t, image)[0].Volumes[0].Whole, "hibernated")
	}
}
