package durable

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// lockFile takes the lock on f, which ends with the descriptor, and reports whether it was free.
func lockFile(f *os.File) (bool, error) {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}
