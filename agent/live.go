package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// overspeedFor is how many seconds in a row a rate has to be too high before its task is paused, as the service does it: "several times".
const overspeedFor = 5

// mind keeps an eye on a running task until ctx is done: limits that change, a launch that is ordered, a rate that is too high.
func (d *Daemon) mind(ctx context.Context, task string, w *Work, windows []smsapi.LimitWindow) {
	second, live := time.NewTicker(time.Second), time.NewTicker(d.cfg.Live)
	defer second.Stop()
	defer live.Stop()
	rate := speed{at: time.Now(), sent: w.sent()}
	for {
		select {
		case <-second.C:
			if !w.limited() {
				continue
			}
			_, limit := w.Bucket.Limit()
			if over := rate.over(time.Now(), w.sent(), limit, threshold(windows, time.Now())); over > 0 {
				d.overspeed(ctx, task, over, limit)
				return
			}
		case <-live.C:
			windows = d.relimit(ctx, task, w, windows)
			if err := d.look(ctx, task); err != nil {
				d.cfg.Log.Debug("something is wanted of the task that cannot be done", "task", task, "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

func (w *Work) limited() bool { return w.Bucket != nil && w.Sent != nil }

func (w *Work) sent() int64 {
	if w.Sent == nil {
		return 0
	}
	return w.Sent()
}

// relimit reads the limits of a task and sets them if they changed. When they cannot be had, those that hold stay.
func (d *Daemon) relimit(ctx context.Context, task string, w *Work, before []smsapi.LimitWindow) []smsapi.LimitWindow {
	if !w.limited() {
		return before
	}
	windows, err := d.cfg.Service.SpeedLimits(ctx, task)
	if err != nil || equalWindows(windows, before) {
		return before
	}
	s, err := schedule(windows, 0)
	if err != nil {
		d.cfg.Log.Warn("the new limits of the task make no sense; the old ones stay", "task", task, "error", err)
		return before
	}
	w.Bucket.SetLimit(s)
	d.cfg.Log.Info("limit changed", "task", task, "limit", s)
	return windows
}

func equalWindows(a, b []smsapi.LimitWindow) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// look asks what a running task is to do by now. No command says that its target is to be launched or cloned: START comes again, and
// the task shows what is wanted.
func (d *Daemon) look(ctx context.Context, task string) error {
	t, err := d.cfg.Service.Task(ctx, task)
	if reporter.IsGone(err) {
		d.cancel(task, errDeleted)
		return err
	}
	if err != nil {
		return nil //nolint:nilerr // it will be looked at again
	}
	for _, s := range t.Subtasks {
		if s.Name == smsapi.CloneVM && s.Progress < 100 {
			return missing{string(s.Name)}.Run(ctx, nil)
		}
	}
	if t.SourceServer == nil || smsapi.MigrationCycle(t.SourceServer.MigrationCycle) != smsapi.CycleCutovering {
		return nil
	}
	if err := d.Cutover(); err != nil && fault.CodeOf(err) != "FERRY-NOT-SYNCING" {
		d.cfg.Log.Warn("the launch that was ordered has to wait", "task", task, "error", err)
	}
	return nil
}

// A speed sees when a rate was too high for long.
type speed struct {
	at    time.Time
	sent  int64
	times int
}

// over takes the count of bytes at now. It returns the rate, in bytes per second, once that was more than percent above the limit
// overspeedFor times in a row, else 0. Without a limit or a percentage nothing is too much.
func (s *speed) over(now time.Time, sent, limit int64, percent float64) int64 {
	rate := float64(sent-s.sent) / max(now.Sub(s.at).Seconds(), 0.001)
	s.at, s.sent = now, sent
	if limit <= 0 || percent <= 0 || rate <= float64(limit)*(1+percent/100) {
		s.times = 0
		return 0
	}
	if s.times++; s.times < overspeedFor {
		return 0
	}
	return int64(rate)
}

// overspeed pauses a task whose limit does not hold.
func (d *Daemon) overspeed(ctx context.Context, task string, rate, limit int64) {
	err := fault.Operator("FERRY-OVERSPEED", "look for what else uses this agent's connections, or raise the limit, then start the task again (SMS.9007)",
		fmt.Errorf("%.1f Mbit/s went over the wire where the limit is %.1f: %w", smsapi.Mbps(rate), smsapi.Mbps(limit), context.Canceled))
	d.cfg.Log.Error("task paused", "task", task, "error", err)
	if err := d.cfg.Service.TaskAction(ctx, task, smsapi.OpOverSpeed); err != nil {
		d.cfg.Log.Warn("the service could not be told of the overspeed", "task", task, "error", err)
	}
	d.cancel(task, err)
}

// Cutover makes the next pass of the task that runs its last one.
func (d *Daemon) Cutover() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.current == nil || d.current.work == nil {
		return errIdle
	}
	return d.current.work.Cutover()
}

// errIdle says that there is nothing to steer.
var errIdle = fault.Operator("FERRY-IDLE", "start a task first", errors.New("no task runs"))
