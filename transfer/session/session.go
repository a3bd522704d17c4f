// Package session is the source's end of a session with a target, whatever moves: the control connection, the data connections, what the
// target acknowledges, and why it all ended.
//
// Both levels speak the same messages (transfer/file, proto.go): open, flush, commit, bye from the source, opened, ack, done, fail from the
// target. The session keeps track of those; everything else that the target says goes to the Handler.
//
// A session ends with its context, with the first error on any connection, or with Close; every call then returns the reason, and prefers what the
// target said to what the network did. It reconnects nothing: whoever wants to go on opens another.
package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/file"
	"github.com/ferry-migrate/ferry/transfer/wire"
)

// A Handler is told what the target says. Its methods are called from one goroutine and must not block for long; an error ends the session.
type Handler interface {
	// Acked is told that everything up to frame seq is durable.
	Acked(seq uint64) error
	// Hear is given what else comes on the control connection: a message of another kind, or a frame of another type. The payload is good
	// until it returns. What it does not know either is the error Unknown.
	Hear(h wire.Header, payload []byte) error
}

// Session is one session. Its methods may be called from any goroutine.
type Session struct {
	wire    *wire.Session
	streams []*wire.Conn
	ctx     context.Context
	cancel  context.CancelCauseFunc
	handler Handler

	mu      sync.Mutex
	changed chan struct{} // closed and replaced whenever one of the following changes
	ack     uint64
	seen    map[string]int // answers received, by kind
	readers sync.WaitGroup
}

// Open greets the target. It must offer the feature that the greeting names first; without it the error is missing. Its answer is decoded
// into reply.
func Open(ctx context.Context, dial wire.DialFunc, hello wire.Hello, missing error, reply any) (*Session, error) {
	ws, err := wire.Open(ctx, dial, hello)
	if err != nil {
		return nil, err
	}
	if !ws.Greeting.Can(hello.Features[0]) {
		err = missing
	} else {
		err = ws.Greeting.Decode(reply)
	}
	if err != nil {
		ws.Close()
		return nil, err
	}
	s := &Session{wire: ws, changed: make(chan struct{}), seen: map[string]int{}}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	ws.Control.CloseOn(s.ctx)
	return s, nil
}

// Begin opens a pass with the message open, and the data connections; from here on h is told what the target says.
func (s *Session) Begin(open any, streams int, h Handler) error {
	s.handler = h
	s.readers.Go(func() { s.cancel(s.receive()) })
	if err := s.Ask(file.MsgOpen, open, file.MsgOpened); err != nil {
		return err
	}
	s.streams = make([]*wire.Conn, streams)
	var g errgroup.Group
	for i := range s.streams {
		g.Go(func() error {
			c, err := s.wire.Join(s.ctx, i)
			if err != nil {
				return err
			}
			s.streams[i] = c
			c.CloseOn(s.ctx)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return s.Why(err)
	}
	for _, c := range s.streams {
		s.readers.Go(func() {
			err := c.Watch()
			s.hear()
			s.cancel(fmt.Errorf("data connection: %w", err))
		})
	}
	return nil
}

// Context is done once the session is over; its cause says why.
func (s *Session) Context() context.Context { return s.ctx }

// Streams returns the data connections. They are there once Begin returned.
func (s *Session) Streams() []*wire.Conn { return s.streams }

// Close ends the session; err is what the data path sees if it is still running.
func (s *Session) Close(err error) {
	s.cancel(err)
	for _, c := range s.streams {
		if c != nil {
			c.Close()
		}
	}
	s.wire.Close()
	s.readers.Wait()
}

// lastWord is how long a target whose data connection ended may take to say why.
const lastWord = time.Second

// hear waits for the target's last word: it says on the control connection why it ends a session, and that the data connections are
// closed is often seen first.
func (s *Session) hear() {
	timer := time.NewTimer(lastWord)
	defer timer.Stop()
	select {
	case <-s.ctx.Done():
	case <-timer.C:
	}
}

// ended reports whether a data connection is over.
func (s *Session) ended() bool {
	for _, c := range s.streams {
		if c == nil {
			continue
		}
		select {
		case <-c.Done():
			return true
		default:
		}
	}
	return false
}

// Why returns the reason the session ended, if it did, else err.
func (s *Session) Why(err error) error {
	if s.ended() {
		s.hear()
	}
	if cause := context.Cause(s.ctx); cause != nil {
		return cause
	}
	return err
}

// receive handles what the target says until the session ends.
func (s *Session) receive() error {
	var buf []byte
	for {
		h, payload, err := s.wire.Control.ReadFrame(buf)
		if err != nil {
			return err
		}
		buf = payload[:cap(payload)]
		if err := s.handle(h, payload); err != nil {
			return err
		}
	}
}

func (s *Session) handle(h wire.Header, payload []byte) error {
	if h.Type != wire.TypeControl {
		return s.handler.Hear(h, payload)
	}
	m, err := wire.DecodeMessage(payload)
	if err != nil {
		return err
	}
	switch m.Kind {
	case file.MsgAck:
		var v file.Ack
		if err := m.Decode(&v); err != nil {
			return err
		}
		if err := s.handler.Acked(v.Seq); err != nil {
			return err
		}
		s.note(func() { s.ack = max(s.ack, v.Seq) })
	case file.MsgFail:
		var v file.Fail
		if err := m.Decode(&v); err != nil {
			return err
		}
		return v.Err()
	case file.MsgOpened, file.MsgListed, file.MsgDone:
		s.note(func() { s.seen[m.Kind]++ })
	default:
		return s.handler.Hear(h, payload)
	}
	return nil
}

// Unknown is the error for what a Handler does not know either.
func Unknown(what string) error {
	return fault.Permanent(fmt.Errorf("%w: %s that nobody asked for", wire.ErrProtocol, what))
}

func (s *Session) note(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	close(s.changed)
	s.changed = make(chan struct{})
}

// await waits until ok, which is called with mu held, says so.
func (s *Session) await(ok func() bool) error {
	for {
		s.mu.Lock()
		done, changed := ok(), s.changed
		s.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		}
	}
}

// Ask sends a message and waits for its answer.
func (s *Session) Ask(kind string, v any, answer string) error {
	s.mu.Lock()
	before := s.seen[answer]
	s.mu.Unlock()
	if err := s.wire.Control.SendMessage(kind, v); err != nil {
		return s.Why(err)
	}
	return s.await(func() bool { return s.seen[answer] > before })
}

// Acknowledged returns the highest frame that is durable with all before it.
func (s *Session) Acknowledged() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ack
}

// Await waits until everything up to frame seq is acknowledged. It asks for nothing: see Flush.
func (s *Session) Await(seq uint64) error { return s.await(func() bool { return s.ack >= seq }) }

// Flush makes everything up to frame seq durable on the target, and waits for that.
func (s *Session) Flush(seq uint64) error {
	if seq == 0 {
		return nil
	}
	if err := s.wire.Control.SendMessage(file.MsgFlush, file.Flush{Seq: seq}); err != nil {
		return s.Why(err)
	}
	return s.Await(seq)
}

// Bye ends the session in order; final says that the migration is complete. A target that does not hear of it keeps the session open a
// little longer.
func (s *Session) Bye(final bool) {
	_ = s.wire.Control.SendMessage(file.MsgBye, file.Bye{Final: final})
}

// ErrOver ends a session that has nothing left to do.
var ErrOver = errors.New("the pass is over")
