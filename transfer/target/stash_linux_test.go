package target

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/transfer/file"
)

func from(frame []byte, name string, m file.Meta, old string) []byte {
	return file.AppendFrom(frame, []byte(name), &m, []byte(old))
}

// Renames of every shape: a chain, a swap, a file from a directory that is replaced by a file, and one that is gone.
func TestFrom(t *testing.T) {
	root := tmpfs(t)
	for path, text := range map[string]string{"a": "A", "b": "B", "c": "C", "x": "X", "y": "Y", "z": "Z", "d/in": "I"} {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tree := openTree(t, root)
	if err := tree.BeginPass(true); err != nil {
		t.Fatal(err)
	}
	m := own(file.KindRegular, 0o644)
	m.Size = 1
	f := file.AppendDir(nil, nil)
	f = from(from(f, "b", m, "a"), "c", m, "b") // a -> b -> c, a goes
	f = from(from(f, "x", m, "y"), "y", m, "x") // swap
	f = appendPut(appendPut(f, "z", m, file.HowFresh, []byte("1")), "z", m, file.HowFresh, []byte("2"))
	f = from(f, "was z", m, "z") // replaced twice: the first is what it was
	f = appendPut(f, "d", m, file.HowFresh, []byte("D"))
	f = from(f, "e", m, "d/in")
	f = file.AppendDelete(f, []byte("a"), file.KindRegular)
	apply(t, tree, f)
	r := &recorder{}
	if err := tree.Apply(from(file.AppendDir(nil, nil), "g", m, "never/was"), r); err != nil {
		t.Fatal(err)
	}
	big := m
	big.Size = 2
	if err := tree.Apply(from(file.AppendDir(nil, nil), "h", big, "x"), r); err != nil {
		t.Fatal(err)
	}
	if strings.Join(r.needs, " ") != "g h" || len(r.losses) > 0 {
		t.Errorf("needs %q losses %q", r.needs, r.losses)
	}
	os.Remove(filepath.Join(root, "h"))
	for path, want := range map[string]string{"b": "A", "c": "B", "x": "Y", "y": "X", "d": "D", "e": "I", "z": "2", "was z": "Z"} {
		got, err := os.ReadFile(filepath.Join(root, path))
		if err != nil || string(got) != want {
			t.Errorf("%s is %q, want %q, %v", path, got, want, err)
		}
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(root, path), &st); err != nil || st.Mode != unix.S_IFREG|0o644 {
			t.Errorf("%s: %+v, %v", path, st, err)
		}
	}
	if err := tree.EndPass(); err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadDir(root)
	if err != nil || len(list) != 8 {
		t.Errorf("left: %v, %v", list, err)
	}
}

// A stash that a killed run left is removed, nobody may name it, and neither it nor the probe shows on the root.
func TestStashIsHidden(t *testing.T) {
	root := tmpfs(t)
	if err := os.WriteFile(filepath.Join(root, "f"), []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	when := []unix.Timespec{{Sec: 100, Nsec: 5}, {Sec: 200, Nsec: 6}}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, root, when, 0); err != nil {
		t.Fatal(err)
	}
	tree, err := OpenTree(root, TreeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	state, err := tree.State()
	if err != nil {
		t.Fatal(err)
	}
	rootTimes := func() {
		t.Helper()
		var st unix.Stat_t
		if err := unix.Stat(root, &st); err != nil || st.Atim != when[0] || st.Mtim != when[1] {
			t.Errorf("times of the root: %+v, %v", st, err)
		}
	}
	left := filepath.Join(root, tree.stash.name)
	if err := os.Mkdir(left, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(left, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, root, when, 0); err != nil {
		t.Fatal(err)
	}
	if err := tree.BeginPass(true); err != nil {
		t.Fatal(err)
	}
	rootTimes()
	if _, err := os.Lstat(left); err == nil {
		t.Error("the old stash is still there")
	}
	m := own(file.KindRegular, 0o600)
	apply(t, tree, appendPut(file.AppendDir(nil, nil), "f", m, file.HowFresh, []byte("new")))
	if list, err := os.ReadDir(left); err != nil || len(list) != 1 {
		t.Errorf("stash: %v, %v", list, err)
	}
	for i, frame := range [][]byte{
		appendPut(file.AppendDir(nil, nil), tree.stash.name, m, file.HowFresh, nil),
		file.AppendDelete(file.AppendDir(nil, nil), []byte(tree.stash.name), file.KindDir),
		appendPut(file.AppendDir(nil, []byte(tree.stash.name)), "f", m, file.HowFresh, nil),
		appendPut(file.AppendDir(nil, []byte(tree.stash.name+"/deeper")), "f", m, file.HowFresh, nil),
		file.AppendLink(file.AppendDir(nil, nil), []byte("l"), []byte(tree.stash.name)),
		from(file.AppendDir(nil, nil), "l", m, tree.stash.name+"/f"),
	} {
		if err := tree.Apply(frame, &recorder{}); err == nil {
			t.Errorf("frame %d named the stash", i)
		}
	}
	err = tree.List(t.Context(), ListOptions{}, func(e *file.Entry) error {
		if strings.HasPrefix(string(e.Path), stashPrefix) {
			t.Errorf("the stash is listed: %q", e.Path)
		}
		return nil
	}, nil)
	if err != nil {
		t.Error(err)
	}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, root, when, 0); err != nil {
		t.Fatal(err)
	}
	if err := tree.EndPass(); err != nil {
		t.Fatal(err)
	}
	rootTimes()
	if now, err := tree.State(); err != nil || now.Inode != state.Inode || now.FSID != state.FSID || now.Empty {
		t.Errorf("%+v, %v", now, err)
	}
}
