package device

import (
	"context"
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// window hands what was written on to the disk.
type window struct{}

func (w *window) add(f *os.File, off, n int64) {
	_ = unix.SyncFileRange(int(f.Fd()), off, n, unix.SYNC_FILE_RANGE_WRITE)
}

// zeroStep bounds one call that zeroes, bytes: it cannot be interrupted.
const zeroStep = 64 << 20

func (t *Target) zero(ctx context.Context, off, n int64) error {
	for n > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		step := min(n, zeroStep)
		if err := t.zeroStep(off, step); err != nil {
			return err
		}
		off, n = off+step, n-step
	}
	return nil
}

// zeroStep tries what frees space first, then what the disk does by itself, then writes.
func (t *Target) zeroStep(off, n int64) error {
	fd := int(t.file.Fd())
	err := unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
	if !unsupported(err) {
		return err
	}
	if t.device {
		err = ioctlRange(fd, unix.BLKZEROOUT, off, n)
	} else {
		err = unix.Fallocate(fd, unix.FALLOC_FL_ZERO_RANGE|unix.FALLOC_FL_KEEP_SIZE, off, n)
	}
	if !unsupported(err) {
		return err
	}
	for n > 0 {
		w, err := t.file.WriteAt(zeroes[:min(n, int64(len(zeroes)))], off)
		if err != nil {
			return err
		}
		t.window.add(t.file, off, int64(w))
		off, n = off+int64(w), n-int64(w)
	}
	return nil
}

var zeroes [bounce]byte

func (t *Target) discard(off, n int64) error {
	fd := int(t.file.Fd())
	var err error
	if t.device {
		err = ioctlRange(fd, unix.BLKDISCARD, off, n)
	} else {
		err = unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
	}
	if unsupported(err) {
		return nil
	}
	return err
}

// unsupported reports whether a kernel, a filesystem or a disk does not know a command, or does not know it for ranges that are not whole sectors.
func unsupported(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENODEV)
}

func ioctlRange(fd int, request uint, off, n int64) error {
	arg := [2]uint64{uint64(off), uint64(n)}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(unsafe.Pointer(&arg)))
	if errno != 0 {
		return errno
	}
	return nil
}
