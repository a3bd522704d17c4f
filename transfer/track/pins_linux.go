package track

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/zeebo/blake3"
	"golang.org/x/sys/unix"
)

// bpffs are the places for pins: where systemd mounts bpffs, and where Ferry does when nobody has.
const (
	systemBPFFS = "/sys/fs/bpf"
	ownBPFFS    = "/run/ferry/bpf"
)

// pinsOf returns the directory for the pins of a state directory, on a mounted bpffs.
func pinsOf(o Options) (string, error) {
	root := o.BPFFS
	if root == "" {
		if root = systemBPFFS; !isBPFFS(root) {
			root = ownBPFFS
		}
	}
	if !isBPFFS(root) {
		if err := os.MkdirAll(root, 0o700); err != nil {
			return "", err
		}
		if err := unix.Mount("ferry", root, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700"); err != nil {
			return "", fmt.Errorf("mount bpffs on %s: %w", root, err)
		}
	}
	state, err := filepath.Abs(o.StateDir)
	if err != nil {
		return "", err
	}
	id := blake3.Sum256([]byte(state))
	return filepath.Join(root, "ferry", hex.EncodeToString(id[:8])), nil
}

func isBPFFS(dir string) bool {
	var st unix.Statfs_t
	return unix.Statfs(dir, &st) == nil && st.Type == unix.BPF_FS_MAGIC
}

// unpin removes a directory of pins and its parent when that becomes empty.
func unpin(pins string) error {
	names, err := os.ReadDir(pins)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("unpin: %w", err)
	}
	for _, n := range names {
		if err := os.Remove(filepath.Join(pins, n.Name())); err != nil {
			return fmt.Errorf("unpin: %w", err)
		}
	}
	os.Remove(pins)
	os.Remove(filepath.Dir(pins)) // unless other trackers have pins there
	return nil
}

// unmount ends a mount of our own that holds nothing more.
func unmount(pins string) error {
	root := filepath.Dir(filepath.Dir(pins))
	if _, err := os.Stat(filepath.Dir(pins)); err == nil || root == systemBPFFS {
		return nil
	}
	if err := unix.Unmount(root, 0); err != nil {
		return fmt.Errorf("unmount %s: %w", root, err)
	}
	os.Remove(root)
	return nil
}
