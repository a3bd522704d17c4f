package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// kernelLog returns what the kernel's own log still holds.
func kernelLog() ([]byte, error) {
	size, err := unix.Klogctl(unix.SYSLOG_ACTION_SIZE_BUFFER, nil)
	if err != nil {
		return nil, fmt.Errorf("kernel log: %w", err)
	}
	text := make([]byte, size)
	n, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, text)
	if err != nil {
		return nil, fmt.Errorf("kernel log: %w", err)
	}
	return text[:n], nil
}
