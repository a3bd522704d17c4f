//go:build !linux

package snapshot

import (
	"context"
	"errors"
	"log/slog"

	"github.com/ferry-migrate/ferry/internal/fault"
)

// FreezerCommand is the hidden subcommand of the freezer, which this system lacks.
const FreezerCommand = "freezer"

// errSystem: a filesystem is frozen by Linux; Windows has the Volume Shadow Copy Service, which Ferry does not speak yet.
var errSystem = fault.Operator("FERRY-FREEZE-SYSTEM", "stop what writes to the source for the last pass, and run with --snapshot none",
	errors.New("a point in time needs Linux; Windows volume shadow copies are not built yet"))

// Freezer is not built for this system.
func Freezer(int) error { return errSystem }

// Group is not built for this system: Open fails.
type Group struct{}

// Open is not built for this system.
func Open(context.Context, Options) (*Group, error) { return nil, errSystem }

// Do is not built for this system.
func (*Group) Do(context.Context, func(context.Context) error) (Report, error) {
	return Report{}, errSystem
}

// Close does nothing.
func (*Group) Close() {}

// unsupported is the place of a snapshotter for Windows volume shadow copies.
type unsupported struct{}

// Snapshot refuses.
func (unsupported) Snapshot(context.Context, string) (Snapshot, error) { return nil, errSystem }

// Btrfs returns a snapshotter that refuses.
func Btrfs(string, *slog.Logger) Snapshotter { return unsupported{} }

// LVM returns a snapshotter that refuses.
func LVM(string, *slog.Logger) Snapshotter { return unsupported{} }

// Sweep has nothing to remove on this system.
func Sweep(context.Context, string, *slog.Logger) error { return nil }
