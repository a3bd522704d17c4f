package target

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAppliedKnowsThePrefix(t *testing.T) {
	a := newApplied()
	for _, seq := range []uint64{3, 2, 5} {
		require.NoError(t, a.done(seq))
	}
	require.Zero(t, a.upTo())
	waited := make(chan error, 1)
	go func() { waited <- a.await(context.Background(), 3) }()
	require.NoError(t, a.done(1))
	require.NoError(t, <-waited)
	require.Equal(t, uint64(3), a.upTo())
	require.NoError(t, a.done(4))
	require.Equal(t, uint64(5), a.upTo())
}

func TestAppliedRefusesWhatNoSourceSends(t *testing.T) {
	a := newApplied()
	require.NoError(t, a.done(1))
	require.ErrorIs(t, a.done(1), ErrProtocol)
	require.NoError(t, a.done(7))
	require.ErrorIs(t, a.done(7), ErrProtocol)
	for seq := uint64(8); len(a.beyond) < maxAhead; seq++ {
		require.NoError(t, a.done(seq))
	}
	require.ErrorIs(t, a.done(1<<40), ErrProtocol)
}

func TestAwaitEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, newApplied().await(ctx, 1), context.Canceled)
}
