package agent

import (
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	allStates = []State{Ready, Running, Syncing, Stopped, Failed, Done}
	allEvents = []Event{Begin, Sync, Finish, Stop, Fail}
)

func TestStateTable(t *testing.T) {
	require.Len(t, transitions, len(allStates))
	reached := map[State]bool{Ready: true}
	for _, s := range allStates {
		for _, e := range allEvents {
			next, err := s.Next(e)
			if err != nil {
				require.Equal(t, s, next)
				continue
			}
			require.Contains(t, transitions, next)
			reached[next] = true
			if e == Stop {
				require.Equal(t, Stopped, next, "a stop always stops")
			}
			if e == Fail {
				require.Equal(t, Failed, next)
			}
		}
		_, err := s.Next(Begin)
		require.NoError(t, err, "any task can be started again: %s", s)
	}
	require.Len(t, reached, len(allStates))
	for _, s := range []State{Stopped, Failed, Done} {
		_, err := s.Next(Finish)
		require.ErrorContains(t, err, "cannot finish", "nothing finishes that does not run")
	}
	next, err := Syncing.Next(Begin)
	require.NoError(t, err)
	require.Equal(t, Syncing, next, "configuring after a sync does not go back to the first copy")
	_, err = State("dancing").Next(Begin)
	require.Error(t, err)
}
