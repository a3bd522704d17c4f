package track

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/ferry-migrate/ferry/internal/durable"
	"github.com/ferry-migrate/ferry/transfer/extent"
)

// Kernel is the Tracker in the kernel.
type Kernel struct {
	tracker
	programs *programs
	bound    error
	lock     *os.File // of the state directory; nil without one
}

// Open begins to track a device, or goes on where the tracker of the same state directory was left. In doubt whether writes went
// unseen in between, the first Take returns ErrLost; it does not the first time of all, when there is no pending set. Errors:
// ErrUnavailable, and FERRY-STATE-LOCKED when another process has the state directory.
func Open(ctx context.Context, o Options) (*Kernel, error) {
	d, err := findDevice(o.Device)
	if err != nil {
		return nil, err
	}
	k := &Kernel{tracker: tracker{size: (d.end - d.start) << 9}}
	if o.StateDir != "" {
		if k.lock, err = durable.Lock(filepath.Join(o.StateDir, "lock")); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(k.open(o, d), ctx.Err()); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	return k, nil
}

// open goes on with what is left in the state directory and in the kernel, or begins anew.
func (k *Kernel) open(o Options, d *device) error {
	if o.StateDir == "" {
		return k.begin(d, "", nil)
	}
	k.pending.path = filepath.Join(o.StateDir, pendingFile)
	pins, err := pinsOf(o)
	if err != nil {
		k.bound = err
	}
	left, err := loadPending(o.StateDir)
	if err == nil {
		if k.programs, err = resume(pins, d, left.Generation); err == nil {
			k.programs.past, k.pending, k.witness = left.Counts, *left, k.programs
			return nil
		}
	}
	if errors.Is(err, fs.ErrNotExist) && left == nil {
		err = nil // the first time
	}
	if pins != "" {
		if err := unpin(pins); err != nil {
			return err
		}
	}
	return k.begin(d, pins, err)
}

// begin loads the programs and pins them. With a reason why writes may have gone unseen all of the device is pending at once, so
// that it is also after a crash.
func (k *Kernel) begin(d *device, pins string, why error) (err error) {
	if k.programs, err = loadPrograms(d); err != nil {
		return err
	}
	k.witness = k.programs
	if pins != "" {
		k.bound = k.programs.pin(pins)
	}
	k.lost = why
	k.pending.header = header{Since: time.Now().UTC(), Size: k.size}
	if k.pending.Generation, err = k.programs.generation(); err != nil {
		return err
	}
	var list extent.List
	if why != nil {
		list = k.whole()
	}
	return k.pending.keep(list, counts{})
}

// Close stops using the tracker and leaves what is pinned.
func (k *Kernel) Close() (err error) {
	if k.programs != nil {
		err = k.programs.close()
	}
	if k.lock != nil {
		k.lock.Close()
	}
	return err
}

// Status says how the tracker is getting on. It asks the kernel; no file is touched.
func (k *Kernel) Status(ctx context.Context) (Status, error) {
	list, _ := k.look()
	now, cost, err := k.programs.counted()
	if err := errors.Join(err, ctx.Err()); err != nil {
		return Status{}, err
	}
	return Status{
		Since: k.pending.Since, Generation: k.pending.Generation, Outlives: k.pending.path != "" && k.bound == nil, Bound: k.bound,
		Marked: list.Bytes(), Misses: now.Misses, Doubts: now.Reach + now.Room + now.Unseen, Runs: cost.RunCount, Cost: cost.Runtime,
	}, nil
}

// Remove ends the tracker of a state directory: the kernel stops marking, and pins and pending set are gone. The tracker must be
// closed. Removing what is not there is no error.
func Remove(o Options) error {
	pins, err := pinsOf(o)
	if err == nil {
		if err = unpin(pins); err == nil {
			err = unmount(pins)
		}
	}
	return errors.Join(err, forget(o.StateDir))
}
