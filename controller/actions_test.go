package controller

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var allStates = []smsapi.TaskState{
	smsapi.StateReady, smsapi.StateRunning, smsapi.StateSyncing, smsapi.StateMigrateSuccess, smsapi.StateMigrateFail, smsapi.StateSyncSuccess,
	smsapi.StateSyncFail, smsapi.StateAborting, smsapi.StateAbort, smsapi.StateSkipping, smsapi.StateDeleting, smsapi.StateResetting,
	smsapi.StateSyncRollingBack, smsapi.StateSyncRollbackSuccess,
}

// begun returns a task in a state, with a verification under way.
func begun(state smsapi.TaskState) *store.Task {
	r := smsapi.CreateTaskRequest{Type: smsapi.MigrateFile, OSType: smsapi.Linux, Syncing: true, SourceServer: smsapi.SourceServerID{ID: "source"}}
	t := &store.Task{ID: "task", State: state, Request: r, Subtasks: planned(r)}
	now, trace := int64(1), `{"phase":"verify"}`
	t.Subtasks[1].Started, t.Subtasks[1].Trace = &now, &trace
	return t
}

// Every operation in every state: what is legal, what state follows, which command the agent gets. What the documents say of it is
// written out here once more, so that the table and this list have to be changed together.
func TestActions(t *testing.T) {
	const any = "*"
	for operation, want := range map[smsapi.Operation]struct {
		from, to string // to: "" stays
		code     string
		command  smsapi.CommandName
	}{
		smsapi.OpStart:         {"READY ABORT MIGRATE_FAIL SYNC_FAIL", "RUNNING", "SMS.1039", "START"},
		smsapi.OpStop:          {"RUNNING SYNCING", "ABORTING", "SMS.1038", "STOP"},
		smsapi.OpOverSpeed:     {"RUNNING SYNCING", "ABORTING", "SMS.1038", "STOP"},
		smsapi.OpTest:          {"SYNCING", "", "FERRY.0409", "START"},
		smsapi.OpCutover:       {"SYNCING", "", "FERRY.0409", "START"},
		smsapi.OpCloneTest:     {"SYNCING", "", "FERRY.0409", "START"},
		smsapi.OpRestart:       {"MIGRATE_SUCCESS SYNC_SUCCESS SYNC_F_ROLLBACK_SUCCESS", "SYNCING", "SMS.1040", "SYNC"},
		smsapi.OpCollectLog:    {any, "", "FERRY.0409", "UPLOAD_LOG"},
		smsapi.OpRollbackSync:  {"SYNC_FAIL", "SYNC_F_ROLLBACKING", "FERRY.0409", "SYNC_FAILED_ROLLBACK"},
		smsapi.OpNetworkCheck:  {"READY ABORT MIGRATE_FAIL SYNC_FAIL", "", "FERRY.0409", "NETWORK_CHECK"},
		smsapi.OpSkip:          {"RUNNING SYNCING", "SKIPPING", "FERRY.0409", "SKIP"},
		smsapi.OpClear:         {"MIGRATE_SUCCESS SYNC_SUCCESS SYNC_F_ROLLBACK_SUCCESS", "", "FERRY.0409", ""},
		smsapi.OpMigrationTest: {"READY", "", "FERRY.0409", "PREMIGRATE"},
	} {
		for _, state := range allStates {
			task := begun(state)
			orders, err := act(task, smsapi.TaskAction{Operation: operation}, 5)
			if want.from != any && !strings.Contains(" "+want.from+" ", " "+string(state)+" ") || state == smsapi.StateDeleting {
				var refused *smsapi.Error
				require.ErrorAs(t, err, &refused, "%s while %s", operation, state)
				require.Equal(t, 400, refused.Status)
				require.Equal(t, want.code, refused.Code, "%s while %s", operation, state)
				require.Equal(t, begun(state), task, "a refused operation changes nothing")
				continue
			}
			require.NoError(t, err, "%s while %s", operation, state)
			if want.to == "" {
				require.Equal(t, state, task.State, operation)
			} else {
				require.Equal(t, smsapi.TaskState(want.to), task.State, operation)
			}
			if want.command == "" {
				require.Empty(t, orders)
				continue
			}
			require.Len(t, orders, 1)
			require.Equal(t, want.command, orders[0].Name, operation)
			require.Equal(t, "source", orders[0].SourceID)
			require.Equal(t, "task", orders[0].Param.Task)
		}
	}
}

