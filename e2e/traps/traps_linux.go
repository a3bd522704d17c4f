package traps

import (
	"path/filepath"
	"slices"
	"testing"
)

// A trap fills the directory it is given.
type trap struct {
	name string
	on   []string // filesystems that can hold it, nil: all
	fill func(b builder)
}

var all = []trap{
	{name: "modes", fill: modes},
	{name: "owners", fill: owners},
	{name: "times", fill: times},
	{name: "xattrs", fill: xattrs},
	{name: "acls", fill: acls},
	{name: "capabilities", fill: capabilities},
	{name: "selinux", fill: selinux},
	{name: "flags", fill: flags},
	{name: "atimeflag", on: []string{"ext4", "xfs", "btrfs"}, fill: noatime},
	{name: "projects", on: []string{"xfs"}, fill: projects},
	{name: "hardlinks", fill: hardlinks},
	{name: "symlinks", fill: symlinks},
	{name: "nodes", fill: nodes},
	{name: "sparse", fill: sparse},
	{name: "huge", fill: huge},
	{name: "dirs", fill: dirs},
	{name: "names", fill: names},
	{name: "sizes", fill: sizes},
	{name: "deep", fill: deep},
	{name: "many", fill: func(b builder) { b.many(3000) }},
}

// For returns the names of the traps that a filesystem can hold.
func For(fs string) (list []string) {
	for _, tr := range all {
		if tr.holds(fs) {
			list = append(list, tr.name)
		}
	}
	return list
}

func (tr *trap) holds(fs string) bool { return tr.on == nil || slices.Contains(tr.on, fs) }

// Build fills root, an empty directory on a filesystem of type fs, with every trap it can hold but some. Needs root.
func Build(t testing.TB, root, fs string, without ...string) {
	t.Helper()
	for _, tr := range all {
		if !tr.holds(fs) || slices.Contains(without, tr.name) {
			continue
		}
		b := builder{t: t, dir: filepath.Join(root, tr.name), fs: fs}
		b.mkdir("", 0o755)
		tr.fill(b)
		b.times("", old, older) // filling a directory moved its time
	}
	builder{t: t, dir: root, fs: fs}.times("", old, older)
}

// Many fills dir with n small files, some empty.
func Many(t testing.TB, dir string, n int) {
	t.Helper()
	b := builder{t: t, dir: dir}
	b.many(n)
}

// NotForRsync lists the traps that rsync cannot judge: it knows PATH_MAX, and reads holes.
func NotForRsync() []string { return []string{"deep", "huge"} }
