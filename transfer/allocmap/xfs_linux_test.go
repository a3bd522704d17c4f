package allocmap

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// xfsUsed returns what xfs_db says is in use, in bytes: all but the records of the free-space trees.
func xfsUsed(t testing.TB, image string) int64 {
	value := func(where, command string) (sum int64) {
		for _, m := range regexp.MustCompile(`= (\d+)`).FindAllStringSubmatch(run(t, "xfs_db", "-r", "-c", where, "-c", command, image), -1) {
			n, err := strconv.ParseInt(m[1], 10, 64)
			require.NoError(t, err)
			sum += n
		}
		return sum
	}
	free := int64(0)
	for ag := range value("sb 0", "p agcount") {
		free += value(fmt.Sprintf("agf %d", ag), "p freeblks")
	}
	st, err := os.Stat(image)
	require.NoError(t, err)
	return st.Size() - free*value("sb 0", "p blocksize") // and what lies behind the filesystem
}

// xfsRepaired fails unless xfs_repair finds nothing to do.
func xfsRepaired(t testing.TB, image string) {
	t.Helper()
	out := run(t, "xfs_repair", "-n", "-f", image)
	require.NotContains(t, out, "would ")
}

// TestXFS copies only what the map says of aged filesystems; xfs_repair, every file's content and partclone's own map judge.
func TestXFS(t *testing.T) {
	needRoot(t)
	need(t, "mkfs.xfs", "xfs_repair", "xfs_db", "mount")
	for _, c := range []struct {
		name, options string
		size          int64
		partclone     bool
	}{
		{"default", "", 64 * mib, true},
		{"4k sectors", "-s size=4096", 64 * mib, false},
		{"1k blocks", "-b size=1024 -d agcount=3", 64 * mib, true},
		{"2k blocks, stripes", "-b size=2048 -d su=64k,sw=2", 64 * mib, false},
		{"512 inodes, no rmap", "-m reflink=0,rmapbt=0,finobt=0", 64 * mib, false},
		{"all", "-m reflink=1,rmapbt=1,finobt=1,inobtcount=1,bigtime=1 -i nrext64=1", 64 * mib, false},
		{"short last group", "-d agsize=20m", 76*mib + 12*kib, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			image := garbage(t, c.size)
			run(t, append(append([]string{"mkfs.xfs", "-q", "-f", "-K", "--unsupported"}, strings.Fields(c.options)...), image)...)
			var want map[string]string
			mounted(t, image, "loop", func(dir string) {
				age(t, dir, 150)
				crowd(t, dir)
				want = hashes(t, dir)
			})
			m := scannedWell(t, image)[0]
			near(t, xfsUsed(t, image), m.Volumes[0].Used, 64*kib)
			if c.partclone {
				need(t, "partclone.xfs")
				require.Empty(t, partclone(t, "xfs", image).Subtract(m.Extents), "partclone has in use what we have not")
			}
			to := copied(t, image, m)
			xfsRepaired(t, to)
			mounted(t, to, "loop,ro", func(dir string) { require.Equal(t, want, hashes(t, dir)) })
		})
	}
}

// crowd fills a filesystem to its last block, and frees every other file again.
func crowd(t testing.TB, dir string) {
	data := make([]byte, 100*kib)
	for i := range data {
		data[i] = byte(i)
	}
	name := func(i int) string { return filepath.Join(dir, fmt.Sprint("crowd", i)) }
	n := 0
	for ; os.WriteFile(name(n), data, 0o600) == nil; n++ {
	}
	require.NotZero(t, n)
	for i := 0; i < n; i += 2 {
		require.NoError(t, os.Remove(name(i)))
	}
}

// TestXFSLogRecord has records that change the superblock alone, and one that changes another block.
func TestXFSLogRecord(t *testing.T) {
	op := func(flags byte, body ...byte) []byte {
		h := be.AppendUint32(make([]byte, 4), uint32(len(body)))
		return append(append(h, 0, flags, 0, 0), body...)
	}
	item := func(block byte) []byte {
		return append([]byte{0x3c, 0x12, 2, 0, 0, 0, 1, 0, block}, make([]byte, 15)...) // its own part, and one of data
	}
	record := func(ops ...[]byte) logRecord {
		r := logRecord{header: make([]byte, 512)}
		be.PutUint32(r.header[40:], uint32(len(ops)))
		for _, o := range ops {
			r.data = append(r.data, o...)
		}
		return r
	}
	header := op(0, append([]byte("NART"), make([]byte, 12)...)...)
	data := op(0, make([]byte, 128)...)
	for _, c := range []struct {
		r       logRecord
		unmount bool
		err     error
	}{
		{record(op(1), header, op(0, item(0)...), data, op(2)), false, nil},
		{record(op(1), header, op(0, item(8)...), data, op(2)), false, errLog},
		{record(op(1), header, op(0, item(0)...)), false, errLog},
		{record(op(1), header, data), false, errLog},
		{record(op(4), header), false, errLog},
		{record(op(0x20, 0x6e, 0x55, 0, 0)), true, nil},
	} {
		unmount, err := c.r.harmless()
		require.ErrorIs(t, err, c.err)
		require.Equal(t, c.unmount, unmount)
	}
}

