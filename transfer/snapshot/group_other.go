//go:build !linux

package snapshot

import (
	"context"
	"errors"

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
