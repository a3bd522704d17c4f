// Package blockdev opens one block device, or an image file in its place, for reading, and says what it is.
//
// A device is opened without write access, without waiting for a medium, and without becoming the owner of anything: opening
// and closing it causes no event on the system. Reads go through the page cache. That cache is per device node: a partition
// is read by its own node, since the node of the whole disk may show what was there before the partition was written.
//
// Each operating system provides open (the flags and names it needs), describe (sizes) and reader (how reads must be shaped).
package blockdev

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// Info is what a device is. Sizes are bytes.
type Info struct {
	Path           string
	Size           int64
	LogicalSector  int64 // 0 for an image file, where nobody knows
	PhysicalSector int64
	ReadOnly       bool
	Image          bool // a regular file
}

// Device is an open device. It is safe for concurrent use.
type Device struct {
	file *os.File
	r    io.ReaderAt
	info Info
}

// ErrKind says that a path names neither a block device nor a regular file.
var ErrKind = errors.New("neither a block device nor a regular file")

// Open opens a device or an image file. The error wraps fs.ErrPermission when the rights do not suffice, ErrKind when it is neither.
func Open(path string) (*Device, error) {
	f, err := open(path)
	if err != nil {
		return nil, fmt.Errorf("open device: %w", err)
	}
	info, err := describe(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("size of %s: %w", path, err)
	}
	info.Path = path
	return &Device{file: f, r: reader(f, info), info: info}, nil
}

// Info returns what the device is, as it was when it was opened.
func (d *Device) Info() Info { return d.info }

// Size returns the size in bytes.
func (d *Device) Size() int64 { return d.info.Size }

// ReadAt reads as io.ReaderAt says, at any offset.
func (d *Device) ReadAt(p []byte, off int64) (int, error) { return d.r.ReadAt(p, off) }

// File returns the open file, for calls of one system. It is closed with the device.
func (d *Device) File() *os.File { return d.file }

// Close closes the device.
func (d *Device) Close() error { return d.file.Close() }

// imageInfo describes a regular file; ok is false for anything else.
func imageInfo(f *os.File) (info Info, ok bool, err error) {
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() {
		return info, false, err
	}
	return Info{Size: st.Size(), Image: true}, true, nil
}