// TestXFS4 has filesystems of version 4, which few kernels still mount: mkfs fills them from a description.
func TestXFS4(t *testing.T) {
	need(t, "mkfs.xfs", "xfs_repair", "xfs_db")
	file := filepath.Join(t.TempDir(), "data")
	require.NoError(t, os.WriteFile(file, []byte(strings.Repeat("content ", 300_000)), 0o600))
	proto := filepath.Join(t.TempDir(), "proto")
	lines := "boot 0 0\nd--777 0 0\n"
	for i := range 12 {
		lines += fmt.Sprintf("f%d ---644 0 0 %s\n", i, file)
	}
	require.NoError(t, os.WriteFile(proto, []byte(lines+"$\n"), 0o600))
	for _, options := range []string{"-m crc=0", "-m crc=0 -b size=1024 -l version=1 -d agcount=4", "-m crc=0 -n ftype=1 -s size=4096"} {
		image := garbage(t, 64*mib)
		run(t, append(append([]string{"mkfs.xfs", "-q", "-f", "-K", "--unsupported", "-p", proto}, strings.Fields(options)...), image)...)
		m := scannedWell(t, image)[0]
		near(t, xfsUsed(t, image), m.Volumes[0].Used, 64*kib)
		to := copied(t, image, m)
		xfsRepaired(t, to)
		for i := range 12 {
			require.Contains(t, run(t, "xfs_db", "-r", "-c", "path /f"+strconv.Itoa(i), "-c", "p core.size", to), "2400000")
		}
	}
}

// TestXFSFrozen maps a filesystem while it is frozen: its log is dirty, but holds nothing. What is copied then is what the
// files held, once the copy's log has been replayed. Neither is true of one that writes, nor of one that was cut off.
func TestXFSFrozen(t *testing.T) {
	needRoot(t)
	need(t, "mkfs.xfs", "xfs_repair", "mount")
	for _, options := range []string{"", "-l version=2,su=32k", "-l size=6m", "-s size=4096"} {
		t.Run(options, func(t *testing.T) {
			image := garbage(t, 64*mib)
			run(t, append(append([]string{"mkfs.xfs", "-q", "-f", "-K", "--unsupported"}, strings.Fields(options)...), image)...)
			mounted(t, image, "loop", func(dir string) {
				for round := range 5 { // the log goes round
					age(t, dir, 60+10*round)
					frozen(t, dir, func() {
						m := scannedWell(t, image)[0]
						to := copied(t, image, m)
						near(t, xfsUsed(t, to), m.Volumes[0].Used, 64*kib)
						if round < 4 {
							return
						}
						want := hashes(t, dir)
						mounted(t, to, "loop,nouuid", func(dir string) { require.Equal(t, want, hashes(t, dir)) })
						xfsRepaired(t, to)
					})
				}
				require.NoError(t, os.WriteFile(filepath.Join(dir, "more"), make([]byte, mib), 0o600))
				run(t, "sync", "-f", dir)
				require.Contains(t, scanned(t, image)[0].Volumes[0].Whole, "log was not replayed")
			})
			scannedWell(t, image)
		})
	}
}

// frozen calls f while a filesystem is frozen.
func frozen(t testing.TB, dir string, f func()) {
	t.Helper()
	d, err := os.Open(dir)
	require.NoError(t, err)
	defer d.Close()
	const freeze, thaw = 0xC0045877, 0xC0045878 // FIFREEZE, FITHAW
	require.NoError(t, unix.IoctlSetInt(int(d.Fd()), freeze, 0))
	defer func() { require.NoError(t, unix.IoctlSetInt(int(d.Fd()), thaw, 0)) }()
	f()
}

// TestXFSDoubt has filesystems whose trees cannot be believed.
func TestXFSDoubt(t *testing.T) {
	need(t, "mkfs.xfs", "xfs_db")
	for _, c := range []struct{ options, command, why, note string }{
		{"", "sb 0\" -c \"write -d features_incompat 0x8000000b", "incompat", ""},
		{"", "sb 0\" -c \"write -d features_ro_compat 0x80000005", "compat", ""},
		{"", "sb 0\" -c \"write -d dblocks 1000000", "impossible", ""},
		{"", "agf 1\" -c \"write -c freeblks 7", "", "allocation group 1 is taken as a whole: the checksum"},
		{"", "agf 1\" -c \"write -d freeblks 7", "", "free blocks were found, its header counts 7"},
		{"-m crc=0", "agf 2\" -c \"write freeblks 7", "", "free blocks were found, its header counts 7"},
		{"", "agf 1\" -c \"addr bnoroot\" -c \"write -d recs[1].blockcount 7", "", "free blocks were found"},
	} {
		image := blank(t, 64*mib)
		run(t, append(append([]string{"mkfs.xfs", "-q", "-f", "--unsupported"}, strings.Fields(c.options)...), image)...)
		scannedWell(t, image)
		run(t, "sh", "-c", fmt.Sprintf("xfs_db -x -c \"%s\" %s", c.command, image))
		v := scanned(t, image)[0].Volumes[0]
		if c.why != "" {
			require.Contains(t, v.Whole, c.why, c.command)
			continue
		}
		require.Empty(t, v.Whole)
		require.Len(t, v.Notes, 1)
		require.Contains(t, v.Notes[0], c.note)
		require.Less(t, v.Used, int64(40*mib))
	}
}
