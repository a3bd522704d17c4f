package manifest

import (
	"context"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/ferry-migrate/ferry/transfer/chunk"
	"github.com/ferry-migrate/ferry/transfer/file"
	"github.com/stretchr/testify/require"
)

// readAll reads everything a hostile manifest says and checks what a reader promises.
func readAll(t *testing.T, b []byte) {
	r, err := newReader(reader(b), int64(len(b)), "m")
	if err != nil {
		return
	}
	_ = r.Verify(context.Background())
	if x, err := r.inodes(context.Background(), 100); err == nil && x.Len() > 100 {
		t.Fatal("index too large")
	}
	var before []byte
	buf := make([]byte, 3*chunk.DigestSize)
	for c, first := r.Cursor(), true; ; first = false {
		e, err := c.Next()
		if err != nil {
			if err != io.EOF {
				require.ErrorIs(t, err, ErrDamaged)
			}
			return
		}
		if !first && file.ComparePath(before, e.Path) >= 0 || !file.ValidPath(e.Path) || !file.ValidPath(e.Link) || e.Resume > e.Chunks() {
			t.Fatalf("bad entry %q after %q", e.Path, before)
		}
		before = append(before[:0], e.Path...)
		at := c.Position()
		for n := 1; n > 0 && e.Chunks() < 1000; { // else it takes its time to count through the gaps
			if n, err = c.Chunks(buf); err != nil {
				require.ErrorIs(t, err, ErrDamaged)
				return
			}
		}
		if two, err := r.At(at); err != nil || string(two.Current().Path) != string(before) {
			t.Fatalf("no second cursor at %q: %v", before, err)
		}
	}
}

// sample returns a small manifest with everything in it.
func sample(tb testing.TB) []byte {
	path := filepath.Join(tb.TempDir(), "m")
	w, err := Create(path, header(1, ID{}))
	require.NoError(tb, err)
	src := newTree()
	for n := range 5 {
		require.NoError(tb, w.Append(src.next()))
		require.NoError(tb, w.EndBlock(uint64(n)))
	}
	big := file.Entry{Path: []byte("z"), State: file.StatePartial, Resume: 2}
	big.Kind, big.Size = file.KindRegular, 9*chunk.Size
	require.NoError(tb, w.Append(&big))
	for i := range int64(4) {
		d := src.digest()
		require.NoError(tb, w.AppendChunks(2*i, d[:]))
		require.NoError(tb, w.EndBlock(uint64(i+10)))
	}
	link := file.Entry{Path: []byte("zz"), Link: []byte("z")}
	link.Kind, link.Size = file.KindRegular, 9*chunk.Size
	require.NoError(tb, w.Append(&link))
	require.NoError(tb, w.BeginDeletes(20))
	require.NoError(tb, w.Finish())
	b, err := os.ReadFile(path)
	require.NoError(tb, err)
	return b
}

// FuzzReader feeds files whose checksums are mostly wrong.
func FuzzReader(f *testing.F) {
	b := sample(f)
	f.Add(b)
	f.Add(b[:len(b)-footerSize])
	f.Add(b[:len(b)/2])
	f.Fuzz(readAll)
}

// FuzzBlocks feeds two blocks whose checksums are right, as one who can write the state directory could make them.
func FuzzBlocks(f *testing.F) {
	b := sample(f)
	r, err := newReader(reader(b), int64(len(b)), "m")
	require.NoError(f, err)
	h, one, _, err := r.block(r.start, nil)
	require.NoError(f, err)
	raw, _ := h.decompress(nil, one)
	f.Add(raw, raw, uint8(blockMore), uint8(codecStored), uint32(len(raw)))
	f.Add(one, []byte{recordRun, 0, 1}, uint8(blockRecords), h.codec, h.raw)
	run := append([]byte{recordRun, 3, 1}, make([]byte, 16)...)
	f.Add(raw, run, uint8(blockRecords), uint8(codecStored), uint32(len(raw)))
	f.Fuzz(func(t *testing.T, one, two []byte, kind, codec uint8, size uint32) {
		file := b[:r.start:r.start]
		add := func(kind blockKind, codec uint8, size uint32, payload []byte) {
			h := blockHeader{kind: kind, codec: codec, payload: uint32(len(payload)), raw: size, seq: 1, pcrc: crc32.Checksum(payload, castagnoli)}
			var head [blockHeaderSize]byte
			h.put(&head, r.id, int64(len(file)))
			file = append(append(file, head[:]...), payload...)
		}
		add(blockKind(kind), codec, size, one)
		add(blockRecords, codecStored, uint32(len(two)), two)
		readAll(t, file)
	})
}

// FuzzMerge recovers from a base and a next of any records.
func FuzzMerge(f *testing.F) {
	b := sample(f)
	r, err := newReader(reader(b), int64(len(b)), "m")
	require.NoError(f, err)
	h, payload, _, err := r.block(r.start, nil)
	require.NoError(f, err)
	raw, _ := h.decompress(nil, payload)
	f.Add(raw, raw, raw, uint8(1))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, base, next, later []byte, acked uint8) {
		open := func(id byte, blocks ...[]byte) *Reader {
			h := header(id, ID{})
			head, err := encodeHeader(&h, ID{id})
			require.NoError(t, err)
			for i, raw := range blocks {
				var b [blockHeaderSize]byte
				h := blockHeader{kind: blockRecords, payload: uint32(len(raw)), raw: uint32(len(raw)), seq: uint64(i + 1), pcrc: crc32.Checksum(raw, castagnoli)}
				h.put(&b, ID{id}, int64(len(head)))
				head = append(append(head, b[:]...), raw...)
			}
			r, err := newReader(reader(head), int64(len(head)), "m")
			require.NoError(t, err)
			return r
		}
		path := filepath.Join(dir, "merge")
		if _, _, err := mergeInto(context.Background(), path, open(1, base), open(2, next, later), ack{seq: uint64(acked)}); err != nil {
			require.ErrorIs(t, err, ErrDamaged)
			return
		}
		out, err := Open(path)
		require.NoError(t, err)
		defer out.Close()
		require.NoError(t, out.Verify(context.Background()))
		require.True(t, out.Complete())
	})
}
