package controller

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/stretchr/testify/require"
)

func TestStatesFollowReports(t *testing.T) {
	type step struct {
		subtask smsapi.SubtaskName
		percent int
		trace   smsapi.Trace
		want    smsapi.TaskState
	}
	const foreign = smsapi.Outcome("no trace at all")
	done := smsapi.Trace{Outcome: smsapi.OutcomeDone}
	stopped := smsapi.Trace{Outcome: smsapi.OutcomeStopped}
	failed := smsapi.Trace{Outcome: smsapi.OutcomeFailed, Error: "no space left", Code: "FERRY-TARGET-FULL", Remedy: "free some"}
	none := smsapi.Trace{}
	for name, c := range map[string]struct {
		syncing bool
		steps   []step
	}{
		"one copy": {false, []step{
			{smsapi.SSLConfig, 0, none, smsapi.StateRunning},
			{smsapi.SSLConfig, 100, none, smsapi.StateRunning},
			{smsapi.MigrateLinuxFile, 50, none, smsapi.StateRunning},
			{smsapi.MigrateLinuxFile, 100, done, smsapi.StateMigrateSuccess},
		}},
		"an agent that sends no traces": {false, []step{
			{smsapi.SSLConfig, 100, smsapi.Trace{Outcome: foreign}, smsapi.StateRunning},
			{smsapi.MigrateLinuxFile, 100, smsapi.Trace{Outcome: foreign}, smsapi.StateMigrateSuccess},
		}},
		"stopped and resumed": {false, []step{
			{smsapi.SSLConfig, 100, none, smsapi.StateRunning},
			{smsapi.MigrateLinuxFile, 30, stopped, smsapi.StateAbort},
			{smsapi.MigrateLinuxFile, 30, none, smsapi.StateRunning},
			{smsapi.MigrateLinuxFile, 100, done, smsapi.StateMigrateSuccess},
		}},
		"failed and mended": {false, []step{
			{smsapi.MigrateLinuxFile, 30, failed, smsapi.StateMigrateFail},
			{smsapi.MigrateLinuxFile, 30, none, smsapi.StateRunning},
		}},
		"a sync of a finished task": {false, []step{
			{smsapi.SSLConfig, 100, none, smsapi.StateRunning},
			{smsapi.MigrateLinuxFile, 100, done, smsapi.StateMigrateSuccess},
			{smsapi.SSLConfig, 0, none, smsapi.StateRunning},
			{smsapi.SSLConfig, 100, none, smsapi.StateRunning}, // only the agent knows that there is more
			{smsapi.SyncLinuxFile, 0, none, smsapi.StateSyncing},
			{smsapi.SyncLinuxFile, 100, done, smsapi.StateMigrateSuccess},
		}},
		"keep syncing": {true, []step{
			{smsapi.SSLConfig, 100, none, smsapi.StateRunning},
			{smsapi.MigrateLinuxFile, 100, none, smsapi.StateSyncing},
			{smsapi.SyncLinuxFile, 20, none, smsapi.StateSyncing},
			{smsapi.SyncLinuxFile, 100, none, smsapi.StateSyncing},
			{smsapi.SyncLinuxFile, 0, stopped, smsapi.StateAbort},
			{smsapi.SyncLinuxFile, 0, none, smsapi.StateSyncing},
			{smsapi.SyncLinuxFile, 100, done, smsapi.StateMigrateSuccess},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			request := smsapi.CreateTaskRequest{Type: smsapi.MigrateFile, OSType: smsapi.Linux, Syncing: c.syncing}
			task := &store.Task{State: smsapi.StateReady, Request: request, Subtasks: planned(request)}
			for i, s := range c.steps {
				now := int64(1000 * (i + 1))
				p := smsapi.Progress{Subtask: s.subtask, Percent: s.percent, ProcessTrace: s.trace.String()}
				if s.trace.Outcome == foreign {
					p.ProcessTrace = ""
				}
				apply(task, p, now)
				require.Equal(t, s.want, task.State, "step %d", i)
				require.Equal(t, now, *task.Reported)
				final := s.want == smsapi.StateMigrateSuccess || s.want == smsapi.StateMigrateFail
				require.Equal(t, final, task.Finished != nil)
				if s.want == smsapi.StateMigrateFail {
					require.JSONEq(t, `{"error_code":"FERRY-TARGET-FULL","error_msg":"no space left: free some"}`, task.ErrorJSON)
				} else {
					require.Empty(t, task.ErrorJSON)
				}
			}
		})
	}
}

func TestSubtaskBeginsAgain(t *testing.T) {
	task := &store.Task{Subtasks: planned(smsapi.CreateTaskRequest{})}
	report := func(percent int, now int64) store.Subtask {
		apply(task, smsapi.Progress{Subtask: smsapi.SSLConfig, Percent: percent, MigrateSpeed: 5}, now)
		return task.Subtasks[0]
	}
	s := report(0, 1)
	require.Equal(t, int64(1), *s.Started)
	require.Nil(t, s.Ended)
	s = report(100, 2)
	require.Equal(t, int64(1), *s.Started)
	require.Equal(t, int64(2), *s.Ended)
	require.Zero(t, s.Speed)
	s = report(0, 3)
	require.Equal(t, int64(3), *s.Started)
	require.Nil(t, s.Ended)
}

func TestPlannedSubtasks(t *testing.T) {
	names := func(r smsapi.CreateTaskRequest) string {
		var all []string
		for _, s := range planned(r) {
			all = append(all, string(s.Name))
		}
		return strings.Join(all, " ")
	}
	require.Equal(t, "SSL_CONFIG MIGRATE_LINUX_FILE", names(smsapi.CreateTaskRequest{OSType: smsapi.Linux, Type: smsapi.MigrateFile}))
	require.Equal(t, "SSL_CONFIG MIGRATE_LINUX_BLOCK", names(smsapi.CreateTaskRequest{OSType: smsapi.Linux, Type: smsapi.MigrateBlock}))
	require.Equal(t, "SSL_CONFIG MIGRATE_WINDOWS_BLOCK", names(smsapi.CreateTaskRequest{OSType: smsapi.Windows, Type: smsapi.MigrateBlock}))
}

// Whatever process_trace a foreign agent sends, a task stays one that can be shown.
func FuzzApply(f *testing.F) {
	f.Add("41% done", 41)
	f.Add(`{"outcome":"failed","error":"x"}`, 3)
	f.Fuzz(func(t *testing.T, trace string, percent int) {
		task := &store.Task{State: smsapi.StateReady, Subtasks: planned(smsapi.CreateTaskRequest{})}
		apply(task, smsapi.Progress{Subtask: smsapi.SSLConfig, Percent: percent, ProcessTrace: trace}, 1)
		require.True(t, task.State.Known())
		if task.ErrorJSON != "" {
			require.True(t, json.Valid([]byte(task.ErrorJSON)))
		}
	})
}
