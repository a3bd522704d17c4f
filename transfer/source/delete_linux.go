package source

import (
	"bytes"
	"context"
	"fmt"
	"hash/maphash"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/file"
	"github.com/ferry-migrate/ferry/transfer/file/manifest"
)

// errGuard is returned when a pass would delete more than half of the target.
func errGuard(deletes, of int64) error {
	return fault.Operator("FERRY-DELETE-GUARD", "check that the source is whole and mounted; if it is meant, run again with --force-delete (or keep all with --no-delete)",
		fmt.Errorf("the source lacks %d of the %d entries the target has", deletes, of))
}

// deletes removes what the source has no more, and notes what stays all the same.
func (p *pass) deletes(ctx context.Context) error {
	h, err := p.held(ctx)
	if err != nil || h == nil {
		return err
	}
	defer h.close()
	if p.nothingAbsent(h) {
		return nil
	}
	p.count.enter("delete")
	gone, err := p.plannedDeletes(ctx, h)
	if err != nil || gone == 0 {
		return err
	}
	if err := p.rec.w.BeginDeletes(p.rec.raise()); err != nil {
		return err
	}
	t := p.newTail()
	_, err = p.eachAbsent(ctx, h, func(e *file.Entry, a absence) error {
		if a == absentExcluded {
			return nil
		}
		p.deleted++
		if a == absentBelow {
			return nil
		}
		name := t.at(e.Path)
		t.ops = file.AppendDelete(t.ops, name, e.Kind)
		p.touch(t.dir)
		return t.added()
	})
	if err != nil {
		return err
	}
	return t.send()
}

// nothingAbsent reports whether the walk met all that the target has, so that nobody needs to look for what it did not meet.
func (p *pass) nothingAbsent(h *held) bool {
	return !p.unclean && len(h.readers) == 1 && !p.lacks.Load() && !p.rec.dropped
}

// plannedDeletes returns how many entries are to be deleted, once the guard has agreed, and writes what stays to the leftovers.
func (p *pass) plannedDeletes(ctx context.Context, h *held) (gone int64, err error) {
	p.left = newLeftovers(p.store.Scratch(leftoversName))
	all, err := p.eachAbsent(ctx, h, func(e *file.Entry, a absence) error {
		if p.cfg.Delete && a != absentExcluded {
			gone++
			return nil
		}
		return p.left.add(e)
	})
	if err = p.left.finish(err); err != nil {
		return 0, err
	}
	if gone*2 <= all || p.cfg.ForceDelete {
		return gone, nil
	}
	moved, err := p.moved(ctx, h, gone)
	if err == nil && (gone-moved)*2 > all {
		err = errGuard(gone-moved, all)
	}
	return gone, err
}

// held returns what the target has: the base and what earlier passes left there, or a listing where these may not say all. It is
// nil if the target has nothing but what this pass brought.
func (p *pass) held(ctx context.Context) (*held, error) {
	known := &held{}
	if p.baseReader != nil {
		base, err := manifest.Open(p.store.BasePath())
		if err != nil {
			return nil, err
		}
		known.add(base)
		known.add(p.openLeftovers())
	}
	switch {
	case p.unclean:
		names, err := p.listNames(ctx)
		if err != nil {
			known.close()
			return nil, err
		}
		return &held{readers: []*manifest.Reader{names}, known: known}, nil
	case p.baseReader == nil:
		return nil, nil
	}
	return known, nil
}

// absence says how an entry of the target is missing on the source.
type absence uint8

const (
	absent         absence = iota
	absentBelow            // with a directory above it
	absentExcluded         // it was left out: newly excluded paths stay
)

// eachAbsent calls f for every entry of h that the pass did not see, and returns how many entries h has.
func (p *pass) eachAbsent(ctx context.Context, h *held, f func(e *file.Entry, a absence) error) (all int64, err error) {
	r, err := manifest.Open(p.written)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	seen := r.Cursor()
	if err := seen.Advance(); err != nil {
		return 0, err
	}
	var last, gone []byte // the last entry seen, if it is no directory; the last directory gone
	for old := h.union(); ; all++ {
		if all%1024 == 0 && ctx.Err() != nil {
			return all, context.Cause(ctx)
		}
		e, err := old.next()
		if err != nil || e == nil {
			return all, err
		}
		for s := seen.Current(); s != nil && file.ComparePath(s.Path, e.Path) < 0; s = seen.Current() {
			last = last[:0]
			if s.Kind != file.KindDir {
				last = append(last, s.Path...)
			}
			if err := seen.Advance(); err != nil {
				return all, err
			}
		}
		if s := seen.Current(); s != nil && bytes.Equal(s.Path, e.Path) || len(e.Path) == 0 || string(e.Path) == lostFound {
			continue
		}
		if beneath(e.Path, last) {
			continue // it went when its directory became something else
		}
		how := absent
		switch {
		case p.excludes.Covers(e.Path, e.Kind == file.KindDir):
			how = absentExcluded
		case beneath(e.Path, gone):
			how = absentBelow
		default:
			gone = gone[:0]
			if e.Kind == file.KindDir {
				gone = append(gone, e.Path...)
			}
		}
		if err := f(e, how); err != nil {
			return all, err
		}
	}
}

// identitiesAtOnce bounds the memory of moved: identities held at a time, some 40 bytes each.
const identitiesAtOnce = 1 << 19

// moved counts which of the gone entries the pass met elsewhere: their content is not lost, only their name changed. Each name met
// stands for one that is gone, so of an inode with many names no more are forgiven than are left.
func (p *pass) moved(ctx context.Context, h *held, gone int64) (n int64, err error) {
	rounds := uint64(gone/identitiesAtOnce + 1)
	for round := range rounds {
		wanted := map[uint64]int32{}
		mine := func(id file.Identity) (hash uint64, ok bool) {
			id.Ctime, id.Nlink = file.Time{}, 0
			hash = maphash.Comparable(p.seed, id)
			return hash, id.Ino != 0 && hash%rounds == round
		}
		known := h.identities()
		_, err = p.eachAbsent(ctx, h, func(e *file.Entry, a absence) error {
			id, err := known.at(e)
			if hash, ok := mine(id); ok && a != absentExcluded {
				wanted[hash]++
			}
			return err
		})
		if err != nil {
			return 0, err
		}
		err = p.each(ctx, func(e *file.Entry, _ *manifest.Cursor) error {
			if hash, ok := mine(e.Identity); ok && wanted[hash] > 0 {
				wanted[hash]--
				n++
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	return n, nil
}

// lostFound belongs to the target's own filesystem: a source without one says nothing about it.
const lostFound = "lost+found"

// beneath reports whether path lies below dir; nothing lies below "".
func beneath(path, dir []byte) bool {
	return len(dir) > 0 && len(path) > len(dir) && path[len(dir)] == '/' && bytes.HasPrefix(path, dir)
}
