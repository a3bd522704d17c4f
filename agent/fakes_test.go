package agent

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"

	"github.com/ferry-migrate/ferry/reporter/report"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/ferry-migrate/ferry/transfer"
)

var quiet = slog.New(slog.DiscardHandler)

// A fakeSubtask does what its body says and counts its runs.
type fakeSubtask struct {
	name string
	body func(ctx context.Context, s *fakeSubtask) error // nil returns at once

	mu       sync.Mutex
	runs     int
	progress transfer.Progress
}

func (s *fakeSubtask) Name() string { return s.name }

func (s *fakeSubtask) Run(ctx context.Context, _ *Task) error {
	s.mu.Lock()
	s.runs++
	s.mu.Unlock()
	if s.body == nil {
		return nil
	}
	return s.body(ctx, s)
}

func (s *fakeSubtask) Progress() transfer.Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.progress
}

func (s *fakeSubtask) move(bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.progress.Bytes += bytes
	s.progress.BytesTotal = 1000
}

// A fakeReporter remembers reports.
type fakeReporter struct {
	mu      sync.Mutex
	reports []report.Report
	flushed int
	err     error // of Report
	hang    bool  // Flush waits for its context
}

func (f *fakeReporter) Report(r report.Report) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reports = append(f.reports, r)
	return f.err
}

func (f *fakeReporter) Flush(ctx context.Context) error {
	f.mu.Lock()
	f.flushed++
	f.mu.Unlock()
	if f.hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

// states returns "SUBTASK state" of the reports that are not interim ones.
func (f *fakeReporter) states() (all []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.reports {
		if r.State.Durable() {
			text := r.Subtask + " " + r.State.String()
			if r.Last {
				text += " last"
			}
			all = append(all, text)
		}
	}
	return all
}

func (f *fakeReporter) last() report.Report {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reports[len(f.reports)-1]
}

// A fakeController has one task, unless it is down.
type fakeController struct {
	mu    sync.Mutex
	err   error
	tasks []smsapi.ListedTask
	calls int
}

var errDown = errors.New("connection refused")

func (f *fakeController) ListTasks(context.Context, smsapi.TaskQuery) (smsapi.TaskList, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	return smsapi.TaskList{Count: len(f.tasks), Tasks: f.tasks}, f.err
}

func (f *fakeController) Task(_ context.Context, id string) (smsapi.Task, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	return smsapi.Task{ID: id, Name: "name", SpeedLimit: 8}, f.err
}

func (f *fakeController) set(err error, tasks ...smsapi.ListedTask) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err, f.tasks = err, tasks
}

// A stage is a runner with everything around it faked.
type stage struct {
	*Runner
	controller *fakeController
	reporter   *fakeReporter
}

func newStage(t *testing.T, dir string, subtasks ...Subtask) *stage {
	t.Helper()
	s := &stage{controller: &fakeController{}, reporter: &fakeReporter{}}
	s.Runner = New(Config{
		Dir: dir, Controller: s.controller, Reporter: s.reporter, Log: quiet,
		Plan: func(*Task) ([]Subtask, error) { return subtasks, nil },
	})
	return s
}
