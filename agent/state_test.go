package agent

import (
	"os"
	"testing"

	"github.com/ferry-migrate/ferry/reporter/smsapi"
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

// What the documentation shows is made from the tables.
func TestDocumentationShowsTheTables(t *testing.T) {
	text, err := os.ReadFile("../docs/AGENT.md")
	require.NoError(t, err)
	require.Contains(t, string(text), Diagram(), "docs/AGENT.md: replace the diagram by this one")
	require.Contains(t, string(text), SequenceTable(), "docs/AGENT.md: replace the table of sequences by this one")
}

// Every subtask of the API has its place in some sequence.
func TestSequences(t *testing.T) {
	seen := map[smsapi.SubtaskName]bool{}
	for _, how := range []smsapi.TaskType{smsapi.MigrateFile, smsapi.MigrateBlock} {
		for _, system := range []smsapi.OSType{smsapi.Linux, smsapi.Windows} {
			for bits := range 1 << 5 {
				r := Route{Type: how, OS: system, NewServer: bits&1 > 0, Receiver: bits&2 > 0, Again: bits&4 > 0, Continuous: bits&8 > 0, Clone: bits&16 > 0}
				sequence := r.Sequence()
				require.NotEmpty(t, sequence)
				for i, name := range sequence {
					require.True(t, name.Known(), name)
					require.NotContains(t, sequence[i+1:], name, "each runs once")
					seen[name] = true
				}
				listed := []smsapi.Subtask{{Name: smsapi.FormatDiskLinux}, {Name: smsapi.ConfigureLinux}}
				for _, name := range spelled(sequence, listed) {
					seen[name] = true
					require.NotEqual(t, smsapi.FormatDiskLinuxFile, name, "a service that lists older names hears those")
				}
			}
		}
	}
	require.Len(t, seen, 19)
}

// Each state that a subtask puts the source in is a pair that changestate takes.
func TestSourceStatesArePairs(t *testing.T) {
	for _, name := range (Route{Type: smsapi.MigrateFile, OS: smsapi.Linux, NewServer: true, Continuous: true}).Sequence() {
		state, cycle := sourceState(name)
		for _, s := range []smsapi.SourceState{state, smsapi.SourceStopping, smsapi.SourceStopped, smsapi.SourceError} {
			_, _, err := smsapi.CopyState{State: string(s), Cycle: string(cycle)}.Pair()
			require.NoError(t, err, name)
		}
	}
	_, _, err := smsapi.CopyState{State: string(smsapi.SourceFinished), Cycle: string(smsapi.CycleCutovered)}.Pair()
	require.NoError(t, err)
}
