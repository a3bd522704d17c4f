//go:build !linux

package configure

import "errors"

// inside refuses: programs of a Linux system run on Linux.
func inside(string, Facts, func() error) error { return errors.ErrUnsupported }
