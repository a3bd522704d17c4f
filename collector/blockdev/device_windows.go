package blockdev

import (
	"io"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/windows"
)

// Control codes of winioctl.h.
const (
	ioctlDiskGetLengthInfo     = 0x7405C
	ioctlDiskGetDriveGeometry  = 0x700A0 // IOCTL_DISK_GET_DRIVE_GEOMETRY_EX
	ioctlStorageQueryProperty  = 0x2D1400
	storageAccessAlignmentProp = 6
)

// open shares the device with every other user of it: volumes stay mounted.
func open(path string) (*os.File, error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	h, err := windows.CreateFile(name, windows.GENERIC_READ, windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE|windows.FILE_SHARE_DELETE,
		nil, windows.OPEN_EXISTING, windows.FILE_ATTRIBUTE_NORMAL, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(h), path), nil
}

// reader shapes reads: Windows takes whole sectors only from disks and volumes.
func reader(f *os.File, info Info) io.ReaderAt {
	if info.Image {
		return f
	}
	return Aligned(f, info.Size, info.LogicalSector)
}

func describe(f *os.File) (Info, error) {
	if !strings.HasPrefix(f.Name(), `\\.\`) && !strings.HasPrefix(f.Name(), `\\?\`) {
		info, _, err := imageInfo(f)
		return info, err
	}
	h := windows.Handle(f.Fd())
	var size int64
	var n uint32
	err := windows.DeviceIoControl(h, ioctlDiskGetLengthInfo, nil, 0, (*byte)(unsafe.Pointer(&size)), 8, &n, nil)
	if err != nil {
		return Info{}, err
	}
	info := Info{Size: size, LogicalSector: 512, PhysicalSector: 512}
	// DISK_GEOMETRY_EX: cylinders (8 bytes), media type, tracks, sectors, then bytes in a sector at 20.
	var geometry [128]byte
	if err := windows.DeviceIoControl(h, ioctlDiskGetDriveGeometry, nil, 0, &geometry[0], uint32(len(geometry)), &n, nil); err == nil {
		info.LogicalSector = int64(*(*uint32)(unsafe.Pointer(&geometry[20])))
		info.PhysicalSector = info.LogicalSector
	}
	// STORAGE_ACCESS_ALIGNMENT_DESCRIPTOR: bytes in a physical sector at 20.
	query := [3]uint32{storageAccessAlignmentProp}
	var alignment [28]byte
	err = windows.DeviceIoControl(h, ioctlStorageQueryProperty, (*byte)(unsafe.Pointer(&query)), 12, &alignment[0], uint32(len(alignment)), &n, nil)
	if p := int64(*(*uint32)(unsafe.Pointer(&alignment[20]))); err == nil && p >= info.LogicalSector {
		info.PhysicalSector = p
	}
	return info, nil
}
