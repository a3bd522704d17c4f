package track

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/transfer/extent"
)

func sample(t testing.TB) []byte {
	data, err := encode(header{Generation: "g", Since: time.Unix(1, 0).UTC(), Counts: counts{Misses: 1, Unseen: 2}, Size: 1 << 30, Extents: 2},
		extent.List{{Start: 0, Size: chunkSize}, {Start: 3 * chunkSize, Size: 5 * chunkSize}})
	require.NoError(t, err)
	return data
}

func TestPendingSet(t *testing.T) {
	dir := t.TempDir()
	_, err := loadPending(dir)
	require.ErrorIs(t, err, fs.ErrNotExist)
	want := extent.List{{Start: 0, Size: chunkSize}, {Start: 3 * chunkSize, Size: 1 << 20}}
	p := pending{header: header{Generation: "g", Size: 1 << 30}, path: filepath.Join(dir, pendingFile)}
	require.NoError(t, p.keep(want, counts{Misses: 3, Reach: 4}))
	got, err := loadPending(dir)
	require.NoError(t, err)
	require.Equal(t, want, got.list)
	require.Equal(t, counts{Misses: 3, Reach: 4}, got.Counts)
	require.Equal(t, "g", got.Generation)
}

// TestPendingSetDamaged flips each bit, and cuts at each byte: every time the set is set aside.
func TestPendingSetDamaged(t *testing.T) {
	good := sample(t)
	for i := range good {
		bad := append([]byte(nil), good...)
		bad[i] ^= 1 << (i % 8)
		_, _, err := decode(bad)
		require.ErrorIs(t, err, errDamaged, "byte %d", i)
		_, _, err = decode(good[:i])
		require.ErrorIs(t, err, errDamaged, "cut at %d", i)
	}
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, pendingFile), good[:20], 0o600))
	_, err := loadPending(dir)
	require.ErrorIs(t, err, errDamaged)
	require.FileExists(t, filepath.Join(dir, pendingFile+".damaged"))
	require.NoFileExists(t, filepath.Join(dir, pendingFile))
}

// FuzzPendingSet: whatever is read is refused or is a sound list; what stands before the checksum is tried too.
func FuzzPendingSet(f *testing.F) {
	good := sample(f)
	f.Add(good[len(pendingMagic) : len(good)-sumSize])
	f.Fuzz(func(t *testing.T, body []byte) {
		_, _, _ = decode(body)
		h, list, err := decode(summed(append([]byte(pendingMagic), body...)))
		if err != nil {
			return
		}
		end := int64(-1)
		for _, e := range list {
			require.Greater(t, e.Start, end)
			require.Positive(t, e.Size)
			end = e.End()
		}
		require.LessOrEqual(t, end, h.Size)
	})
}
