//go:build !linux && !windows

package blockdev

import (
	"errors"
	"io"
	"os"
)

func open(path string) (*os.File, error) { return os.Open(path) }

func reader(f *os.File, _ Info) io.ReaderAt { return f }

// describe knows image files only.
func describe(f *os.File) (Info, error) {
	info, ok, err := imageInfo(f)
	if err == nil && !ok {
		err = errors.New("devices of this operating system are not supported")
	}
	return info, err
}
