package block

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/ferry-migrate/ferry/transfer/chunk"
)

func openMap(t require.TestingT, path string, chunks int64) (*digests, bool) {
	d, fresh, err := openDigests(path, chunks, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	return d, fresh
}

func lookUp(t require.TestingT, d *digests, c int64) chunk.Digest {
	var out [1]chunk.Digest
	require.NoError(t, d.of([]int64{c}, out[:]))
	return out[0]
}

// TestDigestsLikeAMap compares the file with a Go map through sets, writes and being opened again.
func TestDigestsLikeAMap(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		path := filepath.Join(dir, string(rune('a'+n%26)), "digests")
		require.NoError(t, os.RemoveAll(filepath.Dir(path)))
		require.NoError(t, os.Mkdir(filepath.Dir(path), 0o700))
		const chunks = 3*perPage + 7
		d, fresh := openMap(t, path, chunks)
		require.True(t, fresh)
		model := map[int64]chunk.Digest{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			c := rapid.Int64Range(0, chunks-1).Draw(t, "chunk")
			switch rapid.IntRange(0, 9).Draw(t, "do") {
			case 0:
				require.NoError(t, d.close())
				d, fresh = openMap(t, path, chunks)
				require.False(t, fresh)
			case 1:
				require.NoError(t, d.write())
			case 2:
				require.NoError(t, d.set(c, chunk.Digest{}))
				delete(model, c)
			default:
				digest := chunk.Sum([]byte{byte(c), byte(len(model))})
				require.NoError(t, d.set(c, digest))
				model[c] = digest
			}
			require.Equal(t, model[c], lookUp(t, d, c))
		}
		require.NoError(t, d.sync())
		for c := range int64(chunks) {
			require.Equal(t, model[c], lookUp(t, d, c))
		}
		require.NoError(t, d.close())
	})
}

// TestDamagedMapKnowsLess flips a byte of each page in turn: digests are lost, none is wrong, and a header that is damaged sets the file
// aside.
func TestDamagedMapKnowsLess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "digests")
	const chunks = 3 * perPage
	d, _ := openMap(t, path, chunks)
	for c := range int64(chunks) {
		require.NoError(t, d.set(c, chunk.Sum([]byte{byte(c)})))
	}
	require.NoError(t, d.close())
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	for no := 1; no <= 3; no++ {
		b := append([]byte(nil), whole...)
		b[no*pageSize+500] ^= 1
		require.NoError(t, os.WriteFile(path, b, 0o600))
		d, fresh := openMap(t, path, chunks)
		require.False(t, fresh)
		for c := range int64(chunks) {
			want := chunk.Sum([]byte{byte(c)})
			if int(1+c/perPage) == no {
				want = chunk.Digest{}
			}
			require.Equal(t, want, lookUp(t, d, c))
		}
		require.NoError(t, d.close())
	}
	for _, damage := range []func([]byte) []byte{
		func(b []byte) []byte { b[30] ^= 1; return b },
		func(b []byte) []byte { return b[:100] },
		func([]byte) []byte { return nil },
	} {
		require.NoError(t, os.WriteFile(path, damage(append([]byte(nil), whole...)), 0o600))
		d, fresh := openMap(t, path, chunks)
		require.True(t, fresh)
		require.False(t, lookUp(t, d, 5).Known())
		require.NoError(t, d.close())
		require.FileExists(t, path+".damaged")
	}
	d, fresh := openMap(t, path, chunks+1)
	require.True(t, fresh, "a disk of another size")
	require.NoError(t, d.close())
}
