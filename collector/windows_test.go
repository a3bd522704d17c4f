package collector

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/collector/blockdev"
	"github.com/ferry-migrate/ferry/collector/inventory"
)

// fakeWindows answers as Windows would.
type fakeWindows struct {
	drives  []windowsDrive
	volumes []inventory.WindowsVolume
	facts   inventory.Windows
	err     error
}

func (f fakeWindows) Drives() ([]windowsDrive, error)             { return f.drives, f.err }
func (f fakeWindows) Volumes() ([]inventory.WindowsVolume, error) { return f.volumes, f.err }
func (f fakeWindows) Facts() (inventory.Windows, error)           { return f.facts, f.err }

// driveDescriptor makes a STORAGE_DEVICE_DESCRIPTOR as Windows lays it out.
func driveDescriptor(vendor, product, serial string, bus uint32) []byte {
	b := make([]byte, 40)
	put := func(field int, s string) {
		binary.LittleEndian.PutUint32(b[field:], uint32(len(b)))
		b = append(append(b, s...), 0)
	}
	put(12, vendor)
	put(16, product)
	put(24, serial)
	binary.LittleEndian.PutUint32(b[28:], bus)
	return b
}

// windowsDisk makes an image as Windows partitions its system disk, with a real NTFS where drive C is.
func windowsDisk(t *testing.T) string {
	for _, name := range []string{"sfdisk", "mkntfs"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("needs %s, which is not installed", name)
		}
	}
	dir := t.TempDir()
	image, volume := filepath.Join(dir, "disk"), filepath.Join(dir, "c")
	require.NoError(t, os.WriteFile(image, nil, 0o600))
	require.NoError(t, os.Truncate(image, 256<<20))
	cmd := exec.Command("sfdisk", "-q", image)
	cmd.Stdin = strings.NewReader("label: gpt\n,100M,C12A7328-F81F-11D2-BA4B-00A0C93EC93B\n,16M,E3C9E316-0B5C-4DB8-817D-F92DF00215AE\n,64M,EBD0A0A2-B9E5-4433-87C0-68B6B72699C7\n")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NoError(t, os.WriteFile(volume, nil, 0o600))
	require.NoError(t, os.Truncate(volume, 64<<20))
	out, err = exec.Command("mkntfs", "-q", "-F", "-L", "System", volume).CombinedOutput()
	require.NoError(t, err, "%s", out)
	data, err := os.ReadFile(volume)
	require.NoError(t, err)
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteAt(data, 117<<20)
	require.NoError(t, err)
	return image
}

// sectorDevice is a drive that is read in whole sectors only, as Windows demands.
type sectorDevice struct {
	io.ReaderAt
	io.Closer
}

func (d sectorDevice) Size() int64 { return 256 << 20 }

func TestWindows(t *testing.T) {
	image := windowsDisk(t)
	in := inspector{open: func(path string) (source, error) {
		if path != `\\.\PhysicalDrive0` {
			return nil, os.ErrPermission
		}
		f, err := os.Open(image)
		if err != nil {
			return nil, err
		}
		return sectorDevice{blockdev.Aligned(wholeSectors{f}, 256<<20, 512), f}, nil
	}}
	const c = `\\?\Volume{11111111-0000-0000-0000-000000000000}\`
	sys := fakeWindows{
		drives: []windowsDrive{
			{Name: `\\.\PhysicalDrive0`, Size: 256 << 20, Logical: 512, Physical: 4096, Descriptor: driveDescriptor("QEMU    ", "QEMU HARDDISK", " 42 ", 11)},
			{Name: `\\.\PhysicalDrive1`, Size: 1 << 30, Logical: 512, Physical: 512, Descriptor: []byte{1, 2}},
		},
		volumes: []inventory.WindowsVolume{
			{GUIDPath: c, Paths: []string{`C:\`, `D:\mnt\`}, Label: "System", Filesystem: "NTFS", Size: 64 << 20, Free: 60 << 20, ClusterSize: 4096, Kind: "fixed", System: true,
				Extents: []inventory.VolumeExtent{{Disk: `\\.\PhysicalDrive0`, Offset: 117 << 20, Size: 64 << 20}}},
			{GUIDPath: `\\?\Volume{2}\`, Paths: []string{}, Filesystem: "FAT32", Boot: true, Kind: "fixed",
				Extents: []inventory.VolumeExtent{{Disk: `\\.\PhysicalDrive0`, Offset: 1 << 20, Size: 100 << 20}}},
		},
		facts: inventory.Windows{Elevated: true, SystemDirectory: `C:\Windows\System32`, Drivers: map[string]bool{"viostor.sys": false}},
	}
	s := run(context.Background(), 10*time.Second, []Collector{part{"storage", collectWindows(sys, in)}})
	require.Equal(t, []inventory.Missing{{Part: "storage", Subject: `\\.\PhysicalDrive1`, Reason: "permission denied"}}, s.Missing)
	k := s.Disks[0]
	require.Equal(t, []string{"QEMU", "QEMU HARDDISK", "42", "sata"}, []string{k.Vendor, k.Model, k.Serial, k.Transport})
	require.Equal(t, inventory.StyleGPT, k.Table.Style)
	require.Len(t, k.Partitions, 3)
	require.Equal(t, c, k.Partitions[2].Name)
	require.Equal(t, "ntfs", k.Partitions[2].Content.Type)
	require.Equal(t, "System", k.Partitions[2].Content.Label)
	require.EqualValues(t, 60<<20, k.Partitions[2].Content.Usage.Free)
	require.Equal(t, "fat32", k.Partitions[0].Content.Type, "what Windows says, where the bytes say nothing")
	require.Equal(t, `\\.\PhysicalDrive0`, s.Boot.SystemDisk)
	require.Equal(t, `\\.\PhysicalDrive0`, s.Boot.BootDisk)
	require.Equal(t, []string{`C:\`, `D:\mnt\`}, []string{s.Mounts[0].Path, s.Mounts[1].Path})
	require.Empty(t, s.Windows.DynamicDisks)

	sys.err = errors.New("access denied")
	s = run(context.Background(), 10*time.Second, []Collector{part{"storage", collectWindows(sys, in)}})
	require.Len(t, s.Missing, 4, "the drives that were named are still looked at")
}

// wholeSectors refuses what is not whole sectors.
type wholeSectors struct{ f *os.File }

func (w wholeSectors) ReadAt(p []byte, off int64) (int, error) {
	if off%512 != 0 || len(p)%512 != 0 {
		return 0, errors.New("the parameter is incorrect")
	}
	return w.f.ReadAt(p, off)
}

func FuzzDescribeDrive(f *testing.F) {
	f.Add(driveDescriptor("a", "b", "c", 17))
	f.Add(make([]byte, 36))
	f.Fuzz(func(t *testing.T, b []byte) {
		var k inventory.Disk
		describeDrive(&k, b)
	})
}
