package device

import (
	"context"
	"errors"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/transfer/extent"
)

// windowSize is how much is written, bytes, before it is handed on to the disk.
const windowSize = 8 << 20

// window keeps what was written and is not on its way to the disk small: each windowSize bytes are sent off, and of the ones before it is waited
// that they arrive; then they leave the page cache. Measured: 1 GiB in pieces of 256 KiB into a sparse image on ext4 took 0.6 s, 3.8 s
// when left to the kernel, 1.9 s with direct writes; on a loop device 0.7, 2.6 and 0.7 s.
type window struct {
	mu   sync.Mutex
	now  extent.Set
	size int64 // of what was added to now

	flush sync.Mutex // one at a time: others that fill a window meanwhile wait, which bounds what is dirty
	sent  extent.List
}

// add takes note of what was written to f. An error is one of writing back, which no later Sync would tell again.
func (w *window) add(f *os.File, off, n int64) error {
	w.mu.Lock()
	w.now.Add(off, n)
	if w.size += n; w.size < windowSize {
		w.mu.Unlock()
		return nil
	}
	full := w.now.List()
	w.now, w.size = extent.Set{}, 0
	w.mu.Unlock()

	w.flush.Lock()
	defer w.flush.Unlock()
	fd := int(f.Fd())
	for _, e := range full {
		if err := syncRange(fd, e, unix.SYNC_FILE_RANGE_WRITE); err != nil {
			return err
		}
	}
	for _, e := range w.sent {
		if err := syncRange(fd, e, unix.SYNC_FILE_RANGE_WAIT_BEFORE|unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER); err != nil {
			return err
		}
		_ = unix.Fadvise(fd, e.Start, e.Size, unix.FADV_DONTNEED)
	}
	w.sent = full
	return nil
}

func syncRange(fd int, e extent.Extent, flags int) error {
	err := again(func() error { return unix.SyncFileRange(fd, e.Start, e.Size, flags) })
	if unsupported(err) { // Sync does it all, later
		return nil
	}
	return err
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
	err := fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE, off, n)
	if !unsupported(err) {
		return err
	}
	if t.device {
		err = zeroOut(fd, off, n)
	} else {
		err = fallocate(fd, unix.FALLOC_FL_ZERO_RANGE, off, n)
	}
	if !unsupported(err) {
		return err
	}
	for n > 0 {
		w, err := t.file.WriteAt(zeroes[:min(n, bounce)], off)
		if err == nil {
			err = t.wrote(off, int64(w))
		}
		if err != nil {
			return err
		}
		off, n = off+int64(w), n-int64(w)
	}
	return nil
}

var zeroes [bounce]byte

// unsupported reports whether a kernel, a filesystem or a disk does not know a command, or does not know it for ranges that are not whole sectors.
func unsupported(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENODEV)
}

func fallocate(fd int, mode uint32, off, n int64) error {
	return again(func() error { return unix.Fallocate(fd, mode|unix.FALLOC_FL_KEEP_SIZE, off, n) })
}

// zeroOut is BLKZEROOUT of linux/include/uapi/linux/fs.h: start and length.
func zeroOut(fd int, off, n int64) error {
	arg := [2]uint64{uint64(off), uint64(n)}
	return again(func() error {
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.BLKZEROOUT, uintptr(unsafe.Pointer(&arg))); errno != 0 {
			return errno
		}
		return nil
	})
}

// again calls f until no signal interrupts it: the runtime sends itself many.
func again(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
