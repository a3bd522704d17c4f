package manifest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/ferry-migrate/ferry/internal/durable"
	"github.com/ferry-migrate/ferry/internal/fault"
)

// Scratch returns the path of a file in the store's directory that is removed when the store is opened again.
func (s *Store) Scratch(name string) string { return s.path("." + name) }

// PassPath returns the path of what the pass under way writes, for a reader of its own.
func (s *Store) PassPath() string { return s.path(nameNext) }

// BasePath returns the path of the base, for a reader of its own.
func (s *Store) BasePath() string { return s.path(nameBase) }

// Adopt makes a finished manifest, written to a Scratch path, the base: a listing of what the target holds.
func (s *Store) Adopt(path string) error {
	if s.next != nil {
		return fault.Permanent(errors.New("manifest: adopt within a pass"))
	}
	if err := s.closeBase(); err != nil {
		return err
	}
	if err := durable.Rename(path, s.path(nameBase)); err != nil {
		return storageError("rename", path, err)
	}
	hook("adopt")
	base, err := Open(s.path(nameBase))
	s.base = base
	return err
}

// Forget removes the base: the target holds nothing.
func (s *Store) Forget() error {
	if err := s.closeBase(); err != nil {
		return err
	}
	if err := os.Remove(s.path(nameBase)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget the base: %w", err)
	}
	hook("forget")
	return durable.SyncDir(s.dir)
}
