package redis

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"log/slog"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/redis/rdb"
	"github.com/ferry-migrate/ferry/transfer/redis/resp"
)

// Bounds of the full copy.
const (
	maxPayload = 8 << 20  // bytes of a value that goes in one RESTORE; larger ones go in pieces
	maxText    = 16 << 10 // bytes of a string that goes by SET although the snapshot holds it compressed
	budget     = 24 << 20 // bytes sent to the target and not answered, over all connections
	msetBytes  = 16 << 10
)

// loader puts a snapshot on the target, over several connections: a key is always on the same one, and no two keys depend on each
// other. Values go as RESTORE with their payload as the snapshot has it; small strings as MSET, which costs the target less; what is
// too large, or too new for the target, as commands that build it.
type loader struct {
	dial   func(context.Context) (*resp.Conn, error)
	target server
	policy Existing
	filter *Filter
	stats  *stats
	repeat func(error) bool
	log    *slog.Logger

	lanes   []*lane
	seed    maphash.Seed
	budget  *semaphore.Weighted
	control *resp.Conn
	text    []byte
}

// lane is one connection of a loader and the batch that is being gathered for it.
type lane struct {
	*pipe
	loader *loader
	batch  *batch
	db     int    // that the batch is for; -1: none yet
	away   bool   // a batch was for another database than 0
	pairs  []byte // of an MSET to come
	npairs int
}

// load reads a snapshot from br to its end and returns once the target has acknowledged all of it.
func (l *loader) load(ctx context.Context, br *bufio.Reader, lanes int) error {
	r, err := rdb.NewReader(br, maxPayload)
	if err != nil {
		return err
	}
	return l.run(ctx, lanes, func(ctx context.Context) error { return l.feed(ctx, r) })
}

// run opens the lanes, calls feed, and returns once the target has acknowledged all that went into them.
func (l *loader) run(ctx context.Context, lanes int, feed func(context.Context) error) (err error) {
	l.seed, l.budget = maphash.MakeSeed(), semaphore.NewWeighted(budget)
	g, ctx := errgroup.WithContext(ctx)
	if l.control, err = l.dial(ctx); err != nil {
		return err
	}
	defer l.control.Close()
	for range lanes {
		n := &lane{loader: l, batch: &batch{}, db: -1}
		n.pipe = &pipe{dial: l.dial, resume: n.again, accept: n.accept, repeat: l.repeat, queue: make(chan *batch, 2), log: l.log}
		l.lanes = append(l.lanes, n)
		g.Go(func() error { return n.run(ctx) })
	}
	g.Go(func() error {
		err := feed(ctx)
		for _, n := range l.lanes {
			if err == nil {
				err = n.flush(ctx)
			}
			if err == nil {
				close(n.queue)
			}
		}
		return err
	})
	return g.Wait()
}

// feed hands every entry of the snapshot to a lane.
func (l *loader) feed(ctx context.Context, r *rdb.Reader) error {
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			l.stats.bytesDone.Store(r.Bytes())
			return nil
		}
		if err != nil {
			return err
		}
		l.stats.bytesDone.Store(r.Bytes())
		l.stats.keysTotal.Store(max(l.stats.keysTotal.Load(), r.Keys()))
		if err := l.entry(ctx, r, e); err != nil {
			return fmt.Errorf("key %q in database %d: %w", e.Key, e.DB, err)
		}
	}
}

func (l *loader) entry(ctx context.Context, r *rdb.Reader, e *rdb.Entry) error {
	switch e.What {
	case rdb.Lost:
		l.stats.lose("data of a module beside its keys", string(e.Key))
		return nil
	case rdb.Function:
		if !l.target.functions() {
			name, _, _ := strings.Cut(string(e.Value), "\n")
			l.stats.lose("functions, which the target does not know", name)
			return nil
		}
		n := l.lanes[0]
		n.add("FUNCTION", "LOAD", "REPLACE", string(e.Value))
		return n.flush(ctx)
	case rdb.Script:
		n := l.lanes[0]
		n.add("SCRIPT", "LOAD", string(e.Value))
		return n.flush(ctx)
	}
	l.stats.keys.Add(1)
	db, wanted := l.filter.key(e.DB, e.Key)
	if !wanted || !l.filter.kind(e.Type.Kind()) {
		l.stats.filtered.Add(1)
		return nil
	}
	n := l.lane(e.Key)
	if err := n.use(ctx, db); err != nil {
		return err
	}
	switch {
	case e.Large || e.Type.Version() > l.target.snapshots():
		return n.pieces(ctx, r, e)
	case e.Type == rdb.String && e.Idle < 0 && e.Freq < 0 && (e.ExpireAt == 0 || l.target.setUntil()) && r.TextSize() <= maxText:
		return n.set(ctx, r, e)
	default:
		n.restore(e, nil)
		return n.full(ctx)
	}
}

