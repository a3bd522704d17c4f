package manifest

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/ferry-migrate/ferry/transfer/chunk"
	"github.com/ferry-migrate/ferry/transfer/file"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tree makes entries like those of a real tree: names that share prefixes, times and digests that do not compress.
type tree struct {
	r    *rand.Rand
	e    file.Entry
	dir  int
	n    int
	path []byte
}

func newTree() *tree { return &tree{r: rand.New(rand.NewPCG(1, 2))} }

func (t *tree) digest() (d chunk.Digest) {
	binary.LittleEndian.PutUint64(d[:], t.r.Uint64())
	binary.LittleEndian.PutUint64(d[8:], t.r.Uint64())
	return d
}

// next returns a directory first and after every hundred files; e is reused.
func (t *tree) next() *file.Entry {
	kind := file.KindRegular
	if t.n%100 == 0 {
		t.dir++
		kind = file.KindDir
		t.path = fmt.Appendf(t.path[:0], "usr/share/package-%07d", t.dir)
	} else {
		t.path = fmt.Appendf(t.path[:0], "usr/share/package-%07d/file-%03d.dat", t.dir, t.n%100)
	}
	t.n++
	sec := int64(1_700_000_000) + int64(t.r.IntN(10_000_000))
	at := func() file.Time { return file.Time{Sec: sec, Nsec: t.r.Uint32N(1_000_000_000)} }
	t.e = file.Entry{
		Meta:     file.Meta{Kind: kind, Perm: 0o644, Mtime: at(), Atime: at()},
		Identity: file.Identity{Ino: uint64(1_000_000 + t.n), Gen: t.r.Uint64(), Btime: at(), Ctime: at(), Nlink: 1},
		Path:     t.path,
	}
	if kind == file.KindRegular {
		t.e.Size = int64(1 + t.r.IntN(chunk.Size))
		t.e.Digest = t.digest()
	}
	return &t.e
}

func header(pass byte, base ID) Header {
	return Header{Tree: ID{1}, Pass: ID{pass}, Base: base, Started: file.Time{Sec: 1_700_000_000 + int64(pass)}, Boot: ID{2}}
}

func clone(e *file.Entry) file.Entry {
	c := *e
	c.Path = append([]byte{}, e.Path...)
	c.Link = append([]byte{}, e.Link...)
	return c
}

func TestRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m")
	h := header(7, ID{6})
	h.Root = file.Identity{Ino: 2, Gen: 1<<64 - 1, Btime: file.Time{Sec: -5, Nsec: 999_999_999}, Nlink: 9}
	w, err := Create(path, h)
	require.NoError(t, err)
	src := newTree()
	var want []file.Entry
	for n := range 5000 {
		e := src.next()
		require.NoError(t, w.Append(e))
		want = append(want, clone(e))
		if n%37 == 0 {
			require.NoError(t, w.EndBlock(uint64(n)))
		}
	}
	totals := w.Totals()
	require.NoError(t, w.Finish())

	r, err := Open(path)
	require.NoError(t, err)
	defer r.Close()
	require.Equal(t, h, r.Header())
	require.True(t, r.Complete())
	require.Equal(t, totals, r.Totals())
	require.EqualValues(t, 5000, totals.Entries)
	require.NoError(t, r.Verify(context.Background()))
	c := r.Cursor()
	var at []Position
	for i := range want {
		e, err := c.Next()
		require.NoError(t, err)
		require.Equal(t, want[i], clone(e))
		at = append(at, c.Position())
	}
	_, err = c.Next()
	require.Equal(t, io.EOF, err)
	require.Nil(t, c.Current())

	for range 2000 { // in any order, and in order
		i := src.r.IntN(len(want) - 1)
		for j := i; j < i+2; j++ {
			require.NoError(t, c.Seek(at[j]))
			require.Equal(t, want[j], clone(c.Current()))
		}
	}
	require.ErrorIs(t, c.Seek(Position{block: at[99].block, at: at[99].at + 1}), ErrDamaged)
}

