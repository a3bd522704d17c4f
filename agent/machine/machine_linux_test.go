package machine_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ferry-migrate/ferry/agent/machine"
	"github.com/ferry-migrate/ferry/e2e/redis"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter"
	"github.com/ferry-migrate/ferry/reporter/dcsapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = time.Minute

// plane is a control plane that tells what the test says and keeps what it hears.
type plane struct {
	t      *testing.T
	mu     sync.Mutex
	orders map[string]dcsapi.Order
	heard  map[string]dcsapi.WorkReport // newest of each task
	logs   map[int64]dcsapi.WorkLog
	fails  error
	lose   int // so many answers are lost
	words  chan struct{}
}

func newPlane(t *testing.T) *plane {
	return &plane{t: t, orders: map[string]dcsapi.Order{}, heard: map[string]dcsapi.WorkReport{}, logs: map[int64]dcsapi.WorkLog{}, words: make(chan struct{}, 1)}
}

// Work implements machine.Service. A task whose end was heard is not ordered any more.
func (p *plane) Work(_ context.Context, _ string, work dcsapi.Work) (orders dcsapi.Orders, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer func() {
		select {
		case p.words <- struct{}{}:
		default:
		}
	}()
	if p.fails != nil {
		return orders, p.fails
	}
	for _, r := range work.Reports {
		if o, ok := p.orders[r.ID]; ok && o.Run == r.Run {
			p.heard[r.ID] = r
			if r.Phase == dcsapi.PhaseDone || r.Phase == dcsapi.PhaseStopped || r.Phase == dcsapi.PhaseFailed {
				delete(p.orders, r.ID)
			}
		}
		for _, line := range r.Logs {
			p.logs[line.At] = line
		}
	}
	for _, o := range p.orders {
		orders.Tasks = append(orders.Tasks, o)
	}
	if p.lose > 0 {
		p.lose--
		return dcsapi.Orders{}, fault.Temporary(fmt.Errorf("the answer was lost"))
	}
	return orders, nil
}

func (p *plane) order(o dcsapi.Order) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.orders[o.ID] = o
	delete(p.heard, o.ID)
}

// until waits for a report of a task.
func (p *plane) until(id string, is func(dcsapi.WorkReport) bool) dcsapi.WorkReport {
	p.t.Helper()
	late := time.After(patience)
	for {
		p.mu.Lock()
		r, ok := p.heard[id]
		p.mu.Unlock()
		if ok && is(r) {
			return r
		}
		select {
		case <-p.words:
		case <-late:
			p.t.Fatalf("not heard in time, last was %+v", r)
		}
	}
}

func (p *plane) phase(id string, want dcsapi.Phase) dcsapi.WorkReport {
	p.t.Helper()
	return p.until(id, func(r dcsapi.WorkReport) bool { return r.Phase == want })
}

func (p *plane) log() (all string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, line := range p.logs {
		all += fmt.Sprintln(line.Level, line.Code, line.Message)
	}
	return all
}

// run runs a machine; the returned function ends it.
func (p *plane) run(state string) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	m := machine.New(machine.Config{
		Dir: state, Service: p, Source: func() string { return "s" }, Log: slog.New(slog.DiscardHandler), Poll: 50 * time.Millisecond,
	})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		m.Run(ctx)
	}()
	end = func() {
		cancel()
		<-ended
	}
	p.t.Cleanup(end)
	return end
}

func online(id string, method dcsapi.Method, from, to *redis.Server) dcsapi.Order {
	return dcsapi.Order{
		ID: id, Run: 1, Type: dcsapi.Online, Method: method, ResumeMode: dcsapi.Auto,
		Source: &dcsapi.Instance{Addrs: from.Addr}, Target: dcsapi.Instance{ID: to.Addr},
	}
}

func same(t *testing.T, a, b *redis.Server) {
	t.Helper()
	require.Equal(t, a.Do("DEBUG DIGEST"), b.Do("DEBUG DIGEST"))
}

// A full copy ends by itself; it is said until it was heard.
func TestFull(t *testing.T) {
	t.Parallel()
	from, to := redis.Start(t), redis.Start(t)
	from.Do("DEBUG POPULATE 10000")
	p := newPlane(t)
	p.lose = 1
	p.order(online("a", dcsapi.FullAmount, from, to))
	p.run(t.TempDir())
	r := p.phase("a", dcsapi.PhaseDone)
	same(t, from, to)
	require.Equal(t, 100, r.Progress.Percent)
	require.EqualValues(t, 10000, r.Progress.SourceKeys)
	require.EqualValues(t, 10000, r.Progress.TargetKeys)
	require.Contains(t, p.log(), "the target has what the source had")
}

// A migration that follows ends when it is told to, with all that its source had; a machine that ended before goes on in a new one.
func TestFollow(t *testing.T) {
	t.Parallel()
	from, to := redis.Start(t), redis.Start(t)
	from.Do("SET a 1")
	p := newPlane(t)
	state := t.TempDir()
	o := online("a", dcsapi.Follow, from, to)
	p.order(o)
	end := p.run(state)
	p.phase("a", dcsapi.PhaseFollow)
	end()
	from.Do("INCR a")
	p.run(state)
	p.until("a", func(r dcsapi.WorkReport) bool {
		return r.Phase == dcsapi.PhaseFollow && r.Progress.Offset > 0 && r.Progress.TargetKeys > 0
	})
	from.Do("INCR a")
	o.Stop = true
	p.order(o)
	p.phase("a", dcsapi.PhaseDone)
	same(t, from, to)
	require.Equal(t, "3", to.Do("GET a"))

	o.Stop, o.Run = false, 2
	p.order(o)
	p.phase("a", dcsapi.PhaseFollow)
	from.Do("INCR a")
	o.Run, o.Stop = 3, true // stopped and started and stopped meanwhile
	p.order(o)
	p.phase("a", dcsapi.PhaseStopped)
	require.Contains(t, from.Do("INFO stats"), "sync_full:1\r")
}

