package blockdev

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLoopDevice(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root for a loop device")
	}
	if _, err := exec.LookPath("losetup"); err != nil {
		t.Skip("needs losetup, which is not installed")
	}
	img := filepath.Join(t.TempDir(), "image")
	require.NoError(t, os.WriteFile(img, nil, 0o600))
	require.NoError(t, os.Truncate(img, 8<<20))
	out, err := exec.Command("losetup", "--find", "--show", "--read-only", "--sector-size", "4096", img).Output()
	require.NoError(t, err)
	dev := strings.TrimSpace(string(out))
	defer exec.Command("losetup", "-d", dev).Run()
	d, err := Open(dev)
	require.NoError(t, err)
	defer d.Close()
	require.Equal(t, Info{Path: dev, Size: 8 << 20, LogicalSector: 4096, PhysicalSector: 4096, ReadOnly: true}, d.Info())
}

func TestNeverWaits(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, exec.Command("mkfifo", fifo).Run())
	_, err := Open(fifo)
	require.ErrorIs(t, err, ErrKind)
	_, err = Open("/dev/null")
	require.ErrorIs(t, err, ErrKind)
}
