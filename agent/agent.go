// Package agent holds the policy on the source: which task runs, which subtask comes next, what to do about an error. It never
// moves a byte itself.
//
// A [Runner] takes a task from the controller, runs its subtasks in order and is the only writer of the task's state, which
// follows one table (state.go). It reports the start and the end of every subtask and, in between, its progress every five
// seconds. A temporary error is retried with a growing pause, without end; any other one ends the task. A journal says which
// subtasks are done, so after a crash at any point the same task goes on at the first one that is not. A controller that cannot
// be reached holds nothing up: the reports wait.
//
// What a task consists of is decided by the caller (Config.Plan), what a subtask does by its body ([Subtask]).
//
// A [Daemon] is what lives for months: it registers the source, asks the service for commands and keeps a durable queue of the tasks
// that they order, which it gives to runners one by one. Commands say how things should be, so they may be repeated, lost and
// contradict each other. A [Session] turns a task of the service into subtasks: [Route] says which, in which order, and one whose
// mechanism this version lacks fails with an error that says so. Local control ([ServeControl]) works without a network.
package agent

import (
	"context"
	"log/slog"
	"time"

	"github.com/ferry-migrate/ferry/reporter/report"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/ferry-migrate/ferry/transfer"
)

// Subtask is one part of a task. Its body is called by one goroutine at a time, Progress by any.
type Subtask interface {
	// Name is the subtask's name in the API, for example MIGRATE_LINUX_FILE.
	Name() string
	// Run does the work. It is safe to run again after any failure, also in another process, and does not rely on memory that an
	// earlier subtask left: those that are done are skipped after a restart. It returns within a second once ctx is done. The class
	// of its error decides whether it is run again. It may read t but not keep or change it.
	Run(ctx context.Context, t *Task) error
	// Progress returns the counters, at any time, without waiting. They do not shrink from one attempt to the next.
	Progress() transfer.Progress
}

// Controller is where tasks come from. *reporter.Client is one. The class of its errors decides whether it is asked again.
type Controller interface {
	ListTasks(ctx context.Context, query smsapi.TaskQuery) (smsapi.TaskList, error)
	Task(ctx context.Context, id string) (smsapi.Task, error)
}

// Reporter takes reports. *reporter.Reporter is one. Report does not wait for the network; Flush does, until ctx is done.
type Reporter interface {
	Report(report.Report) error
	Flush(ctx context.Context) error
}

// Details tells what GET /v3/tasks/{task_id} leaves out of a task. *reporter.Client is one.
type Details interface {
	TaskSettings(ctx context.Context, task string) ([]smsapi.Config, error)
	SpeedLimits(ctx context.Context, task string) ([]smsapi.LimitWindow, error)
}

// Config is what a Runner needs. All fields but the last group are required.
type Config struct {
	Dir        string // state directory; journals go to its folder tasks
	Controller Controller
	Reporter   Reporter
	Plan       func(*Task) ([]Subtask, error) // the subtasks of a task, in order
	Log        *slog.Logger

	Details     Details                // asked with each task; nil: tasks have no options and one limit
	Again       bool                   // a finished task is to be brought in step once more, also one that the journal does not know
	SourceState func(smsapi.CopyState) // told of each state the source gets into; may be nil
	ReportEvery time.Duration          // between interim reports; 0 means 5 s
	FlushWithin time.Duration          // how long the end of a task waits for its last reports; 0 means 5 s
}

const (
	reportEvery  = 5 * time.Second
	flushWithin  = 5 * time.Second
	sampleEvery  = time.Second      // the status shown locally
	pollEvery    = 10 * time.Second // for a command; the service documents no interval
	fetchTimeout = 10 * time.Second // for a task that the journal knows as well
)
