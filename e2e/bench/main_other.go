//go:build !linux

// Bench compares Ferry with its peers; it needs Linux.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench: needs Linux: its peers and its lab are there")
	os.Exit(1)
}
