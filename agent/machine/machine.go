// Package machine makes an agent a migration machine: it runs the migrations of Redis that a control plane gives it.
//
// A [Machine] says to the control plane what it does for each task and is told all that it is to do: every half a second while it works,
// at the interval of polling else, and at once when something ended. What it is told is how things should be, so nothing is kept here but
// what package redis keeps to go on: after a restart, a kill or a lost answer the same orders come again, and the migrations go on where
// they were. A control plane that cannot be reached holds nothing up; ends and logs are said again until they were heard.
//
// A task that is to stop ends within two seconds: one that follows its source tries for half a second to reach what the source has
// now, and what was received goes in. Breaks are waited out without end if the task says auto; if it says manual they end it. A task that
// is no longer among the orders is dropped: another machine may have it.
package machine

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter"
	"github.com/ferry-migrate/ferry/reporter/dcsapi"
	"github.com/ferry-migrate/ferry/transfer/redis"
)

// Service is the control plane. *reporter.Client is one. Work may be repeated.
type Service interface {
	Work(ctx context.Context, server string, work dcsapi.Work) (dcsapi.Orders, error)
}

// Config is what a Machine needs. All fields but the last group are required.
type Config struct {
	Dir     string // state directory, which exists; for all migrations
	Service Service
	Source  func() string // id of this server at the service; empty until it is registered, and when it was deleted
	Log     *slog.Logger

	IP      func() string      // of this server, shown to users; nil: not known
	Version string             // of ferry, shown to users
	Most    int                // migrations at once; 0 means 8
	Poll    time.Duration      // between two questions while there is nothing to do; 0 means 10 s
	Objects *redis.ObjectStore // where backup files in buckets are; nil: nowhere
}

const (
	most      = 8
	pollEvery = 10 * time.Second
	workEvery = 500 * time.Millisecond // while there is something to do
	failEvery = 2 * time.Second        // while the service does not answer
)

// Machine runs migrations. Run it once.
type Machine struct {
	Config
	jobs  map[string]*job // by task; of the goroutine that runs Run
	ended chan struct{}   // holds a token when a job ended
	group sync.WaitGroup
	quiet bool // the service did not answer last time, which was said
}

// New returns a machine that does not run.
func New(c Config) *Machine {
	if c.Most == 0 {
		c.Most = most
	}
	if c.Poll == 0 {
		c.Poll = pollEvery
	}
	if c.IP == nil {
		c.IP = func() string { return "" }
	}
	return &Machine{Config: c, jobs: map[string]*job{}, ended: make(chan struct{}, 1)}
}

// Run works until ctx is done. Migrations under way are left so that the next Run continues them.
func (m *Machine) Run(ctx context.Context) {
	defer m.group.Wait()
	for {
		wait := m.exchange(ctx)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-m.ended:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// exchange says what is done, does what it is told, and returns when to do so again.
func (m *Machine) exchange(ctx context.Context) time.Duration {
	source := m.Source()
	if source == "" {
		m.obey(ctx, nil) // deleted, perhaps
		return failEvery
	}
	work := dcsapi.Work{Version: m.Version, IP: m.IP(), Free: max(m.Most-len(m.jobs), 0)}
	said := map[*job]dcsapi.WorkReport{}
	for _, j := range m.jobs {
		if r, due := j.report(time.Now()); due {
			work.Reports = append(work.Reports, r)
			said[j] = r
		}
	}
	orders, err := m.Service.Work(ctx, source, work)
	if err != nil && ctx.Err() == nil && !m.quiet {
		m.Log.Warn("the control plane does not say which migrations of Redis to run", "error", err)
	}
	m.quiet = err != nil
	switch {
	case err == nil, reporter.IsGone(err):
	case fault.ClassOf(err) == fault.ClassTemporary:
		return failEvery
	default: // a key without the role, say
		return max(m.Poll, failEvery)
	}
	for j, r := range said {
		j.heard(r, time.Now())
	}
	// A control plane that does not know this server has no orders for it: it may have given its tasks to others.
	m.obey(ctx, orders.Tasks)
	if len(m.jobs) > 0 {
		return workEvery
	}
	return m.Poll
}

// obey makes the jobs what the orders say.
func (m *Machine) obey(ctx context.Context, orders []dcsapi.Order) {
	wanted := map[string]bool{}
	for _, order := range orders {
		wanted[order.ID] = true
		j := m.jobs[order.ID]
		if j != nil && j.order.Run != order.Run {
			j.drop()
			if !j.over() {
				continue // two runs of a task do not meet
			}
			delete(m.jobs, order.ID)
			j = nil
		}
		if j == nil && len(m.jobs) >= m.Most {
			continue // nobody asked for so many
		}
		if j == nil {
			j = m.start(ctx, order)
			m.jobs[order.ID] = j
		}
		j.follow(order)
	}
	for id, j := range m.jobs {
		if wanted[id] {
			continue
		}
		if j.drop(); j.over() {
			delete(m.jobs, id)
		}
	}
}

// start begins with a task. One that is to stop is not begun.
func (m *Machine) start(ctx context.Context, order dcsapi.Order) *job {
	j := newJob(order, m.Log)
	if order.Stop {
		j.end(dcsapi.PhaseStopped, nil)
		return j
	}
	m.group.Go(func() {
		j.run(ctx, m.Dir, m.Objects)
		select {
		case m.ended <- struct{}{}:
		default:
		}
	})
	return j
}
