package redis

import (
	"slices"
	"strings"
)

// Existing says what to do with a key that the target has already.
type Existing string

// What to do with existing keys.
const (
	Replace Existing = "replace"
	Skip    Existing = "skip"
	Fail    Existing = "fail"
)

// Filter says what is moved, and where to. The zero value moves everything.
type Filter struct {
	DBs      []int       // only these databases of the source; nil is all
	MapDB    map[int]int // database of the source: of the target; those left out keep their number
	Include  []string    // only keys that match one of these patterns, as KEYS takes them; nil is all
	Exclude  []string    // no keys that match one of these
	Types    []string    // only values of these types, as TYPE says them; nil is all. Of the snapshot: the stream does not tell types
	Commands []string    // commands of the stream that are left out
	Flush    FlushPolicy // for FLUSHALL and FLUSHDB on the source
}

// FlushPolicy says what to do when the source is emptied.
type FlushPolicy string

// What to do when the source is emptied.
const (
	FlushApply FlushPolicy = ""     // empty the target as well
	FlushSkip  FlushPolicy = "skip" // keep what the target has
	FlushFail  FlushPolicy = "fail" // stop
)

// db reports whether a database of the source is moved, and to which one.
func (f *Filter) db(db int) (to int, wanted bool) {
	if f.DBs != nil && !slices.Contains(f.DBs, db) {
		return 0, false
	}
	if to, mapped := f.MapDB[db]; mapped {
		return to, true
	}
	return db, true
}

// byKey reports whether keys are looked at.
func (f *Filter) byKey() bool { return len(f.Include) > 0 || len(f.Exclude) > 0 }

// name reports whether keys of that name are moved.
func (f *Filter) name(key []byte) bool {
	match := func(pattern string) bool { return glob(pattern, string(key)) }
	return (len(f.Include) == 0 || slices.ContainsFunc(f.Include, match)) && !slices.ContainsFunc(f.Exclude, match)
}

// key reports whether a key is moved, and to which database.
func (f *Filter) key(db int, key []byte) (to int, wanted bool) {
	to, wanted = f.db(db)
	return to, wanted && (!f.byKey() || f.name(key))
}

// kind reports whether values of a type are moved.
func (f *Filter) kind(kind string) bool { return len(f.Types) == 0 || slices.Contains(f.Types, kind) }

// command reports whether a command of the stream is moved.
func (f *Filter) command(name string) bool {
	return !slices.ContainsFunc(f.Commands, func(c string) bool { return strings.EqualFold(c, name) })
}

// glob matches as Redis does (stringmatchlen in util.c): * ? [abc] [a-z] [^a] and \ before a character that means itself.
func glob(pattern, s string) bool {
	for pattern != "" {
		switch pattern[0] {
		case '*':
			pattern = strings.TrimLeft(pattern, "*")
			if pattern == "" {
				return true
			}
			for i := range len(s) + 1 {
				if glob(pattern, s[i:]) {
					return true
				}
			}
			return false
		case '[':
			if s == "" {
				return false
			}
			in, rest := class(pattern[1:], s[0])
			if !in {
				return false
			}
			pattern, s = rest, s[1:]
			continue
		case '\\':
			if len(pattern) > 1 {
				pattern = pattern[1:]
			}
		case '?':
			if s == "" {
				return false
			}
			pattern, s = pattern[1:], s[1:]
			continue
		}
		if s == "" || pattern[0] != s[0] {
			return false
		}
		pattern, s = pattern[1:], s[1:]
	}
	return s == ""
}

// class matches c against what stands between brackets, and returns the pattern behind them.
func class(p string, c byte) (in bool, rest string) {
	not := strings.HasPrefix(p, "^")
	if not {
		p = p[1:]
	}
	for p != "" && p[0] != ']' {
		if p[0] == '\\' && len(p) > 1 {
			p = p[1:]
		} else if len(p) > 2 && p[1] == '-' {
			low, high := min(p[0], p[2]), max(p[0], p[2])
			in = in || low <= c && c <= high
			p = p[3:]
			continue
		}
		in = in || p[0] == c
		p = p[1:]
	}
	if p != "" {
		p = p[1:]
	}
	return in != not, p
}
