//go:build !linux && !windows

package service

import "context"

// Run does work. No service manager is told.
func Run(ctx context.Context, work Work) error { return work(ctx, func(func() string) {}) }
