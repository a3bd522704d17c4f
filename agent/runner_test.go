package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter/report"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/stretchr/testify/require"
)

const (
	ssl     = string(smsapi.SSLConfig)
	migrate = string(smsapi.MigrateLinuxFile)
	syncing = string(smsapi.SyncLinuxFile)
)

// copying moves bytes each second until total is reached.
func copying(seconds int, bytes int64) func(context.Context, *fakeSubtask) error {
	return func(ctx context.Context, s *fakeSubtask) error {
		for range seconds {
			select {
			case <-time.After(time.Second):
				s.move(bytes)
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	}
}

func TestRunReportsEverySubtask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		data := &fakeSubtask{name: migrate, body: copying(10, 100)}
		s := newStage(t, dir, &fakeSubtask{name: ssl}, data)
		began := time.Now()
		require.NoError(t, s.Run(t.Context(), "task"))
		require.Equal(t, 10*time.Second, time.Since(began))
		require.Equal(t, []string{ssl + " started", ssl + " ended", migrate + " started", migrate + " ended last"}, s.reporter.states())
		var interim []report.Report
		for _, r := range s.reporter.reports {
			require.Equal(t, "task", r.Task)
			if r.State == report.Running {
				interim = append(interim, r)
			}
		}
		require.NotEmpty(t, interim)
		require.InDelta(t, 100, interim[0].Rate, 25, "bytes per second over the last five seconds")
		require.InDelta(t, float64(6*time.Second), float64(interim[0].Remaining), float64(2*time.Second))
		require.Equal(t, 100, s.reporter.last().Percent)
		require.Equal(t, 1, s.reporter.flushed)
		require.Equal(t, report.Ended, s.Status().State)
	})
}

func TestTemporaryErrorsAreRetriedWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Time
		data := &fakeSubtask{name: migrate, body: func(_ context.Context, s *fakeSubtask) error {
			at = append(at, time.Now())
			switch s.runs {
			case 20: // works for long, as a sync does that begins to count anew with each pass
				time.Sleep(time.Hour)
				return fault.Temporary(errors.New("connection lost"))
			case 31: // gets somewhere
				s.move(10)
				fallthrough
			default:
				return fault.Temporary(errors.New("connection lost"))
			case 33:
				return nil
			}
		}}
		s := newStage(t, t.TempDir(), data)
		require.NoError(t, s.Run(t.Context(), "task"))
		require.Equal(t, 33, data.runs)
		require.Less(t, at[1].Sub(at[0]), 2*time.Second)
		require.Greater(t, at[30].Sub(at[29]), 20*time.Second, "the pause grows")
		require.LessOrEqual(t, at[30].Sub(at[29]), 90*time.Second, "to a minute and its jitter")
		require.Less(t, at[31].Sub(at[30]), 2*time.Second, "and is short again after progress")
		require.Less(t, at[20].Sub(at[19]), time.Hour+2*time.Second, "or after long work")
		waited := false
		for _, r := range s.reporter.reports {
			waited = waited || r.State == report.Running && r.Error == "connection lost" && r.Attempt > 1
		}
		require.True(t, waited, "the interim reports say what is waited for")
		require.Equal(t, []string{migrate + " started", migrate + " ended last"}, s.reporter.states())
	})
}

func TestOtherErrorsEndTheTask(t *testing.T) {
	for name, c := range map[string]struct {
		err          error
		code, remedy string
	}{
		"operator":  {fault.Operator("FERRY-TARGET-FULL", "free some", errors.New("no space left")), "FERRY-TARGET-FULL", "free some"},
		"permanent": {fault.Permanent(errors.New("no space left")), "", ""},
		"no class":  {errors.New("no space left"), "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			first := &fakeSubtask{name: ssl}
			data := &fakeSubtask{name: migrate, body: func(_ context.Context, s *fakeSubtask) error {
				s.move(400)
				return c.err
			}}
			s := newStage(t, dir, first, data)
			err := s.Run(t.Context(), "task")
			require.ErrorIs(t, err, c.err)
			require.Equal(t, c.code, fault.CodeOf(err))
			require.Equal(t, 1, data.runs)
			require.Equal(t, []string{ssl + " started", ssl + " ended", migrate + " started", migrate + " failed"}, s.reporter.states())
			last := s.reporter.last()
			require.Contains(t, last.Error, "no space left")
			require.Equal(t, c.code, last.Code)
			require.Equal(t, c.remedy, last.Remedy)
			require.Equal(t, 40, last.Percent)

			// Started again, it goes on with the subtask that failed.
			data.body = nil
			again := newStage(t, dir, first, data)
			require.NoError(t, again.Run(t.Context(), "task"))
			require.Equal(t, 1, first.runs)
			require.Equal(t, []string{migrate + " started", migrate + " ended last"}, again.reporter.states())
		})
	}
}

func TestCancelStopsPromptlyAndResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		data := &fakeSubtask{name: migrate, body: copying(100, 10)}
		s := newStage(t, dir, &fakeSubtask{name: ssl}, data)
		s.reporter.hang = true
		ctx, cancel := context.WithCancelCause(t.Context())
		var err error
		ended := make(chan struct{})
		began := time.Now()
		go func() {
			err = s.Run(ctx, "task")
			close(ended)
		}()
		time.Sleep(30 * time.Second)
		cancel(errors.New("a signal"))
		<-ended
		require.Equal(t, 35*time.Second, time.Since(began), "the flush of a controller that hangs is bounded")
		require.True(t, fault.Cancelled(err))
		require.ErrorContains(t, err, "a signal")
		last := s.reporter.last()
		require.Equal(t, report.Stopped, last.State)
		require.Equal(t, 30, last.Percent)

		again := newStage(t, dir, &fakeSubtask{name: ssl}, data)
		data.body = nil
		require.NoError(t, again.Run(t.Context(), "task"))
		require.Equal(t, []string{migrate + " started", migrate + " ended last"}, again.reporter.states())
	})
}

// A pause between attempts is no reason to wait with a stop.
func TestCancelWhileWaitingForAnAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := &fakeSubtask{name: migrate, body: func(context.Context, *fakeSubtask) error { return fault.Temporary(errDown) }}
		s := newStage(t, t.TempDir(), data)
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Hour, ErrStopped)
		defer cancel()
		began := time.Now()
		err := s.Run(ctx, "task")
		require.ErrorIs(t, err, ErrStopped)
		require.True(t, fault.Cancelled(err))
		require.Equal(t, time.Hour, time.Since(began))
	})
}

func TestDoneTaskBeginsAnew(t *testing.T) {
	dir := t.TempDir()
	first := &fakeSubtask{name: ssl}
	require.NoError(t, newStage(t, dir, first, &fakeSubtask{name: migrate}).Run(t.Context(), "task"))
	later := newStage(t, dir, first, &fakeSubtask{name: syncing})
	require.NoError(t, later.Run(t.Context(), "task"))
	require.Equal(t, 2, first.runs)
	require.Equal(t, []string{ssl + " started", ssl + " ended", syncing + " started", syncing + " ended last"}, later.reporter.states())
}

func TestControllerIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		known := newStage(t, dir, &fakeSubtask{name: ssl})
		require.NoError(t, known.Run(t.Context(), "task"))

		var limit int64
		s := newStage(t, dir, &fakeSubtask{name: ssl})
		s.cfg.Plan = func(task *Task) ([]Subtask, error) {
			limit = task.Limit()
			return []Subtask{&fakeSubtask{name: ssl}}, nil
		}
		s.controller.set(fault.Temporary(errDown))
		s.reporter.err = errors.New("disk full")
		began := time.Now()
		require.NoError(t, s.Run(t.Context(), "task"), "a task that the journal knows does not wait")
		require.Zero(t, time.Since(began))
		require.Equal(t, int64(1_000_000), limit, "the task as it was: 8 Mbit/s")

		go func() {
			time.Sleep(10 * time.Minute)
			s.controller.set(nil)
		}()
		require.NoError(t, s.Run(t.Context(), "another"), "one that nobody knows does")
		require.GreaterOrEqual(t, time.Since(began), 10*time.Minute)

		s.controller.set(fault.Permanent(errors.New("no such task")))
		require.ErrorContains(t, s.Run(t.Context(), "task"), "no such task")
	})
}