func TestActionsChangeWhatIsToBeDone(t *testing.T) {
	do := func(task *store.Task, o smsapi.Operation) error {
		_, err := act(task, smsapi.TaskAction{Operation: o, TemplateID: "template"}, 5)
		return err
	}
	names := func(task *store.Task, op string) string {
		var list []string
		for _, s := range task.Subtasks {
			if s.UserOp == op {
				require.Zero(t, s.Progress)
				list = append(list, string(s.Name))
			}
		}
		return strings.Join(list, " ")
	}
	t.Run("launch into a receiver", func(t *testing.T) {
		task := begun(smsapi.StateSyncing)
		require.NoError(t, do(task, smsapi.OpCutover))
		require.Equal(t, "SYNC_LINUX_FILE", names(task, "CUTOVER"))
		view := shownTask(task, &store.Source{State: smsapi.SourceSyncing, Cycle: smsapi.CycleSyncing}, timeAt(5))
		require.Equal(t, "cutovering", view.SourceServer.MigrationCycle, "this is how the agent learns of it")
		move(task, success(task), 6)
		require.Equal(t, smsapi.StateMigrateSuccess, task.State)
		require.False(t, task.Detail.Launching)
	})
	t.Run("launch of a server", func(t *testing.T) {
		task := begun(smsapi.StateSyncing)
		task.Subtasks = append(task.Subtasks, store.Subtask{Name: smsapi.AttachAgentImage, Progress: 100})
		require.NoError(t, do(task, smsapi.OpTest))
		require.Equal(t, "SYNC_LINUX_FILE CONFIGURE_LINUX_FILE DETTACH_AGENT_IMAGE", names(task, "CUTOVER"))
	})
	t.Run("clone", func(t *testing.T) {
		task := begun(smsapi.StateSyncing)
		require.NoError(t, do(task, smsapi.OpCloneTest))
		require.Equal(t, "CLONE_VM", names(task, "CLONE"))
		require.Equal(t, "PREPARING", task.Detail.Clone.CloneState)
		require.Equal(t, "template", task.Request.CloneVMTemplateID)
	})
	t.Run("one more pass", func(t *testing.T) {
		task := begun(smsapi.StateMigrateSuccess)
		require.NoError(t, do(task, smsapi.OpRestart))
		require.Equal(t, "SYNC_LINUX_FILE", names(task, "SYNC"))
		require.Nil(t, task.Finished)
		apply(task, smsapi.Progress{Subtask: smsapi.SyncLinuxFile, Percent: 40}, 6)
		require.Equal(t, smsapi.StateSyncing, task.State)
		apply(task, smsapi.Progress{Subtask: smsapi.SyncLinuxFile, Percent: 40, ProcessTrace: `{"outcome":"failed","error":"x"}`}, 7)
		require.Equal(t, smsapi.StateSyncFail, task.State)
		require.NoError(t, do(task, smsapi.OpStart))
		require.Equal(t, smsapi.StateSyncing, task.State)
		require.Empty(t, task.ErrorJSON)
		apply(task, smsapi.Progress{Subtask: smsapi.SyncLinuxFile, Percent: 100, ProcessTrace: `{"outcome":"done"}`}, 8)
		require.Equal(t, smsapi.StateSyncSuccess, task.State)
	})
	t.Run("cleared", func(t *testing.T) {
		task := begun(smsapi.StateMigrateSuccess)
		task.Detail.SnapshotIDs = "a;b"
		require.NoError(t, do(task, smsapi.OpClear))
		require.Empty(t, task.Detail.SnapshotIDs)
		require.Error(t, do(task, smsapi.OpRestart), "nothing can follow")
	})
	t.Run("nothing to skip", func(t *testing.T) {
		task := begun(smsapi.StateRunning)
		copying := `{"phase":"copy"}`
		task.Subtasks[1].Trace = &copying
		require.Error(t, do(task, smsapi.OpSkip))
		foreign := "41 %"
		task.Subtasks[1].Trace = &foreign
		require.NoError(t, do(task, smsapi.OpSkip), "who sends no traces is believed")
	})
	t.Run("too fast", func(t *testing.T) {
		task := begun(smsapi.StateRunning)
		require.NoError(t, do(task, smsapi.OpOverSpeed))
		require.Contains(t, task.ErrorJSON, "SMS.9007")
		require.True(t, answerWith(task, smsapi.CommandStop, true))
		require.Contains(t, task.ErrorJSON, "SMS.9007", "a paused task says why")
		require.NoError(t, do(task, smsapi.OpStart))
		require.Empty(t, task.ErrorJSON)
	})
}

// answerWith answers a command and reports whether the task is still there.
func answerWith(task *store.Task, name smsapi.CommandName, ok bool) bool {
	result := smsapi.CommandResult{Name: name, Result: smsapi.ResultFail, Detail: []byte(`{"message":"no room","code":"FERRY-X","remedy":"make some"}`)}
	if ok {
		result.Result = smsapi.ResultSuccess
	}
	return !answered(task, result, 9)
}

