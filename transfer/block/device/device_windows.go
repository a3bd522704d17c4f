package device

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/windows"

	"github.com/ferry-migrate/ferry/collector/blockdev"
	"github.com/ferry-migrate/ferry/transfer/extent"
)

// Control codes of winioctl.h.
const (
	fsctlLockVolume          = 0x90018
	fsctlSetSparse           = 0x900C4
	fsctlSetZeroData         = 0x980C8
	ioctlVolumeDiskExtents   = 0x560000
	ioctlStorageDeviceNumber = 0x2D1080
)

// past leaves reads as they are: disks have no cache of their own in Windows, and want whole sectors.
func past(dev *blockdev.Device) (reader, string) {
	info := dev.Info()
	if info.Image {
		return reader{r: dev.File(), size: info.Size, align: 1}, "An image is read through the cache of Windows."
	}
	return reader{r: dev.File(), size: info.Size, align: int(info.LogicalSector)}, ""
}

// dataOf takes all of an image as data.
func dataOf(_ context.Context, _ *os.File, size int64) (extent.List, error) {
	return extent.List{{Start: 0, Size: size}}, nil
}

// control calls a device with a control code.
func control(h windows.Handle, code uint32, in, out []byte) (n uint32, err error) {
	var pin, pout *byte
	if len(in) > 0 {
		pin = &in[0]
	}
	if len(out) > 0 {
		pout = &out[0]
	}
	err = windows.DeviceIoControl(h, code, pin, uint32(len(in)), pout, uint32(len(out)), &n, nil)
	return n, err
}

// host is this machine.
type host struct{ name string }

func readHost(string) (*host, error) {
	name, err := os.Hostname()
	return &host{name}, err
}

// identify tells a volume by where it lies on its disks, a disk by its number, a file by its index.
func (h *host) identify(f *os.File, info blockdev.Info) (Identity, error) {
	handle := windows.Handle(f.Fd())
	if info.Image {
		var by windows.ByHandleFileInformation
		if err := windows.GetFileInformationByHandle(handle, &by); err != nil {
			return Identity{}, err
		}
		name := fmt.Sprintf("file %08x/%08x%08x@%s", by.VolumeSerialNumber, by.FileIndexHigh, by.FileIndexLow, h.name)
		return Identity{Key: name, Pieces: []Piece{{name, 0, 1 << 61}}}, nil
	}
	pieces := h.extents(handle)
	if len(pieces) == 0 {
		var out [12]byte // STORAGE_DEVICE_NUMBER: type, number, partition
		if _, err := control(handle, ioctlStorageDeviceNumber, nil, out[:]); err != nil {
			return Identity{}, err
		}
		pieces = []Piece{{h.disk(binary.LittleEndian.Uint32(out[4:])), 0, info.Size}}
	}
	return Identity{Key: fmt.Sprintf("%s:%d+%d", pieces[0].Of, pieces[0].Start, info.Size), Pieces: pieces}, nil
}

func (h *host) disk(number uint32) string { return fmt.Sprintf("disk %d@%s", number, h.name) }

// extents returns where a volume lies on disks; nil for a disk. VOLUME_DISK_EXTENTS: a count, then 24 bytes each: disk, start, length.
func (h *host) extents(handle windows.Handle) (pieces []Piece) {
	out := make([]byte, 8+24*64)
	n, err := control(handle, ioctlVolumeDiskExtents, nil, out)
	if err != nil || n < 8 {
		return nil
	}
	le := binary.LittleEndian
	for at := 8; at+24 <= int(n) && len(pieces) < int(le.Uint32(out)); at += 24 {
		pieces = append(pieces, Piece{h.disk(le.Uint32(out[at:])), int64(le.Uint64(out[at+8:])), int64(le.Uint64(out[at+16:]))})
	}
	return pieces
}

// mountsOn lists the volumes that lie on a disk, and have a letter or a directory.
func (h *host) mountsOn(id Identity) (out []Mount, err error) {
	var name [windows.MAX_PATH]uint16
	find, err := windows.FindFirstVolume(&name[0], uint32(len(name)))
	if err != nil {
		return nil, err
	}
	defer func() { _ = windows.FindVolumeClose(find) }()
	for err == nil {
		volume := windows.UTF16ToString(name[:])
		if m, ok := h.mount(volume, id); ok {
			out = append(out, m)
		}
		err = windows.FindNextVolume(find, &name[0], uint32(len(name)))
	}
	if !errors.Is(err, windows.ERROR_NO_MORE_FILES) {
		return nil, err
	}
	return out, nil
}

