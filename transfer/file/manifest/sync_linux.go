package manifest

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// syncData makes the content and the size of f durable, not its times.
func syncData(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
