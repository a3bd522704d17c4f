package track

import (
	"context"
	"errors"

	"github.com/ferry-migrate/ferry/transfer/extent"
)

// ErrLost says that writes may have gone unseen since the last Take. What changed is then found by digest.
var ErrLost = errors.New("writes to the source may have gone unseen")

// Tracker knows what was written to one device since it began to watch. Its methods may be called from one goroutine at a time.
type Tracker interface {
	// Take returns what was written since the last Take, and what earlier Takes returned and Acknowledge did not release. All of
	// it is durable in the tracker's pending set before a mark in the kernel is cleared. The list is sorted, disjoint and inside
	// the device. ErrLost means that the list is not complete.
	Take(ctx context.Context) (extent.List, error)
	// Peek returns what Take would, clears nothing and touches no file: it may be called while filesystems are frozen.
	Peek(ctx context.Context) (extent.List, error)
	// Acknowledge releases ranges that are durable on the target as they were read after the Take that returned them.
	Acknowledge(ctx context.Context, done extent.List) error
	// Close stops using the tracker. The kernel goes on marking when the tracker was opened to outlive its process.
	Close() error
}