func TestChunkRuns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m")
	w, err := Create(path, header(1, ID{}))
	require.NoError(t, err)
	src := newTree()
	const chunks = 10_000
	all := make([]byte, chunks*chunk.DigestSize)
	big := file.Entry{Meta: file.Meta{Kind: file.KindRegular, Size: chunks*chunk.Size - 5}, Path: []byte("big")}
	require.NoError(t, w.Append(&big))
	for i := int64(0); i < chunks-100; { // runs and gaps, some longer than a block, the end left out
		n := src.r.Int64N(min(6000, chunks-100-i) + 1)
		if src.r.IntN(3) == 0 {
			i += n
			continue
		}
		for j := i; j < i+n; j++ {
			d := src.digest()
			copy(all[j*chunk.DigestSize:], d[:])
		}
		require.NoError(t, w.AppendChunks(i, all[i*chunk.DigestSize:(i+n)*chunk.DigestSize]))
		i += n
	}
	small := file.Entry{Meta: file.Meta{Kind: file.KindRegular, Size: chunk.Size + 1}, Path: []byte("later")}
	require.NoError(t, w.Append(&small))
	require.ErrorIs(t, w.AppendChunks(1, make([]byte, 32)), ErrOrder)
	require.ErrorIs(t, w.AppendChunks(0, make([]byte, 31)), ErrOrder)
	require.NoError(t, w.AppendChunks(1, all[:16]))
	require.ErrorIs(t, w.AppendChunks(0, make([]byte, 16)), ErrOrder)
	require.ErrorIs(t, w.Append(&small), ErrOrder)
	require.NoError(t, w.Finish())

	r, err := Open(path)
	require.NoError(t, err)
	defer r.Close()
	for _, batch := range []int{1, 7, 1000, 20_000} {
		c := r.Cursor()
		e, err := c.Next()
		require.NoError(t, err)
		var got []byte
		buf := make([]byte, batch*chunk.DigestSize)
		for {
			n, err := c.Chunks(buf)
			require.NoError(t, err)
			if n == 0 {
				break
			}
			got = append(got, buf[:n*chunk.DigestSize]...)
		}
		require.Equal(t, all, got)
		require.Equal(t, "big", string(e.Path))
		e, err = c.Next()
		require.NoError(t, err)
		require.Equal(t, "later", string(e.Path))
	}
	c := r.Cursor() // digests not read are passed over, also half way, and Seek finds what lies behind a run
	require.NoError(t, c.Advance())
	_, err = c.Chunks(make([]byte, 1600))
	require.NoError(t, err)
	require.NoError(t, c.Advance())
	p := c.Position()
	two, err := r.At(p)
	require.NoError(t, err)
	var d [3 * chunk.DigestSize]byte
	n, err := two.Chunks(d[:])
	require.NoError(t, err)
	require.Equal(t, 2, n)
	require.Equal(t, append(make([]byte, 16), all[:16]...), d[:32])
}

// TestTornTail cuts a file at every byte: what is read is what the whole blocks before hold, and never an error.
func TestTornTail(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "m")
	w, err := Create(path, header(1, ID{}))
	require.NoError(t, err)
	src := newTree()
	start, _ := w.marks()
	var ends, counts []int64
	for n := range int64(12) {
		require.NoError(t, w.Append(src.next()))
		if n%3 == 2 {
			require.NoError(t, w.EndBlock(uint64(n)))
			if n == 5 {
				require.NoError(t, w.Sync())
			}
			end, _ := w.marks()
			ends, counts = append(ends, end), append(counts, n+1)
		}
	}
	require.NoError(t, w.Close())
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	for cut := start; cut <= int64(len(data)); cut++ {
		for _, fill := range []int64{0, 1, 200} { // a crash may leave zeroes behind the data
			want := int64(0)
			for i, end := range ends {
				if end <= cut {
					want = counts[i]
				}
			}
			torn := append(append([]byte{}, data[:cut]...), make([]byte, fill)...)
			got, err := count(torn)
			require.NoError(t, err, "cut at %d", cut)
			require.Equal(t, want, got, "cut at %d", cut)
		}
	}
	// A bad byte in what was durable when a later block was written is damage; after that it may be a torn write.
	for i := range data {
		bad := append([]byte{}, data...)
		bad[i] ^= 0x40
		_, err := count(bad)
		if int64(i) < ends[1] {
			require.ErrorIs(t, err, ErrDamaged, "byte %d", i)
		} else {
			require.NoError(t, err, "byte %d", i)
		}
	}
}

// TestDamage flips every byte of a complete manifest.
func TestDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m")
	w, err := Create(path, header(1, ID{}))
	require.NoError(t, err)
	src := newTree()
	for range 10 {
		require.NoError(t, w.Append(src.next()))
		require.NoError(t, w.EndBlock(1))
	}
	require.NoError(t, w.BeginDeletes(2))
	require.NoError(t, w.Finish())
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	for i := range data {
		bad := append([]byte{}, data...)
		bad[i] ^= 1
		r, err := newReader(reader(bad), int64(len(bad)), "m")
		if err == nil {
			err = r.Verify(context.Background())
		}
		if err == nil {
			require.False(t, r.Complete(), "byte %d", i) // the footer
		} else {
			require.ErrorIs(t, err, ErrDamaged, "byte %d", i)
		}
	}
	// A block taken out leaves every checksum of the others right.
	r, err := newReader(reader(data), int64(len(data)), "m")
	require.NoError(t, err)
	h, _, _, err := r.block(r.start, nil)
	require.NoError(t, err)
	cut := append(append([]byte{}, data[:r.start]...), data[r.start+blockHeaderSize+int64(h.payload):]...)
	r, err = newReader(reader(cut), int64(len(cut)), "m")
	require.NoError(t, err)
	require.False(t, r.Complete())
	require.NoError(t, r.Verify(context.Background()))
}

// TestChain puts another block, itself without fault, in the place of one.
func TestChain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m")
	writeEntries(t, path, someEntries(10))
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	r, err := newReader(reader(data), int64(len(data)), "m")
	require.NoError(t, err)
	require.NoError(t, r.Verify(context.Background()))
	h, payload, _, err := r.block(r.start, nil)
	require.NoError(t, err)
	payload[len(payload)-1] ^= 1
	h.pcrc = crc32.Checksum(payload, castagnoli)
	h.put((*[blockHeaderSize]byte)(data[r.start:]), r.id, r.start)
	copy(data[r.start+blockHeaderSize:], payload)
	_, _, ok, err := r.block(r.start, nil)
	require.NoError(t, err)
	require.True(t, ok)
	require.ErrorIs(t, r.Verify(context.Background()), ErrDamaged)
}
