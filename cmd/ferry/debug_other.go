//go:build !linux

package main

import "errors"

// kernelLog is Linux's alone.
func kernelLog() ([]byte, error) { return nil, errors.ErrUnsupported }
