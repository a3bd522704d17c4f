package machine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter"
	"github.com/ferry-migrate/ferry/reporter/dcsapi"
	"github.com/ferry-migrate/ferry/transfer/redis"
)

const (
	grace     = 500 * time.Millisecond // for a stopped migration to reach what its source has
	lookEvery = 2 * time.Second        // at the servers' own numbers
	lookFor   = time.Second            // at most, at the end
	sayEvery  = 2 * time.Second        // how far it is, while nothing else changes
)

// Why a job ends before its migration does.
var (
	errStopped = errors.New("stopped as ordered")
	errDropped = errors.New("the task is no longer this machine's")
)

// job is one run of a task.
type job struct {
	order  dcsapi.Order // as it was when the job began
	log    *slog.Logger // of the task: its lines are told to the control plane
	lines  lines
	manual atomic.Bool // a break ends it
	ended  atomic.Bool

	cancel   context.CancelCauseFunc
	canceled context.Context // done once cancel was called
	stopOnce sync.Once

	mu        sync.Mutex
	migration *redis.Migration // nil until there is one
	vitals    redis.Vitals
	phase     dcsapi.Phase // shown last
	err       error        // of PhaseFailed
	estimate  reporter.Estimate

	saidPhase dcsapi.Phase // that the control plane heard
	saidAt    time.Time
}

func newJob(order dcsapi.Order, log *slog.Logger) *job {
	j := &job{order: order, phase: dcsapi.PhaseConnect}
	j.canceled, j.cancel = context.WithCancelCause(context.Background())
	j.log = slog.New(teller{Handler: log.With("task", order.ID).Handler(), lines: &j.lines})
	return j
}

// run migrates until the end, or until ctx is done: then nothing has ended.
func (j *job) run(ctx context.Context, dir string, objects *redis.ObjectStore) {
	working, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(j.canceled, func() { cancel(context.Cause(j.canceled)) })()
	err := j.migrate(working, dir, objects)
	switch cause := context.Cause(working); {
	case ctx.Err() != nil:
		j.ended.Store(true)
	case errors.Is(cause, errStopped), errors.Is(cause, errDropped):
		j.end(dcsapi.PhaseStopped, nil)
	case err != nil:
		j.log.Error("the migration failed", "error", err, "remedy", fault.RemedyOf(err))
		j.end(dcsapi.PhaseFailed, err)
	default:
		j.end(dcsapi.PhaseDone, nil)
	}
}

// migrate runs the migration. An import, which always begins at the beginning, is repeated after a break.
func (j *job) migrate(ctx context.Context, dir string, objects *redis.ObjectStore) error {
	config, err := configure(j.order, dir)
	if err != nil {
		return err
	}
	config.Objects, config.Log = objects, j.log
	config.Retry = func() bool { return !j.manual.Load() }
	again := backoff.NewExponentialBackOff(backoff.WithMaxElapsedTime(0), backoff.WithMaxInterval(time.Minute))
	for {
		migration := redis.New(config)
		j.mu.Lock()
		j.migration = migration
		j.mu.Unlock()
		err := j.watch(ctx, migration)
		if err == nil || j.order.Type != dcsapi.BackupImport || ctx.Err() != nil || fault.ClassOf(err) != fault.ClassTemporary || !config.Retry() {
			return err
		}
		j.log.Warn("the import was interrupted, it begins again", "error", err)
		timer := time.NewTimer(again.NextBackOff())
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
	}
}

// watch runs a migration, and asks both servers for their numbers meanwhile and at the end.
func (j *job) watch(ctx context.Context, m *redis.Migration) error {
	looking, stop := context.WithCancel(ctx)
	var group sync.WaitGroup
	group.Go(func() {
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for looking.Err() == nil {
			j.look(looking, m)
			select {
			case <-tick.C:
			case <-looking.Done():
			}
		}
	})
	var err error
	if j.order.Type == dcsapi.BackupImport {
		err = m.Import(ctx, j.order.Files)
	} else {
		err = m.Run(ctx)
	}
	stop()
	group.Wait()
	if err == nil {
		last, cancel := context.WithTimeout(ctx, lookFor)
		defer cancel()
		j.look(last, m)
	}
	return err
}

