package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter"
	"github.com/ferry-migrate/ferry/reporter/report"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"golang.org/x/sync/errgroup"
)

// Registry is where a source registers.
type Registry interface {
	ServiceConfig(ctx context.Context) error
	PrivacyAgreed(ctx context.Context) (bool, error)
	AgreePrivacy(ctx context.Context) error
	RegisterSource(ctx context.Context, source smsapi.RegisterSource) (id string, err error)
}

// Orders is where a source is told what to do.
type Orders interface {
	Command(ctx context.Context, source string) (smsapi.Command, error)
	TaskAction(ctx context.Context, task string, operation smsapi.Operation) error
	// KnowsSource returns nil if the service knows the source, and an error for which reporter.IsGone is true if not.
	KnowsSource(ctx context.Context, source string) error
}

// Findings is where a source tells what it found out, beside reports.
type Findings interface {
	UpdateDisks(ctx context.Context, source string, disks smsapi.UpdateDiskInfo) error
	UpdateNetworkCheck(ctx context.Context, task string, check smsapi.NetworkCheck) error
	PutLogs(ctx context.Context, to string, archive []byte) error
}

// Service is all that a Daemon needs of the service. *reporter.Client is one.
type Service interface {
	Registry
	Orders
	Findings
	Controller
	Details
	reporter.Service
}

// DaemonConfig is what a Daemon needs. All fields but the last group are required.
type DaemonConfig struct {
	Dir     string // state directory
	Service Service
	Host    func(ctx context.Context) smsapi.RegisterSource // what to register; called again while idle
	Prepare func(*Task) (*Work, error)                      // see Session
	Log     *slog.Logger

	Measure     func(context.Context, *Task) (smsapi.NetworkCheck, error) // the way to a task's target; nil: it cannot be measured
	Privacy     bool                                                      // the privacy statement is accepted
	Poll        time.Duration                                             // between two questions for a command, varied by half; 0 means 10 s
	Live        time.Duration                                             // between two looks at the limits of a running task; 0 means 5 s
	ReportEvery time.Duration                                             // between interim reports; 0 means 5 s
	Logs        string                                                    // directory of log files, for UPLOAD_LOG
	Level       *slog.LevelVar                                            // of Log
	Bounds      Bounds                                                    // of a task that has none of its own
}

// Bounds is what a process may use.
type Bounds struct {
	CPU    int   // percent of all processors, rounded up to whole ones; 0 for no limit
	Memory int64 // bytes, about; 0 for no limit
}

const (
	liveEvery = 5 * time.Second
	toldIn    = 2 * time.Second // how long a poll waits for reports that are on their way
	slowPoll  = 5 * time.Minute // after errors; a poll is never rarer
	stopWait  = 30 * time.Second
)

// Why a task ends, beside ErrStopped.
var (
	errDeleted = fmt.Errorf("the task was deleted: %w", context.Canceled)
	errPaused  = fmt.Errorf("the agent was paused: %w", context.Canceled)
)

// Daemon is the agent of one source server. It registers the source, asks for commands and runs what they order, one task at a
// time, in the order they came; what was ordered survives a restart. See docs/AGENT.md.
type Daemon struct {
	cfg     DaemonConfig
	reports *reporter.Reporter
	queue   *queue

	mu      sync.Mutex
	id      string    // of the source; empty until it is registered
	gone    bool      // the source was deleted at the service
	trouble string    // why the service could not be asked last time
	contact time.Time // when it last could
	current *running

	priority int // of this process; the worker's
}

// running is the task that runs now.
type running struct {
	order  order
	runner *Runner
	work   *Work // nil until it is prepared
	cancel context.CancelCauseFunc
	ended  chan struct{}
	minds  sync.WaitGroup
}

// NewDaemon opens the state in the directory. Close it.
func NewDaemon(cfg DaemonConfig) (*Daemon, error) {
	if cfg.Poll == 0 {
		cfg.Poll = pollEvery
	}
	if cfg.Live == 0 {
		cfg.Live = liveEvery
	}
	d := &Daemon{cfg: cfg, priority: standard}
	var err error
	if d.id, err = readSource(cfg.Dir, cfg.Log); err != nil {
		return nil, err
	}
	if d.queue, err = openQueue(filepath.Join(cfg.Dir, "queue.json"), cfg.Log); err != nil {
		return nil, err
	}
	d.reports, err = reporter.New(mindful{cfg.Service, d}, filepath.Join(cfg.Dir, "outbox"), cfg.Log)
	return d, err
}

// Close ends delivery of reports; what was not delivered is on disk.
func (d *Daemon) Close() { d.reports.Close() }

