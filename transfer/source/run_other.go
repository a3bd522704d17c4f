//go:build !linux

package source

import (
	"context"
	"errors"

	"github.com/ferry-migrate/ferry/internal/fault"
)

// Run reads trees on Linux only: a Windows source is copied block level.
func Run(context.Context, *Config, *Counters) (*Result, error) {
	return nil, fault.Operator("FERRY-SOURCE-PLATFORM", "run the agent on Linux, or copy the disk block level",
		errors.New("file level needs Linux on the source"))
}

// Compare needs Linux as Run does.
func Compare(ctx context.Context, cfg *Config, count *Counters) (*Result, error) {
	return Run(ctx, cfg, count)
}

// Look needs Linux as Run does.
func Look(ctx context.Context, cfg *Config, count *Counters) (*Survey, error) {
	_, err := Run(ctx, cfg, count)
	return nil, err
}

// Known reports that nothing was migrated before.
func Known([]*Config) bool { return false }