func (j *job) look(ctx context.Context, m *redis.Migration) {
	v, err := m.Look(ctx)
	if err != nil {
		return // the migration itself says what is wrong
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.vitals = v
}

// follow does what an order says that changed.
func (j *job) follow(order dcsapi.Order) {
	j.manual.Store(order.ResumeMode == dcsapi.Manual)
	if !order.Stop {
		return
	}
	j.stopOnce.Do(func() {
		j.mu.Lock()
		m := j.migration
		j.mu.Unlock()
		if m == nil || m.Progress().Phase != string(dcsapi.PhaseFollow) {
			j.cancel(errStopped)
			return
		}
		m.Cutover()
		time.AfterFunc(grace, func() { j.cancel(errStopped) })
	})
}

// drop ends a job of which nothing more is to be said.
func (j *job) drop() { j.cancel(errDropped) }

func (j *job) over() bool { return j.ended.Load() }

// end keeps how the job ended.
func (j *job) end(phase dcsapi.Phase, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.phase = phase; err == nil {
		j.log.Info(said[phase])
	}
	j.err = err
	j.ended.Store(true)
}

// said is what the log of a task says of a phase.
var said = map[dcsapi.Phase]string{
	dcsapi.PhaseConnect: "connects to source and target", dcsapi.PhaseFull: "the full copy runs", dcsapi.PhaseFollow: "follows the source",
	dcsapi.PhaseDone: "the target has what the source had", dcsapi.PhaseStopped: "stopped",
}

// report returns what there is to say, and whether it should be said now.
func (j *job) report(now time.Time) (r dcsapi.WorkReport, due bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	r = dcsapi.WorkReport{ID: j.order.ID, Run: j.order.Run}
	if j.migration != nil {
		p := j.migration.Progress()
		r.Progress = j.progress(p, now)
		if phase := dcsapi.Phase(p.Phase); !j.ended.Load() && phase != j.phase {
			j.phase = phase
			j.log.Info(said[phase], "keys", p.KeysTotal)
		}
	}
	r.Phase, r.Logs = j.phase, j.lines.pending()
	if j.err != nil {
		r.Error, r.Code = clip(explain(j.err), maxError), fault.CodeOf(j.err)
	}
	return r, r.Phase != j.saidPhase || len(r.Logs) > 0 || now.Sub(j.saidAt) >= sayEvery || j.ended.Load()
}

// heard is called when the control plane has taken a report.
func (j *job) heard(r dcsapi.WorkReport, now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.saidPhase, j.saidAt = r.Phase, now
	j.lines.heard(r.Logs)
}

// progress turns the engine's numbers into the API's. The caller holds mu.
func (j *job) progress(p redis.Progress, now time.Time) dcsapi.WorkProgress {
	w := dcsapi.WorkProgress{
		Keys: p.Keys, Commands: p.Commands, Bytes: p.BytesRead, Offset: p.Offset, LagBytes: p.LagBytes, LagMs: p.Lag.Milliseconds(),
		SourceKeys: j.vitals.SourceKeys, TargetKeys: j.vitals.TargetKeys, TargetInput: j.vitals.TargetInput, TargetOps: j.vitals.TargetOps,
	}
	done, total := p.Keys, p.KeysTotal
	if j.order.Type == dcsapi.BackupImport { // nobody knows how many keys a file has
		done, total = p.Bytes, p.BytesTotal
	}
	switch {
	case p.Phase == string(dcsapi.PhaseFollow), j.phase == dcsapi.PhaseDone:
		w.Percent = 100
	case p.Phase == string(dcsapi.PhaseFull) && total > 0:
		w.Percent = int(min(done*100/total, 99))
		j.estimate.Observe(now, done)
		if left := j.estimate.Remaining(total); left > 0 {
			seconds := int64(left.Seconds())
			w.RemainSeconds = &seconds
		}
	}
	return w
}

// explain says what went wrong and what to do about it.
func explain(err error) string {
	if remedy := fault.RemedyOf(err); remedy != "" {
		return fmt.Sprintf("%v: %s", err, remedy)
	}
	return err.Error()
}