// Run works until ctx is done, and returns nil then. Any error is one that only the operator can mend, before the source was
// registered once: afterwards it keeps trying. A task that runs is left so that the next Run resumes it.
func (d *Daemon) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	if d.source() != "" { // known to the service: what was ordered goes on whether it answers or not
		group.Go(func() error { return d.work(ctx) })
	}
	group.Go(func() error {
		fresh := d.source() == ""
		host, err := d.enrol(ctx)
		if err != nil {
			return err
		}
		if fresh {
			group.Go(func() error { return d.work(ctx) })
		}
		group.Go(func() error { return d.watchDisks(ctx, host) })
		return d.poll(ctx)
	})
	err := group.Wait()
	if fault.Cancelled(err) || errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil {
		return nil
	}
	return err
}

// source returns the id of this source at the service.
func (d *Daemon) source() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.id
}

// work runs orders, one at a time, until ctx is done.
func (d *Daemon) work(ctx context.Context) error {
	for {
		file, changed := d.queue.state()
		if len(file.Orders) > 0 && !file.Paused {
			if err := d.run(ctx, file.Orders[0]); err != nil {
				return err
			}
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return cancelled(ctx)
		}
	}
}

// run works on one order to its end, and takes it from the queue unless it is to be resumed by itself. Errors are about the queue.
func (d *Daemon) run(ctx context.Context, o order) error {
	log := d.cfg.Log.With("task", o.Task)
	if o.Begun && journalState(d.cfg.Dir, o.Task) == Done { // ended just before a crash
		return d.queue.remove(o.Task)
	}
	if err := d.queue.begin(o.Task); err != nil {
		return err
	}
	task, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer context.AfterFunc(ctx, func() { cancel(ErrSuspended) })()
	r := &running{order: o, cancel: cancel, ended: make(chan struct{})}
	r.runner = New(Config{
		Dir: d.cfg.Dir, Controller: d.cfg.Service, Details: d.cfg.Service, Reporter: d.reports, Log: d.cfg.Log,
		Plan: func(t *Task) ([]Subtask, error) { return d.prepare(task, r, t) }, SourceState: d.sayState,
		Again: o.Again, ReportEvery: d.cfg.ReportEvery, FlushWithin: time.Millisecond, // the outbox lives on
	})
	d.setCurrent(r)
	err := r.runner.Run(task, o.Task)
	cause := context.Cause(task)
	cancel(nil)
	r.minds.Wait()
	d.settle(d.cfg.Bounds, standard)
	defer close(r.ended)
	defer d.setCurrent(nil)
	switch {
	case err == nil:
		log.Info("task is done")
	case reporter.IsGone(err) || errors.Is(cause, errDeleted):
		log.Warn("the task does not exist any more", "error", err)
		err = forgetJournal(d.cfg.Dir, o.Task)
		return errors.Join(err, d.queue.remove(o.Task))
	case errors.Is(cause, ErrSuspended):
		return cancelled(ctx)
	case errors.Is(cause, errPaused):
		return nil
	case fault.Cancelled(err):
		log.Info("task stopped", "cause", cause)
	default:
		log.Error("task failed", "error", err, "code", fault.CodeOf(err), "remedy", fault.RemedyOf(err))
	}
	return d.queue.remove(o.Task)
}

// prepare makes the task ready and keeps an eye on it until ctx is done.
func (d *Daemon) prepare(ctx context.Context, r *running, t *Task) ([]Subtask, error) {
	work, err := d.cfg.Prepare(t)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	r.work = work
	d.mu.Unlock()
	bounds := d.cfg.Bounds
	if work.Options.CPU > 0 {
		bounds.CPU = work.Options.CPU
	}
	if work.Options.Memory > 0 {
		bounds.Memory = work.Options.Memory
	}
	d.settle(bounds, t.Spec.Priority)
	r.minds.Go(func() { d.mind(ctx, t.ID, work, t.Windows) })
	return work.Subtasks, nil
}

func (d *Daemon) setCurrent(r *running) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.current = r
}

// cancel ends a task that runs and returns what is closed once it ended, or nil if it does not run.
func (d *Daemon) cancel(task string, cause error) <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.current == nil || task != "" && d.current.order.Task != task {
		return nil
	}
	d.current.cancel(cause)
	return d.current.ended
}

// sayState tells the service a state of the source.
func (d *Daemon) sayState(s smsapi.CopyState) {
	if err := d.reports.SourceState(d.source(), s); err != nil {
		d.cfg.Log.Error("a state of the source could not be written down", "state", s, "error", err)
	}
}

// sayStopped tells the service that a task is stopped which did not run.
func (d *Daemon) sayStopped(task string) error {
	err := d.reports.Report(report.Report{Task: task, Subtask: string(smsapi.SSLConfig), State: report.Stopped})
	d.sayState(smsapi.CopyState{State: string(smsapi.SourceStopped), Cycle: string(smsapi.CycleReplicating)})
	return err
}

// mindful notices when the service says that a task does not exist any more.
type mindful struct {
	reporter.Service
	d *Daemon
}

// Deliver implements reporter.Service.
func (m mindful) Deliver(ctx context.Context, msg reporter.Message) error {
	err := m.Service.Deliver(ctx, msg)
	if msg.Progress != nil && reporter.IsGone(err) {
		m.d.cancel(msg.Task, errDeleted)
	}
	return err
}
