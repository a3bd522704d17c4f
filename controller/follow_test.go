package controller

import (
	"testing"

	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/stretchr/testify/require"
)

// Where a task puts its source, by where the source is.
func TestFollow(t *testing.T) {
	for _, c := range []struct {
		task     smsapi.TaskState
		from, to place
	}{
		{smsapi.StateReady, place{"waiting", "checking"}, place{"waiting", "setting"}},
		{smsapi.StateReady, place{"finished", "cutovered"}, place{"waiting", "setting"}},
		{smsapi.StateReady, place{"premiging", "setting"}, place{"premiging", "setting"}},
		{smsapi.StateRunning, place{"waiting", "setting"}, place{"initialize", "replicating"}},
		{smsapi.StateRunning, place{"replicate", "replicating"}, place{"replicate", "replicating"}},
		{smsapi.StateRunning, place{"stopped", "replicating"}, place{"initialize", "replicating"}},
		{smsapi.StateRunning, place{"skipping", "replicating"}, place{"replicate", "replicating"}},
		{smsapi.StateRunning, place{"error", "syncing"}, place{"syncing", "syncing"}},
		{smsapi.StateRunning, place{"error", "cutovering"}, place{"cutovering", "cutovering"}},
		{smsapi.StateSyncing, place{"replicate", "replicating"}, place{"syncing", "syncing"}},
		{smsapi.StateSyncing, place{"cloning", "syncing"}, place{"cloning", "syncing"}},
		{smsapi.StateSyncing, place{"stopped", "cutovering"}, place{"cutovering", "cutovering"}},
		{smsapi.StateSyncing, place{"finished", "cutovered"}, place{"syncing", "syncing"}},
		{smsapi.StateAborting, place{"replicate", "replicating"}, place{"stopping", "replicating"}},
		{smsapi.StateAborting, place{"stopped", "replicating"}, place{"stopped", "replicating"}},
		{smsapi.StateAborting, place{"waiting", "setting"}, place{"stopping", "replicating"}},
		{smsapi.StateAbort, place{"stopping", "syncing"}, place{"stopped", "syncing"}},
		{smsapi.StateMigrateFail, place{"replicate", "replicating"}, place{"error", "replicating"}},
		{smsapi.StateSyncFail, place{"syncing", "syncing"}, place{"error", "syncing"}},
		{smsapi.StateMigrateSuccess, place{"cutovering", "cutovering"}, place{"finished", "cutovered"}},
		{smsapi.StateSyncSuccess, place{"syncing", "syncing"}, place{"finished", "cutovered"}},
		{smsapi.StateSyncSuccess, place{"cleared", "cutovered"}, place{"cleared", "cutovered"}},
		{smsapi.StateSkipping, place{"syncing", "syncing"}, place{"skipping", "syncing"}},
		{smsapi.StateDeleting, place{"stopped", "syncing"}, place{"deleting", "syncing"}},
		{smsapi.StateSyncRollingBack, place{"error", "syncing"}, place{"error", "syncing"}},
	} {
		got := follow(c.task, c.from)
		require.Equal(t, c.to, got, "%s from %v", c.task, c.from)
		require.Equal(t, got, follow(c.task, got), "%s again", c.task)
	}
}

// Whatever a task does, a source is put where changestate or the service may put it.
func TestFollowKnowsItsPlaces(t *testing.T) {
	for _, task := range []smsapi.TaskState{
		smsapi.StateReady, smsapi.StateRunning, smsapi.StateSyncing, smsapi.StateMigrateSuccess, smsapi.StateMigrateFail, smsapi.StateAborting, smsapi.StateAbort,
	} {
		for _, cycle := range []smsapi.MigrationCycle{"checking", "setting", "replicating", "syncing", "cutovering", "cutovered"} {
			to := follow(task, place{"unavailable", cycle})
			require.True(t, to.state.Known() && to.cycle.Known())
			state := string(to.state)
			if to.state == smsapi.SourceInitialize {
				state = "init"
			}
			_, _, err := smsapi.CopyState{State: state, Cycle: string(to.cycle)}.Pair()
			require.NoError(t, err, "%s from %s", task, cycle)
		}
	}
}
