package durable

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/ferry-migrate/ferry/internal/fault"
)

// Lock takes the lock that the file at path stands for, until the file is closed or the process ends; the file holds the pid, for
// people. Errors: FERRY-STATE-LOCKED if another process has it.
func Lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock state directory: %w", err)
	}
	free, err := lockFile(f)
	if free {
		if err = f.Truncate(0); err == nil {
			_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock state directory: %w", err)
	}
	if free {
		return f, nil
	}
	defer f.Close()
	pid := make([]byte, 20)
	n, _ := f.ReadAt(pid, 0)
	return nil, fault.Operator("FERRY-STATE-LOCKED", "wait until the other run ends, or stop it; or use another --state directory",
		fmt.Errorf("state directory %s is in use by process %s", filepath.Dir(path), strings.TrimSpace(string(pid[:n]))))
}
