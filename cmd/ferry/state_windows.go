package main

import (
	"errors"
	"os"
	"path/filepath"
)

// defaultConfig is the configuration of an agent, read when it exists and nobody names another file.
func defaultConfig() string {
	dir, err := defaultState()
	if err != nil {
		dir = `C:\ProgramData\Ferry`
	}
	return filepath.Join(dir, "agent.yaml")
}

// defaultState is %ProgramData%\Ferry.
func defaultState() (string, error) {
	data := os.Getenv("ProgramData")
	if data == "" {
		return "", errors.New("ProgramData is not set")
	}
	return filepath.Join(data, "Ferry"), nil
}
