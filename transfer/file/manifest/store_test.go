package manifest

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/chunk"
	"github.com/ferry-migrate/ferry/transfer/file"
	"github.com/stretchr/testify/require"
)

func openStore(t *testing.T, dir string) *Store {
	s, err := OpenStore(context.Background(), dir)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

// begin starts a pass and appends files named by names, each sent in its own frame, durably.
func begin(t *testing.T, s *Store, number byte, names ...string) *Writer {
	h := header(number, ID{})
	if s.Base() != nil {
		h.Base = s.Base().Header().Pass
	}
	w, err := s.Begin(h)
	require.NoError(t, err)
	for i, name := range names {
		e := file.Entry{Path: []byte(name), State: file.StateSent, Digest: chunk.Sum([]byte(name))}
		e.Kind, e.Size, e.Ino = file.KindRegular, 5, uint64(100+i)
		require.NoError(t, w.Append(&e))
		require.NoError(t, w.EndBlock(uint64(i+1)))
		require.NoError(t, w.SyncTo(uint64(i+1)))
	}
	return w
}

func commit(t *testing.T, dir string, number byte, names ...string) {
	s := openStore(t, dir)
	begin(t, s, number, names...)
	require.NoError(t, s.Acked(uint64(len(names))))
	require.NoError(t, s.Commit())
	require.NoError(t, s.Close())
}

// list returns path:state of each entry.
func list(t *testing.T, r *Reader) (all []string) {
	if r == nil {
		return nil
	}
	for c := r.Cursor(); ; {
		e, err := c.Next()
		if err == io.EOF {
			return all
		}
		require.NoError(t, err)
		all = append(all, fmt.Sprintf("%s:%d", e.Path, e.State&^passBits))
	}
}

func change(t *testing.T, path string, f func([]byte) []byte) {
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, f(b), 0o600))
}

func flip(at int) func([]byte) []byte {
	return func(b []byte) []byte { b[at] ^= 4; return b }
}

func TestStoreLocked(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	_, err := OpenStore(context.Background(), dir)
	require.Equal(t, "FERRY-STATE-LOCKED", fault.CodeOf(err))
	require.ErrorContains(t, err, strconv.Itoa(os.Getpid()))
	require.NotEmpty(t, fault.RemedyOf(err))
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	openStore(t, dir)
}

func TestStoreRefusesMisuse(t *testing.T) {
	s := openStore(t, t.TempDir())
	require.Nil(t, s.Base())
	require.Error(t, s.Acked(1))
	require.Error(t, s.Commit())
	_, err := s.Begin(header(1, ID{7}))
	require.Error(t, err, "base")
	w := begin(t, s, 1, "a", "b")
	_, err = s.Begin(header(2, ID{}))
	require.Error(t, err, "twice")
	require.ErrorIs(t, s.Acked(3), ErrOrder)
	require.ErrorIs(t, w.SyncTo(3), ErrOrder)
	require.NoError(t, s.Acked(1))
	require.ErrorContains(t, s.Commit(), "only 1 were acknowledged")
	require.NoError(t, s.Acked(2))
	require.NoError(t, s.Commit())
	require.Equal(t, []string{"a:0", "b:0"}, list(t, s.Base()))
	require.ErrorIs(t, w.Sync(), os.ErrClosed)
}

func TestStoreRecoversInProcess(t *testing.T) {
	dir := t.TempDir()
	commit(t, dir, 1, "a", "b", "z")
	s := openStore(t, dir)
	begin(t, s, 2, "a", "b", "c")
	require.NoError(t, s.Acked(1))
	require.NoError(t, s.Recover(context.Background()))
	want := []string{"a:0", "b:2", "c:2", "z:0"}
	require.Equal(t, want, list(t, s.Base()))
	r := s.Recovered()
	require.True(t, r.Unclean)
	require.Equal(t, Cut{Pass: ID{2}, Acked: 1, Path: []byte("a"), File: r.Cut.File}, r.Cut)
	h := s.Base().Header()
	require.True(t, h.Unclean)
	require.Equal(t, ID{1}, h.Pass, "the last pass that committed")
	require.Equal(t, r.Cut, h.Cut)
	require.NoFileExists(t, filepath.Join(dir, nameNext))
	require.NoError(t, s.Recover(context.Background()))
	require.Equal(t, want, list(t, s.Base()))
}