func TestAnswers(t *testing.T) {
	for _, c := range []struct {
		before  smsapi.TaskState
		command smsapi.CommandName
		ok      bool
		want    smsapi.TaskState // "" means gone
	}{
		{smsapi.StateRunning, smsapi.CommandStart, true, smsapi.StateRunning},
		{smsapi.StateRunning, smsapi.CommandStart, false, smsapi.StateMigrateFail},
		{smsapi.StateMigrateSuccess, smsapi.CommandStart, false, smsapi.StateMigrateSuccess},
		{smsapi.StateAborting, smsapi.CommandStop, true, smsapi.StateAbort},
		{smsapi.StateAborting, smsapi.CommandStop, false, smsapi.StateRunning},
		{smsapi.StateRunning, smsapi.CommandStop, true, smsapi.StateRunning},
		{smsapi.StateSkipping, smsapi.CommandSkip, true, smsapi.StateRunning},
		{smsapi.StateSkipping, smsapi.CommandSkip, false, smsapi.StateRunning},
		{smsapi.StateDeleting, smsapi.CommandDelete, true, ""},
		{smsapi.StateDeleting, smsapi.CommandDelete, false, smsapi.StateDeleting},
		{smsapi.StateSyncRollingBack, smsapi.CommandRollback, true, smsapi.StateSyncRollbackSuccess},
		{smsapi.StateSyncRollingBack, smsapi.CommandRollback, false, smsapi.StateSyncFail},
		{smsapi.StateReady, smsapi.CommandPremigrate, false, smsapi.StateReady},
	} {
		task := begun(c.before)
		there := answerWith(task, c.command, c.ok)
		require.Equal(t, c.want != "", there)
		if there {
			require.Equal(t, c.want, task.State, "%s %v while %s", c.command, c.ok, c.before)
		}
		if c.want == smsapi.StateMigrateFail {
			require.JSONEq(t, `{"error_code":"FERRY-X","error_msg":"no room: make some"}`, task.ErrorJSON)
		}
	}
	task := begun(smsapi.StateRunning)
	collect(task, smsapi.CollectLog{Bucket: smsapi.OwnBucket})
	require.Equal(t, smsapi.LogUploading, logStatus(task))
	answerWith(task, smsapi.CommandUploadLog, false)
	require.Equal(t, smsapi.LogFailed, logStatus(task))
	answerWith(task, smsapi.CommandUploadLog, true)
	require.Equal(t, smsapi.LogUploaded, logStatus(task))
	require.Equal(t, int64(9), *task.Detail.Log.Uploaded)
}

// While a task waits for its agent to stop or to delete it, reports that were on their way change nothing but the numbers.
func TestReportsDoNotUndoOrders(t *testing.T) {
	for _, state := range []smsapi.TaskState{smsapi.StateAborting, smsapi.StateDeleting, smsapi.StateSkipping} {
		task := begun(state)
		apply(task, smsapi.Progress{Subtask: smsapi.MigrateLinuxFile, Percent: 60, ReplicatedSize: 60, ProcessTrace: `{"phase":"copy"}`}, 7)
		require.Equal(t, state, task.State)
		require.Equal(t, int64(60), task.Replicated)
	}
	task := begun(smsapi.StateAborting)
	apply(task, smsapi.Progress{Subtask: smsapi.MigrateLinuxFile, Percent: 60, ProcessTrace: `{"outcome":"stopped"}`}, 7)
	require.Equal(t, smsapi.StateAbort, task.State)
}

// Whatever users, agents and answers do to a task in whatever order, it stays one that can be shown, and no operation happens in a
// state that it is not for.
func TestAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		task := begun(smsapi.StateReady)
		for now := range rapid.IntRange(1, 40).Draw(t, "events") {
			before := task.State
			switch rapid.IntRange(0, 2).Draw(t, "kind") {
			case 0:
				operation := rapid.SampledFrom(operationsOf(actions)).Draw(t, "operation")
				_, err := act(task, smsapi.TaskAction{Operation: operation}, int64(now))
				var refused *smsapi.Error
				if err != nil && (!errors.As(err, &refused) || task.State != before) {
					t.Fatalf("%s while %s: %v", operation, before, err)
				}
			case 1:
				trace := rapid.SampledFrom([]string{"", `{"phase":"copy"}`, `{"outcome":"done"}`, `{"outcome":"failed"}`, `{"outcome":"stopped"}`}).Draw(t, "trace")
				apply(task, smsapi.Progress{
					Subtask: rapid.SampledFrom([]smsapi.SubtaskName{smsapi.SSLConfig, smsapi.MigrateLinuxFile, smsapi.SyncLinuxFile}).Draw(t, "subtask"),
					Percent: rapid.IntRange(0, 100).Draw(t, "percent"), ProcessTrace: trace,
				}, int64(now))
			case 2:
				name := rapid.SampledFrom([]smsapi.CommandName{"START", "STOP", "SYNC", "SKIP", "UPLOAD_LOG", "SYNC_FAILED_ROLLBACK"}).Draw(t, "answer")
				answerWith(task, name, rapid.Bool().Draw(t, "success"))
			}
			if !task.State.Known() || (task.Finished != nil) != (succeeded(task.State) || failed(task.State)) {
				t.Fatalf("%s, finished %v", task.State, task.Finished)
			}
			shownTask(task, nil, timeAt(now))
		}
	})
}

func operationsOf(table map[smsapi.Operation]action) []smsapi.Operation {
	return slices.Sorted(maps.Keys(table))
}

func timeAt(ms int) time.Time { return time.UnixMilli(int64(ms)) }
