package layout

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ferry-migrate/ferry/internal/durable"
)

// journal is the durable memory of a run: of which plan, on which disks, and how many actions of its script are done.
type journal struct {
	Version int      `json:"version"`
	Plan    *Plan    `json:"plan"`  // fitted
	Disks   []string `json:"disks"` // what tells the disks from others
	Done    int      `json:"done"`

	file string
}

// loadJournal reads the journal in dir, nil if there is none. One that is damaged, or of another version, is none: the disks are then looked at as
// those of a stranger.
func loadJournal(dir string) (*journal, error) {
	j := &journal{file: journalFile(dir)}
	text, err := os.ReadFile(j.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read journal of the layout: %w", err)
	}
	if json.Unmarshal(text, j) != nil || j.Version != Version || j.Done < 0 || j.Plan == nil || j.Plan.Check() != nil {
		return nil, nil
	}
	return j, nil
}

func journalFile(dir string) string { return filepath.Join(dir, "layout.json") }

func (j *journal) save() error {
	text, err := json.Marshal(j)
	if err != nil {
		return fmt.Errorf("encode journal of the layout: %w", err)
	}
	return durable.WriteFile(j.file, append(text, '\n'), 0o600)
}

// done records that action i is done, if it is the next one; err, if it is not nil, is returned instead.
func (j *journal) done(i int, err error) error {
	if err != nil || i != j.Done {
		return err
	}
	j.Done++
	return j.save()
}
