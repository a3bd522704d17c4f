package track

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/ferry-migrate/ferry/transfer/extent"
)

var _ Tracker = (*Memory)(nil)

// TestLikeModel does at random what an engine and writers do. Whatever was written is in the next Take, and stays in all that follow
// until it is acknowledged.
func TestLikeModel(t *testing.T) {
	const chunksOf, tail = 40, 1000 // the last chunk is not whole
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		m := NewMemory((chunksOf-1)*chunkSize + tail)
		whole := extent.Extent{Size: m.size}
		var written, taken [chunksOf]bool
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				at := rapid.Int64Range(0, m.size-1).Draw(t, "at")
				e := extent.Extent{Start: at, Size: rapid.Int64Range(1, min(m.size-at, 5*chunkSize)).Draw(t, "size")}
				m.Wrote(e)
				for c := at / chunkSize; c*chunkSize < e.End(); c++ {
					written[c] = true
				}
			},
			"take": func(t *rapid.T) {
				peeked, err := m.Peek(ctx)
				require.NoError(t, err)
				list, err := m.Take(ctx)
				require.NoError(t, err)
				require.Equal(t, peeked, list)
				for c := range written {
					taken[c] = taken[c] || written[c]
					written[c] = false
					chunk := extent.Extent{Start: int64(c) * chunkSize, Size: min(chunkSize, m.size-int64(c)*chunkSize)}
					require.Equal(t, taken[c], list.Contains(chunk), "chunk %d", c)
				}
				require.Equal(t, list.Bytes(), list.Within(whole).Bytes())
			},
			"acknowledge": func(t *rapid.T) {
				c := rapid.IntRange(0, chunksOf-1).Draw(t, "chunk")
				require.NoError(t, m.Acknowledge(ctx, extent.List{{Start: int64(c) * chunkSize, Size: chunkSize}}))
				taken[c] = false
			},
			"lose": func(t *rapid.T) {
				m.Lose(errors.New("why"))
				_, err := m.Peek(ctx)
				require.ErrorIs(t, err, ErrLost)
				list, err := m.Take(ctx)
				require.ErrorIs(t, err, ErrLost)
				require.ErrorContains(t, err, "why")
				require.Equal(t, extent.List{whole}, list)
				for c := range taken {
					taken[c], written[c] = true, false
				}
			},
		})
	})
}
