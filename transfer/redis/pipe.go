package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"golang.org/x/sync/errgroup"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/redis/resp"
)

// Bounds on what is under way on one connection.
const (
	batchBytes   = 128 << 10 // a batch goes when it has so many bytes
	batchCount   = 1024      // or so many commands
	batchesAhead = 32        // sent and not answered
)

// batch is some commands that are sent together.
type batch struct {
	buf      []byte // the commands, as they are sent
	n        int    // how many, so many replies come
	at       position
	received time.Time // when its first command came
	once     bool      // may not be sent again when it is not known whether it was carried out
	weight   int64     // of the budget, to give back
}

// pipe sends batches on one connection, in order, many before the first is answered, and connects again when it breaks: what was not
// answered goes through resume, which says what of it to send once more.
type pipe struct {
	dial   func(context.Context) (*resp.Conn, error)
	resume func(context.Context, *resp.Conn, []*batch) ([]*batch, error)
	accept func(*batch, *resp.Conn) error // reads and judges the replies of a batch
	repeat func(error) bool               // whether to try again after it
	queue  chan *batch                    // closed by the producer at the end
	log    *slog.Logger

	mu      sync.Mutex
	unacked []*batch // oldest first
}

// run returns nil once the queue is closed and everything in it was answered. Only errors that are not to be repeated end it before.
func (p *pipe) run(ctx context.Context) error {
	wait := forever(ctx)
	for {
		err := p.attempt(ctx, wait.Reset)
		if err == nil || ctx.Err() != nil || !p.repeat(err) {
			return err
		}
		p.log.Warn("the target's connection broke, trying again", "error", err)
		if err := pause(ctx, wait.NextBackOff()); err != nil {
			return err
		}
	}
}

// attempt is run over one connection. healthy is called when it works.
func (p *pipe) attempt(ctx context.Context, healthy func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	conn, err := p.dial(ctx) // it ends with ctx, so whoever fails first ends the other's read or write
	if err != nil {
		return err
	}
	defer conn.Close()
	again, err := p.resume(ctx, conn, p.unacked)
	if err != nil {
		return err
	}
	p.unacked = again
	flight := make(chan *batch, batchesAhead)
	g.Go(func() error {
		defer close(flight)
		return p.send(ctx, conn, flight, again)
	})
	g.Go(func() error {
		for b := range flight {
			if err := p.accept(b, conn); err != nil {
				return err
			}
			healthy()
			p.mu.Lock()
			p.unacked = p.unacked[1:]
			p.mu.Unlock()
		}
		return nil
	})
	return g.Wait()
}

// send writes what has to be sent again, then the queue.
func (p *pipe) send(ctx context.Context, conn *resp.Conn, flight chan<- *batch, again []*batch) error {
	put := func(b *batch) error {
		if len(b.buf) > 0 {
			if err := conn.Write(b.buf); err != nil {
				return err
			}
		}
		select {
		case flight <- b:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	for _, b := range again[:len(again):len(again)] {
		if err := put(b); err != nil {
			return err
		}
	}
	for {
		select {
		case b, more := <-p.queue:
			if !more {
				return nil
			}
			p.mu.Lock()
			p.unacked = append(p.unacked, b)
			p.mu.Unlock()
			if err := put(b); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// forever is the pause between attempts: from 50 ms to 5 s, without end.
func forever(ctx context.Context) backoff.BackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval, b.MaxElapsedTime = 50*time.Millisecond, 5*time.Second, 0
	return backoff.WithContext(b, ctx)
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	if d == backoff.Stop {
		return context.Cause(ctx)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// refused gives an error that the target answered to a command its class, code and remedy.
func refused(answer resp.Reply, command string) error {
	err := fmt.Errorf("the target refused %s: %w", command, answer.Err())
	switch resp.KindOf(err) {
	case "OOM":
		return fault.Operator("FERRY-REDIS-TARGET-FULL", "raise maxmemory of the target or use a larger one, then run again", err)
	case "NOAUTH", "NOPERM":
		return fault.Operator("FERRY-REDIS-AUTH", "let the user of --to write all keys (ACL SETUSER)", err)
	case "LOADING", "BUSY", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "READONLY", "NOREPLICAS":
		return fault.Temporary(err)
	case "MISCONF":
		return fault.Operator("FERRY-REDIS-REFUSED", "see the target's log why it cannot save", err)
	}
	return fault.Operator("FERRY-REDIS-REFUSED", "leave the key out with --exclude, or use a target that knows the command", err)
}

// errRestart says that what the target holds can no longer be continued: everything has to be copied again.
var errRestart = errors.New("the target lost what it had acknowledged")
