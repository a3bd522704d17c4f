package block

import (
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

// record is the target's durable memory of what it received into: whose copy it is, and how far.
type record struct {
	Version   int     `json:"version"`
	Path      string  `json:"path"`
	Identity  string  `json:"identity"` // of the device or image, see device.Identity
	Disk      file.ID `json:"disk"`
	Source    file.ID `json:"source"`
	Label     string  `json:"label"` // of the source, for people
	Pass      file.ID `json:"pass"`
	Committed bool    `json:"committed"`
	Seq       uint64  `json:"seq"`
	Left      string  `json:"left"` // how the last pass left an image behind, see trace

	file string
}

// loadRecord reads what the state directory knows of the target at path; one that it does not know gets a new identifier. A damaged
// file is set aside: the target is then one nobody wrote.
func loadRecord(state, path string) (*record, error) {
	r := &record{Version: 1, Path: path, file: filepath.Join(state, "disks", pathKey(path)+".json")}
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
	got := record{file: r.file}
	if err := json.Unmarshal(text, &got); err != nil || got.Path != path {
		if err := durable.Rename(r.file, r.file+".damaged"); err != nil {
			return nil, fmt.Errorf("set damaged target state aside: %w", err)
		}
		return r, r.renew()
	}
	if got.Version > 1 {
		return nil, fault.Operator("FERRY-STATE-NEWER", "use the newer ferry that wrote the state directory, or another --state directory",
			fmt.Errorf("target state %s has version %d, this ferry knows 1", r.file, got.Version))
	}
	return &got, nil
}

// renew makes r a target that nobody ever wrote.
func (r *record) renew() (err error) {
	*r = record{Version: 1, Path: r.Path, file: r.file}
	r.Disk, err = newID()
	return err
}

// altered returns why the target is not what the last pass left behind, "" if it may be.
func (r *record) altered() string {
	if r.Committed && r.Left != "" && r.Left != trace(r.Path) {
		return "somebody wrote to it since the last pass"
	}
	return ""
}

// trace tells whether somebody wrote to an image; "" for a device, whose kernel does not keep when that was.
func trace(path string) string {
	st, err := os.Stat(path)
	if err != nil || !st.Mode().IsRegular() {
		return ""
	}
	return fmt.Sprintf("%d %d", st.Size(), st.ModTime().UnixNano())
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
