package block

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/chunk"
	"github.com/ferry-migrate/ferry/transfer/extent"
	"github.com/ferry-migrate/ferry/transfer/snapshot"
	"github.com/ferry-migrate/ferry/transfer/track"
)

// live is what a source in use needs: what is written is tracked, and its filesystems can be frozen.
type live struct {
	tracker track.Tracker // nil: what changed is found by digest
	group   *snapshot.Group
}

// Watch keeps the tracker of a source from one pass to the next. The zero Watch is ready; it serves one source.
type Watch struct {
	tracker track.Tracker
	dir     string      // where it keeps what is pending
	again   extent.List // taken and read once: read again before it is released
	used    extent.List // what was in use when last looked at; nil: not yet
}

// open returns the tracker of a device that keeps what is pending in dir.
func (w *Watch) open(ctx context.Context, device, dir string) (track.Tracker, error) {
	if w.tracker != nil && w.dir == dir {
		return w.tracker, nil
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make state directory: %w", err)
	}
	k, err := track.Open(ctx, track.Options{Device: device, StateDir: dir})
	if err != nil {
		return nil, err
	}
	*w = Watch{tracker: k, dir: dir}
	return k, nil
}

// Close stops using the tracker. Where the kernel can, it goes on marking for the next process.
func (w *Watch) Close() error {
	if w.tracker == nil {
		return nil
	}
	k := w.tracker
	w.tracker = nil
	return k.Close()
}

// openLive begins to track a device, and prepares to freeze what is mounted from it.
func (p *pass) openLive(ctx context.Context) error {
	if !p.src.IsDevice() {
		return nil
	}
	var mounts []string
	all, err := p.src.Mounts()
	if err != nil {
		return err
	}
	for _, m := range all {
		if !m.ReadOnly {
			mounts = append(mounts, m.Dir)
		}
	}
	p.tracker, err = p.cfg.Watch.open(ctx, p.cfg.Path, filepath.Join(p.dir, "track"))
	switch {
	case err == nil:
	case !errors.Is(err, track.ErrUnavailable):
		return err
	case len(mounts) > 0:
		return fault.Operator("FERRY-SOURCE-MOUNTED", "unmount it or mount it read-only, or give a snapshot of it as the source",
			fmt.Errorf("%s is in use at %s: %w", p.cfg.Path, mounts[0], err))
	default:
		p.notes = append(p.notes, fmt.Sprintf("Each pass reads everything in use: %v.", err))
	}
	if len(mounts) == 0 {
		return nil
	}
	p.group, err = snapshot.Open(ctx, snapshot.Options{Mounts: mounts, Writes: p.cfg.Writes, Bound: p.cfg.Bound, Log: p.cfg.Log})
	return err
}

func (p *pass) closeLive() {
	if p.group != nil {
		p.group.Close()
	}
}

// still runs f while the filesystems of the source are frozen, if it has any that are mounted.
func (p *pass) still(ctx context.Context, f func(context.Context) error) (r snapshot.Report, err error) {
	if p.group == nil {
		return snapshot.Report{Kind: snapshot.PointFilesystem}, f(ctx)
	}
	return p.group.Do(ctx, f)
}

// bring brings the target in step between the hooks of the operator, if it is for the last time and nobody tracks what is written meanwhile.
func (p *pass) bring(ctx context.Context) error {
	if p.cfg.MoreToCome() || p.tracker != nil {
		return p.inStep(ctx)
	}
	if err := p.hooked(ctx, p.inStep); err != nil {
		return err
	}
	p.report(snapshot.Report{Kind: snapshot.PointFilesystem})
	return nil
}

// report tells which point in time the target holds.
func (p *pass) report(r snapshot.Report) {
	if r.Kind == snapshot.PointFilesystem && p.cfg.BeforeFreeze != nil {
		r.Kind = snapshot.PointApplication
	}
	p.cfg.Still(r)
}

// inStep brings the target in step: everything in use, or what was written since the pass before, then what was written meanwhile; the
// last pass ends with what is left at one point in time.
func (p *pass) inStep(ctx context.Context) error {
	t, err := p.take(ctx)
	if err != nil {
		return err
	}
	w := p.cfg.Watch
	marked := p.tracker != nil && p.journal.Covered && !t.lost
	if marked && w.used != nil && t.marks.Bytes() <= little { // not worth a freeze
		if err := p.copyAll(ctx, union(w.used, t.marks), t.marks); err != nil {
			return err
		}
		return p.settle(ctx, t)
	}
	used, err := p.look(ctx)
	if err != nil {
		return err
	}
	w.used = used
	list := used
	switch {
	case p.tracker == nil || t.lost:
	case marked: // what is allocated since the take is marked, and in the next one
		list = intersect(used, t.marks)
	default: // the freeze has written what was dirty: taken now, it is not read twice
		more, err := p.take(ctx)
		if err != nil {
			return err
		}
		t.marks = union(t.marks, more.marks)
		list = union(used, more.marks)
	}
	if err := p.copyAll(ctx, used, list); err != nil {
		return err
	}
	return p.settle(ctx, t)
}

// settle ends what a take began, and the pass with the last of it.
func (p *pass) settle(ctx context.Context, t taken) error {
	if err := p.release(ctx, t); err != nil {
		return err
	}
	if p.cfg.MoreToCome() {
		return nil
	}
	return p.last(ctx)
}

