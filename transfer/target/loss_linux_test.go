package target

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/chunk"
	"github.com/ferry-migrate/ferry/transfer/file"
)

// kinds returns which kinds of loss were told of each path, sorted.
func (r *recorder) kinds() []string {
	var out []string
	for _, l := range r.losses {
		what, _, _ := strings.Cut(l, ":")
		out = append(out, what)
	}
	slices.Sort(out)
	return out
}

func TestLossTable(t *testing.T) {
	seen := map[string]bool{}
	for k := range lossEnd {
		if k.String() == "" || seen[k.String()] || k.Remedy() == "" {
			t.Errorf("%d: %q, %q", k, k.String(), k.Remedy())
		}
		seen[k.String()] = true
	}
}

// Each loss that a real filesystem forces is told, once, by its kind, and the rest of the entry is kept.
func TestLosses(t *testing.T) {
	base, dir, link := own(file.KindRegular, 0o644), own(file.KindDir, 0o755), own(file.KindSymlink, 0o777)
	with := func(change func(*file.Meta)) file.Meta {
		m := base
		change(&m)
		return m
	}
	at := file.AppendDir(nil, nil)
	for _, c := range []struct {
		fs    string
		mkfs  []string
		name  string
		frame []byte
		want  string
	}{
		{"ext4", []string{"-I", "128"}, "time", appendPut(at, "f", base, 0, nil), "time f"},
		{"ext4", []string{"-I", "128"}, "range", appendPut(at, "f", with(func(m *file.Meta) { m.Mtime, m.Atime = file.Time{Sec: 5e9}, file.Time{Sec: 1} }), 0, nil), "time f"},
		{"ext4", nil, "far future", appendPut(at, "f", with(func(m *file.Meta) { m.Mtime.Sec = 1e12 }), 0, nil), "time f"},
		{"ext4", []string{"-O", "^project"}, "project", appendPut(at, "f", with(func(m *file.Meta) { m.Project = 7 }), 0, nil), "project f"},
		{"ext4", nil, "flags", appendPut(at, "f", with(func(m *file.Meta) { m.Flags = file.FlagNoCow | file.FlagNoDump }), 0, nil), "flags f"},
		{"ext4", nil, "large attribute", appendPut(at, "f", with(func(m *file.Meta) { m.Xattrs = file.AppendXattr(nil, "user.big", make([]byte, 60000)) }), 0, nil), "xattr_user f"},
		{"ext4", nil, "name", appendPut(at, strings.Repeat("n", 256), base, 0, nil), "name " + strings.Repeat("n", 256)},
		{"ext4", nil, "directory name", appendPut(file.AppendDir(file.AppendMetaOp(at, file.OpMkdir, bytes.Repeat([]byte("n"), 300), &dir, 0), bytes.Repeat([]byte("n"), 300)), "f", base, 0, nil),
			"name " + strings.Repeat("n", 300) + "|name " + strings.Repeat("n", 300) + "/f"},
		{"ext4", nil, "symlink", file.AppendSymlink(at, []byte("l"), &link, make1(4096)), "symlink_long l"},
		{"xfs", nil, "symlink", file.AppendSymlink(at, []byte("l"), &link, make1(1024)), "symlink_long l"},
		{"xfs", nil, "device", file.AppendMetaOp(at, file.OpNode, []byte("dev"), ptr(with(func(m *file.Meta) { m.Kind, m.Rdev = file.KindCharDev, 4000<<32 })), 0), "device dev"},
		{"ext4", nil, "device", file.AppendMetaOp(at, file.OpNode, []byte("dev"), ptr(with(func(m *file.Meta) { m.Kind, m.Rdev = file.KindCharDev, 5000<<32 })), 0), "device dev"},
		{"ext4", nil, "too large", large(with(func(m *file.Meta) { m.Size = 1 << 62 })), "too_large f"},
		{"ext4", nil, "foreign attribute", appendPut(at, "f", with(func(m *file.Meta) { m.Xattrs = file.AppendXattr(nil, "btrfs.compression", []byte("zstd")) }), 0, nil), "xattr_other f"},
		{"ext4", nil, "host attribute", appendPut(at, "f", with(func(m *file.Meta) { m.Xattrs = file.AppendXattr(nil, "security.evm", []byte("x")) }), 0, nil), "xattr_security f"},
		{"tmpfs", nil, "all at once", appendPut(at, "f", with(func(m *file.Meta) { m.Project, m.Flags = 7, file.FlagJournalData }), 0, []byte("x")), "flags f|project f"},
	} {
		t.Run(c.fs+" "+c.name, func(t *testing.T) {
			root := ""
			if c.mkfs != nil {
				root = mountImage(t, c.fs, append([]string{"mkfs.ext4", "-q", "-F"}, c.mkfs...), 16<<20)
			} else {
				root = lab(t, c.fs)
			}
			tree := openTree(t, root)
			r := &recorder{}
			if err := tree.Apply(c.frame, r); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(r.kinds(), "|"); got != c.want || len(r.needs) > 0 {
				t.Errorf("losses %q, want %q, needs %q", r.losses, c.want, r.needs)
			}
		})
	}
}

