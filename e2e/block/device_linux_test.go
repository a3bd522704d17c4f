package block

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/e2e/lab"
)

const mib = 1 << 20

// fileOf makes an image of size bytes that begins with content.
func fileOf(t *testing.T, dir, name string, size int64, content []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	require.NoError(t, os.WriteFile(path, content, 0o600))
	require.NoError(t, os.Truncate(path, size))
	tool(t, "sync", path)
	return path
}

func loopOf(t *testing.T, image string, options ...string) string {
	t.Helper()
	dev := attach(t, image, options...)
	t.Cleanup(func() { tool(t, "losetup", "-d", dev) })
	return dev
}

// TestUsedDisks gives targets, and a source, that something else uses: nothing is written to them, here and through a target that listens.
func TestUsedDisks(t *testing.T) {
	lab.NeedRoot(t)
	lab.Need(t, "mkfs.ext4", "losetup", "mount", "mkswap", "swapon")
	dir := t.TempDir()
	content := bytes.Repeat([]byte("source! "), mib/8)
	source := fileOf(t, dir, "source", 16*mib, content)
	hard := filepath.Join(dir, "hard")
	require.NoError(t, os.Link(source, hard))
	disk := loopOf(t, fileOf(t, dir, "disk", 16*mib, content))
	used := fileOf(t, dir, "used", 32*mib, nil)
	usedDevice := loopOf(t, used)
	tool(t, "mkfs.ext4", "-q", usedDevice)
	tool(t, "mount", "-o", "ro", usedDevice, t.TempDir()) // it does not change by itself
	t.Cleanup(func() { tool(t, "umount", usedDevice) })
	swap := loopOf(t, fileOf(t, dir, "swap", 16*mib, nil))
	tool(t, "mkswap", swap)
	tool(t, "swapon", swap)
	t.Cleanup(func() { tool(t, "swapoff", swap) })
	written := fileOf(t, dir, "written", 16*mib, content)
	loopOf(t, written)

	for _, c := range []struct{ name, source, target, code string }{
		{"small", source, "device:" + loopOf(t, fileOf(t, dir, "small", 8*mib, nil)), "FERRY-TARGET-SMALL"},
		{"read-only", source, "device:" + loopOf(t, fileOf(t, dir, "ro", 16*mib, nil), "--read-only"), "FERRY-TARGET-READONLY"},
		{"mounted", source, "device:" + usedDevice, "FERRY-TARGET-MOUNTED"},
		{"mounted image", source, "image:" + used, "FERRY-TARGET-MOUNTED"},
		{"swap", source, "device:" + swap, "FERRY-TARGET-IN-USE"},
		{"attached", source, "image:" + written, "FERRY-TARGET-IN-USE"},
		{"itself", disk, "device:" + disk, "FERRY-TARGET-IS-SOURCE"},
		{"image of itself", disk, "image:" + filepath.Join(dir, "disk"), "FERRY-TARGET-IS-SOURCE"},
		{"hard link", source, "image:" + hard, "FERRY-TARGET-IS-SOURCE"},
		{"data", source, "device:" + loopOf(t, fileOf(t, dir, "data", 16*mib, []byte("x"))), "FERRY-TARGET-NOT-EMPTY"},
		{"written source", written, "image:" + filepath.Join(dir, "new"), "FERRY-SOURCE-WRITTEN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := c.target[strings.IndexByte(c.target, ':')+1:]
			before, _ := os.ReadFile(path) // of one that is not there nothing
			migrate := []string{"migrate", c.source, "--type", "block", "--state", state(t)}
			if c.code != "FERRY-TARGET-NOT-EMPTY" {
				migrate = append(migrate, "--overwrite")
			}
			r := run(t, append(migrate, "--to", c.target)...)
			require.Equal(t, 1, r.exit, r.stderr)
			require.Equal(t, c.code, r.Code, r.stderr)
			if strings.HasPrefix(c.code, "FERRY-TARGET-") {
				s := serve(t, nil, "--into", c.target, "--state", state(t))
				r = run(t, append(migrate, "--to", s.addr, "--pair", s.pair)...)
				require.Equal(t, c.code, r.Code, r.stderr)
			}
			after, _ := os.ReadFile(path)
			require.True(t, bytes.Equal(before, after), "the target was written")
		})
	}
}

// TestBadBlock copies an image that lies on a Btrfs which cannot read one block of it: the rest arrives, and the block is named.
func TestBadBlock(t *testing.T) {
	lab.NeedRoot(t)
	const at, length = 3*mib + 8192, 4096
	content := make([]byte, 8*mib)
	for i := range content {
		content[i] = byte(i>>12) ^ byte(i*7)
	}
	copy(content[at:], "the block that goes bad")
	mnt := lab.Mount(t, "btrfs", 0)
	source := fileOf(t, mnt, "image", int64(len(content)), content)
	lab.Offline(t, mnt, func(image string) {
		disk, err := os.ReadFile(image)
		require.NoError(t, err)
		where := bytes.Index(disk, content[at:at+length])
		require.Positive(t, where)
		f, err := os.OpenFile(image, os.O_RDWR, 0)
		require.NoError(t, err)
		defer f.Close()
		_, err = f.WriteAt([]byte("spoilt"), int64(where))
		require.NoError(t, err)
	})
	target := filepath.Join(t.TempDir(), "copy")
	p := begin(t, nil, "migrate", source, "--to", "image:"+target, "--state", state(t), "--strict")
	r := p.wait(t)
	require.Equal(t, 3, r.exit, r.stderr)
	var said struct {
		Losses []struct {
			Count  int
			Sample []string
		}
	}
	require.NoError(t, json.Unmarshal(bytes.TrimSpace(p.stdout.Bytes()[bytes.LastIndex(p.stdout.Bytes(), []byte(`{"event":"result"`)):]), &said))
	require.Len(t, said.Losses, 1)
	require.Contains(t, strings.Join(said.Losses[0].Sample, " "), "3153920")
	got, err := os.ReadFile(target)
	require.NoError(t, err)
	clear(content[at : at+length])
	require.True(t, bytes.Equal(content, got))
}
