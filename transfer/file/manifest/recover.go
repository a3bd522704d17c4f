package manifest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/ferry-migrate/ferry/internal/durable"
)

// Recover ends a pass that was begun and did not commit, in this process or one before: what it left and what the target acknowledged is
// merged into a new base. OpenStore does it too. It can be repeated after an error, and after a crash at any point.
func (s *Store) Recover(ctx context.Context) error {
	s.recovered = Recovery{}
	var errs []error
	if s.next != nil {
		errs = append(errs, s.next.Close())
		s.next = nil
	}
	if err := errors.Join(append(errs, s.closeBase(), s.removeTemporary())...); err != nil {
		return err
	}
	if err := s.openBase(ctx); err != nil {
		return err
	}
	next, err := Open(s.path(nameNext))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, ErrDamaged):
		return s.recoverNothing(ctx, err)
	case err != nil:
		return err
	}
	defer next.Close()
	if s.base != nil && s.base.header.Cut.File == next.id { // merged already
		s.recovered.Unclean, s.recovered.Cut = true, s.base.header.Cut
		return s.remove(nameNext)
	}
	if s.base != nil && s.base.header.Pass != next.header.Base {
		err := damaged(s.base.name, "pass %x, but the next one builds on %x", s.base.header.Pass, next.header.Base)
		if err := s.dropBase(err); err != nil {
			return err
		}
	}
	if next.Complete() {
		err := next.Verify(ctx)
		if err == nil {
			next.Close()
			return s.become(nameNext)
		}
		if !errors.Is(err, ErrDamaged) {
			return err
		}
	}
	acked, err := s.acks.last(next.id)
	if err != nil {
		return err
	}
	return s.merge(ctx, next, acked)
}

// merge makes a base of the base and next, then does away with next.
func (s *Store) merge(ctx context.Context, next *Reader, acked ack) error {
	cut, hurt, err := mergeInto(ctx, s.path(nameMerge), s.base, next, acked)
	if err != nil {
		return err
	}
	next.Close()
	if err := s.become(nameMerge); err != nil {
		return err
	}
	s.recovered.Unclean, s.recovered.Cut = true, cut
	if hurt != nil {
		return s.setAside(nameNext, hurt)
	}
	return s.remove(nameNext)
}

// recoverNothing deals with a next that cannot be opened: nothing of the base is certain any more.
func (s *Store) recoverNothing(ctx context.Context, hurt error) error {
	if s.base == nil {
		return s.setAside(nameNext, hurt)
	}
	lost := &Reader{name: s.path(nameNext), header: s.base.header, lost: hurt}
	return s.merge(ctx, lost, ack{})
}

// openBase opens and checks the base. A damaged one is set aside: then there is none.
func (s *Store) openBase(ctx context.Context) error {
	base, err := Open(s.path(nameBase))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		s.base = base
		if err = base.Verify(ctx); err == nil && !base.Complete() {
			err = damaged(base.name, "cut off")
		}
	}
	if errors.Is(err, ErrDamaged) {
		return s.dropBase(err)
	}
	if err != nil {
		return errors.Join(err, s.closeBase())
	}
	return nil
}

func (s *Store) dropBase(why error) error {
	if err := s.closeBase(); err != nil {
		return err
	}
	return s.setAside(nameBase, why)
}

// setAside renames a damaged file to the first free name.damaged-<n> and takes note of it.
func (s *Store) setAside(name string, why error) error {
	for n := 1; ; n++ {
		aside := s.path(fmt.Sprintf("%s.damaged-%d", name, n))
		if _, err := os.Lstat(aside); !errors.Is(err, fs.ErrNotExist) {
			if err != nil {
				return storageError("set aside", s.path(name), err)
			}
			continue
		}
		if err := durable.Rename(s.path(name), aside); err != nil {
			return storageError("set aside", s.path(name), err)
		}
		hook("set aside " + name)
		s.recovered.Damaged = append(s.recovered.Damaged, Damage{Path: aside, Err: why})
		return nil
	}
}

func (s *Store) remove(name string) error {
	if err := os.Remove(s.path(name)); err != nil {
		return storageError("remove", s.path(name), err)
	}
	if err := durable.SyncDir(s.dir); err != nil {
		return storageError("remove", s.path(name), err)
	}
	hook("remove " + name)
	return nil
}
