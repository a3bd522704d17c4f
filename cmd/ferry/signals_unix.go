//go:build unix

package main

import (
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// cutoverSignal receives SIGUSR1.
var cutoverSignal = sync.OnceValue(func() <-chan os.Signal {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR1)
	return c
})

// shell runs a command line as the user's shell would.
func shell(line string) []string { return []string{"/bin/sh", "-c", line} }
