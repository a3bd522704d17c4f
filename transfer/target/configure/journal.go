package configure

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"time"

	"github.com/ferry-migrate/ferry/internal/crashpoint"
)

// Where a root keeps what Undo needs.
const (
	Home    = ".ferry-configure" // directory at the top of a configured root
	lines   = Home + "/journal"
	scratch = Home + "/scratch"

	maxJournal = 64 << 20
)

// record says, before a change is made, what was there. It is one line of JSON.
type record struct {
	Path    string    `json:"path,omitempty"` // resolved, relative to the root
	Existed bool      `json:"existed,omitempty"`
	Dir     bool      `json:"dir,omitempty"`    // a directory that was made
	Parent  time.Time `json:"parent,omitzero"`  // modification time of the directory that holds it
	Device  string    `json:"device,omitempty"` // instead of Path: bytes of a boot disk
	At      int64     `json:"at,omitempty"`
	Saved   string    `json:"saved,omitempty"` // the bytes, in base64
}

// journal lists, durably and in order, what was there before each change. A path has one record: that of its original.
type journal struct {
	root    *os.Root
	begun   bool // the file exists
	records []record
	of      map[string]record // by path
}

// openJournal reads the journal of a root, if it has one. A last line that is cut off belongs to a change that was not made.
func openJournal(root *os.Root) (*journal, error) {
	j := &journal{root: root, of: map[string]record{}}
	info, err := root.Lstat(lines)
	if missing(err) {
		return j, nil
	}
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxJournal {
		return nil, fmt.Errorf("journal of the received system: %w", errors.Join(err, os.ErrInvalid))
	}
	f, err := root.Open(lines)
	if err != nil {
		return nil, fmt.Errorf("journal of the received system: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxJournal))
	if err != nil {
		return nil, fmt.Errorf("journal of the received system: %w", err)
	}
	j.begun = true
	for line := range bytes.SplitSeq(b, []byte("\n")) {
		var r record
		if json.Unmarshal(line, &r) == nil {
			j.remember(r)
		}
	}
	return j, nil
}

func (j *journal) remember(r record) {
	j.records = append(j.records, r)
	if r.Path != "" {
		j.of[r.Path] = r
	}
}

// add makes a record durable, unless its path has one.
func (j *journal) add(r record) error {
	if _, again := j.of[r.Path]; again && r.Path != "" {
		return nil
	}
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	f, err := j.root.OpenFile(lines, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	defer f.Close()
	if _, err := f.Write(append(append([]byte("\n"), b...), '\n')); err != nil { // after a line that was cut off, a new one
		return fmt.Errorf("journal: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	j.remember(r)
	return nil
}

// begin makes the directory, if it is not there. Its record, the first, has the time of the root before any change.
func (j *journal) begin() error {
	if j.begun {
		return nil
	}
	info, err := j.root.Stat(".")
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if err := j.root.Mkdir(Home, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("journal: %w", err)
	}
	j.begun = true
	if err := j.add(record{Path: Home, Dir: true, Parent: info.ModTime()}); err != nil {
		return err
	}
	d, err := j.root.Open(Home)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	defer d.Close()
	return syncNames(d)
}

// changed reports whether one of the paths was changed by this run or one before. Paths are resolved.
func (t *tree) changed(names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		at, err := t.resolve(name, true)
		_, ok := t.journal.of[at]
		return err == nil && ok
	})
}

// mark describes what is at a resolved path that will be changed.
func (t *tree) mark(at string) (record, error) {
	if err := t.journal.begin(); err != nil {
		return record{}, err
	}
	parent, err := t.root.Stat(path.Dir(at))
	if missing(err) {
		return record{}, fmt.Errorf("directory of %s: %w", at, err)
	}
	if err != nil {
		return record{}, err
	}
	_, err = t.root.Lstat(at)
	if err != nil && !missing(err) {
		return record{}, err
	}
	return record{Path: at, Existed: err == nil, Parent: parent.ModTime()}, nil
}

// undo puts everything back, the last change first.
func (t *tree) undo(ctx context.Context, disks []BootDisk) error {
	for i := len(t.journal.records) - 1; i >= 0; i-- {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		r := t.journal.records[i]
		var err error
		switch {
		case r.Device != "":
			err = restoreDevice(r, disks)
		case r.Path == Home:
			continue // last
		default:
			err = t.restore(r)
		}
		if err != nil {
			return fmt.Errorf("undo %s%s: %w", r.Path, r.Device, err)
		}
		crashpoint.Hit("configure.undone")
	}
	first, begun := t.journal.of[Home]
	if err := t.root.RemoveAll(Home); err != nil {
		return fmt.Errorf("undo: %w", err)
	}
	t.journal.begun = false
	if !begun {
		return nil
	}
	if err := t.root.Chtimes(".", time.Time{}, first.Parent); err != nil {
		return fmt.Errorf("undo: %w", err)
	}
	return t.syncDir(".")
}

// restore puts back one file, link or directory. The path comes from a journal that the source may have sent: it is not followed out.
func (t *tree) restore(r record) error {
	saved := beside(r.Path, "saved")
	if err := t.root.Remove(beside(r.Path, "new")); err != nil && !gone(err) {
		return err
	}
	_, err := t.root.Lstat(saved)
	switch {
	case err == nil && r.Existed:
		if err := t.root.Rename(saved, r.Path); err != nil {
			return err
		}
		err = t.root.Remove(saved) // still there if both are the same inode
	case !r.Existed:
		err = t.root.Remove(r.Path)
		if r.Dir && notEmpty(err) {
			err = nil // somebody else uses it
		}
	}
	if err != nil && !gone(err) {
		return err
	}
	dir := path.Dir(r.Path)
	if err := t.root.Chtimes(dir, time.Time{}, r.Parent); err != nil && !gone(err) {
		return err
	}
	if err := t.syncDir(dir); err != nil && !gone(err) {
		return err
	}
	return nil
}

func gone(err error) bool { return missing(err) || notDir(err) }

// restoreDevice writes back what a boot disk held.
func restoreDevice(r record, disks []BootDisk) error {
	i := slices.IndexFunc(disks, func(d BootDisk) bool { return d.Device == r.Device })
	if i < 0 {
		return errors.New("the journal names a disk that is not a boot disk of this target: name it, or run on the target that was configured")
	}
	b, err := base64.StdEncoding.DecodeString(r.Saved)
	if err != nil {
		return err
	}
	d := disks[i]
	if r.At == 0 && len(b) <= sector || r.At == d.CoreAt && int64(len(b)) <= d.Core {
		return writeDisk(d.Device, r.At, b)
	}
	return errors.New("the journal names bytes of the disk that are no boot code")
}
