//go:build !linux

// Fleet measures a control plane under a fleet of agents; it needs Linux.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "fleet: needs Linux: it reads /proc")
	os.Exit(1)
}
