package target

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ferry-migrate/ferry/internal/durable"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/file"
)

// record is the target's durable memory of one tree: whose copy it is, and how far.
type record struct {
	Version   int      `json:"version"`
	Path      string   `json:"path"`
	Tree      file.ID  `json:"tree"`
	Source    file.ID  `json:"source"`
	Label     string   `json:"label"` // of the source, for people
	Pass      file.ID  `json:"pass"`
	Committed bool     `json:"committed"`
	Seq       uint64   `json:"seq"`
	Root      rootMark `json:"root"`

	file string
}

// rootMark tells whether the root directory is still the one of the last commit, and untouched.
type rootMark struct {
	FSID  uint64    `json:"fsid"`
	UUID  string    `json:"uuid"`
	Inode uint64    `json:"inode"`
	Btime file.Time `json:"btime"`
	Ctime file.Time `json:"ctime"`
}

func markOf(s TreeState) rootMark {
	return rootMark{FSID: s.FSID, UUID: s.UUID, Inode: s.Inode, Btime: s.Btime, Ctime: s.Ctime}
}

// loadRecord reads what the state directory knows of the tree at path; a tree it does not know gets a new identifier. A
// damaged file is set aside: the tree is then one nobody wrote.
func loadRecord(state, path string) (*record, error) {
	sum := sha256.Sum256([]byte(path))
	r := &record{Version: 1, Path: path, file: filepath.Join(state, "trees", hex.EncodeToString(sum[:8])+".json")}
	if err := os.MkdirAll(filepath.Dir(r.file), 0o700); err != nil {
		return nil, fmt.Errorf("make state directory: %w", err)
	}
	text, err := os.ReadFile(r.file)
	if errors.Is(err, fs.ErrNotExist) {
		return r, r.renew()
	}
	if err != nil {
		return nil, fmt.Errorf("read target state: %w", err)
	}
	var got record
	if err := json.Unmarshal(text, &got); err != nil || got.Path != path {
		if err := os.Rename(r.file, r.file+".damaged"); err != nil {
			return nil, fmt.Errorf("set damaged target state aside: %w", err)
		}
		return r, r.renew()
	}
	if got.Version > 1 {
		return nil, fault.Operator("FERRY-STATE-NEWER", "use the newer ferry that wrote the state directory, or another --state directory",
			fmt.Errorf("target state %s has version %d, this ferry knows 1", r.file, got.Version))
	}
	got.file = r.file
	return &got, nil
}

// renew makes r a tree that nobody ever wrote.
func (r *record) renew() error {
	*r = record{Version: 1, Path: r.Path, file: r.file}
	if _, err := rand.Read(r.Tree[:]); err != nil {
		return fmt.Errorf("make an identifier: %w", err)
	}
	return nil
}

// judge compares the record with the tree as it is. It returns why the tree is not what the last pass left behind, "" if it
// may be.
func (r *record) judge(s TreeState) (altered string, err error) {
	if !r.Source.Known() {
		return "", nil
	}
	was, is := r.Root, markOf(s)
	if s.Empty {
		return "", r.renew()
	}
	if was.Inode != is.Inode || was.Btime != is.Btime || was.FSID != is.FSID || was.UUID != is.UUID {
		return "the target directory is another one than before", nil
	}
	if r.Committed && was.Ctime != is.Ctime {
		return "somebody changed the target directory since the last pass", nil
	}
	return "", nil
}

func (r *record) save() error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode target state: %w", err)
	}
	if err := durable.WriteFile(r.file, append(text, '\n'), 0o600); err != nil {
		return fault.Operator("FERRY-STATE-FULL", "free space where the target's state directory is, then run again", err)
	}
	return nil
}
