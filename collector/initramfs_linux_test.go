package collector

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/collector/inventory"
)

// cpio makes an archive in the newc format of files with a little content.
func cpio(names ...string) []byte {
	var b bytes.Buffer
	for _, name := range append(names, "TRAILER!!!") {
		content := "x"
		if name == "TRAILER!!!" {
			content = ""
		}
		fmt.Fprintf(&b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", 1, 0o100644, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0)
		b.WriteString(name + "\x00")
		b.Write(make([]byte, -b.Len()&3))
		b.WriteString(content)
		b.Write(make([]byte, -b.Len()&3))
	}
	b.Write(make([]byte, -b.Len()&511))
	return b.Bytes()
}

func gz(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b)
	w.Close()
	return out.Bytes()
}

func TestInitramfs(t *testing.T) {
	const blk = "usr/lib/modules/6.1/kernel/drivers/block/virtio_blk.ko.xz"
	encoder, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	defer encoder.Close()
	microcode := cpio("kernel/x86/microcode/GenuineIntel.bin")
	for name, c := range map[string]struct {
		image []byte
		ready bool
		err   string
	}{
		"plain":                 {cpio(blk), true, ""},
		"gzip":                  {gz(cpio(blk)), true, ""},
		"microcode, then zstd":  {append(append([]byte{}, microcode...), encoder.EncodeAll(cpio("etc/passwd", blk), nil)...), true, ""},
		"without the driver":    {gz(cpio("lib/modules/virtio_net.ko")), false, ""},
		"a name with hyphens":   {cpio("lib/virtio-blk.ko"), true, ""},
		"cut short":             {cpio(blk)[:150], false, "unexpected EOF"},
		"malformed":             {[]byte("070701zzzzzzzz" + string(make([]byte, 200))), false, "malformed"},
		"a bomb of nested gzip": {gz(gz(gz(cpio(blk)))), true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, "image"), c.image, 0o600))
			v := inventory.Virtio{Loadable: []string{"virtio_blk"}}
			err := inInitramfs(context.Background(), root(dir), "image", &v)
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				require.Empty(t, v.Checked)
				return
			}
			require.NoError(t, err)
			require.Equal(t, "modules+initramfs", v.Checked)
			require.Equal(t, c.ready, len(v.Ready) == 1)
		})
	}
}

// TestInitramfsUnreadable: a compression that is not known is no fault of the server, and says nothing about its drivers.
func TestInitramfsUnreadable(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "image"), []byte("\xfd7zXZ\x00rest of it"), 0o600))
	v := inventory.Virtio{Loadable: []string{"virtio_blk"}, Checked: "modules"}
	require.NoError(t, inInitramfs(context.Background(), root(dir), "image", &v))
	require.Equal(t, inventory.Virtio{Loadable: []string{"virtio_blk"}, Checked: "modules"}, v)
}

func FuzzInitramfs(f *testing.F) {
	f.Add(cpio("a/virtio_blk.ko"))
	f.Add(gz(cpio("a")))
	f.Fuzz(func(t *testing.T, image []byte) {
		_, _ = modulesIn(bytes.NewReader(image))
	})
}

func TestDMFill(t *testing.T) {
	for _, c := range []struct {
		kind, status string
		want         float64
	}{
		{"thin-pool", "0 12/2048 256/1024 - rw discard_passdown queue_if_no_space - 1024", 25},
		{"snapshot", "512/2048 16", 25},
	} {
		got := dmFill(c.kind, c.status)
		require.NotNil(t, got)
		require.Equal(t, c.want, *got)
	}
	for _, bad := range []string{"", "Fail", "Invalid", "1 2", "0 1/2 x/0"} {
		require.Nil(t, dmFill("thin-pool", bad))
		require.Nil(t, dmFill("snapshot", bad))
	}
}
