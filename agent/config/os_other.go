//go:build !linux && !windows

package config

import "io/fs"

const defaultState = "/var/lib/ferry"

func exposed(info fs.FileInfo) bool { return info.Mode().Perm()&0o077 != 0 }

func unprotect(_ string, text []byte) ([]byte, error) { return text, nil }
