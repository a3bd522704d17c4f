package block

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/ferry-migrate/ferry/internal/crashpoint"
	"github.com/ferry-migrate/ferry/internal/durable"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/file"
)

// journal is the source's durable memory of one target, beside the digest map that it belongs to. It is written before a pass is
// made known to the target, so the target is either where the pass before left it or somewhere in this one.
type journal struct {
	Version   int     `json:"version"`
	Identity  string  `json:"identity"`  // of the source device, see device.Identity
	Before    mark    `json:"before"`    // where the pass began
	Pass      file.ID `json:"pass"`      // the pass, or the last one
	Seq       uint64  `json:"seq"`       // frames of it that were acknowledged, at least
	Committed bool    `json:"committed"` // it is complete
	First     bool    `json:"first"`     // it began with a target of which nothing was known
	Blind     bool    `json:"blind"`     // its last ranges were sent while nothing could be written here: the digest map may be wrong
	Covered   bool    `json:"covered"`   // all that was in use when the tracker began was compared since: its marks tell the rest
	Stamp     string  `json:"stamp"`     // of the source when the pass began: equal means unchanged; "" if it cannot be told

	path string
}

// mark is a point in a pass.
type mark struct {
	Pass      file.ID `json:"pass"`
	Seq       uint64  `json:"seq"`
	Committed bool    `json:"committed"`
}

const journalName = "journal.json"

// loadJournal reads the journal in dir. A damaged one is set aside: everything is then compared.
func loadJournal(dir string, log *slog.Logger) (*journal, error) {
	j := &journal{Version: 1, path: filepath.Join(dir, journalName)}
	text, err := os.ReadFile(j.path)
	if errors.Is(err, fs.ErrNotExist) {
		return j, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	got := &journal{path: j.path}
	if err := json.Unmarshal(text, got); err != nil {
		log.Warn("the journal is damaged: everything is compared", "file", j.path, "aside", j.path+".damaged")
		if err := durable.Rename(j.path, j.path+".damaged"); err != nil {
			return nil, fmt.Errorf("set damaged journal aside: %w", err)
		}
		return j, nil
	}
	if got.Version > 1 {
		return nil, fault.Operator("FERRY-STATE-NEWER", "use the version of ferry that wrote it, or another --state directory",
			fmt.Errorf("journal %s has version %d, this ferry knows 1", j.path, got.Version))
	}
	return got, nil
}

// fits reports whether a target in the state of r holds what the digest map says, or at least has not forgotten any of it.
func (j *journal) fits(r *Reply) bool {
	switch {
	case r.Altered != "" || !r.Pass.Known():
		return false
	case r.Pass == j.Pass:
		return r.Committed || !j.Committed && r.Seq >= j.Seq
	}
	return !j.Committed && j.Seq == 0 && r.Pass == j.Before.Pass && r.Committed == j.Before.Committed && r.Seq >= j.Before.Seq
}

// save makes the journal durable.
func (j *journal) save() error {
	text, err := json.MarshalIndent(j, "", "  ")
	if err != nil {
		return fmt.Errorf("encode journal: %w", err)
	}
	if err := durable.WriteFile(j.path, append(text, '\n'), 0o600); err != nil {
		return fault.Operator("FERRY-STATE-FULL", "free space where the state directory is, then run again", err)
	}
	crashpoint.Hit("block.journal")
	return nil
}

// newID returns a random identifier.
func newID() (id file.ID, err error) {
	if _, err := rand.Read(id[:]); err != nil {
		return id, fmt.Errorf("make an identifier: %w", err)
	}
	return id, nil
}

// sourceDir is where the state of all targets of one source lies.
func sourceDir(cfg *Config) string {
	return filepath.Join(cfg.State, "disks", pathKey(cfg.Path))
}

// pathKey is a file name for a path.
func pathKey(path string) string {
	sum := sha256.Sum256([]byte(path))
	return hex.EncodeToString(sum[:8])
}

// sourceID returns the identifier of the source in this state directory, made when first needed. A damaged one is made anew: the
// target then has to be received into with --overwrite.
func sourceID(cfg *Config) (id file.ID, err error) {
	dir := sourceDir(cfg)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return id, fmt.Errorf("make state directory: %w", err)
	}
	path := filepath.Join(dir, "source.id")
	text, err := os.ReadFile(path)
	if err == nil {
		if n, err := hex.Decode(id[:], text[:min(len(text), 2*len(id))]); err == nil && n == len(id) {
			return id, nil
		}
		cfg.Log.Warn("the identifier of the source is damaged: a new one is made", "file", path)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return id, fmt.Errorf("read state: %w", err)
	}
	if id, err = newID(); err != nil {
		return id, err
	}
	return id, durable.WriteFile(path, []byte(hex.EncodeToString(id[:])+"\n"), 0o600)
}

// Known reports whether the source at path was migrated completely before, to whatever target: what follows is a sync.
func Known(state, path string) bool {
	found, err := filepath.Glob(filepath.Join(sourceDir(&Config{State: state, Path: path}), "*", journalName))
	if err != nil {
		return false
	}
	for _, name := range found {
		var j journal
		text, err := os.ReadFile(name)
		if err == nil && json.Unmarshal(text, &j) == nil && (j.Committed || j.Before.Committed) {
			return true
		}
	}
	return false
}
