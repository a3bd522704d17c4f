package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ferry-migrate/ferry/internal/durable"
	"github.com/ferry-migrate/ferry/internal/fault"
)

// Files of a state directory that several subcommands know.
const (
	databaseFile   = "controller.db"
	controllerFile = "controller.json"
)

// stateDir returns the state directory: the one given, else the default of this user. It need not exist.
func stateDir(given string) (string, error) {
	if given != "" {
		return filepath.Abs(given)
	}
	dir, err := defaultState()
	if err != nil {
		return "", fault.Operator("FERRY-STATE", "name a directory with --state", err)
	}
	return dir, nil
}

// makeStateDir is stateDir for those who write there.
func makeStateDir(given string) (string, error) {
	dir, err := stateDir(given)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fault.Operator("FERRY-STATE", "name a writable directory with --state", fmt.Errorf("state directory: %w", err))
	}
	return dir, nil
}

// controllerRecord says where the controller of a state directory is, for `ferry task`.
type controllerRecord struct {
	URL          string `json:"url"`
	AdminKeyFile string `json:"admin_key_file,omitempty"` // empty means CLOUD_SDK_AK and CLOUD_SDK_SK
	CAFile       string `json:"ca_file,omitempty"`        // whom to trust for TLS; empty means FERRY_CA_FILE, then the system
}

// write records the controller in dir.
func (c controllerRecord) write(dir string) error {
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(dir, controllerFile), append(text, '\n'), 0o600)
}

// readControllerRecord returns the record of dir; the zero one if there is none.
func readControllerRecord(dir string) (c controllerRecord, err error) {
	path := filepath.Join(dir, controllerFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	if err != nil {
		return c, fault.Operator("FERRY-STATE-DAMAGED", "remove it, or name the controller with --controller", fmt.Errorf("%s: %w", path, err))
	}
	return c, nil
}
