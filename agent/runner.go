package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter"
	"github.com/ferry-migrate/ferry/reporter/report"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// ErrStopped is the cause to cancel Run's context with when somebody stops a task. Any other cancel counts as a stop too.
var ErrStopped = fmt.Errorf("the task was stopped: %w", context.Canceled)

// ErrSuspended is the cause to cancel Run's context with when the process ends and will resume the task by itself: nothing is
// reported then, as after a crash.
var ErrSuspended = fmt.Errorf("the agent ends; the task goes on when it starts again: %w", context.Canceled)

// Runner runs tasks, one at a time.
type Runner struct {
	cfg Config

	mu     sync.Mutex
	status report.Report
}

// New returns a Runner.
func New(cfg Config) *Runner {
	if cfg.ReportEvery == 0 {
		cfg.ReportEvery = reportEvery
	}
	if cfg.FlushWithin == 0 {
		cfg.FlushWithin = flushWithin
	}
	return &Runner{cfg: cfg}
}

// Status returns what the task that runs, or ran last, is doing. It may be called at any time and does not wait.
func (r *Runner) Status() report.Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}

// Run takes the task called id from the controller and runs it to its end. When it was interrupted before, it goes on with the
// first subtask that is not done; when it was done, it begins anew.
//
// It returns nil once every subtask is done, context.Canceled (wrapped) when ctx was cancelled, else the error that ended the task.
// The reports of the end are durable when it returns and, if the controller answers in time, delivered.
func (r *Runner) Run(ctx context.Context, id string) error {
	journal, err := openJournal(r.cfg.Dir, id, r.cfg.Log)
	if err != nil {
		return err
	}
	run := &taskRun{Runner: r, log: r.cfg.Log.With("task", id), journal: journal, task: &Task{ID: id, State: journal.data.State}}
	if err = r.fetch(ctx, run.task, journal); reporter.IsGone(err) {
		return err // nobody to tell
	} else if err != nil {
		err = run.end(report.Report{}, err)
	} else {
		err = run.all(ctx)
	}
	flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.cfg.FlushWithin)
	defer cancel()
	if late := r.cfg.Reporter.Flush(flush); late != nil {
		run.log.Warn("the controller does not know the end of the task yet; the next run tells it", "error", late)
	}
	return err
}

// fetch fills in the task as the controller shows it. A controller that cannot be reached is asked again only if the journal does
// not know the task either.
func (r *Runner) fetch(ctx context.Context, t *Task, j *journal) error {
	ask := newRetry(func() int64 { return 0 }, func(attempt int, err error, pause time.Duration) {
		r.cfg.Log.Warn("the controller does not answer", "task", t.ID, "attempt", attempt, "error", err, "again_in", pause)
	})
	err := ask.run(ctx, func(int) error {
		bounded, cancel := context.WithTimeout(ctx, fetchTimeout)
		defer cancel()
		err := r.read(bounded, t)
		if err != nil && ctx.Err() == nil && (fault.ClassOf(err) == fault.ClassTemporary || bounded.Err() != nil) {
			if j.known() {
				r.cfg.Log.Warn("the controller does not answer; going on with the task as it was", "task", t.ID, "error", err)
				t.Spec, t.Continuous, t.Settings, t.Windows = j.data.Spec, j.data.Continuous, j.data.Settings, j.data.Windows
				return nil
			}
			return fault.Temporary(err)
		}
		return err
	})
	t.Spec.ID = t.ID // the documentation's own example answers with another one
	return err
}

// read asks the controller for all there is to know of a task. Whether it keeps syncing is only in the list.
func (r *Runner) read(ctx context.Context, t *Task) (err error) {
	if t.Spec, err = r.cfg.Controller.Task(ctx, t.ID); err != nil || r.cfg.Details == nil {
		return err
	}
	list, err := r.cfg.Controller.ListTasks(ctx, smsapi.TaskQuery{ID: t.ID, Limit: 1})
	if err != nil {
		return err
	}
	t.Continuous = len(list.Tasks) == 1 && list.Tasks[0].Syncing
	if t.Settings, err = r.cfg.Details.TaskSettings(ctx, t.ID); err != nil && !isAbsent(err) {
		return err
	}
	if t.Windows, err = r.cfg.Details.SpeedLimits(ctx, t.ID); err != nil && !isAbsent(err) {
		return err
	}
	return nil
}

// isAbsent reports whether the controller says that a part of a task is not there: some say so with an error.
func isAbsent(err error) bool {
	var e *reporter.APIError
	return errors.As(err, &e) && (e.Status == http.StatusBadRequest || e.Status == http.StatusNotFound)
}

// A taskRun is one run of one task.
type taskRun struct {
	*Runner
	log     *slog.Logger
	journal *journal
	task    *Task
	cycle   smsapi.MigrationCycle // of the source; replicating until something is further
}

// all runs the subtasks that are not done and reports the end.
func (r *taskRun) all(ctx context.Context) error {
	err := r.journal.update(func(f *journalFile) {
		f.Spec, f.Continuous, f.Settings, f.Windows = r.task.Spec, r.task.Continuous, r.task.Settings, r.task.Windows
		switch f.State {
		case Done:
			f.Done, f.Again = nil, true
		default:
			f.Again = f.Again || r.cfg.Again
		}
	})
	r.task.Again = r.journal.data.Again
	if err != nil {
		return r.end(report.Report{}, err)
	}
	subtasks, err := r.cfg.Plan(r.task)
	if err != nil {
		return r.end(report.Report{}, fmt.Errorf("plan: %w", err))
	}
	for i, s := range subtasks {
		last := i == len(subtasks)-1
		if r.journal.done(s.Name()) && !last { // without an end the task is not done, whatever the plan was last time
			r.log.Info("subtask was done before", "subtask", s.Name())
			continue
		}
		if final, err := r.one(ctx, s, last); err != nil {
			return r.end(final, fmt.Errorf("subtask %s: %w", s.Name(), err))
		}
	}
	return nil
}

