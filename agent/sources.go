package agent

import (
	"context"
	"sync/atomic"

	"github.com/ferry-migrate/ferry/transfer"
	"github.com/ferry-migrate/ferry/transfer/block"
	"github.com/ferry-migrate/ferry/transfer/source"
)

// Tree returns the Source that a directory is.
func Tree(cfg *source.Config) Source { return &tree{cfg: cfg} }

type tree struct {
	cfg   *source.Config
	count atomic.Pointer[source.Counters] // of the last pass
}

// Name returns the path of the directory.
func (t *tree) Name() string { return t.cfg.Root }

// Pass does one pass with counters of its own.
func (t *tree) Pass(ctx context.Context) (*source.Result, error) {
	count := &source.Counters{}
	t.count.Store(count)
	return source.Run(ctx, t.cfg, count)
}

// Progress returns the counters of the last pass.
func (t *tree) Progress() transfer.Progress {
	if count := t.count.Load(); count != nil {
		return count.Progress(0)
	}
	return transfer.Progress{}
}

// Disk returns the Source that a disk or an image is.
func Disk(cfg *block.Config) Source { return &disk{cfg: cfg} }

type disk struct {
	cfg   *block.Config
	count block.Counters
}

// Name returns the path of the device or image.
func (d *disk) Name() string { return d.cfg.Path }

// Pass does one pass.
func (d *disk) Pass(ctx context.Context) (*source.Result, error) {
	return block.Run(ctx, d.cfg, &d.count)
}

// Progress returns the counters of the last pass.
func (d *disk) Progress() transfer.Progress { return d.count.Progress(0) }
