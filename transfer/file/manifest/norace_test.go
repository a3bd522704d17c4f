//go:build !race

package manifest

// memoryEntries is what TestMemory streams.
const memoryEntries = 2_000_000
