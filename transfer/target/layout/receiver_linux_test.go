package layout

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/target"
	"github.com/ferry-migrate/ferry/transfer/wire"
)

// served runs a receiver until the test ends and returns how to reach it, and what ends it before.
func served(t *testing.T, r interface {
	Serve(context.Context, *wire.Listener) error
}) (dial wire.DialFunc, stop func()) {
	t.Helper()
	listener, dial := wire.Local(wire.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Serve(ctx, listener) }()
	stop = func() {
		cancel()
		require.NoError(t, listener.Close())
		require.NoError(t, <-ended)
	}
	return dial, stop
}

// TestPlanIsSent: a source's plan is laid out once; files have their places then, and a target that is started again has them still.
func TestPlanIsSent(t *testing.T) {
	disks, _ := bench(t, 320*mib)
	log, dir := slog.New(slog.DiscardHandler), t.TempDir()
	start := func() (*Receiver, wire.DialFunc, func()) {
		r := &Receiver{
			Disks: disks, State: filepath.Join(dir, "state"), Dir: filepath.Join(dir, "run"), Log: log,
			Files: &target.Receiver{State: filepath.Join(dir, "files"), Log: log},
		}
		require.NoError(t, r.Resume(t.Context()))
		dial, stop := served(t, r)
		return r, dial, stop
	}
	r, dial, stop := start()
	_, err := r.place("/")
	require.Equal(t, CodeNone, fault.CodeOf(err))
	hostile := one()
	hostile.Disks[0].Table.Partitions[0].Use.Label = "a\nb"
	_, err = Send(t.Context(), dial, "test", hostile)
	require.Equal(t, CodePlan, fault.CodeOf(err))
	require.Empty(t, say(t, "wipefs", disks[0].Path))
	for range 2 {
		ok, err := Send(t.Context(), dial, "test", one())
		require.NoError(t, err)
		require.True(t, ok)
	}
	at, err := r.place("/data")
	require.NoError(t, err)
	require.Equal(t, "btrfs", say(t, "stat", "--file-system", "--format", "%T", at))
	for _, path := range []string{"/data/", "/data/..", "data", "", "/etc", "//"} {
		_, err = r.place(path)
		require.Equal(t, CodePlace, fault.CodeOf(err), path)
	}
	other := one()
	other.Disks[0].Table.ID = id(99)
	_, err = Send(t.Context(), dial, "test", other)
	require.Equal(t, CodeOther, fault.CodeOf(err))
	stop()

	r, _, stop = start()
	_, err = r.place("/data")
	require.NoError(t, err)
	stop()
	blank(t, disks[0])
	r, _, stop = start()
	_, err = r.place("/data")
	require.Equal(t, CodeNone, fault.CodeOf(err), "another disk is in its place")
	stop()
}

// TestPlanIsNotForADirectory: a target that receives into a directory has no disks to lay out.
func TestPlanIsNotForADirectory(t *testing.T) {
	dir := t.TempDir()
	dial, stop := served(t, &target.Receiver{Root: filepath.Join(dir, "root"), State: filepath.Join(dir, "state"), Log: slog.New(slog.DiscardHandler)})
	defer stop()
	ok, err := Send(t.Context(), dial, "test", one())
	require.NoError(t, err)
	require.False(t, ok)
	require.NoDirExists(t, filepath.Join(dir, "root"))
}