// one runs a subtask to its end. On an error it returns the last report as well, for the report of the task's end.
func (r *taskRun) one(ctx context.Context, s Subtask, last bool) (report.Report, error) {
	event := Begin
	if smsapi.SubtaskName(s.Name()).IsSync() {
		event = Sync
	}
	m := newMeter(r.task.ID, s)
	if err := r.move(event, nil); err != nil {
		return m.report(report.Started), err
	}
	r.log.Info("subtask begins", "subtask", s.Name())
	r.source(sourceState(smsapi.SubtaskName(s.Name())))
	r.tell(m.report(report.Started))
	if err := r.attempts(ctx, s, m); err != nil {
		return m.report(report.Failed), err
	}
	ended := m.report(report.Ended)
	ended.Percent, ended.Last = 100, last
	if last && r.cycle != smsapi.CycleCutovering { // the service lets nothing finish that was not launched
		r.source(smsapi.SourceCutovering, smsapi.CycleCutovering)
	}
	r.tell(ended) // before the journal: an end that is reported twice is harmless, one that is never reported is not
	r.log.Info("subtask is done", "subtask", s.Name())
	if last {
		r.source(smsapi.SourceFinished, smsapi.CycleCutovered)
		return ended, r.move(Finish, s)
	}
	return ended, r.journal.update(func(f *journalFile) { f.Done = append(f.Done, s.Name()) })
}

// attempts runs a subtask until it succeeds or fails for good, and reports its progress meanwhile.
func (r *taskRun) attempts(ctx context.Context, s Subtask, m *meter) error {
	again := newRetry(m.reached, func(attempt int, err error, pause time.Duration) {
		r.log.Warn("attempt failed", "subtask", s.Name(), "attempt", attempt, "error", err, "again_in", pause)
		m.failed(err)
	})
	m.sample(time.Now())
	done := make(chan error, 1)
	go func() {
		done <- again.run(ctx, func(attempt int) error {
			m.begin(attempt)
			return s.Run(ctx, r.task)
		})
	}()
	sample := time.NewTicker(sampleEvery)
	defer sample.Stop()
	send := time.NewTicker(r.cfg.ReportEvery)
	defer send.Stop()
	for {
		select {
		case err := <-done:
			return err
		case now := <-sample.C:
			m.sample(now)
			r.show(m.report(report.Running))
		case now := <-send.C:
			m.sample(now)
			r.tell(m.report(report.Running))
		}
	}
}

// end reports and journals that err ended the task, and returns err. rep is what was reported last.
func (r *taskRun) end(rep report.Report, err error) error {
	if errors.Is(err, ErrSuspended) {
		return err
	}
	event := Fail
	rep.Task, rep.State = r.task.ID, report.Failed
	rep.Error, rep.Code, rep.Remedy = err.Error(), fault.CodeOf(err), fault.RemedyOf(err)
	if fault.Cancelled(err) {
		event, rep.State = Stop, report.Stopped
		if rep.Code == "" {
			rep.Error = "" // somebody wanted it so
		}
	}
	if rep.Subtask == "" {
		rep.Subtask = string(smsapi.SSLConfig) // the API has no report of a task, and this is the first subtask of every one
	}
	r.log.Info("the task ended early", "subtask", rep.Subtask, "state", rep.State, "error", err)
	r.tell(rep)
	if event == Stop {
		r.source(smsapi.SourceStopping, r.cycle)
		r.source(smsapi.SourceStopped, r.cycle)
	} else {
		r.source(smsapi.SourceError, r.cycle)
	}
	return errors.Join(err, r.move(event, nil))
}

// source tells in which state the source is.
func (r *taskRun) source(state smsapi.SourceState, cycle smsapi.MigrationCycle) {
	r.cycle = cmp.Or(cycle, smsapi.CycleReplicating)
	if r.cfg.SourceState != nil {
		r.cfg.SourceState(smsapi.CopyState{State: string(state), Cycle: string(r.cycle)})
	}
}

// move changes the task's state, durably. A subtask that is given is done with it.
func (r *taskRun) move(e Event, finished Subtask) error {
	next, err := r.task.State.Next(e)
	if err != nil {
		return err
	}
	err = r.journal.update(func(f *journalFile) {
		f.State = next
		if finished != nil {
			f.Done = append(f.Done, finished.Name())
		}
	})
	if err != nil {
		return err
	}
	r.task.State = next
	return nil
}

// tell shows and sends a report. One that could not be made durable is still sent while the process lives.
func (r *taskRun) tell(rep report.Report) {
	r.show(rep)
	if err := r.cfg.Reporter.Report(rep); err != nil {
		r.log.Error("a report could not be written down", "state", rep.State, "error", err)
	}
}

func (r *taskRun) show(rep report.Report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = rep
}

var _ Controller = (*reporter.Client)(nil)
var _ Reporter = (*reporter.Reporter)(nil)
var _ Tasks = (*reporter.Client)(nil)
var _ Details = (*reporter.Client)(nil)
