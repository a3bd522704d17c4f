package snapshot

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// Point is the kind of point in time that a target holds, from weak to strong.
type Point string

// The kinds of point in time.
const (
	PointNone        Point = "none"        // read while the source was in use
	PointCrash       Point = "crash"       // as after a power cut: journals have to be replayed
	PointFilesystem  Point = "filesystem"  // everything written up to one instant, as after a clean sync
	PointApplication Point = "application" // that, and the hooks had programs flush before
)

// Bound is how long filesystems stay frozen at most, unless Options say otherwise.
const Bound = 10 * time.Second

// ErrThawed is in the chain of the error of a Do whose filesystems were thawed too early: what was read is not one point in time.
var ErrThawed = errors.New("the filesystems did not stay frozen")

// Options say what to freeze.
type Options struct {
	Mounts []string      // a path on each filesystem; several on one count once
	Writes []string      // what has to be written meanwhile (state, target, /proc/self/fd/1); may not lie on what is frozen
	Bound  time.Duration // from the first FIFREEZE on; 0 means Bound
	Log    *slog.Logger  // nil: none
}

// Report says what a Do came to.
type Report struct {
	Kind   Point // of what was frozen
	Frozen []Frozen
	Loose  []string // paths of filesystems that cannot be frozen: they were synced and are no part of that instant
}

// Frozen is a filesystem that was frozen.
type Frozen struct {
	Mount string        // the path given in Options
	For   time.Duration // from the call of FIFREEZE to the end of FITHAW
}

// Longest returns how long the filesystem frozen longest was.
func (r Report) Longest() (d time.Duration) {
	for _, f := range r.Frozen {
		d = max(d, f.For)
	}
	return d
}

// Snapshot is a tree of files that stands still.
type Snapshot interface {
	// Dir is where the directory that was given is read.
	Dir() string
	// Intact returns an error if the snapshot has lost what it held: an LVM snapshot does when it runs out of room.
	Intact(ctx context.Context) error
	// Release removes it. A second call does nothing.
	Release(ctx context.Context) error
}

// Snapshotter makes snapshots. It may be used by several goroutines.
type Snapshotter interface {
	// Snapshot makes one of the Btrfs subvolume, or of the filesystem, that root lies on. Operator errors say why that cannot be.
	Snapshot(ctx context.Context, root string) (Snapshot, error)
}
