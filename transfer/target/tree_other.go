//go:build !linux

package target

import (
	"context"
	"errors"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/file"
)

// Tree applies operations to a directory. Only Linux has it.
type Tree struct{}

var errPlatform = fault.Operator(CodePlatform, "run the target on Linux",
	errors.New("this system cannot be a file-level target"))

// OpenTree fails with FERRY-TARGET-PLATFORM.
func OpenTree(string, TreeOptions) (*Tree, error) { return nil, errPlatform }

// Apply fails.
func (*Tree) Apply([]byte, Reporter) error { return errPlatform }

// Foresee knows nothing.
func (*Tree) Foresee() (lacks []string, limits file.Limits) { return nil, limits }

// Sync fails.
func (*Tree) Sync() error { return errPlatform }

// BeginPass fails.
func (*Tree) BeginPass(bool) error { return errPlatform }

// EndPass fails.
func (*Tree) EndPass() error { return errPlatform }

// State fails.
func (*Tree) State() (TreeState, error) { return TreeState{}, errPlatform }

// List fails.
func (*Tree) List(context.Context, ListOptions, func(*file.Entry) error, func(int64, []byte) error) error {
	return errPlatform
}

// Close does nothing.
func (*Tree) Close() error { return nil }