func TestHostileTaskIDs(t *testing.T) {
	for _, id := range []string{"", "..", "../../etc/passwd", "a/b", "a\x00b", "a b", string(make([]byte, 300))} {
		s := newStage(t, t.TempDir(), &fakeSubtask{name: ssl})
		require.ErrorContains(t, s.Run(t.Context(), id), "task id", "%q", id)
	}
}

func TestPlanFails(t *testing.T) {
	s := newStage(t, t.TempDir())
	s.cfg.Plan = func(*Task) ([]Subtask, error) { return nil, fault.Operator("FERRY-X", "do y", errors.New("no plan")) }
	require.Equal(t, "FERRY-X", fault.CodeOf(s.Run(t.Context(), "task")))
	require.Equal(t, report.Failed, s.reporter.last().State)
	require.Equal(t, "FERRY-X", s.reporter.last().Code)
}

func TestDamagedJournalIsSetAside(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "tasks", "task.json")
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	for _, text := range []string{"", "{", `{"version":1,"state":"dancing"}`, `{"version":0}`} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		require.NoError(t, newStage(t, dir, &fakeSubtask{name: ssl}).Run(t.Context(), "task"))
		aside, err := os.ReadFile(path + ".damaged")
		require.NoError(t, err)
		require.Equal(t, text, string(aside))
	}
	require.NoError(t, os.WriteFile(path, []byte(`{"version":2,"state":"done"}`), 0o600))
	require.Equal(t, "FERRY-STATE-NEWER", fault.CodeOf(newStage(t, dir).Run(t.Context(), "task")))
}

func FuzzJournal(f *testing.F) {
	f.Add([]byte(`{"version":1,"state":"running","done":["SSL_CONFIG"],"spec":{"id":"task"}}`))
	f.Add([]byte(`{"version":1,"state":"done","done":null}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := t.TempDir()
		require.NoError(t, os.Mkdir(filepath.Join(dir, "tasks"), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "tasks", "task.json"), text, 0o600))
		j, err := openJournal(dir, "task", quiet)
		if err != nil {
			return
		}
		require.NotNil(t, transitions[j.data.State])
		require.NoError(t, j.update(func(f *journalFile) { f.Done = append(f.Done, "X") }))
		again, err := openJournal(dir, "task", quiet)
		require.NoError(t, err)
		require.True(t, again.done("X"))
	})
}

func TestEnsureTask(t *testing.T) {
	dir := t.TempDir()
	c := &fakeTasks{}
	spec := smsapi.CreateTaskRequest{Name: "n", SourceServer: smsapi.SourceServerID{ID: "s"}}
	id, err := EnsureTask(t.Context(), c, dir, spec)
	require.NoError(t, err)
	require.Equal(t, "created", id)
	require.Equal(t, smsapi.TaskQuery{Name: "n", SourceServerID: "s", Limit: 1}, c.asked)
	c.list.Tasks = []smsapi.ListedTask{{ID: "there"}}
	id, err = EnsureTask(t.Context(), c, dir, spec)
	require.NoError(t, err)
	require.Equal(t, "there", id)

	c.err = fault.Temporary(errDown)
	_, err = EnsureTask(t.Context(), c, dir, spec)
	require.Equal(t, "FERRY-CONTROLLER-DOWN", fault.CodeOf(err))
	j, err := openJournal(dir, "earlier", quiet)
	require.NoError(t, err)
	require.NoError(t, j.update(func(f *journalFile) {
		f.Spec = smsapi.Task{ID: "earlier", Name: "n", SourceServer: &smsapi.SourceServer{ID: "s"}}
	}))
	id, err = EnsureTask(t.Context(), c, dir, spec)
	require.NoError(t, err)
	require.Equal(t, "earlier", id, "data goes on without the controller")
	c.err = fault.Permanent(errors.New("no"))
	_, err = EnsureTask(t.Context(), c, dir, spec)
	require.EqualError(t, err, "no")
}

type fakeTasks struct {
	asked smsapi.TaskQuery
	list  smsapi.TaskList
	err   error
}

func (f *fakeTasks) CreateTask(context.Context, smsapi.CreateTaskRequest) (string, error) {
	return "created", f.err
}

func (f *fakeTasks) ListTasks(_ context.Context, q smsapi.TaskQuery) (smsapi.TaskList, error) {
	f.asked = q
	return f.list, f.err
}
