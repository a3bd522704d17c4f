package initramfs

import (
	"bytes"
	"compress/gzip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

func packed(t testing.TB, files ...File) []byte {
	var b bytes.Buffer
	require.NoError(t, Archive(&b, files))
	return b.Bytes()
}

func gz(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b)
	w.Close()
	return out.Bytes()
}

func zst(t testing.TB, b []byte, o ...zstd.EOption) []byte {
	w, err := zstd.NewWriter(nil, o...)
	require.NoError(t, err)
	defer w.Close()
	return w.EncodeAll(b, nil)
}

func names(t testing.TB, image []byte) (out []string) {
	require.NoError(t, Walk(bytes.NewReader(image), func(n string) { out = append(out, n) }))
	return out
}

// TestWalk reads rows of archives, compressed or not, in any order: what follows a compressed one is found too.
func TestWalk(t *testing.T) {
	a, b := packed(t, File{Name: "a", Mode: 0o644, Content: bytes.Repeat([]byte("x"), 300_000)}), packed(t, File{Name: "b", Mode: os.ModeDir | 0o755})
	for name, first := range map[string][]byte{
		"plain": a, "gzip": gz(a), "zstd": zst(t, a), "zstd without a checksum": zst(t, a, zstd.WithEncoderCRC(false)),
		"zstd of random": zst(t, a, zstd.WithEncoderLevel(zstd.SpeedBestCompression)),
	} {
		t.Run(name, func(t *testing.T) {
			image := append([]byte{}, first...)
			image = append(image, make([]byte, -len(image)&3)...)
			require.Equal(t, []string{"a"}, names(t, image))
			require.Equal(t, []string{"a", "b"}, names(t, append(image, b...)))
			require.Equal(t, []string{"b", "a", "b"}, names(t, append(append(append([]byte{}, b...), image...), b...)))
		})
	}
	var seen []string
	err := Walk(strings.NewReader(string(a)+"\xfd7zXZ\x00"), func(n string) { seen = append(seen, n) })
	require.ErrorIs(t, err, ErrCompression)
	require.Equal(t, []string{"a"}, seen)
	require.Error(t, Walk(bytes.NewReader(zst(t, a)[:20]), func(string) {}))
	require.Error(t, Walk(bytes.NewReader(a[:200]), func(string) {}))
}

// TestArchive lets cpio unpack what was written.
func TestArchive(t *testing.T) {
	if _, err := exec.LookPath("cpio"); err != nil {
		t.Skip("cpio is not installed")
	}
	dir := t.TempDir()
	cmd := exec.Command("cpio", "-id", "--quiet")
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(packed(t, File{Name: "d", Mode: os.ModeDir | 0o755}, File{Name: "d/odd", Mode: 0o640, Content: []byte("abc")}, File{Name: "empty", Mode: 0o600}))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	content, err := os.ReadFile(filepath.Join(dir, "d/odd"))
	require.NoError(t, err)
	require.Equal(t, "abc", string(content))
	info, err := os.Stat(filepath.Join(dir, "d/odd"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o640), info.Mode())
}

func TestModule(t *testing.T) {
	name, ok := Module("lib/modules/6.1/kernel/drivers/block/virtio-blk.ko.xz")
	require.True(t, ok)
	require.Equal(t, "virtio_blk", name)
	_, ok = Module("etc/passwd")
	require.False(t, ok)
}

func FuzzWalk(f *testing.F) {
	a := packed(f, File{Name: "a", Mode: 0o644, Content: []byte("x")})
	f.Add(a)
	f.Add(gz(a))
	f.Add(append(zst(f, a), a...))
	f.Fuzz(func(_ *testing.T, image []byte) {
		_ = Walk(bytes.NewReader(image), func(string) {})
	})
}
