package redis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/redis/resp"
)

const (
	idle      = time.Second // without a command before the mark is taken away
	lookEvery = 50 * time.Millisecond
	drain     = 800 * time.Millisecond // for what was received, after a cancel
	settle    = 10 * time.Second       // for a slow disk to take the position, at the end
)

// errDone ends the stream: the target has what was asked for.
var errDone = errors.New("done")

// stream follows the source from at on. When it returns nil, or because ctx ended, all that was received is applied and the mark is
// taken away, if there was time.
func (m *Migration) stream(ctx context.Context, at position) error {
	m.stats.phase.Store(&following)
	m.received.Store(&at)
	m.applied.Store(&at)
	m.busy.Store(time.Now().UnixNano())
	receiving, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	hard, kill := context.WithCancelCause(context.WithoutCancel(ctx)) // outlives ctx for the time of draining
	defer kill(nil)
	defer context.AfterFunc(ctx, func() { time.AfterFunc(drain, func() { kill(context.Cause(ctx)) }) })()

	queue := make(chan *batch, batchesAhead)
	p := &pipe{dial: m.dialTarget, resume: m.resume, accept: m.accept, repeat: m.repeat, queue: queue, log: m.Log}
	g, work := errgroup.WithContext(hard)
	defer context.AfterFunc(work, func() { stop(context.Cause(work)) })()
	g.Go(func() error {
		err := (&receiver{Migration: m, at: at, queue: queue}).run(receiving)
		if receiving.Err() != nil && work.Err() == nil { // asked to stop
			close(queue)
			return nil
		}
		return err
	})
	g.Go(func() error { return p.run(work) })
	g.Go(func() error { return m.mind(receiving, stop) })
	unblock := context.AfterFunc(receiving, func() { m.replica.Load().Close() })
	defer unblock()
	err := g.Wait()
	done := errors.Is(context.Cause(receiving), errDone)
	if err != nil && !done && ctx.Err() == nil {
		return err
	}
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), settle)
	defer cancel()
	if err := m.tidy(within, *m.applied.Load()); err != nil {
		m.Log.Warn("the checkpoint stays on the target until the next run", "error", err)
	}
	if done {
		return nil
	}
	return context.Cause(ctx)
}

// mind watches the stream: it takes the mark away when nothing comes, and stops when the end that was asked for is reached.
func (m *Migration) mind(ctx context.Context, stop context.CancelCauseFunc) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	cutover := m.cutover
	goal := int64(-1)
	wanted := m.Once
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-cutover:
			cutover, wanted, goal = nil, true, -1
		case <-tick.C:
		}
		if wanted && goal < 0 {
			goal = m.sourceOffset(ctx)
		}
		applied := m.applied.Load()
		if goal >= 0 && applied.Offset >= goal {
			stop(errDone)
			return nil
		}
		quiet := applied.Offset == m.received.Load().Offset && time.Since(time.Unix(0, m.busy.Load())) > idle
		if quiet && m.marked.Load() >= 0 {
			err := m.tidy(ctx, *applied)
			if errors.Is(err, errRestart) {
				return err
			}
			if err != nil && ctx.Err() == nil {
				m.Log.Warn("take the checkpoint away", "error", err)
				m.busy.Store(time.Now().UnixNano()) // not at once again
			}
		}
	}
}

// sourceOffset is how far the source's stream is now, -1 if it does not say.
func (m *Migration) sourceOffset(ctx context.Context) int64 {
	c, err := dialMaster(ctx, m.From, m.sourceOptions())
	if err != nil {
		return -1
	}
	defer c.Close()
	s, err := inspect(c)
	if err != nil {
		return -1
	}
	return s.offset
}

// resume is the pipe's: the mark says what of the batches the target has.
func (m *Migration) resume(_ context.Context, c *resp.Conn, unacked []*batch) ([]*batch, error) {
	s, err := inspect(c)
	if err != nil {
		return nil, err
	}
	if s.replica {
		return nil, fault.Temporary(errors.New("the target is a replica now"))
	}
	r, err := c.Do("GET", m.markKey())
	if err != nil {
		return nil, err
	}
	known := m.marked.Load()
	if r.Kind != resp.Bulk {
		if known >= 0 || s.runID != m.target.runID {
			return nil, errRestart
		}
		return unacked, nil
	}
	k, err := parseMark(r.Text())
	if err != nil {
		return nil, err
	}
	if k.Full || k.Offset < known || known < 0 && s.runID != m.target.runID {
		return nil, errRestart
	}
	for len(unacked) > 0 && unacked[0].at.Offset <= k.Offset {
		m.done(unacked[0])
		unacked = unacked[1:]
	}
	return unacked, nil
}

// done counts a batch that the target has.
func (m *Migration) done(b *batch) {
	if b.n > 0 {
		m.busy.Store(time.Now().UnixNano())
		m.marked.Store(b.at.Offset)
	}
	m.stats.oldestNs.Store(b.received.UnixNano())
	m.applied.Store(&b.at)
	if r := m.replica.Load(); r != nil {
		r.ack(b.at.Offset, false)
	}
}

// accept is the pipe's: it reads the replies of a transaction.
func (m *Migration) accept(b *batch, c *resp.Conn) error {
	var first error
	for i := range b.n {
		r, err := c.Reply()
		if err != nil {
			return err
		}
		if r.Kind == resp.Failure && first == nil {
			first = refused(r, fmt.Sprintf("%q", nth(b.buf, i)))
		}
		if i < b.n-1 {
			continue
		}
		if first != nil {
			return first
		}
		for j, e := range r.Array {
			if e.Kind == resp.Failure {
				if err := m.diverged(nth(b.buf, j+1), e); err != nil {
					return err
				}
			}
		}
	}
	m.done(b)
	return nil
}

// diverged judges a command of the stream that the target carried out with an error, which the source did not have.
func (m *Migration) diverged(args []string, answer resp.Reply) error {
	what := fmt.Sprintf("%q: %s", args, answer.Str)
	if !m.owned || m.Filter.byKey() || len(m.Filter.Types) > 0 || len(m.Filter.Commands) > 0 {
		m.stats.lose("commands that do not fit the target's keys", what)
		return nil
	}
	err := fmt.Errorf("the target no longer holds what the source does: %s", what)
	return errors.Join(fault.Operator("FERRY-REDIS-DIVERGED", "see that nobody else writes to the target, then run again: everything is copied anew", err),
		m.writeRecord(record{Broken: err.Error()}))
}
