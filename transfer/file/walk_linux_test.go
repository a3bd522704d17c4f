package file

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func walkAll(t testing.TB, root string, o WalkOptions) []string {
	t.Helper()
	fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	w, err := NewWalk(fd, o)
	require.NoError(t, err)
	defer w.Close()
	var got []string
	for it := w.Next(); it != nil; it = w.Next() {
		require.NoError(t, it.Err)
		require.NoError(t, it.Unread)
		p := filepath.Join(string(it.Dir.Path), string(it.Name[:len(it.Name)-1]))
		got = append(got, p)
	}
	return got
}

func TestWalkVisitsEverythingInOrder(t *testing.T) {
	root := t.TempDir()
	for i := range 700 {
		require.NoError(t, os.WriteFile(filepath.Join(root, fmt.Sprintf("f%d", i)), nil, 0o600))
	}
	for _, d := range []string{"a", "a.b", "a/b/c", "a-", "z/y/x/w", "f1.d/e"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, d), 0o700))
		for i := range 300 {
			require.NoError(t, os.WriteFile(filepath.Join(root, d, fmt.Sprintf("%d", i)), nil, 0o600))
		}
	}
	var want int
	require.NoError(t, filepath.WalkDir(root, func(string, os.DirEntry, error) error { want++; return nil }))
	for workers := 1; workers <= 4; workers++ {
		got := walkAll(t, root, WalkOptions{Workers: workers, Mounts: true})
		require.Len(t, got, want)
		for i := 1; i < len(got); i++ {
			a, b := []byte(got[i-1]), []byte(got[i])
			if i == 1 {
				a = nil
			}
			require.Negative(t, ComparePath(a, b), "%s before %s", a, b)
		}
	}
}

func TestWalkGoesDeeperThanPathMax(t *testing.T) {
	root := t.TempDir()
	fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	require.NoError(t, err)
	name := strings.Repeat("d", 200)
	const depth = 600 // more than the idle descriptors kept open
	for range depth {
		require.NoError(t, unix.Mkdirat(fd, name, 0o700))
		next, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		require.NoError(t, err)
		unix.Close(fd)
		fd = next
	}
	unix.Close(fd)
	got := walkAll(t, root, WalkOptions{Workers: 2})
	require.Len(t, got, depth+1)
	require.Len(t, got[depth], depth*201-1)
}

func TestWalkSkips(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(root, "keep/drop/x"), 0o700))
	got := walkAll(t, root, WalkOptions{Workers: 2, Skip: func(dir, name []byte, _ Kind) bool { return bytes.Equal(name, []byte("drop")) }})
	require.Equal(t, []string{"", "keep"}, got)
}

func BenchmarkWalk(b *testing.B) {
	root := os.Getenv("FERRY_BENCH_TREE")
	if root == "" {
		root = "/usr/share"
	}
	n := 0
	for b.Loop() {
		fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		require.NoError(b, err)
		w, err := NewWalk(fd, WalkOptions{Workers: 2, Mounts: true})
		require.NoError(b, err)
		for it := w.Next(); it != nil; it = w.Next() {
			n++
		}
		w.Close()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/entry")
}
