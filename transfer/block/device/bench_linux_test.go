package device

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// benched is how much a benchmark moves, bytes, in pieces of a MiB by four workers, as a migration does.
const benched = 512 * mib

func pieces(b *testing.B, do func(buf []byte, off int64) error) {
	b.SetBytes(benched)
	b.ReportAllocs()
	for b.Loop() {
		var next atomic.Int64
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				buf := Buffer(mib)
				for off := next.Add(mib) - mib; off < benched; off = next.Add(mib) - mib {
					if err := do(buf, off); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
}

func BenchmarkFill(b *testing.B) {
	path := imageOf(b, b.TempDir(), noise(benched, 1))
	s := source(b, path, SourceOptions{})
	pieces(b, func(buf []byte, off int64) error {
		_, err := s.Fill(context.Background(), buf, off)
		return err
	})
}

func BenchmarkWriteAt(b *testing.B) {
	path := filepath.Join(b.TempDir(), "image")
	to := target(b, path, TargetOptions{Size: benched, Create: true})
	pieces(b, func(buf []byte, off int64) error {
		_, err := to.WriteAt(buf, off)
		return err
	})
	require.NoError(b, to.Sync())
	require.NoError(b, os.Remove(path))
}
