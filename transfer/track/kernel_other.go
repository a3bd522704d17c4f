//go:build !linux

package track

import (
	"context"
	"fmt"
)

// Kernel is a Tracker in the kernel; this system has none.
type Kernel struct{ tracker }

// Open returns ErrUnavailable.
func Open(context.Context, Options) (*Kernel, error) {
	return nil, fmt.Errorf("%w: this system has no eBPF tracepoints", ErrUnavailable)
}

// Status returns nothing.
func (*Kernel) Status(context.Context) (Status, error) { return Status{}, ErrUnavailable }

// Close does nothing.
func (*Kernel) Close() error { return nil }

// Remove does nothing.
func Remove(Options) error { return nil }
