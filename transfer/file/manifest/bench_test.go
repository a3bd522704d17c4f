package manifest

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/ferry-migrate/ferry/transfer/file"
	"github.com/stretchr/testify/require"
)

const benchEntries = 100_000

// someEntries returns n entries that own their slices.
func someEntries(n int) []file.Entry {
	src := newTree()
	list := make([]file.Entry, n)
	for i := range list {
		list[i] = clone(src.next())
	}
	return list
}

func writeEntries(tb testing.TB, path string, list []file.Entry) {
	w, err := Create(path, header(1, ID{}))
	require.NoError(tb, err)
	for i := range list {
		if err := w.Append(&list[i]); err != nil {
			tb.Fatal(err)
		}
		if i%500 == 0 {
			require.NoError(tb, w.EndBlock(uint64(i)))
		}
	}
	require.NoError(tb, w.Finish())
}

// BenchmarkWrite writes 100,000 entries per round, a block for each 500.
func BenchmarkWrite(b *testing.B) {
	list := someEntries(benchEntries)
	path := filepath.Join(b.TempDir(), "m")
	b.ReportAllocs()
	for b.Loop() {
		writeEntries(b, path, list)
	}
	st, err := os.Stat(path)
	require.NoError(b, err)
	b.ReportMetric(float64(st.Size())/benchEntries, "B/entry")
}

// BenchmarkRead reads 100,000 entries per round.
func BenchmarkRead(b *testing.B) {
	path := filepath.Join(b.TempDir(), "m")
	writeEntries(b, path, someEntries(benchEntries))
	r, err := Open(path)
	require.NoError(b, err)
	defer r.Close()
	b.ReportAllocs()
	for b.Loop() {
		for c := r.Cursor(); ; {
			if _, err := c.Next(); err == io.EOF {
				break
			} else if err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkSeek looks up entries in order, as files of a moved directory are.
func BenchmarkSeek(b *testing.B) {
	path := filepath.Join(b.TempDir(), "m")
	list := someEntries(benchEntries)
	writeEntries(b, path, list)
	r, err := Open(path)
	require.NoError(b, err)
	defer r.Close()
	x, err := r.Inodes(context.Background())
	require.NoError(b, err)
	c := r.Cursor()
	i := 0
	for b.Loop() {
		for _, p := range x.Lookup(list[i%benchEntries].Ino) {
			if err := c.Seek(p); err != nil {
				b.Fatal(err)
			}
		}
		i++
	}
}

// TestMemory streams two million entries through writer, reader and index.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 150 MB")
	}
	const entries = memoryEntries
	before := heap()
	path := filepath.Join(t.TempDir(), "m")
	w, err := Create(path, header(1, ID{}))
	require.NoError(t, err)
	src := newTree()
	for i := range entries {
		if err := w.Append(src.next()); err != nil {
			t.Fatal(err)
		}
		if i == entries/2 {
			require.Less(t, heap()-before, int64(8<<20), "writing")
		}
	}
	require.NoError(t, w.Finish())
	r, err := Open(path)
	require.NoError(t, err)
	defer r.Close()
	c := r.Cursor()
	for i := range entries {
		if _, err := c.Next(); err != nil {
			t.Fatal(err)
		}
		if i == entries/2 {
			require.Less(t, heap()-before, int64(8<<20), "reading")
		}
	}
	before = heap()
	x, err := r.Inodes(context.Background())
	require.NoError(t, err)
	require.EqualValues(t, entries/100*99, x.Len())
	require.LessOrEqual(t, heap()-before, int64(16*x.Len())+1<<20, "index")
	runtime.KeepAlive(x)
}

// heap returns the bytes of live objects.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
