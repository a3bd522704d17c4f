package configure

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/ferry-migrate/ferry/internal/command"
)

// searchPath is where a system keeps its programs, those of root first.
var searchPath = []string{"/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// program returns the path of the first of some programs that the system has, "" if it has none.
func (s *system) program(names ...string) string {
	for _, name := range names {
		for _, dir := range searchPath {
			if at := path.Join(dir, name); s.isFile(at) {
				return at
			}
		}
	}
	return ""
}

// run runs a program of the system inside it. What it writes to /tmp is in the scratch directory, which is new for each program;
// nothing else can be written.
func (s *system) run(ctx context.Context, argv ...string) error {
	return s.runWith(ctx, "", argv...)
}

// runWith gives the program a file, /tmp/given.
func (s *system) runWith(ctx context.Context, given string, argv ...string) error {
	if err := s.clearScratch(); err != nil {
		return err
	}
	if err := s.root.WriteFile(path.Join(scratch, "given"), []byte(given), 0o600); err != nil {
		return fmt.Errorf("scratch directory: %w", err)
	}
	return inside(s.dir, s.facts, func() error {
		_, err := command.Run(ctx, s.log, append([]string{"/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "HOME=/tmp", "TMPDIR=/tmp"}, argv...)...)
		return err
	})
}

// clearScratch makes the scratch directory anew. Making it begins the journal, so that Undo takes it away.
func (s *system) clearScratch() error {
	if err := s.journal.begin(); err != nil {
		return err
	}
	if err := s.root.RemoveAll(scratch); err != nil {
		return fmt.Errorf("scratch directory: %w", err)
	}
	if err := s.root.Mkdir(scratch, 0o700); err != nil {
		return fmt.Errorf("scratch directory: %w", err)
	}
	return nil
}

// output opens what a program made: a regular file of its name in the scratch directory that is not empty.
func (s *system) output(made string) (*os.File, error) {
	at := path.Join(scratch, made)
	info, err := s.root.Lstat(at)
	if err == nil && (!info.Mode().IsRegular() || info.Size() == 0) {
		err = fs.ErrInvalid
	}
	if err != nil {
		return nil, fmt.Errorf("the program made no %s: %w", made, err)
	}
	return s.root.Open(at)
}

// adopt puts what a program made in the place of a file, unless they are equal.
func (s *system) adopt(made, name string, perm os.FileMode, why string) error {
	f, err := s.output(made)
	if err != nil {
		return err
	}
	defer f.Close()
	if same, err := s.same(f, name); same || err != nil {
		return err
	}
	return s.replace(name, f, perm, why)
}

// same compares what is left of f with the content of a file, and winds f back.
func (s *system) same(f *os.File, name string) (bool, error) {
	old, err := s.open(name)
	if missing(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer old.Close()
	a, b := bufio.NewReader(f), bufio.NewReader(old)
	for {
		x, errX := a.ReadByte()
		y, errY := b.ReadByte()
		if errX != nil || errY != nil || x != y {
			_, err := f.Seek(0, io.SeekStart)
			return errors.Is(errX, io.EOF) && errors.Is(errY, io.EOF), err
		}
	}
}