// mount looks at one volume, named \\?\Volume{…}\.
func (h *host) mount(volume string, id Identity) (m Mount, ok bool) {
	dev, err := blockdev.Open(strings.TrimSuffix(volume, `\`))
	if err != nil {
		return m, false
	}
	defer dev.Close()
	if !(Identity{Pieces: h.extents(windows.Handle(dev.File().Fd()))}).Overlaps(id) {
		return m, false
	}
	at, err := windows.UTF16PtrFromString(volume)
	if err != nil {
		return m, false
	}
	var paths [1024]uint16
	var n uint32
	if windows.GetVolumePathNamesForVolumeName(at, &paths[0], uint32(len(paths)), &n) != nil || paths[0] == 0 {
		return m, false
	}
	var kind [windows.MAX_PATH]uint16
	var flags uint32
	_ = windows.GetVolumeInformation(at, nil, 0, nil, nil, &flags, &kind[0], uint32(len(kind)))
	return Mount{
		Dir: windows.UTF16ToString(paths[:]), Type: strings.ToLower(windows.UTF16ToString(kind[:])), Device: volume,
		ReadOnly: flags&windows.FILE_READ_ONLY_VOLUME != 0,
	}, true
}

// user knows no user of a disk but its volumes.
func (*host) user(*os.File, Identity) (string, error) { return "", nil }

// writers says whether another program has an image open for writing: Windows then refuses to open it without sharing that.
func (*host) writers(f *os.File) (string, error) {
	h, err := open(f.Name(), windows.GENERIC_READ, windows.FILE_SHARE_READ|windows.FILE_SHARE_DELETE)
	if errors.Is(err, windows.ERROR_SHARING_VIOLATION) {
		return "another program", nil
	}
	if err == nil {
		err = windows.CloseHandle(h)
	}
	return "", err
}

func open(path string, access, share uint32) (windows.Handle, error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return 0, err
	}
	return windows.CreateFile(name, access, share, nil, windows.OPEN_EXISTING, windows.FILE_ATTRIBUTE_NORMAL, 0)
}

// claimFile opens what f is for writing: a volume is locked, an image is shared with readers only.
func claimFile(f *os.File, info blockdev.Info) (*os.File, error) {
	share := uint32(windows.FILE_SHARE_READ | windows.FILE_SHARE_WRITE)
	if info.Image {
		share = windows.FILE_SHARE_READ
	}
	h, err := open(f.Name(), windows.GENERIC_READ|windows.GENERIC_WRITE, share)
	if err != nil {
		return nil, err
	}
	if info.Image {
		_, err = control(h, fsctlSetSparse, nil, nil)
		if errors.Is(err, windows.ERROR_INVALID_FUNCTION) { // a filesystem without holes
			err = nil
		}
	} else if len((&host{}).extents(h)) > 0 {
		_, err = control(h, fsctlLockVolume, nil, nil)
	}
	if err != nil {
		_ = windows.CloseHandle(h)
		return nil, err
	}
	return os.NewFile(uintptr(h), f.Name()), nil
}

// window does nothing: Windows writes back by itself.
type window struct{}

func (*window) add(*os.File, int64, int64) error { return nil }

// zero frees a range of an image; to a disk it writes.
func (t *Target) zero(ctx context.Context, off, n int64) error {
	if !t.device {
		var in [16]byte // FILE_ZERO_DATA_INFORMATION: start, end
		*(*int64)(unsafe.Pointer(&in[0])), *(*int64)(unsafe.Pointer(&in[8])) = off, off+n
		_, err := control(windows.Handle(t.file.Fd()), fsctlSetZeroData, in[:], nil)
		return err
	}
	zeroes := make([]byte, min(n, bounce))
	for n > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		w, err := t.file.WriteAt(zeroes[:min(n, bounce)], off)
		if err != nil {
			return err
		}
		off, n = off+int64(w), n-int64(w)
	}
	return nil
}

// room is not known: Windows tells it of a directory, not of a file.
func (t *Target) room() string { return "" }

func isFull(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL)
}

func isGone(err error) bool {
	return errors.Is(err, windows.ERROR_DEVICE_NOT_CONNECTED) || errors.Is(err, windows.ERROR_NO_SUCH_DEVICE)
}

func isReadOnly(err error) bool { return errors.Is(err, windows.ERROR_WRITE_PROTECT) }

func isBusy(err error) bool {
	return errors.Is(err, windows.ERROR_SHARING_VIOLATION) || errors.Is(err, windows.ERROR_LOCK_VIOLATION)
}

// isMedium reports whether a read failed for what lies on the disk, so that other bytes may still be read.
func isMedium(err error) bool {
	return errors.Is(err, windows.ERROR_CRC) || errors.Is(err, windows.ERROR_SECTOR_NOT_FOUND) || errors.Is(err, windows.ERROR_READ_FAULT) || errors.Is(err, windows.ERROR_IO_DEVICE)
}
