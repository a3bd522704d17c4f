package target

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAppliedKnowsThePrefix(t *testing.T) {
	a := NewApplied()
	for _, seq := range []uint64{3, 2, 5} {
		require.NoError(t, a.Done(seq))
	}
	require.Zero(t, a.UpTo())
	waited := make(chan error, 1)
	go func() { waited <- a.Await(context.Background(), 3) }()
	require.NoError(t, a.Done(1))
	require.NoError(t, <-waited)
	require.Equal(t, uint64(3), a.UpTo())
	require.NoError(t, a.Done(4))
	require.Equal(t, uint64(5), a.UpTo())
}

func TestAppliedRefusesWhatNoSourceSends(t *testing.T) {
	a := NewApplied()
	require.NoError(t, a.Done(1))
	require.ErrorIs(t, a.Done(1), ErrProtocol)
	require.NoError(t, a.Done(7))
	require.ErrorIs(t, a.Done(7), ErrProtocol)
	for seq := uint64(8); len(a.beyond) < maxAhead; seq++ {
		require.NoError(t, a.Done(seq))
	}
	require.ErrorIs(t, a.Done(1<<40), ErrProtocol)
}

func TestAwaitEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, NewApplied().Await(ctx, 1), context.Canceled)
}

func TestRestBetweenCommits(t *testing.T) {
	for _, c := range []struct{ took, want time.Duration }{
		{0, 2 * time.Second},
		{500 * time.Millisecond, 2 * time.Second},
		{2 * time.Second, 8 * time.Second}, // a fifth of the time
		{time.Minute, 30 * time.Second},
	} {
		if got := rest(commitEvery, c.took); got != c.want {
			t.Errorf("after a commit of %v: %v, want %v", c.took, got, c.want)
		}
	}
}
