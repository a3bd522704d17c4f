package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/redis/rdb"
	"github.com/ferry-migrate/ferry/transfer/redis/resp"
)

// Bounds of reading with SCAN.
const (
	dumpBytes = 8 << 20   // of memory on the source, of keys that are fetched together
	maxDirty  = 1_000_000 // changed keys that are remembered; more, and everything is read again
)

// scanner reads a source that lets nobody replicate: every key with DUMP, page by page, and again each key that the source's keyspace
// notifications name.
//
// It promises less than following does. There is no place to continue at: every run, and every run after a cut, reads everything. A value
// is held in memory whole. What the source does between two readings of a key is not seen, so neither is the order of changes to
// different keys. FLUSHALL and FLUSHDB notify nobody: the keys stay on the target; nor do functions and scripts come along. Once does not ask
// for notifications: then keys that change while they are read may be missed.
type scanner struct {
	*Migration
	*loader
	c *resp.Conn

	mu    sync.Mutex
	dirty map[dbKey]bool
	lost  bool          // too many
	woken chan struct{} // holds one token when there is something dirty
}

type dbKey struct {
	db  int
	key string
}

// scan runs a migration with SCAN.
func (m *Migration) scan(ctx context.Context) error {
	c, err := m.dialTarget(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := m.begin(c); err != nil {
		return err
	}
	s := &scanner{Migration: m, dirty: map[dbKey]bool{}, woken: make(chan struct{}, 1)}
	s.loader = &loader{dial: m.dialTarget, target: m.target, policy: m.policy(), filter: &m.Filter, stats: &m.stats, repeat: m.repeat, log: m.Log}
	g, ctx := errgroup.WithContext(ctx)
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	if s.c, err = dialMaster(ctx, m.From, m.sourceOptions()); err != nil {
		return err
	}
	listener, err := s.listen(ctx)
	if err != nil {
		return err
	}
	m.stats.full.Add(1)
	m.stats.begin(&copying)
	if listener != nil {
		g.Go(func() error { return s.hear(ctx, listener) })
	}
	g.Go(func() error {
		err := s.run(ctx, m.Lanes, s.feed)
		if err == nil {
			err = errDone
		}
		stop(err) // who listens has nothing to end for
		return err
	})
	if err := g.Wait(); !errors.Is(err, errDone) {
		return err
	}
	done, err := m.dialTarget(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	defer done.Close()
	_, err = done.Do("DEL", m.markKey())
	return err
}

// listen subscribes to the source's notifications; nil if they are not asked for. Errors: FERRY-REDIS-NOTIFY if the source sends none:
// its configuration is its owner's.
func (s *scanner) listen(ctx context.Context) (*resp.Conn, error) {
	if s.Once {
		return nil, nil
	}
	r, err := s.c.Do("CONFIG", "GET", "notify-keyspace-events")
	if err == nil && len(r.Array) == 2 {
		if flags := r.Array[1].Text(); !strings.Contains(flags, "E") || !strings.Contains(flags, "A") {
			return nil, fault.Operator("FERRY-REDIS-NOTIFY", "CONFIG SET notify-keyspace-events AE on the source, or use --once",
				fmt.Errorf("the source does not tell of all changes: notify-keyspace-events is %q", flags))
		}
	} // else a service that hides its configuration
	c, err := dialMaster(ctx, s.From, s.sourceOptions())
	if err != nil {
		return nil, err
	}
	_, err = c.Do("PSUBSCRIBE", "__keyevent@*__:*")
	return c, err
}

// hear notes the keys that changed. It asks for a sign of life, so silence means a dead line.
func (s *scanner) hear(ctx context.Context, c *resp.Conn) error {
	var g sync.WaitGroup
	defer g.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	g.Go(func() {
		for pause(ctx, 10*keepAlive) == nil && c.Write(resp.AppendCommand(nil, "PING")) == nil {
		}
	})
	for {
		r, err := c.Reply()
		if err != nil {
			return err
		}
		if len(r.Array) != 4 || r.Array[0].Text() != "pmessage" {
			continue
		}
		number, _, _ := strings.Cut(strings.TrimPrefix(r.Array[2].Text(), "__keyevent@"), "_")
		db, err := strconv.Atoi(number)
		if err != nil {
			return fault.Permanent(fmt.Errorf("%w: a channel %q", resp.ErrProtocol, r.Array[2].Str))
		}
		s.note(dbKey{db, r.Array[3].Text()})
	}
}

// note remembers a key that changed.
func (s *scanner) note(k dbKey) {
	if _, wanted := s.Filter.key(k.db, []byte(k.key)); !wanted {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost = s.lost || len(s.dirty) >= maxDirty; s.lost {
		return
	}
	s.dirty[k] = true
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

// changed takes the keys that were noted, by database.
func (s *scanner) changed() (map[int][]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost {
		return nil, fault.Temporary(fmt.Errorf("more than %d keys changed while the source was read: it is read again", maxDirty))
	}
	all := map[int][]string{}
	for k := range s.dirty {
		all[k.db] = append(all[k.db], k.key)
	}
	clear(s.dirty)
	return all, nil
}

// feed reads everything, then what changes until cutover.
func (s *scanner) feed(ctx context.Context) error {
	source, err := inspect(s.c)
	if err != nil {
		return err
	}
	for db := range source.keys {
		if _, wanted := s.Filter.db(db); !wanted {
			continue
		}
		if _, err := s.c.Do("SELECT", strconv.Itoa(db)); err != nil {
			return err
		}
		err := scan(s.c, "SCAN", "", func(page []resp.Reply) error {
			keys := make([]string, len(page))
			for i, k := range page {
				keys[i] = k.Text()
			}
			s.stats().keys.Add(int64(len(keys)))
			return s.copy(ctx, db, keys, false)
		})
		if err != nil {
			return err
		}
	}
	s.stats().phase.Store(&following)
	for last := s.Once; ; {
		if err := s.catchUp(ctx); err != nil || last {
			return err
		}
		select {
		case <-s.woken:
		case <-s.cutover: // what was done before is being told: notifications come in order, within moments
			last = true
			if err := pause(ctx, time.Second); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (s *scanner) stats() *stats { return &s.Migration.stats }

// catchUp copies the keys that changed, and sends what is gathered.
func (s *scanner) catchUp(ctx context.Context) error {
	all, err := s.changed()
	if err != nil {
		return err
	}
	for db, keys := range all {
		if _, err := s.c.Do("SELECT", strconv.Itoa(db)); err != nil {
			return err
		}
		if err := s.copy(ctx, db, keys, true); err != nil {
			return err
		}
		s.stats().commands.Add(int64(len(keys)))
	}
	for _, n := range s.lanes {
		if err := n.flush(ctx); err != nil {
			return err
		}
	}
	return nil
}

// copy moves keys of the selected database, some at a time so that their values fit the memory. Those that are gone are removed if
// they changed.
func (s *scanner) copy(ctx context.Context, db int, keys []string, changed bool) error {
	for len(keys) > 0 {
		n, err := s.fitting(keys[:min(len(keys), scanCount)])
		if err != nil {
			return err
		}
		commands := make([][]string, 0, 2*n)
		for _, k := range keys[:n] {
			commands = append(commands, []string{"PTTL", k}, []string{"DUMP", k})
		}
		replies, err := s.c.Pipeline(commands...)
		if err != nil {
			return err
		}
		now := time.Now().UnixMilli()
		for i, k := range keys[:n] {
			if err := s.put(ctx, db, k, replies[2*i].Int, now, replies[2*i+1], changed); err != nil {
				return err
			}
		}
		keys = keys[n:]
	}
	return nil
}

// fitting is how many of the first keys are fetched together.
func (s *scanner) fitting(keys []string) (int, error) {
	commands := make([][]string, len(keys))
	for i, k := range keys {
		commands[i] = []string{"MEMORY", "USAGE", k, "SAMPLES", "3"}
	}
	replies, err := s.c.Pipeline(commands...)
	if err != nil {
		return 0, err
	}
	size := int64(0)
	for i, r := range replies {
		if r.Kind == resp.Failure { // before 4.0, or not allowed
			return min(len(keys), 16), nil
		}
		if size += r.Int; size > dumpBytes && i > 0 {
			return i, nil
		}
	}
	return len(keys), nil
}

// put sends one key to the target.
func (s *scanner) put(ctx context.Context, db int, key string, ttl, now int64, dump resp.Reply, changed bool) error {
	to, wanted := s.Filter.key(db, []byte(key))
	if !wanted {
		s.stats().filtered.Add(1)
		return nil
	}
	if dump.Err() != nil {
		return fault.Operator("FERRY-REDIS-AUTH", "let the user of --from read all keys", fmt.Errorf("DUMP %q: %w", key, dump.Err()))
	}
	n := s.lane([]byte(key))
	if err := n.use(ctx, to); err != nil {
		return err
	}
	switch {
	case dump.Kind == resp.Null && changed:
		n.open()
		n.add("DEL", key)
	case dump.Kind == resp.Null:
	default:
		e := &rdb.Entry{Key: []byte(key), Idle: -1, Freq: -1}
		if ttl > 0 {
			e.ExpireAt = now + ttl
		}
		n.restore(e, dump.Str)
	}
	return n.full(ctx)
}
