package snapshot

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/ferry-migrate/ferry/internal/durable"
)

// A note says that a snapshot may exist. It is durable before the snapshot is made and goes when that is removed. Its file, in the
// directory given to Btrfs, LVM and Sweep, is called by its ID.
type note struct {
	Kind string `json:"kind"` // "btrfs" or "lvm"
	ID   string `json:"id"`   // 16 hexadecimal digits
	At   string `json:"at"`   // Btrfs: the subvolume's top directory; LVM: the volume group
	Path string `json:"-"`    // LVM: where it is mounted; beside the note
}

// name is what the snapshot is called on the source: nothing else is called so.
func (n *note) name() string {
	if n.Kind == "btrfs" {
		return ".ferry-snapshot-" + n.ID
	}
	return "ferry-" + n.ID
}

func newNote(dir, kind, at string) (*note, error) {
	var id [8]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, fmt.Errorf("name of a snapshot: %w", err)
	}
	n := &note{Kind: kind, ID: hex.EncodeToString(id[:]), At: at, Path: filepath.Join(dir, hex.EncodeToString(id[:]))}
	return n, n.write(dir)
}

func (n *note) write(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("notes of snapshots: %w", err)
	}
	text, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("note of a snapshot: %w", err)
	}
	return durable.WriteFile(filepath.Join(dir, n.ID+".json"), text, 0o600)
}

func (n *note) forget(dir string) error {
	if err := os.Remove(filepath.Join(dir, n.ID+".json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("note of a snapshot: %w", err)
	}
	return nil
}

// remove removes the snapshot, if it exists, and its note.
func (n *note) remove(ctx context.Context, dir string, log *slog.Logger) (err error) {
	if n.Kind == "btrfs" {
		err = n.removeBtrfs()
	} else {
		err = n.removeLVM(ctx, log)
	}
	if err != nil {
		return fmt.Errorf("remove snapshot %s of %s: %w", n.name(), n.At, err)
	}
	return n.forget(dir)
}

// Sweep removes the snapshots that killed processes left, as the notes in dir say. Those that cannot be removed now, for their filesystem
// is not mounted, keep their notes and are returned in the error.
func Sweep(ctx context.Context, dir string, log *slog.Logger) error {
	paths, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return fmt.Errorf("notes of snapshots: %w", err)
	}
	cut, err := filepath.Glob(filepath.Join(dir, ".*.json.*")) // notes that were being written: their snapshots were not made
	if err != nil {
		return fmt.Errorf("notes of snapshots: %w", err)
	}
	var errs []error
	for _, path := range cut {
		errs = append(errs, os.Remove(path))
	}
	for _, path := range paths {
		n, err := readNote(path)
		if err == nil {
			err = n.remove(ctx, dir, log)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// readNote reads a note. What it names is derived from an ID of fixed form, so that a damaged note removes nothing of others.
func readNote(path string) (*note, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("note of a snapshot: %w", err)
	}
	n := &note{}
	err = json.Unmarshal(text, n)
	id, bad := hex.DecodeString(n.ID)
	if err != nil || bad != nil || len(id) != 8 || n.ID+".json" != filepath.Base(path) || n.Kind != "btrfs" && n.Kind != "lvm" {
		return nil, fmt.Errorf("note of a snapshot %s is damaged: remove it, and what it may mean (btrfs subvolume list, lvs)", path)
	}
	n.Path = strings.TrimSuffix(path, ".json")
	return n, nil
}
