package source

import (
	"path/filepath"
)

// Known reports whether all sources were migrated completely before, to whatever target: what follows is a sync.
func Known(sources []*Config) bool {
	for _, cfg := range sources {
		bases, err := filepath.Glob(filepath.Join(sourceDir(cfg), "*", "base"))
		if err != nil || len(bases) == 0 {
			return false
		}
	}
	return true
}
