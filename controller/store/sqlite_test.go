package store_test

import (
	"database/sql"
	"errors"
	"path/filepath"
	"testing"

	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, path string) *store.SQLite {
	t.Helper()
	s, err := store.OpenSQLite(t.Context(), path)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

func newTask(id string) *store.Task {
	return &store.Task{
		ID: id, State: smsapi.StateReady, TargetID: "target", Created: 5,
		Request:  smsapi.CreateTaskRequest{Name: "name", SourceServer: smsapi.SourceServerID{ID: "source"}},
		Subtasks: []store.Subtask{{Name: smsapi.SSLConfig, UserOp: "REPLICATE"}},
	}
}

func TestTaskComesBackAsItWas(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "db"))
	task := newTask("a")
	require.NoError(t, s.Create(t.Context(), task))
	one, trace := int64(1<<62), "trace\x00"
	require.NoError(t, s.Update(t.Context(), "a", func(t *store.Task) error {
		t.State, t.Started, t.Finished, t.Reported = smsapi.StateMigrateFail, &one, &one, &one
		t.Speed, t.CompressRate, t.Replicated, t.Total, t.RemainSeconds, t.ErrorJSON = 1.5, 2.5, 3, 4, &one, "{}"
		t.Subtasks[0].Progress, t.Subtasks[0].Started, t.Subtasks[0].Ended = 100, &one, &one
		t.Subtasks[0].Speed, t.Subtasks[0].Trace = 1.5, &trace
		t.Subtasks = append(t.Subtasks, store.Subtask{Name: smsapi.SyncLinuxFile, UserOp: "SYNC"})
		return nil
	}))
	want := newTask("a")
	want.Number, want.Subtasks[0].ID = task.Number, task.Subtasks[0].ID
	want.State, want.Started, want.Finished, want.Reported = smsapi.StateMigrateFail, &one, &one, &one
	want.Speed, want.CompressRate, want.Replicated, want.Total, want.RemainSeconds, want.ErrorJSON = 1.5, 2.5, 3, 4, &one, "{}"
	want.Subtasks = []store.Subtask{
		{ID: 1, Name: smsapi.SSLConfig, UserOp: "REPLICATE", Progress: 100, Started: &one, Ended: &one, Speed: 1.5, Trace: &trace},
		{ID: 2, Name: smsapi.SyncLinuxFile, UserOp: "SYNC"},
	}
	got, err := s.Task(t.Context(), "a")
	require.NoError(t, err)
	got.Subtasks[1].ID = 2 // an upsert may use up numbers
	require.Equal(t, want, got)

	page, count, err := s.List(t.Context(), smsapi.TaskQuery{Limit: 10})
	require.NoError(t, err)
	require.Equal(t, 1, count)
	page[0].Subtasks[1].ID = 2
	require.Equal(t, want, page[0])
}

func TestUpdateIsAllOrNothing(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "db"))
	require.NoError(t, s.Create(t.Context(), newTask("a")))
	boom := errors.New("boom")
	require.ErrorIs(t, s.Update(t.Context(), "a", func(t *store.Task) error {
		t.State, t.Subtasks[0].Progress = smsapi.StateRunning, 50
		return boom
	}), boom)
	got, err := s.Task(t.Context(), "a")
	require.NoError(t, err)
	require.Equal(t, smsapi.StateReady, got.State)
	require.Zero(t, got.Subtasks[0].Progress)

	require.ErrorIs(t, s.Update(t.Context(), "b", func(*store.Task) error { return nil }), store.ErrNotFound)
	_, err = s.Task(t.Context(), "b")
	require.ErrorIs(t, err, store.ErrNotFound)
	require.Error(t, s.Create(t.Context(), newTask("a")), "an id is given once")
}

// Two processes on one file: `ferry task` reads history while a migration runs.
func TestTwoHandlesOnOneFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	one, two := open(t, path), open(t, path)
	require.NoError(t, one.Create(t.Context(), newTask("a")))
	require.NoError(t, two.Create(t.Context(), newTask("b")))
	_, count, err := one.List(t.Context(), smsapi.TaskQuery{})
	require.NoError(t, err)
	require.Equal(t, 2, count)
}

func TestNewerSchemaIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	open(t, path).Close()
	db, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	_, err = db.Exec("PRAGMA user_version = 99")
	require.NoError(t, err)
	db.Close()
	_, err = store.OpenSQLite(t.Context(), path)
	require.Equal(t, "FERRY-STATE-NEWER", fault.CodeOf(err))
}
