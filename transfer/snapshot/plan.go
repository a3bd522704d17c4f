package snapshot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/ferry-migrate/ferry/internal/fault"
)

// Mode is how a point in time is made.
type Mode string

// The modes.
const (
	ModeNone   Mode = "none"   // the source is read while it changes
	ModeFreeze Mode = "freeze" // the source is frozen while it is read
	ModeBtrfs  Mode = "btrfs"  // a read-only Btrfs snapshot is read
	ModeLVM    Mode = "lvm"    // an LVM snapshot is read
	ModeAuto   Mode = "auto"   // the first that can be of btrfs, lvm, freeze
)

// ParseMode reads a mode.
func ParseMode(s string) (Mode, error) {
	if m := Mode(s); slices.Contains([]Mode{ModeNone, ModeFreeze, ModeBtrfs, ModeLVM, ModeAuto}, m) {
		return m, nil
	}
	return "", fmt.Errorf("snapshot mode %q: give auto, freeze, lvm, btrfs or none", s)
}

// CodeNoSnapshot is the code of operator errors that say that a snapshot of that kind cannot be made of a source.
const CodeNoSnapshot = "FERRY-SNAPSHOT-KIND"

// thawedOften is how often a pass may be too long for the freeze before a person has to decide.
const thawedOften = 3

// Plan says how some directories are read at one point in time. It is used by one goroutine at a time.
type Plan struct {
	Mode   Mode
	Roots  []string // absolute paths without symbolic links
	Dir    string   // notes and mounts of snapshots
	Writes []string // as in Options
	Bound  time.Duration
	Log    *slog.Logger
	Before func(context.Context) error // has programs write out what they hold; may be nil
	After  func(context.Context) error // ends that; it runs whatever became of Before and of the pass, also after a cancel; may be nil

	thawed int // how often in a row the freeze was too short
}

// ReadFunc reads the directories: at dirs, in the order of Roots, or in their places if dirs is nil. taken is not later than the
// instant that dirs hold.
type ReadFunc func(ctx context.Context, dirs []string, taken time.Time) error

// Run has read read one point in time, and says which kind it is. With snapshots of several roots each has its own instant. Mode must
// not be ModeAuto: see Try. An error that is ErrThawed is temporary, twice in a row.
func (p *Plan) Run(ctx context.Context, read ReadFunc) (r Report, err error) {
	switch p.Mode {
	case ModeFreeze:
		r, err = p.freeze(ctx, read)
	case ModeBtrfs:
		r, err = p.snapshots(ctx, Btrfs(p.Dir, p.Log), read)
	case ModeLVM:
		r, err = p.snapshots(ctx, LVM(p.Dir, p.Log), read)
	default:
		r.Kind = PointNone
		err = p.quietly(ctx, func() error { return read(ctx, nil, time.Time{}) })
	}
	if err == nil && r.Kind != PointNone && p.Before != nil {
		r.Kind = PointApplication
	}
	return r, err
}

// Try makes the point in time and reads nothing, without Before and After, so that what prevents it shows before the long work. In place of
// ModeAuto it sets the first mode that can be. Before that it removes what killed processes left.
func (p *Plan) Try(ctx context.Context) (err error) {
	if err := Sweep(ctx, p.Dir, p.Log); err != nil {
		p.Log.Warn("a snapshot that an earlier run left could not be removed", "error", err)
	}
	modes := []Mode{p.Mode}
	switch p.Mode {
	case ModeNone:
		return nil
	case ModeAuto:
		modes = []Mode{ModeBtrfs, ModeLVM, ModeFreeze}
	}
	for _, p.Mode = range modes {
		bare := *p
		bare.Before, bare.After = nil, nil
		_, err = bare.Run(ctx, func(context.Context, []string, time.Time) error { return nil })
		if fault.CodeOf(err) != CodeNoSnapshot {
			break
		}
	}
	return err
}

// quietly runs f between Before and After.
func (p *Plan) quietly(ctx context.Context, f func() error) (err error) {
	if p.Before != nil {
		err = p.Before(ctx)
	}
	if err == nil {
		err = f()
	}
	if p.After != nil {
		err = errors.Join(err, p.After(context.WithoutCancel(ctx)))
	}
	return err
}

func (p *Plan) freeze(ctx context.Context, read ReadFunc) (r Report, err error) {
	g, err := Open(ctx, Options{Mounts: p.Roots, Writes: p.Writes, Bound: p.Bound, Log: p.Log})
	if err != nil {
		return r, err
	}
	defer g.Close()
	err = p.quietly(ctx, func() (err error) {
		r, err = g.Do(ctx, func(ctx context.Context) error { return read(ctx, nil, time.Time{}) })
		return err
	})
	if !errors.Is(err, ErrThawed) {
		p.thawed = 0
		return r, err
	}
	if p.thawed++; p.thawed >= thawedOften {
		err = fault.Operator("FERRY-FREEZE-BOUND", "give it longer with --freeze-bound, cut over when less is written, or use an LVM or Btrfs snapshot",
			fmt.Errorf("%d times in a row: %w", p.thawed, err))
	}
	return r, err
}

// snapshots makes one snapshot of each root, and reads them after After has run.
func (p *Plan) snapshots(ctx context.Context, by Snapshotter, read ReadFunc) (r Report, err error) {
	var taken []Snapshot
	defer func() {
		for _, s := range taken {
			if err := s.Release(context.WithoutCancel(ctx)); err != nil {
				p.Log.Warn("a snapshot stays until the next run removes it", "error", err)
			}
		}
	}()
	var dirs []string
	began := time.Now()
	err = p.quietly(ctx, func() error {
		for _, root := range p.Roots {
			s, err := by.Snapshot(ctx, root)
			if err != nil {
				return err
			}
			taken, dirs = append(taken, s), append(dirs, s.Dir())
		}
		return nil
	})
	if err == nil {
		err = read(ctx, dirs, began)
	}
	for _, s := range taken {
		if err == nil {
			err = s.Intact(ctx)
		}
	}
	if p.Mode == ModeBtrfs { // what was written while it was made may be in it or not, file by file, as after a power cut
		return Report{Kind: PointCrash}, err
	}
	return Report{Kind: PointFilesystem}, err
}