// lane is the one of a key.
func (l *loader) lane(key []byte) *lane {
	return l.lanes[maphash.Bytes(l.seed, key)%uint64(len(l.lanes))]
}

// add appends a command to the batch.
func (n *lane) add(args ...string) {
	n.batch.buf = resp.AppendCommand(n.batch.buf, args...)
	n.batch.n++
}

// use selects a database.
func (n *lane) use(ctx context.Context, db int) error {
	if db == n.db {
		return nil
	}
	if err := n.flush(ctx); err != nil { // each batch begins by selecting, so it can be sent again on another connection
		return err
	}
	n.db = db
	return nil
}

// open begins a batch.
func (n *lane) open() {
	n.away = n.away || n.db > 0
	if len(n.batch.buf) == 0 && n.away { // a new connection begins in 0, an old one where it was left
		n.add("SELECT", fmt.Sprint(n.db))
	}
}

// set adds a string.
func (n *lane) set(ctx context.Context, r *rdb.Reader, e *rdb.Entry) (err error) {
	l := n.loader
	if l.text, err = r.Text(l.text[:0]); err != nil {
		return err
	}
	if e.ExpireAt == 0 && l.policy == Replace {
		n.pairs = resp.AppendArg(n.pairs, e.Key)
		n.pairs = resp.AppendArg(n.pairs, l.text)
		if n.npairs++; len(n.pairs) >= msetBytes {
			n.mset()
		}
		return n.full(ctx)
	}
	n.open()
	b := n.batch
	args := 3
	if e.ExpireAt != 0 {
		args += 2
	}
	if l.policy != Replace {
		args++
	}
	b.buf = resp.AppendArray(b.buf, args)
	b.buf = resp.AppendArg(b.buf, "SET")
	b.buf = resp.AppendArg(b.buf, e.Key)
	b.buf = resp.AppendArg(b.buf, l.text)
	if e.ExpireAt != 0 {
		b.buf = resp.AppendArg(b.buf, "PXAT")
		b.buf = resp.AppendInt(b.buf, max(e.ExpireAt, 1))
	}
	if l.policy != Replace {
		b.buf = resp.AppendArg(b.buf, "NX")
	}
	b.n++
	return n.full(ctx)
}

// mset adds the pairs that were gathered.
func (n *lane) mset() {
	if n.npairs == 0 {
		return
	}
	n.open()
	b := n.batch
	b.buf = resp.AppendArray(b.buf, 1+2*n.npairs)
	b.buf = resp.AppendArg(b.buf, "MSET")
	b.buf = append(b.buf, n.pairs...)
	b.n++
	n.pairs, n.npairs = n.pairs[:0], 0
}

// restore adds a value as its payload: dump, or nil for the one of the entry.
func (n *lane) restore(e *rdb.Entry, dump []byte) {
	n.open()
	l, b := n.loader, n.batch
	args, ttl := 4, int64(0)
	if l.policy == Replace {
		args++
	}
	timed := e.ExpireAt != 0 && l.target.absolute()
	if timed {
		args, ttl = args+1, max(e.ExpireAt, 1)
	}
	known := l.target.absolute() && (e.Idle >= 0 || e.Freq >= 0)
	if known {
		args += 2
	}
	b.buf = resp.AppendArray(b.buf, args)
	b.buf = resp.AppendArg(b.buf, "RESTORE")
	b.buf = resp.AppendArg(b.buf, e.Key)
	b.buf = resp.AppendInt(b.buf, ttl)
	if dump != nil {
		b.buf = resp.AppendArg(b.buf, dump)
	} else {
		b.buf = resp.AppendLen(b.buf, e.PayloadSize())
		b.buf = e.AppendPayload(b.buf)
		b.buf = append(b.buf, '\r', '\n')
	}
	if l.policy == Replace {
		b.buf = resp.AppendArg(b.buf, "REPLACE")
	}
	if timed {
		b.buf = resp.AppendArg(b.buf, "ABSTTL")
	}
	switch {
	case known && e.Idle >= 0:
		b.buf = resp.AppendArg(b.buf, "IDLETIME")
		b.buf = resp.AppendInt(b.buf, e.Idle)
	case known:
		b.buf = resp.AppendArg(b.buf, "FREQ")
		b.buf = resp.AppendInt(b.buf, int64(e.Freq))
	}
	b.n++
	if e.ExpireAt != 0 && !timed {
		n.expire(e)
	}
}

