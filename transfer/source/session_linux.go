package source

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/codec"
	"github.com/ferry-migrate/ferry/transfer/file"
	"github.com/ferry-migrate/ferry/transfer/wire"
)

// events is what a session reports as the target says it. Its methods are called from one goroutine and must not block for long.
type events interface {
	loss(file.Loss)
	need(file.Need)
	differ(file.Differ)
	acked(seq uint64) error
}

// session is one connection to a target: a control connection and the data connections. It ends with its context, with the
// first error on any connection, or with close.
type session struct {
	wire    *wire.Session
	streams []*wire.Conn
	target  file.TreeReply
	ctx     context.Context
	cancel  context.CancelCauseFunc

	events  events
	listing func(entries []byte) error // consumer of listing frames

	mu      sync.Mutex
	changed chan struct{} // closed and replaced whenever one of the following changes
	ack     uint64
	seen    map[string]int // answers received, by kind
	readers sync.WaitGroup
}

// open greets the target.
func open(ctx context.Context, cfg *Config, tree file.ID) (*session, error) {
	ws, err := wire.Open(ctx, cfg.Dial, wire.Hello{
		Features: []string{"file"},
		Software: cfg.Software,
		Body:     file.Greeting{SourceTree: tree, Label: cfg.Root, Into: cfg.Into},
	})
	if err != nil {
		return nil, err
	}
	s := &session{wire: ws, changed: make(chan struct{}), seen: map[string]int{}}
	if !ws.Greeting.Can("file") {
		ws.Close()
		return nil, fault.Operator("FERRY-TARGET-LEVEL", "start the target with --into dir:PATH, or upgrade it",
			errors.New("the target does not receive files"))
	}
	if err := ws.Greeting.Decode(&s.target); err != nil {
		ws.Close()
		return nil, err
	}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	ws.Control.CloseOn(s.ctx)
	return s, nil
}

// begin opens a pass and the data connections; from here on e is told what the target says.
func (s *session) begin(e events, o file.Open, streams int) error {
	s.events = e
	s.readers.Add(1)
	go func() {
		defer s.readers.Done()
		s.cancel(s.receive())
	}()
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
		s.readers.Add(1)
		go func() {
			defer s.readers.Done()
			err := c.Watch()
			s.hear()
			s.cancel(fmt.Errorf("data connection: %w", err))
		}()
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

// ended reports whether a data connection is over.
func (s *session) ended() bool {
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

// why returns the reason the session ended, if it did, else err.
func (s *session) why(err error) error {
	if s.ended() {
		s.hear()
	}
	if cause := context.Cause(s.ctx); cause != nil {
		return cause
	}
	return err
}

// receive handles what the target says until the session ends.
func (s *session) receive() error {
	var buf []byte
	var unpack codec.Packer
	var decoded []byte
	for {
		h, payload, err := s.wire.Control.ReadFrame(buf)
		if err != nil {
			return err
		}
		buf = payload[:cap(payload)]
		if h.Type == wire.TypeListing {
			var out []byte
			if out, decoded, err = unpack.Unpack(decoded, payload, h.Codec, h.Raw); err != nil {
				return err
			}
			if s.listing == nil {
				return fault.Permanent(fmt.Errorf("%w: a listing nobody asked for", wire.ErrProtocol))
			}
			if err := s.listing(out); err != nil {
				return err
			}
			continue
		}
		m, err := wire.DecodeMessage(payload)
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
	case file.MsgLoss:
		var v file.Loss
		if err := m.Decode(&v); err != nil {
			return err
		}
		s.events.loss(v)
	case file.MsgNeed:
		var v file.Need
		if err := m.Decode(&v); err != nil {
			return err
		}
		s.events.need(v)
	case file.MsgDiffer:
		var v file.Differ
		if err := m.Decode(&v); err != nil {
			return err
		}
		s.events.differ(v)
	case file.MsgAck:
		var v file.Ack
		if err := m.Decode(&v); err != nil {
			return err
		}
		if err := s.events.acked(v.Seq); err != nil {
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

// bye ends the session in order; final says that the migration is complete. A target that does not hear of it keeps the session open a
// little longer.
func (s *session) bye(final bool) {
	_ = s.wire.Control.SendMessage(file.MsgBye, file.Bye{Final: final})
}

// flush makes everything up to seq durable on the target.
func (s *session) flush(seq uint64) error {
	if err := s.wire.Control.SendMessage(file.MsgFlush, file.Flush{Seq: seq}); err != nil {
		return s.why(err)
	}
	return s.await(func() bool { return s.ack >= seq })
}
