package blockdev

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// open never waits: a CD drive stays closed, a FIFO in the place of a device does not block.
func open(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	// The reads are few and scattered; read-ahead would only fill the cache.
	_ = unix.Fadvise(fd, 0, 0, unix.FADV_RANDOM)
	return os.NewFile(uintptr(fd), path), nil
}

func reader(f *os.File, _ Info) io.ReaderAt { return f }

func describe(f *os.File) (Info, error) {
	if info, ok, err := imageInfo(f); ok || err != nil {
		return info, err
	}
	st, err := f.Stat()
	if err != nil {
		return Info{}, err
	}
	if st.Mode()&os.ModeDevice == 0 || st.Mode()&os.ModeCharDevice != 0 {
		return Info{}, ErrKind
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return Info{}, err
	}
	fd := int(f.Fd())
	info := Info{Size: size, LogicalSector: 512, PhysicalSector: 512}
	if n, err := unix.IoctlGetInt(fd, unix.BLKSSZGET); err == nil && n > 0 {
		info.LogicalSector = int64(n)
	}
	if n, err := unix.IoctlGetInt(fd, unix.BLKPBSZGET); err == nil && n > 0 {
		info.PhysicalSector = int64(n)
	}
	if n, err := unix.IoctlGetInt(fd, unix.BLKROGET); err == nil {
		info.ReadOnly = n != 0
	}
	return info, nil
}
