//go:build !linux

package layout

import (
	"context"
	"errors"
	"log/slog"

	"github.com/ferry-migrate/ferry/internal/fault"
)

// Runner carries out a fitted plan, on Linux. Here it refuses.
type Runner struct {
	Plan      *Plan
	State     string
	Dir       string
	Overwrite bool
	Log       *slog.Logger
	Told      func(line string, done bool)
}

func unsupported() error {
	return fault.Operator("FERRY-LAYOUT-SYSTEM", "run the target on Linux, for example in Ferry's agent image", errors.ErrUnsupported)
}

// Run refuses.
func (*Runner) Run(context.Context) error { return unsupported() }

// Unmount does nothing: nothing was mounted.
func Unmount(string) error { return nil }

// Release has nothing to release.
func (*Runner) Release(context.Context) error { return nil }

// Mount refuses.
func (*Runner) Mount(context.Context, []Mountpoint) error { return unsupported() }

// Look refuses.
func Look(string) (Target, error) { return Target{}, unsupported() }

// Free reports false.
func Free(Target) bool { return false }

// Resumed returns nil.
func Resumed(string) (*Plan, error) { return nil, nil }