func ptr[T any](v T) *T { return &v }

func make1(n int) []byte { return bytes.Repeat([]byte("s"), n) }

func large(m file.Meta) []byte {
	f := file.AppendMetaOp(file.AppendDir(nil, nil), file.OpBegin, []byte("f"), &m, file.HowFresh)
	f = appendExtent(f, "f", 1<<62-chunk.Size, []byte("x"))
	f = appendExtent(f, "f", 1<<61, []byte("x"))
	return file.AppendMetaOp(f, file.OpEnd, []byte("f"), &m, file.HowFresh)
}

func TestTooManyLinks(t *testing.T) {
	root := lab(t, "ext4")
	tree := openTree(t, root)
	f := appendPut(file.AppendDir(nil, []byte("d")), "f", own(file.KindRegular, 0o600), file.HowFresh, nil)
	for i := range 65_000 {
		f = file.AppendLink(f, fmt.Appendf(nil, "l%d", i), []byte("d/f"))
	}
	r := &recorder{}
	if err := tree.Apply(f, r); err != nil {
		t.Fatal(err)
	}
	if len(r.losses) != 1 || r.kinds()[0] != "hard_link d/l64999" || len(r.needs) != 1 {
		t.Errorf("losses %q needs %q", r.losses, r.needs)
	}
}

// testUnprivileged runs as user 1234 of group 1234.
func testUnprivileged(t *testing.T) {
	if os.Geteuid() != 1234 {
		t.Fatal("not the other user")
	}
	root := tmpfs(t)
	tree := openTree(t, root)
	m, dir := own(file.KindRegular, 0o644), own(file.KindDir, 0o500)
	foreign := m
	foreign.UID, foreign.GID, foreign.Perm = 0, 0, 0o6755
	setgid := m
	setgid.GID, setgid.Perm = 77, 0o2755
	attrs := m
	attrs.Xattrs = file.AppendXattr(file.AppendXattr(nil, "security.capability", []byte{0, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}), "trusted.t", []byte("1"))
	flags := m
	flags.Flags = file.FlagImmutable | file.FlagNoDump
	dev := m
	dev.Kind, dev.Rdev = file.KindCharDev, 1<<32|3
	sealed := own(file.KindRegular, 0)
	f := appendPut(file.AppendDir(nil, []byte("d")), "foreign", foreign, 0, []byte("x"))
	f = appendPut(f, "setgid", setgid, 0, []byte("x"))
	f = appendPut(f, "attrs", attrs, 0, nil)
	f = appendPut(f, "flags", flags, 0, nil)
	f = appendPut(f, "sealed", sealed, 0, []byte("old"))
	f = file.AppendMetaOp(f, file.OpNode, []byte("dev"), &dev, 0)
	f = file.AppendDirMeta(f, &dir)
	f = appendPut(file.AppendDir(f, []byte("d/closed")), "f", m, 0, nil)
	closed := own(file.KindDir, 0)
	f = file.AppendDirMeta(f, &closed)
	r := &recorder{}
	if err := tree.Apply(f, r); err != nil {
		t.Fatal(err)
	}
	want := "capability d/attrs|device d/dev|flags d/flags|mode d/foreign|mode d/setgid|owner d/foreign|owner d/setgid|xattr_trusted d/attrs"
	if got := strings.Join(r.kinds(), "|"); got != want || len(r.needs) > 0 {
		t.Errorf("losses %q needs %q", r.losses, r.needs)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(root, "d/foreign"), &st); err != nil || st.Mode&0o7777 != 0o755 {
		t.Errorf("set-id bits of another owner: %o, %v", st.Mode, err)
	}
	// Directories and files without permissions are opened up and closed again.
	tree.dirs.closeIdle()
	f = appendPut(file.AppendDir(nil, []byte("d/closed")), "g", m, 0, nil)
	f = file.AppendDirMeta(f, &closed)
	f = appendPut(file.AppendDir(f, []byte("d")), "sealed", sealed, file.HowInPlace, []byte("new"))
	f = file.AppendDirMeta(f, &dir)
	apply(t, tree, f)
	if err := unix.Stat(filepath.Join(root, "d/closed"), &st); err != nil || st.Mode&0o7777 != 0 {
		t.Errorf("%o, %v", st.Mode, err)
	}
	if err := unix.Stat(filepath.Join(root, "d/sealed"), &st); err != nil || st.Mode&0o7777 != 0 || st.Size != 3 {
		t.Errorf("%o %d, %v", st.Mode, st.Size, err)
	}
	apply(t, tree, file.AppendDelete(file.AppendDir(nil, nil), []byte("d"), file.KindDir))
	if list, err := os.ReadDir(root); err != nil || len(list) != 0 {
		t.Errorf("left: %v, %v", list, err)
	}
	if err := os.Mkdir(filepath.Join(root, "ro"), 0o500); err != nil {
		t.Fatal(err)
	}
	if other, err := OpenTree("/proc", TreeOptions{}); err == nil {
		if err = other.BeginPass(false); err == nil || fault.CodeOf(err) == "" {
			t.Errorf("a pass in /proc: %v", err)
		}
		other.Close()
	}
}
