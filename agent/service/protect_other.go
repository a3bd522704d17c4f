//go:build !windows

package service

// Settle does nothing: the unit says all.
func Settle(string) error { return nil }

// Protect does nothing: the mode of the directory does it.
func Protect(string) error { return nil }
