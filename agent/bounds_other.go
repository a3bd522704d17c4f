//go:build !linux && !windows

package agent

// setPriority does nothing.
func setPriority(int) {}
