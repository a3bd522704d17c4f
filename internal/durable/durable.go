// Package durable writes files that survive a power cut: a reader sees the old content or the new one, whole.
//
// The order is write a temporary file in the same directory, sync it, rename it over the name, sync the directory.
// It guarantees nothing about several files together.
package durable

import (
	"fmt"
	"github.com/ferry-migrate/ferry/internal/crashpoint"
	"os"
	"path/filepath"
)

// WriteFile replaces the content of path with data and returns once both the data and the name are on disk.
// On an error path keeps its old content and no temporary file is left.
func WriteFile(path string, data []byte, perm os.FileMode) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if err = f.Chmod(perm); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if _, err = f.Write(data); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err = f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	if err = f.Close(); err != nil {
		return fmt.Errorf("close %s: %w", path, err)
	}
	crashpoint.Hit("durable.synced")
	return Rename(f.Name(), path)
}

// Rename moves an already synced file from old to new inside one directory and syncs the directory.
func Rename(old, new string) error {
	if err := os.Rename(old, new); err != nil {
		return fmt.Errorf("rename: %w", err)
	}
	crashpoint.Hit("durable.renamed")
	return SyncDir(filepath.Dir(new))
}
