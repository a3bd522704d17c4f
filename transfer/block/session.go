package block

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

// session is the source's end of one session: a control connection and the data connections. It ends with its context, with the
// first error on any connection, or with close.
type session struct {
	wire    *wire.Session
	streams []*wire.Conn
	target  Reply
	ctx     context.Context
	cancel  context.CancelCauseFunc

	acked  func(seq uint64) error // called by one goroutine
	differ func(Differ) error     // likewise

	mu      sync.Mutex
	changed chan struct{} // closed and replaced whenever one of the following changes
	ack     uint64
	seen    map[string]int // answers received, by kind
	readers sync.WaitGroup
}

// open greets the target.
func open(ctx context.Context, cfg *Config, g Greeting) (*session, error) {
	ws, err := wire.Open(ctx, cfg.Dial, wire.Hello{Features: []string{Feature}, Software: cfg.Software, Body: g})
	if err != nil {
		return nil, err
	}
	s := &session{wire: ws, changed: make(chan struct{}), seen: map[string]int{}}
	if !ws.Greeting.Can(Feature) {
		err = fault.Operator("FERRY-TARGET-LEVEL", "start the target with --into image:PATH or device:PATH, or migrate a directory",
			errors.New("the target receives files, not disks"))
	} else {
		err = ws.Greeting.Decode(&s.target)
	}
	if err != nil {
		ws.Close()
		return nil, err
	}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	ws.Control.CloseOn(s.ctx)
	return s, nil
}

// begin opens a pass and the data connections.
func (s *session) begin(o Open, streams int) error {
	s.readers.Go(func() { s.cancel(s.receive()) })
	if err := s.ask(file.MsgOpen, o, file.MsgOpened); err != nil {
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
		return s.why(err)
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

// close ends the session; err is what the data path sees if it is still running.
func (s *session) close(err error) {
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
func (s *session) hear() {
	timer := time.NewTimer(lastWord)
	defer timer.Stop()
	select {
	case <-s.ctx.Done():
	case <-timer.C:
	}
}

// why returns the reason the session ended, if it did, else err.
func (s *session) why(err error) error {
	for _, c := range s.streams {
		if c == nil {
			continue
		}
		select {
		case <-c.Done():
			s.hear()
		default:
		}
	}
	if cause := context.Cause(s.ctx); cause != nil {
		return cause
	}
	return err
}

// receive handles what the target says until the session ends.
func (s *session) receive() error {
	for {
		m, err := s.wire.Control.ReadMessage()
		if err != nil {
			return err
		}
		if err := s.handle(m); err != nil {
			return err
		}
	}
}

func (s *session) handle(m wire.Message) error {
	switch m.Kind {
	case MsgDiffer:
		var v Differ
		if err := m.Decode(&v); err != nil {
			return err
		}
		return s.differ(v)
	case file.MsgAck:
		var v file.Ack
		if err := m.Decode(&v); err != nil {
			return err
		}
		if err := s.acked(v.Seq); err != nil {
			return err
		}
		s.note(func() { s.ack = max(s.ack, v.Seq) })
	case file.MsgFail:
		var v file.Fail
		if err := m.Decode(&v); err != nil {
			return err
		}
		return v.Err()
	case file.MsgOpened, file.MsgDone:
		s.note(func() { s.seen[m.Kind]++ })
	default:
		return fault.Permanent(fmt.Errorf("%w: message %q", wire.ErrProtocol, m.Kind))
	}
	return nil
}

func (s *session) note(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	close(s.changed)
	s.changed = make(chan struct{})
}

// await waits until ok, which is called with mu held, says so.
func (s *session) await(ok func() bool) error {
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

// ask sends a message and waits for its answer.
func (s *session) ask(kind string, v any, answer string) error {
	s.mu.Lock()
	before := s.seen[answer]
	s.mu.Unlock()
	if err := s.wire.Control.SendMessage(kind, v); err != nil {
		return s.why(err)
	}
	return s.await(func() bool { return s.seen[answer] > before })
}

// flush makes everything up to seq durable on the target, and hears what its checks found.
func (s *session) flush(seq uint64) error {
	if seq == 0 {
		return nil
	}
	if err := s.wire.Control.SendMessage(file.MsgFlush, file.Flush{Seq: seq}); err != nil {
		return s.why(err)
	}
	return s.await(func() bool { return s.ack >= seq })
}

// bye ends the session in order; final says that the migration is complete.
func (s *session) bye(final bool) {
	_ = s.wire.Control.SendMessage(file.MsgBye, file.Bye{Final: final})
}
