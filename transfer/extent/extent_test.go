package extent

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

const space = 256 // of the model: one bool for a byte

type model [space]bool

func (m *model) add(start, size int64) {
	for i := start; i < start+size; i++ {
		m[i] = true
	}
}

// list turns the model into a List, byte by byte.
func (m *model) list() (out List) {
	for i, in := range m {
		switch n := len(out); {
		case !in:
		case n > 0 && out[n-1].End() == int64(i):
			out[n-1].Size++
		default:
			out = append(out, Extent{int64(i), 1})
		}
	}
	return out
}

func ranges(t *rapid.T, label string) (m model, added []Extent) {
	for range rapid.IntRange(0, 30).Draw(t, label) {
		start := rapid.Int64Range(0, space-1).Draw(t, "start")
		size := rapid.Int64Range(-1, min(space-start, 40)).Draw(t, "size")
		added = append(added, Extent{start, size})
		m.add(start, size)
	}
	return m, added
}

func made(added []Extent, limit int) *Set {
	s := &Set{}
	if limit > 0 {
		s = NewSet(limit)
	}
	for _, e := range added {
		s.Add(e.Start, e.Size)
	}
	return s
}

// TestLikeBytes compares every operation with an array of bytes.
func TestLikeBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, added := ranges(t, "a")
		b, others := ranges(t, "b")
		l, o := made(added, 0).List(), made(others, 0).List()
		require.Equal(t, a.list(), append(List(nil), l...))
		require.EqualValues(t, count(a), l.Bytes())

		e := Extent{rapid.Int64Range(0, space-1).Draw(t, "at"), 0}
		e.Size = rapid.Int64Range(0, space-e.Start).Draw(t, "length")
		var within, gaps, rest model
		contained := true
		for i := range a {
			inside := int64(i) >= e.Start && int64(i) < e.End()
			within[i], gaps[i], rest[i] = a[i] && inside, !a[i] && inside, a[i] && !b[i]
			contained = contained && (!inside || a[i])
		}
		require.Equal(t, within.list(), l.Within(e))
		require.Equal(t, gaps.list(), l.Gaps(e))
		require.Equal(t, rest.list(), l.Subtract(o))
		require.Equal(t, contained, l.Contains(e))
	})
}

func count(m model) (n int) {
	for _, in := range m {
		if in {
			n++
		}
	}
	return n
}

// TestLimit fills a set with more than it holds: it stays small and loses nothing.
func TestLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 40).Draw(t, "limit")
		var added []Extent
		for range rapid.IntRange(0, 400).Draw(t, "n") {
			added = append(added, Extent{rapid.Int64Range(0, 1<<40).Draw(t, "start"), rapid.Int64Range(1, 1<<20).Draw(t, "size")})
		}
		s := made(added, limit)
		l := s.List()
		require.LessOrEqual(t, len(l), max(limit, 2))
		for i, e := range l {
			require.True(t, i == 0 || e.Start > l[i-1].End(), "sorted and apart")
		}
		for _, e := range added {
			require.True(t, l.Contains(e))
		}
		if s.Grain() == 0 {
			require.Equal(t, made(added, 0).List(), l)
		}
	})
}
