//go:build !linux && !windows

package durable

import (
	"errors"
	"os"
)

// lockFile refuses: Ferry's source side runs on Linux and Windows.
func lockFile(*os.File) (bool, error) { return false, errors.ErrUnsupported }
