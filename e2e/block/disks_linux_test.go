package block

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/e2e/lab"
)

// TestWholeDisk copies a disk with a GPT, of which one partition is ext4 and one NTFS, to a device with sectors of the same size.
func TestWholeDisk(t *testing.T) {
	lab.NeedRoot(t)
	lab.Need(t, "sfdisk", "mkntfs", "ntfscp", "ntfsfix", "losetup", "partx")
	for _, sector := range []string{"512", "4096"} {
		t.Run(sector, func(t *testing.T) {
			from, to := filepath.Join(t.TempDir(), "from"), filepath.Join(t.TempDir(), "to")
			for _, path := range []string{from, to} {
				require.NoError(t, os.WriteFile(path, nil, 0o600))
				require.NoError(t, os.Truncate(path, 300<<20))
			}
			source := attach(t, from, "--sector-size", sector, "--partscan")
			defer tool(t, "losetup", "-d", source)
			tool(t, "sh", "-c", "printf 'label: gpt\nsize=140M\nsize=140M\n' | sfdisk -q "+source)
			tool(t, "partx", "-u", source)
			tool(t, "mkfs.ext4", "-q", "-F", source+"p1")
			tool(t, "mkntfs", "-q", "-F", "-Q", source+"p2")
			mounted(t, source+"p1", func(dir string) { age(t, dir, 5, 30<<20) })
			tool(t, "ntfscp", source+"p2", ferry(t), "ferry")
			target := attach(t, to, "--sector-size", sector)
			r := good(t, "migrate", source, "--to", "device:"+target, "--state", state(t))
			require.Less(t, r.BytesRead, int64(150<<20), "free space is not read")
			tool(t, "losetup", "-d", target)

			target = attach(t, to, "--sector-size", sector, "--partscan")
			defer tool(t, "losetup", "-d", target)
			tool(t, "partx", "-u", target)
			tool(t, "e2fsck", "-fn", target+"p1")
			tool(t, "ntfsfix", "-n", target+"p2")
			var want, got map[string]string
			mounted(t, source+"p1", func(dir string) { want = hashes(t, dir) })
			mounted(t, target+"p1", func(dir string) { got = hashes(t, dir) })
			require.Equal(t, want, got)
			require.Equal(t, tool(t, "sfdisk", "-d", source), strings.ReplaceAll(tool(t, "sfdisk", "-d", target), target, source))
		})
	}
}

// TestVerifyNamesTheRange flips a byte of the copy.
func TestVerifyNamesTheRange(t *testing.T) {
	r := newRig(t, 5<<20)
	good(t, "migrate", r.source, "--to", "image:"+r.target, "--state", r.state)
	require.Zero(t, run(t, "verify", r.source, "--to", "image:"+r.target, "--state", r.state).exit)
	f, err := os.OpenFile(r.target, os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte{^r.content[3<<20]}, 3<<20)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	o := run(t, "verify", r.source, "--to", "image:"+r.target, "--state", r.state)
	require.Equal(t, 4, o.exit)
	require.EqualValues(t, 1, o.Differences)
	require.Contains(t, o.Error, "bytes 3145728 to 3211263")
	require.Equal(t, "FERRY-VERIFY-DIFFERENT", o.Code)

	o = good(t, "migrate", r.source, "--to", "image:"+r.target, "--state", r.state)
	require.Less(t, o.BytesSent, int64(1<<20), "everything is compared, and one chunk is sent")
	got, err := os.ReadFile(r.target)
	require.NoError(t, err)
	require.True(t, bytes.Equal(r.content, got))
}

