//go:build unix

package command_test

import (
	"context"
	"errors"
	"log/slog"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/internal/command"
)

func TestRunReturnsTheEndOfTheOutput(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	out, err := command.Run(t.Context(), log, "/bin/sh", "-c", "echo one; echo two >&2")
	require.NoError(t, err)
	require.Equal(t, "one\ntwo\n", out)

	_, err = command.Run(t.Context(), log, "/bin/sh", "-c", "echo why; exit 7")
	var failed *command.Error
	require.ErrorAs(t, err, &failed)
	require.Contains(t, err.Error(), "why")
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 7, exit.ExitCode())

	_, err = command.Run(t.Context(), log, "/no/such/program")
	require.Error(t, err)
}

func TestRunEndsWithItsContextGrandchildrenIncluded(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := command.Run(ctx, slog.New(slog.DiscardHandler), "/bin/sh", "-c", "sleep 60 & wait")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(began), 20*time.Second)
	require.False(t, errors.Is(err, context.Canceled))
}
