//go:build !linux

package configure

import "os"

// A Linux system is configured where it will run: on Linux. Elsewhere this package builds, and openTree refuses.

func liken(*os.File, *os.File) error { return os.ErrInvalid }
func syncNames(*os.File) error       { return nil }
func notDir(error) bool              { return false }
func notEmpty(error) bool            { return false }

func (t *tree) free(string) (int64, error) { return 0, os.ErrInvalid }
