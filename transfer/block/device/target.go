package device

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/ferry-migrate/ferry/collector/blockdev"
	"github.com/ferry-migrate/ferry/internal/fault"
)

// TargetOptions say what a target is to be. The zero value opens what is there and is empty.
type TargetOptions struct {
	Size      int64      // bytes that it must hold; a new image gets this size
	Create    bool       // an image that is not there is made
	Overwrite bool       // what it holds may be replaced
	Sources   []Identity // that it must not be, nor lie on, nor hold
}

// Target is a device or an image, claimed for writing until Close. It is safe for concurrent use; of two writes to the same bytes at once
// either may win.
type Target struct {
	facts
	reader
	dev    *blockdev.Device // reads, past the page cache
	file   *os.File         // writes
	fresh  bool
	window window
	failed atomic.Pointer[error] // of the first Sync that failed
}

// Size returns the size in bytes, which may be more than what was asked for.
func (t *Target) Size() int64 { return t.size }

// IsDevice reports whether the target is a device, as opposed to an image file.
func (t *Target) IsDevice() bool { return t.device }

// Identity returns what the target is.
func (t *Target) Identity() Identity { return t.identity }

// ReadAt reads from the disk, past the page cache, as io.ReaderAt says.
func (t *Target) ReadAt(p []byte, off int64) (int, error) { return t.readAt(p, off) }

// WriteAt writes as io.WriterAt says, within the size of the target. Errors: FERRY-TARGET-FULL, FERRY-TARGET-GONE, FERRY-TARGET-FAILING.
func (t *Target) WriteAt(p []byte, off int64) (int, error) {
	if err := t.inside(off, int64(len(p))); err != nil {
		return 0, err
	}
	n, err := t.file.WriteAt(p, off)
	if err != nil {
		return n, t.failure("write", off, err)
	}
	return n, t.wrote(off, int64(n))
}

// wrote hands what was written on to the disk. An error is one of earlier writes, and no Sync would tell it again.
func (t *Target) wrote(off, n int64) error {
	err := t.window.add(t.file, off, n)
	if err == nil {
		return nil
	}
	return t.lose(t.failure("write back", off, err))
}

// Zero makes n bytes at off read as zeroes, the cheapest way there is: a hole in an image, a command to a device, or zeroes written.
func (t *Target) Zero(ctx context.Context, off, n int64) error {
	if err := t.inside(off, n); err != nil {
		return err
	}
	if err := t.zero(ctx, off, n); err != nil {
		return t.failure("zero", off, err)
	}
	return nil
}

// Sync returns when everything written before is on the disk. Once it failed it always fails: what was lost is not known.
func (t *Target) Sync() error {
	if err := t.failed.Load(); err != nil {
		return *err
	}
	if err := t.file.Sync(); err != nil {
		return t.lose(t.failure("sync", 0, err))
	}
	return nil
}

// lose makes every later Sync fail with err.
func (t *Target) lose(err error) error {
	t.failed.CompareAndSwap(nil, &err)
	return err
}

// Close gives the target up. It does not sync.
func (t *Target) Close() error {
	t.dev.Close()
	return t.file.Close()
}

func (t *Target) inside(off, n int64) error {
	if off < 0 || n < 0 || off > t.size || n > t.size-off {
		return fault.Permanent(fmt.Errorf("target %s: %d bytes at %d are outside its %d bytes", t.path, n, off, t.size))
	}
	return nil
}
