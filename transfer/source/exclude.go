package source

import (
	"bytes"
	"fmt"
	"path"
	"strings"

	"github.com/ferry-migrate/ferry/internal/fault"
)

// Excludes says which paths are left out. The zero value leaves out nothing.
//
// A pattern with a slash before its end is anchored at the source directory: an absolute path below it, or a path relative to
// it, with or without a leading slash. A pattern without one matches that name anywhere. A trailing slash matches directories only.
// Each component may use the wildcards of path.Match; "**" stands for any number of components.
type Excludes struct {
	patterns []pattern
}

type pattern struct {
	parts    []string
	anywhere bool
	dirOnly  bool
}

// NewExcludes parses patterns for the source directory root, an absolute path.
func NewExcludes(root string, patterns []string) (*Excludes, error) {
	x := &Excludes{}
	for _, text := range patterns {
		if text == "" {
			continue
		}
		p := pattern{dirOnly: strings.HasSuffix(text, "/")}
		rest := strings.TrimRight(text, "/")
		if rest == strings.TrimRight(root, "/") {
			rest = ""
		} else if below, ok := strings.CutPrefix(rest, strings.TrimRight(root, "/")+"/"); ok {
			rest = "/" + below
		}
		p.anywhere = !strings.Contains(rest, "/")
		rest = strings.Trim(rest, "/")
		if rest == "" {
			return nil, badPattern(text, fmt.Errorf("it would leave out the whole source"))
		}
		p.parts = strings.Split(rest, "/")
		for _, part := range p.parts {
			if _, err := path.Match(part, ""); err != nil {
				return nil, badPattern(text, err)
			}
		}
		x.patterns = append(x.patterns, p)
	}
	return x, nil
}

func badPattern(text string, err error) error {
	return fault.Operator("FERRY-EXCLUDE-SYNTAX", "give a path below the source, a name, or a pattern with * ? [ ]",
		fmt.Errorf("exclude %q: %w", text, err))
}

// Empty reports whether nothing is left out.
func (x *Excludes) Empty() bool { return x == nil || len(x.patterns) == 0 }

// Match reports whether the entry called name in directory dir, a path from the root, is named by a pattern itself.
func (x *Excludes) Match(dir, name []byte, isDir bool) bool {
	if x.Empty() {
		return false
	}
	var full []string
	for _, p := range x.patterns {
		if p.dirOnly && !isDir {
			continue
		}
		if p.anywhere {
			if ok, _ := path.Match(p.parts[0], string(name)); ok {
				return true
			}
			continue
		}
		if full == nil {
			full = components(dir, name)
		}
		if matchParts(p.parts, full) {
			return true
		}
	}
	return false
}

// Covers reports whether path, from the root, is left out because it or a directory above it is named by a pattern.
func (x *Excludes) Covers(p []byte, isDir bool) bool {
	if x.Empty() {
		return false
	}
	for i := 0; i <= len(p); i++ {
		if i < len(p) && p[i] != '/' {
			continue
		}
		dir, name := splitPath(p[:i])
		if x.Match(dir, name, isDir || i < len(p)) {
			return true
		}
	}
	return false
}

// splitPath cuts a path into its directory and its last name.
func splitPath(p []byte) (dir, name []byte) {
	i := bytes.LastIndexByte(p, '/')
	if i < 0 {
		return nil, p
	}
	return p[:i], p[i+1:]
}

func components(dir, name []byte) []string {
	if len(dir) == 0 {
		return []string{string(name)}
	}
	return append(strings.Split(string(dir), "/"), string(name))
}

func matchParts(pattern, parts []string) bool {
	for len(pattern) > 0 {
		if pattern[0] == "**" {
			for i := 0; i <= len(parts); i++ {
				if matchParts(pattern[1:], parts[i:]) {
					return true
				}
			}
			return false
		}
		if len(parts) == 0 {
			return false
		}
		if ok, _ := path.Match(pattern[0], parts[0]); !ok {
			return false
		}
		pattern, parts = pattern[1:], parts[1:]
	}
	return len(parts) == 0
}
