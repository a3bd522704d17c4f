package target

import (
	"context"
	"sync"
)

// maxAhead bounds how many frames may be applied beyond the first one missing.
const maxAhead = 64 << 10

// Applied knows which operations frames were applied: all up to a number, and some beyond. Safe for concurrent use.
type Applied struct {
	mu      sync.Mutex
	prefix  uint64
	beyond  map[uint64]struct{}
	waiters int
	changed chan struct{} // closed and replaced when prefix grows and somebody waits
}

// NewApplied returns one that knows of no frame.
func NewApplied() *Applied {
	return &Applied{beyond: map[uint64]struct{}{}, changed: make(chan struct{})}
}

// Await waits until all frames up to seq are applied.
func (a *Applied) Await(ctx context.Context, seq uint64) error {
	for {
		a.mu.Lock()
		if a.prefix >= seq {
			a.mu.Unlock()
			return nil
		}
		a.waiters++
		changed := a.changed
		a.mu.Unlock()
		var err error
		select {
		case <-changed:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		a.mu.Lock()
		a.waiters--
		a.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// Done records that the frame seq is applied.
func (a *Applied) Done(seq uint64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, dup := a.beyond[seq]; dup || seq <= a.prefix {
		return protocolError("frame %d twice", seq)
	}
	if seq != a.prefix+1 {
		if len(a.beyond) >= maxAhead {
			return protocolError("frame %d while frame %d is missing", seq, a.prefix+1)
		}
		a.beyond[seq] = struct{}{}
		return nil
	}
	a.prefix = seq
	for {
		if _, ok := a.beyond[a.prefix+1]; !ok {
			break
		}
		delete(a.beyond, a.prefix+1)
		a.prefix++
	}
	if a.waiters > 0 {
		close(a.changed)
		a.changed = make(chan struct{})
	}
	return nil
}

// UpTo returns the number up to which all frames are applied.
func (a *Applied) UpTo() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.prefix
}
