package main

import (
	"errors"
	"os"
	"path/filepath"
)

// defaultState is %ProgramData%\Ferry.
func defaultState() (string, error) {
	data := os.Getenv("ProgramData")
	if data == "" {
		return "", errors.New("ProgramData is not set")
	}
	return filepath.Join(data, "Ferry"), nil
}
