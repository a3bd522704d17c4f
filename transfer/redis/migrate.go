package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ferry-migrate/ferry/internal/durable"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/ratelimit"
	"github.com/ferry-migrate/ferry/transfer/redis/resp"
)

// Config says what to migrate. From, To and State are required.
type Config struct {
	From, To   resp.Endpoint
	State      string // directory that exists; one migration of a source to a target at a time
	Once       bool   // end when the target has what the source had at the end of the full copy; else follow it until cutover
	Filter     Filter
	Scan       bool     // read with SCAN and DUMP, for a source that lets nobody replicate; see scanner for what that promises
	OnExisting Existing // empty: the target must be empty at the beginning
	Lanes      int      // connections for the full copy, 0 is 2
	Limiter    ratelimit.Limiter
	Retry      func() bool  // asked after each break whether to try again; nil: always. If not, the break ends the run
	Objects    *ObjectStore // where s3:// files of an import are; nil: nowhere
	Log        *slog.Logger
}

// Migration is one migration of a server to another one. Its methods may be called from any goroutine, Run once.
type Migration struct {
	Config
	id     string
	target server
	// sourceRun is the run id of the source's process.
	sourceRun string
	owned     bool
	keyed     keyTable
	source    resp.Counters
	out       resp.Counters
	stats     stats
	cutover   chan struct{}
	cutOnce   sync.Once

	replica atomic.Pointer[replica]
	// marked is the offset that the target's mark is known to say, -1 if it has none.
	marked atomic.Int64
	// received and applied are ends of batches. busy is when the last one with a command was applied.
	received, applied atomic.Pointer[position]
	busy              atomic.Int64 // Unix nanoseconds

	records  sync.Mutex
	recorded bool // the state directory holds a position
}

