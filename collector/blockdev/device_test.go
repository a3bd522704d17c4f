package blockdev

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestImage(t *testing.T) {
	name := filepath.Join(t.TempDir(), "image")
	require.NoError(t, os.WriteFile(name, []byte("0123456789"), 0o600))
	d, err := Open(name)
	require.NoError(t, err)
	defer d.Close()
	require.Equal(t, Info{Path: name, Size: 10, Image: true}, d.Info())
	b := make([]byte, 4)
	_, err = d.ReadAt(b, 3)
	require.NoError(t, err)
	require.Equal(t, "3456", string(b))
}

func TestNotADevice(t *testing.T) {
	_, err := Open(t.TempDir())
	require.Error(t, err)
	_, err = Open(filepath.Join(t.TempDir(), "absent"))
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// sectors refuses what is not whole sectors, as a Windows disk does.
type sectors struct {
	data   []byte
	sector int64
}

func (s sectors) ReadAt(p []byte, off int64) (int, error) {
	if off%s.sector != 0 || int64(len(p))%s.sector != 0 {
		return 0, errors.New("not aligned")
	}
	return bytes.NewReader(s.data).ReadAt(p, off)
}

func TestAligned(t *testing.T) {
	data := make([]byte, 4096)
	for i := range data {
		data[i] = byte(i / 7)
	}
	r := Aligned(sectors{data, 512}, 4096, 512)
	for _, c := range []struct{ off, n int64 }{{0, 1}, {511, 2}, {100, 2000}, {4095, 1}, {0, 4096}} {
		p := make([]byte, c.n)
		n, err := r.ReadAt(p, c.off)
		require.NoError(t, err)
		require.Equal(t, data[c.off:c.off+c.n], p[:n])
	}
	n, err := r.ReadAt(make([]byte, 10), 4090)
	require.Equal(t, 6, n)
	require.ErrorIs(t, err, io.EOF)
	_, err = r.ReadAt(make([]byte, 10), 4096)
	require.ErrorIs(t, err, io.EOF)
}
