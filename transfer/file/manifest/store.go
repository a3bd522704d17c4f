package manifest

import (
	"context"
	"errors"
	"fmt"
	"github.com/ferry-migrate/ferry/internal/crashpoint"
	"os"
	"path/filepath"
	"strings"

	"github.com/ferry-migrate/ferry/internal/durable"
	"github.com/ferry-migrate/ferry/internal/fault"
)

// The files of a store.
const (
	nameBase  = "base"  // what the target held when the last pass committed, or when one was recovered
	nameNext  = "next"  // what the pass under way makes of it
	nameAcked = "acked" // how far the target acknowledged that pass
	nameLock  = "lock"  // locked while in use; holds the pid for people
	nameMerge = "merge" // a base being recovered
)

// Store is the state directory of one pair of source path and target tree. One process has it at a time.
//
// Its methods are for one goroutine, except Acked, which may be called beside the Writer's.
type Store struct {
	dir       string
	lock      *os.File
	acks      *acks
	base      *Reader
	next      *Writer
	recovered Recovery
}

// Recovery says what a Store found when it was opened.
type Recovery struct {
	// Unclean: a pass had not committed; what it left was merged into the base. Cut says where it was cut off.
	Unclean bool
	Cut     Cut
	// Damaged lists files that were damaged: set aside under the name given, and not trusted.
	Damaged []Damage
}

// Damage is a damaged file.
type Damage struct {
	Path string // where the file is now
	Err  error
}

// OpenStore makes the directory if need be, locks it, sets damaged files aside, and merges what an unfinished pass left. Errors:
// FERRY-STATE-LOCKED if another process has it, FERRY-STATE-NEWER, FERRY-STATE-FULL. A cancelled ctx ends a merge; it is
// done again the next time.
func OpenStore(ctx context.Context, dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make state directory: %w", err)
	}
	s := &Store{dir: dir}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Store) open(ctx context.Context) (err error) {
	if s.lock, err = durable.Lock(s.path(nameLock)); err != nil {
		return err
	}
	if s.acks, err = openAcks(s.path(nameAcked)); err != nil {
		return err
	}
	if err := s.removeTemporary(); err != nil {
		return err
	}
	return s.Recover(ctx)
}

func (s *Store) path(name string) string { return filepath.Join(s.dir, name) }

// removeTemporary removes what a crash left of files that had not got their names.
func (s *Store) removeTemporary() error {
	names, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("clean state directory: %w", err)
	}
	for _, n := range names {
		if n.Name() != nameMerge && !strings.HasPrefix(n.Name(), ".") {
			continue
		}
		if err := os.Remove(s.path(n.Name())); err != nil {
			return fmt.Errorf("clean state directory: %w", err)
		}
	}
	return nil
}

// Base returns what the target holds, as far as the source knows; nil if it knows nothing. The store owns it: it is good until the
// next Commit, Recover or Close.
func (s *Store) Base() *Reader { return s.base }

// Recovered says what the last OpenStore or Recover found.
func (s *Store) Recovered() Recovery { return s.recovered }

// Begin starts a pass. h.Pass must be new and h.Base the Pass of the base, zero without one. The store owns the writer: Commit or
// Recover ends the pass.
func (s *Store) Begin(h Header) (*Writer, error) {
	if s.next != nil {
		return nil, fault.Permanent(errors.New("manifest: a pass was begun and neither committed nor recovered"))
	}
	var base ID
	if s.base != nil {
		base = s.base.header.Pass
	}
	if h.Pass == (ID{}) || h.Base != base {
		return nil, fault.Permanent(fmt.Errorf("manifest: pass %x builds on %x, base is %x", h.Pass, h.Base, base))
	}
	h.Unclean, h.Cut = false, Cut{}
	w, err := Create(s.path(nameNext), h)
	if err != nil {
		return nil, err
	}
	s.next = w
	return w, nil
}

// Pass opens what the pass under way has written so far, up to the last EndBlock, to read its States again. The caller closes it.
func (s *Store) Pass() (*Reader, error) { return Open(s.path(nameNext)) }

// Acked records, durably, that all frames up to seq of the pass are durable on the target. The manifest is synced so far first.
// A seq that it does not hold yet is refused: no such frame can have been sent.
func (s *Store) Acked(seq uint64) error {
	if s.next == nil {
		return fault.Permanent(errors.New("manifest: no pass was begun"))
	}
	if err := s.next.SyncTo(seq); err != nil {
		return err
	}
	_, synced := s.next.marks()
	return s.acks.set(ack{s.next.id, seq, synced})
}

// Commit ends a pass whose every frame was acknowledged: what it wrote becomes the base. After an error Recover finds out what holds.
func (s *Store) Commit() error {
	if s.next == nil {
		return fault.Permanent(errors.New("manifest: no pass was begun"))
	}
	acked, err := s.acks.last(s.next.id)
	if err != nil {
		return err
	}
	if sent := s.next.seq(); acked.seq < sent {
		return fault.Permanent(fmt.Errorf("manifest: commit at frame %d, only %d were acknowledged", sent, acked.seq))
	}
	if err := s.next.Finish(); err != nil {
		return err
	}
	hook("finish")
	crashpoint.Hit("manifest.finished")
	s.next = nil
	return s.become(nameNext)
}

// become makes the finished manifest name the base.
func (s *Store) become(name string) error {
	if err := s.closeBase(); err != nil {
		return err
	}
	if err := durable.Rename(s.path(name), s.path(nameBase)); err != nil {
		return storageError("rename", s.path(name), err)
	}
	hook("rename " + name)
	crashpoint.Hit("manifest.renamed")
	base, err := Open(s.path(nameBase))
	s.base = base
	return err
}

func (s *Store) closeBase() error {
	if s.base == nil {
		return nil
	}
	err := s.base.Close()
	s.base = nil
	return err
}

// Close closes all files and releases the lock. A pass that was not committed is merged when the store is opened again.
func (s *Store) Close() error {
	var errs []error
	if s.next != nil {
		errs = append(errs, s.next.Close())
		s.next = nil
	}
	errs = append(errs, s.closeBase())
	if s.acks != nil {
		errs = append(errs, s.acks.close())
		s.acks = nil
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
		s.lock = nil
	}
	return errors.Join(errs...)
}
