package store_test

import (
	"testing"

	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/stretchr/testify/require"
)

func TestTasks(t *testing.T) {
	suite{
		"a task comes back as it was": testTaskComesBack,
	}.run(t)
}

func newTask(id string) *store.Task {
	return &store.Task{
		ID: id, State: smsapi.StateReady, TargetID: "target", Created: 5,
		Request:  smsapi.CreateTaskRequest{Name: "name", SourceServer: smsapi.SourceServerID{ID: "source"}},
		Subtasks: []store.Subtask{{Name: smsapi.SSLConfig, UserOp: "REPLICATE"}},
	}
}

func testTaskComesBack(t *testing.T, db *store.DB) {
	change(t, db, func(tx *store.Tx) error { return tx.CreateTask(newTask("a")) })
	one := int64(1 << 62)
	fill := func(t *store.Task) {
		nul := "trace\x00\xF0\x9F\x9A\xA2"
		t.State, t.Started, t.Finished, t.Reported = smsapi.StateMigrateFail, &one, &one, &one
		t.Speed, t.CompressRate, t.Replicated, t.Total, t.RemainSeconds, t.ErrorJSON = 1.5, 2.5, 3, 4, &one, "{}"
		t.Subtasks[0].Progress, t.Subtasks[0].Started, t.Subtasks[0].Ended = 100, &one, &one
		t.Subtasks[0].Speed, t.Subtasks[0].Trace = 1.5, &nul
		t.Subtasks = append(t.Subtasks, store.Subtask{Name: smsapi.SyncLinuxFile, UserOp: "SYNC"})
	}
	var task *store.Task
	change(t, db, func(tx *store.Tx) (err error) {
		if task, err = tx.Task("a"); err == nil {
			fill(task)
			err = tx.SaveTask(task)
		}
		return err
	})
	trace := "trace\uFFFD🚢" // no database has to keep a NUL
	task.Subtasks[0].Trace = &trace
	view(t, db, func(tx *store.Tx) error {
		got, err := tx.Task("a")
		require.NoError(t, err)
		require.EqualExportedValues(t, *task, *got)
		page, count, err := tx.Tasks(smsapi.TaskQuery{Limit: 10})
		require.Equal(t, 1, count)
		require.EqualExportedValues(t, []*store.Task{task}, page)
		return err
	})
	require.ErrorIs(t, db.Change(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Task("b")
		return err
	}), store.ErrNotFound)
}