// TestRefusals are runs that must not begin, and leave the target as it is.
func TestRefusals(t *testing.T) {
	r := newRig(t, 5<<20)
	foreign := filepath.Join(t.TempDir(), "foreign.img")
	require.NoError(t, os.WriteFile(foreign, []byte("somebody else's\n"), 0o600))
	for _, c := range []struct {
		name, code string
		exit       int
		args       []string
	}{
		{"data of others", "FERRY-TARGET-NOT-EMPTY", 1, []string{r.source, "--to", "image:" + foreign}},
		{"the source itself", "FERRY-TARGET-IS-SOURCE", 1, []string{r.source, "--to", "image:" + r.source, "--overwrite"}},
		{"no such image", "FERRY-SOURCE-MISSING", 1, []string{r.source + "x", "--type", "block", "--to", "image:" + r.target}},
		{"no device", "FERRY-TARGET-MISSING", 1, []string{r.source, "--to", "device:/dev/no-such-device"}},
		{"an image as a device", "FERRY-TARGET-KIND", 1, []string{r.source, "--to", "device:" + foreign, "--overwrite"}},
		{"a directory for a disk", "", 2, []string{r.source, "--to", "dir:" + t.TempDir()}},
		{"an image for a directory", "", 2, []string{t.TempDir(), "--to", "image:" + r.target}},
		{"two disks", "", 2, []string{r.source, foreign, "--to", "image:" + r.target}},
		{"excludes", "", 2, []string{r.source, "--to", "image:" + r.target, "--exclude", "x"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := run(t, append([]string{"migrate", "--state", r.state}, c.args...)...)
			require.Equal(t, c.exit, o.exit, o.stderr)
			require.Equal(t, c.code, o.Code, o.stderr)
			require.NoFileExists(t, r.target)
		})
	}
	b, err := os.ReadFile(foreign)
	require.NoError(t, err)
	require.Equal(t, "somebody else's\n", string(b))

	s := serve(t, nil, "--into", "dir:"+t.TempDir(), "--state", state(t))
	require.Equal(t, "FERRY-TARGET-LEVEL", run(t, "migrate", r.source, "--to", s.addr, "--pair", s.pair, "--state", r.state).Code)
	r.serve()
	o := run(t, "migrate", t.TempDir(), "--to", r.server.addr, "--pair", r.server.pair, "--state", r.state)
	require.Equal(t, "FERRY-TARGET-LEVEL", o.Code, o.stderr)
}

// TestDryRunTouchesNothing looks at a copy that does not exist and at one that does.
func TestDryRunTouchesNothing(t *testing.T) {
	r := newRig(t, 5<<20)
	good(t, "migrate", r.source, "--to", "image:"+r.target, "--state", r.state, "--dry-run")
	require.NoFileExists(t, r.target)
	good(t, "migrate", r.source, "--to", "image:"+r.target, "--state", r.state)
	before, err := os.Stat(r.target)
	require.NoError(t, err)
	r.change(0)
	good(t, "migrate", r.source, "--to", "image:"+r.target, "--state", r.state, "--dry-run")
	after, err := os.Stat(r.target)
	require.NoError(t, err)
	require.Equal(t, before.ModTime(), after.ModTime())
}

// TestFullTarget fills the filesystem of the target, which says so; with more room the same command gets done.
func TestFullTarget(t *testing.T) {
	lab.NeedRoot(t)
	r := newRig(t, 40<<20)
	dir := t.TempDir()
	tool(t, "mount", "-t", "tmpfs", "-o", "size=16m", "none", dir)
	defer tool(t, "umount", dir)
	r.target = filepath.Join(dir, "target.img")
	o := run(t, "migrate", r.source, "--to", "image:"+r.target, "--state", r.state)
	require.Equal(t, 1, o.exit)
	require.Equal(t, "FERRY-TARGET-FULL", o.Code, o.stderr)
	tool(t, "mount", "-o", "remount,size=64m", dir)
	o = good(t, "migrate", r.source, "--to", "image:"+r.target, "--state", r.state)
	require.Equal(t, "resume", o.Pass)
	got, err := os.ReadFile(r.target)
	require.NoError(t, err)
	require.True(t, bytes.Equal(r.content, got))
}

// TestHugeSparse maps and copies an XFS of 16 TiB with a file in it, in little memory.
func TestHugeSparse(t *testing.T) {
	lab.NeedRoot(t)
	lab.Need(t, "mkfs.xfs", "xfs_repair")
	dir := t.TempDir()
	source, target := filepath.Join(dir, "huge.img"), filepath.Join(dir, "copy.img")
	require.NoError(t, os.WriteFile(source, nil, 0o600))
	if err := os.Truncate(source, 15<<40); err != nil {
		t.Skip("the filesystem of the temporary directory has no files of 15 TiB: ", err)
	}
	tool(t, "mkfs.xfs", "-q", "-f", source)
	mounted(t, source, func(dir string) { age(t, dir, 6, 40<<20) })
	p := begin(t, nil, "migrate", source, "--to", "image:"+target, "--state", state(t))
	peak := p.weigh()
	r := p.wait(t)
	require.Zero(t, r.exit, r.stderr)
	n := peak()
	require.Positive(t, n)
	require.Less(t, n, int64(256<<10), "KiB of memory, on both sides")
	kind{judge: []string{"xfs_repair", "-n"}}.same(t, source, target)
}
