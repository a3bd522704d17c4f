package block

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/e2e/lab"
)

const size = 400 << 20

// kind is a filesystem, how to make it, and who judges a copy.
type kind struct {
	name      string
	make      []string
	judge     []string
	partclone string
}

var kinds = []kind{
	{"ext4", []string{"mkfs.ext4", "-q", "-F"}, []string{"e2fsck", "-fn"}, "ext4"},
	{"ext4-1k", []string{"mkfs.ext4", "-q", "-F", "-b", "1024", "-O", "^flex_bg,bigalloc,^metadata_csum", "-C", "16384"}, []string{"e2fsck", "-fn"}, ""},
	{"xfs", []string{"mkfs.xfs", "-q", "-f"}, []string{"xfs_repair", "-n"}, "xfs"},
	{"btrfs", []string{"mkfs.btrfs", "-q", "-f"}, []string{"btrfs", "check", "-q"}, "btrfs"},
}

// image makes an image with a filesystem on it, in a directory of its own.
func (k kind) image(t *testing.T) string {
	t.Helper()
	lab.NeedRoot(t)
	lab.Need(t, k.make[0], k.judge[0], "losetup", "mount")
	path := filepath.Join(t.TempDir(), "disk.img")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, os.Truncate(path, size))
	tool(t, append(k.make, path)...)
	return path
}

// mounted mounts an image, attached with options, or a device for f, and waits until it is unmounted again.
func mounted(t *testing.T, device string, f func(dir string), options ...string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "mnt")
	require.NoError(t, os.MkdirAll(dir, 0o700))
	loop := device
	if !strings.HasPrefix(device, "/dev/") {
		loop = attach(t, device, options...)
		defer tool(t, "losetup", "-d", loop)
	}
	tool(t, "mount", "-o", "noatime", loop, dir)
	defer tool(t, "umount", dir)
	f(dir)
}

// attach makes a loop device of an image; options of losetup may be given.
func attach(t *testing.T, image string, options ...string) string {
	t.Helper()
	return tool(t, append([]string{"losetup", "--find", "--show"}, append(options, image)...)...)
}

// age fills a filesystem with files of all sizes, removes some and changes others, so that what is free is full of garbage and what is
// in use lies scattered.
func age(t *testing.T, dir string, seed uint64, total int64) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	noise := rand.NewChaCha8([32]byte{byte(seed)})
	var names []string
	for written := int64(0); written < total; {
		n := int64(1) << r.IntN(22)
		b := make([]byte, n)
		_, _ = noise.Read(b)
		name := filepath.Join(dir, fmt.Sprint("f", len(names)))
		require.NoError(t, os.WriteFile(name, b, 0o644))
		names = append(names, name)
		written += n
	}
	for i, name := range names {
		switch i % 4 {
		case 0, 1:
			require.NoError(t, os.Remove(name))
		case 2:
			f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
			require.NoError(t, err)
			_, err = f.WriteString(strings.Repeat("more ", 1+r.IntN(5000)))
			require.NoError(t, err)
			require.NoError(t, f.Close())
		}
	}
}

// hashes returns the digest of every file of a mounted filesystem.
func hashes(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		out[d.Name()] = fmt.Sprintf("%x", sha256.Sum256(b))
		return err
	}))
	return out
}

// same fails unless the copy is sound for its own tools and holds the same files.
func (k kind) same(t *testing.T, source, target string) {
	t.Helper()
	tool(t, append(k.judge, target)...)
	var want, got map[string]string
	mounted(t, source, func(dir string) { want = hashes(t, dir) }, "--read-only")
	mounted(t, target, func(dir string) { got = hashes(t, dir) }, "--read-only")
	require.NotEmpty(t, want)
	require.Equal(t, want, got)
}

// foreignCount is how many bytes partclone has in use.
func foreignCount(t *testing.T, kind, image string) (n int64) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "domain")
	tool(t, "partclone."+kind, "-D", "-F", "-s", image, "-o", out, "-L", out+".log")
	b, err := os.ReadFile(out)
	require.NoError(t, err)
	for _, line := range strings.Split(string(b), "\n") {
		if f := strings.Fields(line); len(f) == 3 && f[2] == "+" {
			size, err := strconv.ParseInt(f[1], 0, 64)
			require.NoError(t, err)
			n += size
		}
	}
	require.Positive(t, n)
	return n
}

// TestFilesystems copies aged images over TLS, then again after little changed: what is read is what is in use, what is sent is what
// changed, and the filesystem's own tools find nothing wrong.
func TestFilesystems(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			source := k.image(t)
			mounted(t, source, func(dir string) { age(t, dir, 1, 60<<20) })
			target, dir := filepath.Join(t.TempDir(), "copy.img"), state(t)
			s := serve(t, nil, "--into", "image:"+target, "--state", state(t))
			migrate := []string{"migrate", source, "--to", s.addr, "--pair", s.pair, "--state", dir}
			r := good(t, migrate...)
			require.Equal(t, "first", r.Pass)
			require.Equal(t, "full", r.Verified)
			if k.partclone != "" {
				lab.Need(t, "partclone."+k.partclone)
				want := foreignCount(t, k.partclone, source)
				require.LessOrEqual(t, r.BytesRead, want+want/50+(4<<20), "%d bytes are in use, says partclone", want)
			}
			s.kill()
			k.same(t, source, target)

			mounted(t, source, func(dir string) { age(t, dir, 2, 3<<20) })
			s.start(t, s.addr)
			r = good(t, migrate...)
			require.Equal(t, "sync", r.Pass)
			require.Less(t, r.BytesSent, r.Bytes/4, "only what changed is sent")
			s.kill()
			k.same(t, source, target)
		})
	}
}