// A break ends a migration that is to be resumed by hand, and no other one.
func TestManual(t *testing.T) {
	t.Parallel()
	from, to := redis.Start(t), redis.Start(t)
	p := newPlane(t)
	o := online("a", dcsapi.Follow, from, to)
	p.order(o)
	p.run(t.TempDir())
	p.phase("a", dcsapi.PhaseFollow)
	from.Do("CLIENT KILL TYPE replica")
	from.Do("SET a 1")
	commands := func(r dcsapi.WorkReport) bool { return r.Progress.Commands > 0 }
	p.until("a", commands)
	o.ResumeMode = dcsapi.Manual
	p.order(o)
	p.phase("a", dcsapi.PhaseFollow)
	from.Do("CLIENT KILL TYPE replica")
	r := p.phase("a", dcsapi.PhaseFailed)
	require.NotEmpty(t, r.Error)
	require.Contains(t, p.log(), "ERROR")
}

// What is wrong with the servers is said with its code, and no password is.
func TestFailed(t *testing.T) {
	t.Parallel()
	from, to := redis.Start(t, "--requirepass", "right"), redis.Start(t)
	p := newPlane(t)
	o := online("a", dcsapi.FullAmount, from, to)
	o.Source.Password = "wrong-secret"
	p.order(o)
	p.run(t.TempDir())
	r := p.phase("a", dcsapi.PhaseFailed)
	require.Equal(t, "FERRY-REDIS-AUTH", r.Code)
	require.NotContains(t, r.Error+p.log(), "wrong-secret")
	require.Contains(t, p.log(), "ERROR FERRY-REDIS-AUTH")
}

// A task that is given to another machine, or whose machine is gone, is dropped.
func TestDropped(t *testing.T) {
	t.Parallel()
	from, to := redis.Start(t), redis.Start(t)
	p := newPlane(t)
	p.order(online("a", dcsapi.Follow, from, to))
	p.run(t.TempDir())
	p.phase("a", dcsapi.PhaseFollow)
	p.mu.Lock()
	p.fails = fmt.Errorf("work: %w", &reporter.APIError{Status: http.StatusNotFound, Code: "FERRY.0404"})
	p.mu.Unlock()
	late := time.Now().Add(patience)
	for !strings.Contains(from.Do("INFO replication"), "connected_slaves:0") {
		require.True(t, time.Now().Before(late), "it still follows")
	}
}

// An import fails at a file that is not there and, told to go on by itself, waits for a server that does not answer yet.
func TestImport(t *testing.T) {
	t.Parallel()
	from, to := redis.Start(t), redis.Start(t)
	from.Do("DEBUG POPULATE 1000")
	from.Do("SAVE")
	tries := 0
	web := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if tries++; tries == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		http.ServeFile(w, r, filepath.Join(from.Dir, filepath.Base(r.URL.Path)))
	})
	p := newPlane(t)
	o := dcsapi.Order{ID: "a", Run: 1, Type: dcsapi.BackupImport, Method: dcsapi.FullAmount, ResumeMode: dcsapi.Auto, Target: dcsapi.Instance{Addrs: to.Addr}}
	o.Files = []string{web + "/dump.rdb"}
	p.order(o)
	p.run(t.TempDir())
	r := p.phase("a", dcsapi.PhaseDone)
	same(t, from, to)
	require.EqualValues(t, 1000, r.Progress.TargetKeys)
	require.Greater(t, tries, 1)
	to.Do("FLUSHALL")
	o.ID, o.Files = "b", []string{"s3://bucket/dump.rdb"}
	p.order(o)
	require.Equal(t, "FERRY-REDIS-OBJECTS", p.phase("b", dcsapi.PhaseFailed).Code)
	o.ID, o.Files = "c", []string{filepath.Join(from.Dir, "dump.rdb")}
	p.order(o)
	require.Equal(t, "FERRY-REDIS-ORDER", p.phase("c", dcsapi.PhaseFailed).Code)
}

// Only the database that is named is moved, to the one that is named.
func TestDatabases(t *testing.T) {
	t.Parallel()
	from, to := redis.Start(t), redis.Start(t)
	for _, line := range []string{"SET zero 0", "SWAPDB 0 3", "SET other 1"} {
		from.Do(line)
	}
	p := newPlane(t)
	o := online("a", dcsapi.FullAmount, from, to)
	o.Source.DB, o.Target.DB, o.BandwidthLimit = "3", "5", "1"
	p.order(o)
	p.run(t.TempDir())
	p.phase("a", dcsapi.PhaseDone)
	require.Contains(t, to.Do("INFO keyspace"), "db5:keys=1")
	require.NotContains(t, to.Do("INFO keyspace"), "db0")
}

// serve serves files until the test ends, and returns its URL.
func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		s.Close()
	})
	return s.URL
}
