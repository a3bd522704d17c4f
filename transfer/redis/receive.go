package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/redis/resp"
)

// receiver turns the source's stream into batches for the target. A batch is whole commands and whole transactions, as many as came
// at once; it carries the mark that says where in the stream it ends, in one transaction with it.
type receiver struct {
	*Migration
	at    position // end of the last batch handed on
	queue chan<- *batch
	raw   []byte
	args  [][]byte

	// Of the batch that is being gathered.
	batch  *batch
	next   position
	nested bool // in a transaction of the source
	to     int  // database selected on the target
	whole  gathered
}

// gathered is how far a batch was when it ended outside of a transaction.
type gathered struct {
	bytes, n, to int
	next         position
}

// run hands batches on until ctx ends. A connection that breaks is made again, and the stream continued; errFull if the source cannot.
func (s *receiver) run(ctx context.Context) error {
	wait := forever(ctx)
	for {
		err := s.receive(ctx, wait.Reset)
		for ctx.Err() == nil && s.repeat(err) {
			s.Log.Warn("the source's connection broke, trying again", "error", err)
			if err = pause(ctx, wait.NextBackOff()); err == nil {
				err = s.reconnect(ctx)
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
	}
}

func (s *receiver) reconnect(ctx context.Context) error {
	s.replica.Load().close()
	r, at, err := follow(ctx, s.From, s.sourceOptions(), &s.at)
	if err != nil {
		return err
	}
	s.replica.Store(r)
	s.at.Replid = at.Replid
	if r.full {
		return errFull
	}
	s.stats.continued.Add(1)
	return nil
}

// receive hands batches on until the connection breaks.
func (s *receiver) receive(ctx context.Context, healthy func()) error {
	for {
		b, err := s.gather(s.replica.Load().Reader)
		if err != nil {
			return err
		}
		healthy()
		if err := s.announce(b); err != nil {
			return err
		}
		select {
		case s.queue <- b:
		case <-ctx.Done():
			at := s.at
			s.received.Store(&at)
			return context.Cause(ctx)
		}
		s.at = b.at
	}
}

// gather reads a batch. After an error s.whole says what of it was whole.
func (s *receiver) gather(r *resp.Reader) (*batch, error) {
	s.batch, s.next, s.nested, s.to = &batch{}, s.at, false, 0
	s.whole = gathered{next: s.at}
	for {
		var err error
		if s.raw, s.args, err = r.Command(s.raw[:0], s.args[:0]); err != nil {
			return nil, err
		}
		if s.batch.received.IsZero() {
			s.batch.received = time.Now()
		}
		s.next.Offset += int64(len(s.raw))
		if err := s.command(); err != nil {
			return nil, err
		}
		if s.nested {
			continue
		}
		if r.Buffer().Buffered() == 0 || len(s.batch.buf) >= batchBytes || s.batch.n >= batchCount {
			return s.seal(), nil
		}
		s.whole = gathered{len(s.batch.buf), s.batch.n, s.to, s.next}
	}
}

// cutoff is the batch as far as it was whole.
func (s *receiver) cutoff() *batch {
	w := s.whole
	s.batch.buf, s.batch.n, s.to, s.next = s.batch.buf[:w.bytes], w.n, w.to, w.next
	return s.seal()
}

// seal ends the batch with the mark.
func (s *receiver) seal() *batch {
	b := s.batch
	b.at = s.next
	if b.n == 0 {
		return b
	}
	s.use(0)
	b.buf = resp.AppendCommand(b.buf, "SET", s.markKey(), mark{Owned: s.owned, position: b.at}.String())
	b.buf = resp.AppendCommand(b.buf, "EXEC")
	b.n += 2
	return b
}

// add appends a command to the batch, for a database of the target.
func (s *receiver) add(db int, raw []byte) {
	if s.batch.n == 0 {
		s.batch.buf = resp.AppendCommand(make([]byte, 0, len(raw)+256), "MULTI")
		s.batch.n++
	}
	s.use(db)
	s.batch.buf = append(s.batch.buf, raw...)
	s.batch.n++
}

// use selects a database of the target; between batches it is 0.
func (s *receiver) use(db int) {
	if db != s.to {
		s.batch.buf = resp.AppendCommand(s.batch.buf, "SELECT", strconv.Itoa(db))
		s.batch.n++
		s.to = db
	}
}

// command takes the command that was read.
func (s *receiver) command() (err error) {
	if len(s.args) == 0 || s.raw[0] == '#' { // a sign of life; a time in an append-only file
		return nil
	}
	switch name := strings.ToUpper(string(s.args[0])); name {
	case "PING":
	case "REPLCONF":
		if r := s.replica.Load(); r != nil && len(s.args) > 1 && strings.EqualFold(string(s.args[1]), "GETACK") {
			r.ack(s.applied.Load().Offset, true)
		}
	case "SELECT":
		if len(s.args) != 2 {
			return fault.Permanent(fmt.Errorf("%w: SELECT", resp.ErrProtocol))
		}
		if s.next.DB, err = strconv.Atoi(string(s.args[1])); err != nil {
			return fault.Permanent(fmt.Errorf("%w: SELECT %q", resp.ErrProtocol, s.args[1]))
		}
	case "MULTI":
		s.nested = true
	case "EXEC":
		s.nested = false
	case "FLUSHALL", "FLUSHDB":
		return s.flush(name)
	case "SWAPDB", "MOVE":
		if s.Filter.DBs != nil || len(s.Filter.MapDB) > 0 {
			return cannot(name, "migrate all databases under their own numbers")
		}
		return s.pass(name)
	default:
		return s.pass(name)
	}
	return nil
}

// pass adds the command that was read, or what the filter leaves of it.
func (s *receiver) pass(name string) error {
	db, wanted := s.Filter.db(s.next.DB)
	if !wanted || !s.Filter.command(name) {
		s.stats.filtered.Add(1)
		return nil
	}
	raw := s.raw
	if s.Filter.byKey() {
		var err error
		if raw, err = s.keyed.filter(s.args, s.raw, s.Filter.name); err != nil {
			return err
		}
		if raw == nil {
			s.stats.filtered.Add(1)
			return nil
		}
	}
	s.add(db, raw)
	s.stats.commands.Add(1)
	return nil
}

// flush handles FLUSHALL and FLUSHDB: what the target has of others must stay.
func (s *receiver) flush(name string) error {
	f := &s.Filter
	if f.Flush == FlushSkip {
		s.stats.filtered.Add(1)
		s.Log.Warn("the source was emptied; the target keeps what it has, as asked", "command", name)
		return nil
	}
	db, wanted := f.db(s.next.DB)
	if name == "FLUSHDB" && !wanted {
		return nil
	}
	alone := s.owned && !f.byKey() && len(f.Types) == 0 && (name == "FLUSHDB" || f.DBs == nil && len(f.MapDB) == 0)
	if f.Flush == FlushFail || !alone {
		return cannot(name, "say --flush skip to keep what the target has, and run again")
	}
	s.add(db, s.raw)
	s.stats.commands.Add(1)
	return nil
}

// cannot is the error for a command of the source that the target cannot follow.
func cannot(name, remedy string) error {
	return fault.Operator("FERRY-REDIS-COMMAND", remedy, errors.New("the source carried out "+name+", which this migration cannot follow"))
}
