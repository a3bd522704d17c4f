package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/ferry-migrate/ferry/internal/durable"
	"github.com/ferry-migrate/ferry/internal/fault"
)

// StateVersion is the version of all that lies in a state directory, raised when an older ferry would misread it. The packages look
// for it in the file before they replace a newer ferry by an older one.
const StateVersion = 1

const (
	lockName    = "lock"    // its lock says that a process works with the directory
	versionName = "version" // StateVersion of who wrote last, as a line of text
)

// LockState keeps every other ferry out of a state directory until the file is closed. A directory that a newer ferry wrote is
// refused, FERRY-STATE-NEWER.
func LockState(dir string) (*os.File, error) {
	lock, err := durable.Lock(filepath.Join(dir, lockName))
	if err != nil {
		return nil, err
	}
	found, err := CheckState(dir)
	if err == nil && found != StateVersion {
		err = durable.WriteFile(filepath.Join(dir, versionName), []byte(strconv.Itoa(StateVersion)+"\n"), 0o600)
	}
	if err != nil {
		lock.Close()
		return nil, err
	}
	return lock, nil
}

// CheckState returns the version of a state directory, 0 if nothing tells it, and FERRY-STATE-NEWER if this ferry does not know it.
func CheckState(dir string) (int, error) {
	path := filepath.Join(dir, versionName)
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("version of the state: %w", err)
	}
	version, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, nil // none, or a damaged one: the files in the directory have versions of their own
	}
	if version > StateVersion {
		return version, fault.Operator("FERRY-STATE-NEWER", "install the version of ferry that wrote it, or a later one; or use another state directory",
			fmt.Errorf("state directory %s has version %d, this ferry knows %d", dir, version, StateVersion))
	}
	return version, nil
}

// Purge removes a state directory and the log files of its agent, which must not run. Whatever does not look like a state directory
// is refused: FERRY-NO-STATE.
func Purge(dir, logs string) error {
	if _, err := os.Stat(filepath.Join(dir, versionName)); errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fault.Operator("FERRY-NO-STATE", "remove it yourself if it is what you mean", fmt.Errorf("%s is not the state directory of an agent", dir))
	}
	lock, err := durable.Lock(filepath.Join(dir, lockName))
	if err != nil {
		return err
	}
	lock.Close() // Windows removes no open file
	if err := removeLogs(logs); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove the state: %w", err)
	}
	return nil
}

// removeLogs removes the files of a LogFile, and their directory if nothing else is in it.
func removeLogs(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, logName+"*"))
	if err != nil {
		return fmt.Errorf("remove the logs: %w", err)
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			return fmt.Errorf("remove the logs: %w", err)
		}
	}
	os.Remove(dir) // it stays when it holds something else
	return nil
}
