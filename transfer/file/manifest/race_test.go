//go:build race

package manifest

// memoryEntries is smaller under the race detector, which makes each entry ten times as expensive.
const memoryEntries = 200_000
