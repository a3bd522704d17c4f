package target

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/transfer/chunk"
	"github.com/ferry-migrate/ferry/transfer/file"
)

// recorder is a Reporter that remembers.
type recorder struct {
	mu                     sync.Mutex
	losses, needs, differs []string
}

func (r *recorder) Loss(kind LossKind, path []byte, detail string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.losses = append(r.losses, fmt.Sprintf("%v %s: %s", kind, path, detail))
}

func (r *recorder) Need(path []byte, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.needs = append(r.needs, string(path))
}

func (r *recorder) Differ(path []byte, field, want, got string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.differs = append(r.differs, fmt.Sprintf("%s %s: want %s, got %s", path, field, want, got))
}

func openTree(t testing.TB, root string) *Tree {
	t.Helper()
	tree, err := OpenTree(root, TreeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tree.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := tree.BeginPass(false); err != nil {
		t.Fatal(err)
	}
	return tree
}

// apply applies a frame that must not fail and must not report anything.
func apply(t testing.TB, tree *Tree, frame []byte) {
	t.Helper()
	r := &recorder{}
	if err := tree.Apply(frame, r); err != nil {
		t.Fatal(err)
	}
	if len(r.losses)+len(r.needs)+len(r.differs) > 0 {
		t.Errorf("losses %q\nneeds %q\ndiffers %q", r.losses, r.needs, r.differs)
	}
}

var testTime = file.Time{Sec: 1_600_000_000, Nsec: 123_456_789}

// own returns metadata of an entry of this process's own.
func own(kind file.Kind, perm uint32) file.Meta {
	return file.Meta{Kind: kind, Perm: perm, UID: uint32(os.Geteuid()), GID: uint32(os.Getegid()), Mtime: testTime,
		Atime: file.Time{Sec: 1_500_000_000, Nsec: 1}}
}

func appendPut(frame []byte, name string, m file.Meta, how file.How, data []byte) []byte {
	m.Size = int64(len(data))
	frame = file.AppendPut(frame, []byte(name), &m, how, chunk.Sum(data), len(data))
	return append(frame, data...)
}

// tmpfs returns a directory on a tmpfs.
func tmpfs(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "ferry-tree-*")
	if err != nil {
		t.Skip("no tmpfs at /dev/shm:", err)
	}
	t.Cleanup(func() {
		if os.RemoveAll(dir) == nil {
			return
		}
		_ = exec.Command("chattr", "-R", "-f", "-ia", dir).Run()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestPut(t *testing.T) {
	root := tmpfs(t)
	tree := openTree(t, root)
	frame := file.AppendDir(nil, []byte("a/b"))
	frame = appendPut(frame, "f", own(file.KindRegular, 0o640), file.HowFresh, []byte("hello"))
	frame = appendPut(frame, "empty", own(file.KindRegular, 0o4777), file.HowFresh, nil)
	for range 2 { // doing it again ends in the same state
		apply(t, tree, frame)
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(root, "a/b/f"), &st); err != nil || st.Mode != unix.S_IFREG|0o640 ||
			st.Mtim.Sec != testTime.Sec || st.Mtim.Nsec != int64(testTime.Nsec) || st.Atim.Sec != 1_500_000_000 {
			t.Errorf("%+v, %v", st, err)
		}
		got, err := os.ReadFile(filepath.Join(root, "a/b/f"))
		if err != nil || string(got) != "hello" {
			t.Errorf("%q, %v", got, err)
		}
		if err := unix.Lstat(filepath.Join(root, "a/b/empty"), &st); err != nil || st.Mode != unix.S_IFREG|0o4777 {
			t.Errorf("%+v, %v", st, err)
		}
	}
}

// Frames of several streams meet in the same directories, more of them than descriptors are kept.
func TestSideBySide(t *testing.T) {
	root := tmpfs(t)
	tree := openTree(t, root)
	const streams, dirs = 4, maxDirs + 100
	var all sync.WaitGroup
	for s := range streams {
		all.Go(func() {
			for i := range dirs {
				d := (i*7 + s) % dirs
				f := file.AppendDir(nil, fmt.Appendf(nil, "a%d/b%d/c", d%10, d))
				f = appendPut(f, fmt.Sprint(s), own(file.KindRegular, 0o600), file.HowFresh, []byte("x"))
				f = file.AppendLink(f, fmt.Appendf(nil, "l%d", s), fmt.Appendf(nil, "a%d/b%d/c/%d", d%10, d, s))
				apply(t, tree, f)
			}
		})
	}
	all.Wait()
	n := 0
	err := tree.List(t.Context(), ListOptions{}, func(e *file.Entry) error {
		if e.Kind == file.KindRegular {
			n++
		}
		return nil
	}, nil)
	if want := 2 * streams * dirs; err != nil || n != want {
		t.Errorf("%d files, want %d, %v", n, want, err)
	}
	for d := range dirs {
		path := fmt.Appendf(nil, "a%d/b%d/c", d%10, d)
		if n, _ := tree.dirs.known(path); n.users != 0 {
			t.Fatalf("%s is still in use", n.name)
		}
	}
}

// BenchmarkApplyPut makes files of 8 KiB on tmpfs. cpu-ns/op is processor time, which a busy machine stretches less.
func BenchmarkApplyPut(b *testing.B) {
	tree := openTree(b, tmpfs(b))
	data := randomBytes(1, 8<<10)
	m := own(file.KindRegular, 0o644)
	r := &recorder{}
	const batch = 64
	var frame []byte
	var cpu int64
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += batch {
		b.StopTimer()
		dir := fmt.Appendf(nil, "d%d", i/6400)
		if i%6400 == 0 && i > 0 {
			if err := os.RemoveAll(filepath.Join(tree.path, fmt.Sprintf("d%d", i/6400-1))); err != nil {
				b.Fatal(err)
			}
		}
		frame = file.AppendDir(frame[:0], dir)
		for j := range batch {
			frame = appendPut(frame, fmt.Sprintf("file-%d-%d", i, j), m, file.HowFresh, data)
		}
		before := processorTime(b)
		b.StartTimer()
		if err := tree.Apply(frame, r); err != nil {
			b.Fatal(err)
		}
		cpu += processorTime(b) - before
	}
	b.ReportMetric(float64(cpu)/float64(b.N), "cpu-ns/op")
}

func processorTime(b *testing.B) int64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