// New returns a migration that has not begun.
func New(c Config) *Migration {
	if c.Lanes <= 0 {
		c.Lanes = 2
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	m := &Migration{Config: c, cutover: make(chan struct{})}
	m.id = identity(&m.Config)
	return m
}

// Cutover asks for the end: Run returns once the target has what the source has now. Whoever calls it has stopped writing to the source.
func (m *Migration) Cutover() { m.cutOnce.Do(func() { close(m.cutover) }) }

// Run migrates: continued where an earlier run with this state was stopped if source and target still allow it, else from the
// beginning. Temporary errors are waited out. It returns nil after Once or Cutover; when ctx ends, its cause, the target then being as
// the source was a moment ago, to be continued by another run.
func (m *Migration) Run(ctx context.Context) error {
	lock, err := m.lock()
	if err != nil {
		return err
	}
	defer lock.Close()
	wait := forever(ctx)
	for {
		began := time.Now()
		err := m.attempt(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		again := errors.Is(err, errRestart) || errors.Is(err, errFull)
		if !again && !m.repeat(err) {
			return err
		}
		m.stats.attempts.Add(1)
		m.Log.Warn("the migration was interrupted, it goes on by itself", "error", err)
		if time.Since(began) > time.Minute {
			wait.Reset()
		}
		if err := pause(ctx, wait.NextBackOff()); err != nil {
			return err
		}
	}
}

// repeat reports whether what ended with err is tried again.
func (m *Migration) repeat(err error) bool {
	return fault.ClassOf(err) == fault.ClassTemporary && (m.Retry == nil || m.Retry())
}

// lock keeps a second process from the same migration.
func (m *Migration) lock() (*os.File, error) {
	f, err := durable.Lock(filepath.Join(m.State, "redis-"+m.id+".lock"))
	if err != nil && fault.CodeOf(err) == "" {
		err = fault.Operator("FERRY-STATE", "name a writable directory with --state", err)
	}
	return f, err
}

func (m *Migration) sourceOptions() resp.Options {
	return resp.Options{Limiter: m.Limiter, Counters: &m.source}
}

func (m *Migration) dialTarget(ctx context.Context) (*resp.Conn, error) {
	return resp.Dial(ctx, m.To, resp.Options{Counters: &m.out})
}

// attempt finds out where to go on, copies everything if need be, and follows the source.
func (m *Migration) attempt(ctx context.Context) error {
	m.stats.phase.Store(&connecting)
	pos, err := m.prepare(ctx)
	if err != nil {
		return err
	}
	if m.Scan {
		return m.scan(ctx)
	}
	r, at, err := follow(ctx, m.From, m.sourceOptions(), pos)
	if err != nil {
		return err
	}
	m.replica.Store(r)
	defer func() { m.replica.Load().close() }()
	if r.full {
		if pos != nil {
			if err := m.again(record{}); err != nil {
				return err
			}
		}
		m.stats.full.Add(1)
		if err := m.full(ctx, r, at); err != nil {
			return fmt.Errorf("full copy: %w", err)
		}
		m.marked.Store(at.Offset)
	} else {
		m.stats.continued.Add(1)
	}
	return m.stream(ctx, at)
}

// prepare looks at both ends and returns where to go on; nil is from the beginning.
func (m *Migration) prepare(ctx context.Context) (*position, error) {
	if err := m.learn(ctx); err != nil {
		return nil, err
	}
	c, err := m.dialTarget(ctx)
	if err != nil {
		return nil, fmt.Errorf("target: %w", err)
	}
	defer c.Close()
	if m.target, err = inspect(c); err != nil {
		return nil, fmt.Errorf("target: %w", err)
	}
	switch {
	case m.target.runID == m.sourceRun:
		return nil, fault.Operator("FERRY-REDIS-SAME", "give two different servers", errors.New("source and target are the same server"))
	case m.target.replica:
		return nil, fault.Operator("FERRY-REDIS-TARGET-REPLICA", "give the address of its master, or make it one (REPLICAOF NO ONE)", errors.New("the target is a replica"))
	case m.target.cluster:
		return nil, fault.Operator("FERRY-REDIS-CLUSTER", "use a target that is not a cluster", errors.New("the target is a cluster, which is not built yet"))
	}
	return m.where(c)
}

// learn looks at the source: how many keys there are, and which arguments of its commands are keys.
func (m *Migration) learn(ctx context.Context) error {
	c, err := dialMaster(ctx, m.From, m.sourceOptions())
	if err != nil {
		return fmt.Errorf("source: %w", err)
	}
	defer c.Close()
	s, err := inspect(c)
	if err != nil {
		return fmt.Errorf("source: %w", err)
	}
	m.stats.keysTotal.Store(s.total())
	m.sourceRun = s.runID
	if s.cluster {
		if m.OnExisting == "" {
			return fault.Operator("FERRY-REDIS-CLUSTER", "migrate master by master with --on-existing replace", errors.New("the source is one node of a cluster, and would come alone"))
		}
		m.Log.Warn("the source is one node of a cluster: the others are not migrated by this run")
	}
	if m.Filter.byKey() && m.keyed == nil {
		m.keyed, err = readKeyTable(c)
	}
	return err
}

// full copies the source's snapshot, which ends at the position at.
func (m *Migration) full(ctx context.Context, r *replica, at position) error {
	c, err := m.dialTarget(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := m.begin(c); err != nil {
		return err
	}
	if err := m.writeRecord(record{}); err != nil {
		return err
	}
	m.stats.begin(&copying)
	if err := r.snapshot(); err != nil {
		return err
	}
	m.stats.bytesTotal.Store(r.size)
	l := &loader{dial: m.dialTarget, target: m.target, policy: m.policy(), filter: &m.Filter, stats: &m.stats, repeat: m.repeat, log: m.Log}
	if err := l.load(ctx, r.Buffer(), m.Lanes); err != nil {
		return err
	}
	if err := r.snapshotRead(m.stats.bytesDone.Load()); err != nil {
		return err
	}
	r.ack(at.Offset, true)
	done, err := m.dialTarget(ctx) // the first one was silent for long
	if err != nil {
		return err
	}
	defer done.Close()
	if s, err := inspect(done); err != nil || s.runID != m.target.runID {
		return errors.Join(err, errRestart)
	}
	return m.setMark(done, mark{Owned: m.owned, position: at})
}