// expire adds the end of a key's life.
func (n *lane) expire(e *rdb.Entry) {
	n.add("PEXPIREAT", string(e.Key), fmt.Sprint(max(e.ExpireAt, 1)))
}

// pieces adds a value as commands that build it.
func (n *lane) pieces(ctx context.Context, r *rdb.Reader, e *rdb.Entry) error {
	l := n.loader
	if l.policy != Replace {
		if err := n.flush(ctx); err != nil {
			return err
		}
		replies, err := l.control.Pipeline([]string{"SELECT", fmt.Sprint(n.db)}, []string{"EXISTS", string(e.Key)})
		if err != nil {
			return err
		}
		if replies[1].Int != 0 {
			return l.exists(string(e.Key))
		}
	} else {
		n.open()
		n.add("DEL", string(e.Key))
	}
	err := r.Commands(l.target.snapshots(), func(args [][]byte) error {
		n.open()
		n.batch.buf = resp.AppendCommand(n.batch.buf, args...)
		n.batch.n++
		n.batch.once = n.batch.once || string(args[0]) == "RPUSH"
		return n.full(ctx)
	})
	if err == nil && e.ExpireAt != 0 {
		n.open()
		n.expire(e)
	}
	return err
}

// full sends the batch if it is large enough.
func (n *lane) full(ctx context.Context) error {
	if len(n.batch.buf)+len(n.pairs) < batchBytes && n.batch.n < batchCount {
		return nil
	}
	return n.flush(ctx)
}

// flush sends the batch.
func (n *lane) flush(ctx context.Context) error {
	n.mset()
	b := n.batch
	if b.n == 0 {
		return nil
	}
	b.weight = min(int64(len(b.buf)), budget)
	if err := n.loader.budget.Acquire(ctx, b.weight); err != nil {
		return context.Cause(ctx)
	}
	select {
	case n.queue <- b:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	n.batch = &batch{buf: make([]byte, 0, batchBytes+msetBytes)}
	return nil
}

// again is the pipe's resume: setting, restoring and adding to a set can be repeated, on the same target. Pushing cannot.
func (n *lane) again(_ context.Context, c *resp.Conn, unacked []*batch) ([]*batch, error) {
	s, err := inspect(c)
	if err != nil {
		return nil, err
	}
	if s.runID != n.loader.target.runID {
		return nil, fmt.Errorf("the target was started again: %w", errRestart)
	}
	for _, b := range unacked {
		if b.once {
			return nil, fmt.Errorf("the line broke within a long list: %w", errRestart)
		}
	}
	return unacked, nil
}

// accept reads the replies of a batch.
func (n *lane) accept(b *batch, c *resp.Conn) error {
	for i := range b.n {
		r, err := c.Reply()
		if err != nil {
			return err
		}
		if r.Kind == resp.Failure && resp.Error(r.Str).Kind() != "BUSYKEY" {
			return n.loader.failed(b, i, r)
		}
		if r.Kind == resp.Null || r.Kind == resp.Failure {
			if err := n.loader.exists(nth(b.buf, i)[1]); err != nil {
				return err
			}
		}
	}
	n.loader.budget.Release(b.weight)
	b.buf = nil
	return nil
}

// failed judges an answer that is an error.
func (l *loader) failed(b *batch, i int, r resp.Reply) error {
	args := nth(b.buf, i)
	name := args[0]
	if len(args) > 1 {
		name = fmt.Sprintf("%s %q", args[0], args[1])
	}
	return refused(r, name)
}

// exists judges a key that the target has already.
func (l *loader) exists(key string) error {
	if l.policy == Skip {
		l.stats.skipped.Add(1)
		return nil
	}
	return fault.Operator("FERRY-REDIS-KEY-EXISTS", "remove the key on the target, or say --on-existing replace or skip",
		fmt.Errorf("the target has the key %q already", key))
}

// nth decodes the i-th command of a buffer; for errors.
func nth(buf []byte, i int) []string {
	r := resp.NewReader(bytes.NewReader(buf))
	for {
		_, args, err := r.Command(nil, nil)
		if err != nil {
			return []string{"a command", ""}
		}
		if i--; i < 0 {
			out := make([]string, 0, 2)
			for _, a := range args[:min(len(args), 2)] {
				out = append(out, string(a))
			}
			return append(out, "")
		}
	}
}