// look maps what is in use, of mounted filesystems while they are frozen.
func (p *pass) look(ctx context.Context) (used extent.List, err error) {
	_, err = p.still(ctx, func(ctx context.Context) (err error) {
		used, err = p.inUse(ctx)
		return err
	})
	return used, err
}

// taken is what one take of marks returned: what was written since the one before, and what is to be read again.
type taken struct {
	marks extent.List
	lost  bool // they do not tell, and are the whole device
}

func (p *pass) take(ctx context.Context) (t taken, err error) {
	if p.tracker == nil {
		return t, nil
	}
	t.marks, err = p.tracker.Take(ctx)
	if errors.Is(err, track.ErrLost) {
		p.notes = append(p.notes, fmt.Sprintf("Everything in use was read again: %v.", err))
		t.lost, err = true, nil
	}
	return t, err
}

// release notes that marks were read and are durable on the target. They are released when they were read once more: a write that was on its
// way while its mark was taken is caught then, whatever the tracker saw of it.
func (p *pass) release(ctx context.Context, t taken) error {
	if p.tracker == nil {
		return nil
	}
	if !p.journal.Covered {
		p.journal.Covered = true
		if err := p.journal.save(); err != nil {
			return err
		}
	}
	w := p.cfg.Watch
	done := w.again
	w.again = t.marks.Subtract(done)
	if t.lost {
		done, w.again = t.marks, nil
	}
	return p.tracker.Acknowledge(ctx, done)
}

// Before the last pass what was written meanwhile is copied while the source runs, until it is little, or becomes no less.
const (
	little = 32 << 20 // bytes
	rounds = 8
)

// last copies what was written meanwhile; of mounted filesystems at one point in time.
func (p *pass) last(ctx context.Context) error {
	if p.tracker == nil {
		return nil
	}
	before := int64(1) << 62
	for range rounds {
		t, err := p.take(ctx)
		if err != nil {
			return err
		}
		list := t.marks
		if t.lost {
			if list, err = p.look(ctx); err != nil {
				return err
			}
		}
		if err := p.copyMore(ctx, list); err != nil {
			return err
		}
		if err := p.release(ctx, t); err != nil {
			return err
		}
		n := list.Bytes()
		if n <= little || n > before*3/4 {
			break
		}
		before = n
	}
	return p.hooked(ctx, p.freeze)
}

// hooked runs f between the hooks. The second runs whatever became of the first and of f, also after a cancel: it undoes what the first did.
func (p *pass) hooked(ctx context.Context, f func(context.Context) error) (err error) {
	if p.cfg.BeforeFreeze != nil {
		err = p.cfg.BeforeFreeze(ctx)
	}
	if err == nil {
		err = f(ctx)
	}
	if p.cfg.AfterThaw != nil {
		err = errors.Join(err, p.cfg.AfterThaw(context.WithoutCancel(ctx)))
	}
	return err
}

// freeze copies what is left while the source stands still. It touches no file: the digest map may lie on what is frozen. So the journal
// says before that the map is not to be believed until it caught up.
func (p *pass) freeze(ctx context.Context) error {
	if err := p.digests.sync(); err != nil {
		return err
	}
	p.journal.Blind = true
	if err := p.journal.save(); err != nil {
		return err
	}
	p.setBlind(true)
	r, err := p.still(ctx, func(ctx context.Context) error {
		marks, err := p.tracker.Peek(ctx)
		if err != nil {
			return fault.Temporary(fmt.Errorf("at the last moment: %w", err)) // everything would have to be read: not now
		}
		used, err := p.inUse(ctx)
		if err != nil {
			return err
		}
		return p.copyMore(ctx, intersect(used, marks))
	})
	p.setBlind(false)
	if err := p.catchUp(); err != nil {
		return err
	}
	if err != nil {
		return err
	}
	p.report(r)
	return nil
}

func (p *pass) setBlind(blind bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.blind = blind
}

// catchUp writes to the digest map what could not be written while the source was frozen: what was acknowledged is known, what else was
// sent is not.
func (p *pass) catchUp() error {
	if err := p.Acked(p.s.Acknowledged()); err != nil {
		return err
	}
	for _, b := range p.sent.all() {
		for _, c := range b.chunks {
			if err := p.digests.set(c, chunk.Digest{}); err != nil {
				return err
			}
		}
	}
	if err := p.digests.sync(); err != nil {
		return err
	}
	p.journal.Blind = false
	return p.journal.save()
}

// copyMore copies ranges on top of what the pass was about.
func (p *pass) copyMore(ctx context.Context, list extent.List) error {
	p.count.total.Add(list.Bytes())
	if err := p.each(ctx, list, (*worker).compare); err != nil {
		return err
	}
	return p.s.Flush(p.sent.upTo())
}

// forget ends the tracking of a migration that is complete.
func (p *pass) forget() error {
	if p.tracker == nil {
		return nil
	}
	p.journal.Covered = false
	if err := errors.Join(p.journal.save(), p.cfg.Watch.Close()); err != nil {
		return err
	}
	return track.Remove(track.Options{Device: p.cfg.Path, StateDir: p.cfg.Watch.dir})
}
