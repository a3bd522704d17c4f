package block

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/transfer/chunk"
	"github.com/ferry-migrate/ferry/transfer/wire"
)

func TestFrameKeepsItsPieces(t *testing.T) {
	size := int64(40 * chunk.Size)
	pieces := []piece{{start: 5, size: 3}, {start: 8, size: 100, zero: true}, {start: size - 2, size: 2}}
	b := append(appendTable(nil, opWrite, pieces), "abcde"...)
	op, got, content, err := parseFrame(b, size, nil)
	require.NoError(t, err)
	require.Equal(t, opWrite, op)
	require.Equal(t, pieces, got)
	require.Equal(t, "abcde", string(content))
	_, _, _, err = parseFrame(b, size-1, nil)
	require.ErrorIs(t, err, errFrame, "a piece outside the disk")
	_, _, _, err = parseFrame(b[:len(b)-1], size, nil)
	require.ErrorIs(t, err, wire.ErrProtocol, "content is missing")

	b = append(appendTable(nil, opCheck, []piece{{start: 38, size: 2}}), make([]byte, 2*chunk.DigestSize)...)
	_, got, content, err = parseFrame(b, size, nil)
	require.NoError(t, err)
	require.Equal(t, []piece{{start: 38, size: 2}}, got)
	require.Len(t, content, 2*chunk.DigestSize)
	_, _, _, err = parseFrame(b, size-chunk.Size, nil)
	require.ErrorIs(t, err, errFrame)
}

// FuzzParseFrame proves that whatever a peer sends stays inside the disk and inside its own content.
func FuzzParseFrame(f *testing.F) {
	f.Add(append(appendTable(nil, opWrite, []piece{{start: 5, size: 3}, {start: 9, size: 1 << 20, zero: true}}), "abc"...), int64(4<<20))
	f.Add(append(appendTable(nil, opCheck, []piece{{start: 1, size: 1}}), make([]byte, 16)...), int64(1<<20))
	f.Fuzz(func(t *testing.T, b []byte, size int64) {
		if size < 0 {
			return
		}
		op, pieces, content, err := parseFrame(b, size, nil)
		if err != nil {
			return
		}
		end, n := size, int64(0)
		if op == opCheck {
			end = chunk.Count(size)
		}
		at := int64(0)
		for _, p := range pieces {
			require.GreaterOrEqual(t, p.start, at)
			require.Positive(t, p.size)
			at = p.start + p.size
			require.LessOrEqual(t, at, end)
			if !p.zero {
				n += p.size
			}
		}
		if op == opCheck {
			n *= chunk.DigestSize
		}
		require.EqualValues(t, len(content), n)
	})
}
