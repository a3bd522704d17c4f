//go:build unix

package main

import (
	"os"
	"path/filepath"
)

// defaultConfig is the configuration of an agent, read when it exists and nobody names another file.
func defaultConfig() string { return "/etc/ferry/agent.yaml" }

// defaultState is /var/lib/ferry for root, else the user's state directory (XDG).
func defaultState() (string, error) {
	if os.Geteuid() == 0 {
		return "/var/lib/ferry", nil
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "ferry"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(home, ".local", "state", "ferry"), nil
}