func TestStoreCancelled(t *testing.T) {
	dir := t.TempDir()
	commit(t, dir, 1, "a", "b")
	s := openStore(t, dir)
	begin(t, s, 2, "a")
	require.NoError(t, s.Close())
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := OpenStore(ctx, dir)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, []string{"a:2", "b:0"}, list(t, openStore(t, dir).Base()))
}

func TestStoreNewer(t *testing.T) {
	for _, name := range []string{nameBase, nameNext} {
		dir := t.TempDir()
		commit(t, dir, 1, "a")
		s := openStore(t, dir)
		begin(t, s, 2, "b")
		require.NoError(t, s.Close())
		change(t, filepath.Join(dir, name), func(b []byte) []byte {
			b[8]++
			n := prefixSize + binary.LittleEndian.Uint32(b[12:])
			crc := crc32.Update(crc32.Checksum(b[:16], castagnoli), castagnoli, b[prefixSize:n])
			binary.LittleEndian.PutUint32(b[16:], crc)
			return b
		})
		_, err := OpenStore(context.Background(), dir)
		require.Equal(t, "FERRY-STATE-NEWER", fault.CodeOf(err))
		require.FileExists(t, filepath.Join(dir, name), "nothing is set aside")
	}
}

func firstBlock(b []byte) int { return prefixSize + int(binary.LittleEndian.Uint32(b[12:])) }

// TestStoreDamaged damages one file of a store with a base (a, b, z) and a pass cut off (a acknowledged, b and c sent).
func TestStoreDamaged(t *testing.T) {
	tests := []struct {
		name, file string
		change     func([]byte) []byte
		want       []string
		aside      string
	}{
		{"nothing", nameNext, flip(1 << 30), []string{"a:0", "b:2", "c:2", "z:0"}, ""},
		{"header of base", nameBase, flip(30), []string{"a:0", "b:2", "c:2"}, "base.damaged-1"},
		{"middle of base", nameBase, flip(500), []string{"a:0", "b:2", "c:2"}, "base.damaged-1"},
		{"end of base", nameBase, func(b []byte) []byte { return b[:len(b)-1] }, []string{"a:0", "b:2", "c:2"}, "base.damaged-1"},
		{"header of next", nameNext, flip(30), []string{"a:2", "b:2", "z:2"}, "next.damaged-1"},
		{"next emptied", nameNext, func([]byte) []byte { return nil }, []string{"a:2", "b:2", "z:2"}, "next.damaged-1"},
		{"first block of next", nameNext, func(b []byte) []byte { return flip(firstBlock(b) + 5)(b) }, []string{"a:2", "b:2", "z:2"}, "next.damaged-1"},
		{"second block of next", nameNext, func(b []byte) []byte { return flip((firstBlock(b) + len(b)) / 2)(b) }, []string{"a:0", "b:2", "z:2"}, "next.damaged-1"},
		{"next shorter than was durable at the ack", nameNext, func(b []byte) []byte { return b[:firstBlock(b)+50] }, []string{"a:2", "b:2", "z:2"}, "next.damaged-1"},
		{"acks", nameAcked, flip(20), []string{"a:2", "b:2", "c:2", "z:0"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			commit(t, dir, 1, "a", "b", "z")
			s := openStore(t, dir)
			begin(t, s, 2, "a", "b", "c")
			s.acks.slot = 0
			require.NoError(t, s.Acked(1))
			require.NoError(t, s.Close())
			change(t, filepath.Join(dir, tt.file), func(b []byte) []byte {
				if tt.name == "nothing" {
					return b
				}
				return tt.change(b)
			})
			s = openStore(t, dir)
			require.Equal(t, tt.want, list(t, s.Base()))
			if tt.aside == "" {
				require.Empty(t, s.Recovered().Damaged)
				return
			}
			require.Len(t, s.Recovered().Damaged, 1)
			d := s.Recovered().Damaged[0]
			require.Equal(t, filepath.Join(dir, tt.aside), d.Path)
			require.FileExists(t, d.Path)
			require.ErrorIs(t, d.Err, ErrDamaged)
			require.Equal(t, fault.ClassOperator, fault.ClassOf(d.Err))
			require.Equal(t, "FERRY-STATE-DAMAGED", fault.CodeOf(d.Err))
			require.NoError(t, s.Close())
			require.Equal(t, tt.want, list(t, openStore(t, dir).Base()), "opened again")
		})
	}
}

func TestAcksSurviveTornWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), nameAcked)
	a, err := openAcks(path)
	require.NoError(t, err)
	defer a.close()
	id := ID{5}
	for seq := uint64(1); seq <= 5; seq++ {
		require.NoError(t, a.set(ack{id, seq, int64(seq)}))
		newest := (1 - a.slot) * slotStride
		whole, err := os.ReadFile(path)
		require.NoError(t, err)
		for cut := range slotSize { // the newest slot was written up to here
			torn := bytes.Clone(whole)
			for i := cut; i < slotSize; i++ {
				torn[newest+int64(i)] ^= 0xff
			}
			require.NoError(t, os.WriteFile(path, torn, 0o600))
			k, err := a.last(id)
			require.NoError(t, err)
			require.Equal(t, seq-1, k.seq)
		}
		require.NoError(t, os.WriteFile(path, whole, 0o600))
		k, err := a.last(id)
		require.NoError(t, err)
		require.Equal(t, ack{id, seq, int64(seq)}, k)
		k, err = a.last(ID{6})
		require.NoError(t, err)
		require.Zero(t, k.seq, "another pass")
		_, err = a.last(id)
		require.NoError(t, err)
	}
}

// TestGroupCommit holds the first sync back until a hundred goroutines have blocks to sync: one more serves them all.
func TestGroupCommit(t *testing.T) {
	w, err := Create(filepath.Join(t.TempDir(), "m"), header(1, ID{}))
	require.NoError(t, err)
	defer w.Close()
	defer func(old func(string)) { hook = old }(hook)
	syncs := 0
	first, release := make(chan struct{}), make(chan struct{})
	hook = func(at string) {
		if at != "sync" {
			return
		}
		if syncs++; syncs == 1 {
			close(first)
			<-release
		}
	}
	src := newTree()
	var all sync.WaitGroup
	for seq := uint64(1); seq <= 100; seq++ {
		require.NoError(t, w.Append(src.next()))
		require.NoError(t, w.EndBlock(seq))
		all.Go(func() {
			if err := w.SyncTo(seq); err != nil {
				t.Error(err)
			}
		})
		if seq == 1 {
			<-first
		}
	}
	close(release)
	all.Wait()
	require.Equal(t, 2, syncs)
	written, synced := w.marks()
	require.Equal(t, written, synced)
}

// TestSyncFails: an error of the disk reaches all who wait, and sticks.
func TestSyncFails(t *testing.T) {
	w, err := Create(filepath.Join(t.TempDir(), "m"), header(1, ID{}))
	require.NoError(t, err)
	require.NoError(t, w.Append(newTree().next()))
	require.NoError(t, w.EndBlock(1))
	require.NoError(t, w.file.Close())
	require.Error(t, w.SyncTo(1))
	require.Error(t, w.Sync())
	require.Error(t, w.EndBlock(2))
	require.Error(t, w.Finish())
}

func TestInodesKeepsTheLargest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m")
	entries := someEntries(3000)
	writeEntries(t, path, entries)
	r, err := Open(path)
	require.NoError(t, err)
	defer r.Close()
	x, err := r.inodes(context.Background(), 1000)
	require.NoError(t, err)
	require.LessOrEqual(t, x.Len(), 1000)
	require.Greater(t, x.Len(), 600, "classes of size are fine enough")
	smallest, largest := int64(1<<62), int64(0) // found, not found
	c := r.Cursor()
	for i := range entries {
		e := &entries[i]
		if e.Kind != file.KindRegular {
			continue
		}
		at := x.Lookup(e.Ino)
		if len(at) == 0 {
			largest = max(largest, e.Size)
			continue
		}
		smallest = min(smallest, e.Size)
		require.NoError(t, c.Seek(at[0]))
		require.Equal(t, e.Path, c.Current().Path)
	}
	require.Less(t, largest, smallest)
	require.Empty(t, x.Lookup(1))
}
