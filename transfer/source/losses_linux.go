package source

import (
	"sort"
	"strings"
	"sync"

	"github.com/ferry-migrate/ferry/transfer/file"
)

// sourceLosses are the kinds that the source reports, with what to do about each.
var sourceLosses = map[string]string{
	"unreadable":   "run as root; if it is an I/O error, check the disk (dmesg, smartctl) and restore the file from a backup",
	"unlistable":   "run as root; if it is an I/O error, check the disk and the filesystem",
	"changing":     "stop what writes to it, then run again",
	"mount":        "another filesystem is mounted there: give it as a further SOURCE",
	"too_deep":     "paths over 262144 bytes are not carried: shorten them",
	"encrypted":    "the content is copied in the clear; encrypt the directory on the target (fscryptctl)",
	"verity":       "enable fs-verity on the target again (fsverity enable)",
	"subvolume":    "make the Btrfs subvolume on the target first, or turn the directory into one afterwards; its content is there",
	"xattr_unread": "run as root",
	"flags_unread": "run as root",
}

// losses gathers what could not be kept, each path and kind once.
type losses struct {
	remedy func(kind string) string // of kinds that the target reports

	mu    sync.Mutex
	kinds map[string]*Loss
	paths map[string][]loss
	total int
}

func newLosses(remedy func(string) string) *losses {
	return &losses{remedy: remedy, kinds: map[string]*Loss{}, paths: map[string][]loss{}}
}

func (l *losses) add(kind string, path []byte, detail string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := l.paths[string(path)]
	for _, k := range known {
		if k.Kind == kind {
			return
		}
	}
	if l.total < ledgerLosses {
		l.paths[string(path)] = append(known, loss{kind, detail})
		l.total++
	}
	k := l.kinds[kind]
	if k == nil {
		k = &Loss{Kind: kind, Detail: detail, Remedy: sourceLosses[kind]}
		if k.Remedy == "" && l.remedy != nil {
			k.Remedy = l.remedy(kind)
		}
		l.kinds[kind] = k
	}
	k.Count++
	if len(k.Sample) < lossSamples {
		k.Sample = append(k.Sample, string(path))
	}
}

// inherit adds the losses of passes before that still hold.
func (l *losses) inherit(before map[string][]loss) {
	for path, list := range before {
		for _, k := range list {
			l.add(k.Kind, []byte(path), k.Detail)
		}
	}
}

// fieldLosses says which kinds of loss explain a difference in a field of package target's OpCheck.
var fieldLosses = map[string][]string{
	"owner":   {"owner"},
	"uid":     {"owner"},
	"gid":     {"owner"},
	"mode":    {"mode", "owner", "acl"},
	"xattrs":  {"xattr_", "acl", "capability", "owner"},
	"flags":   {"flags"},
	"project": {"project"},
	"mtime":   {"time"},
	"atime":   {"time"},
	"kind":    {"device", "special", "symlink", "name", "not_replaced"},
	"missing": {"device", "special", "symlink", "name", "too_large", "unreadable", "not_replaced"},
	"content": {"unreadable", "too_large", "not_replaced", "symlink_long"},
	"link":    {"hard_link"},
	"size":    {"too_large", "not_replaced"},
	"device":  {"device"},
}

// covers reports whether a difference was already reported as a loss.
func (l *losses) covers(d file.Differ) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range l.paths[string(d.Path)] {
		for _, prefix := range fieldLosses[d.Field] {
			if strings.HasPrefix(k.Kind, prefix) {
				return true
			}
		}
	}
	return false
}

func (l *losses) list() []Loss {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]Loss, 0, len(l.kinds))
	for _, k := range l.kinds {
		out = append(out, *k)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Kind < out[j].Kind })
	return out
}

// byPath returns what was lost of each path.
func (l *losses) byPath() map[string][]loss {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.paths
}

// differences gathers what a verification found.
type differences struct {
	mu    sync.Mutex
	count int64
	words []string
}

const differSamples = 20

func (d *differences) add(v file.Differ) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count++
	if len(d.words) < differSamples {
		d.words = append(d.words, string(v.Path)+": "+v.Field+" is "+v.Got+", should be "+v.Want)
	}
}
