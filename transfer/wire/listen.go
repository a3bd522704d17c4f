package wire

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/ferry-migrate/ferry/internal/fault"
)

const tokenSize = 16

// Listener is the target's end: it lets sources in and sorts their connections into sessions.
//
// Every connection is dealt with in its own goroutine until it is let in, and never holds up Accept.
type Listener struct {
	ln    net.Listener
	enter func(c *Conn, deadline time.Time) error
	opt   Options

	ctx      context.Context
	cancel   context.CancelFunc
	handlers sync.WaitGroup
	halfOpen chan struct{}
	measures chan struct{} // one for each connection that measures
	accepted chan *Incoming

	mu       sync.Mutex
	sessions map[*Incoming]struct{}
}

// Listen listens on addr (host:port). Sources must be in peers, or prove code and are then added; a nil code admits only known ones.
func Listen(addr string, id *Identity, peers *KnownPeers, code *PairingCode, opt Options) (*Listener, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fault.Operator("FERRY-WIRE-LISTEN", "Choose another address with --listen, or stop what uses this one.",
			fmt.Errorf("listen: %w", err))
	}
	return newListener(ln, (&door{id: id, peers: peers, code: code}).enter, opt.withDefaults()), nil
}

func newListener(ln net.Listener, enter func(*Conn, time.Time) error, opt Options) *Listener {
	l := &Listener{
		ln: ln, enter: enter, opt: opt,
		halfOpen: make(chan struct{}, opt.HalfOpen),
		measures: make(chan struct{}, MeasureStreams),
		accepted: make(chan *Incoming),
		sessions: make(map[*Incoming]struct{}),
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.handlers.Go(l.serve)
	return l
}

// Addr is the address listened on.
func (l *Listener) Addr() net.Addr { return l.ln.Addr() }

// Serve calls handle for each session, in a goroutine of its own, until ctx is done or the listener fails. It returns once all of
// them have ended; their context is done by then.
func (l *Listener) Serve(ctx context.Context, handle func(context.Context, *Incoming)) error {
	var sessions sync.WaitGroup
	defer sessions.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for {
		in, err := l.Accept(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accept: %w", err)
		}
		sessions.Go(func() { handle(ctx, in) })
	}
}

// Accept returns the next session that a source wants to open. The caller answers with Incoming.Accept or Refuse.
func (l *Listener) Accept(ctx context.Context) (*Incoming, error) {
	select {
	case in := <-l.accepted:
		return in, nil
	case <-l.ctx.Done():
		return nil, fmt.Errorf("accept: %w", net.ErrClosed)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Close stops listening and closes connections that were not accepted; accepted sessions go on, but nothing can join them.
func (l *Listener) Close() error {
	l.cancel()
	err := l.ln.Close()
	l.handlers.Wait()
	return err
}

func (l *Listener) serve() {
	for {
		raw, err := l.ln.Accept()
		if err != nil {
			if !l.pause(err) {
				return
			}
			continue
		}
		select {
		case l.halfOpen <- struct{}{}:
			l.handlers.Go(func() {
				defer func() { <-l.halfOpen }()
				l.handle(raw)
			})
		default:
			raw.Close()
		}
	}
}

// pause waits out a failure such as "too many open files". It reports false once the listener is closed.
func (l *Listener) pause(err error) bool {
	if errors.Is(err, net.ErrClosed) {
		return false
	}
	select {
	case <-l.ctx.Done():
		return false
	case <-time.After(100 * time.Millisecond):
		return true
	}
}

// handle takes one connection from TCP to a session. Its errors have no one to go to: the peer was told what it may know.
func (l *Listener) handle(raw net.Conn) {
	opt := l.opt
	opt.Counters = new(Counters)
	c := &Conn{link: newLink(raw, opt), idle: opt.Idle}
	defer context.AfterFunc(l.ctx, func() { c.link.fail(net.ErrClosed) })()
	if err := l.enter(c, time.Now().Add(opt.Handshake)); err != nil {
		c.link.fail(err)
		return
	}
	m, err := c.ReadMessage()
	if err == nil {
		switch m.Kind {
		case kindHello:
			err = l.hello(c, m)
		case kindJoin:
			err = l.join(c, m)
		case kindMeasure:
			err = l.measure(c, m)
		default:
			err = violation("first message is %q", m.Kind)
		}
	}
	if err != nil {
		_ = c.Refuse(err)
	}
}

func (l *Listener) hello(c *Conn, m Message) error {
	var h hello
	if err := m.Decode(&h); err != nil {
		return err
	}
	version, err := negotiate(&h)
	if err != nil {
		return err
	}
	if err := c.start(); err != nil {
		return err
	}
	in := &Incoming{
		Control:  c,
		Greeting: Greeting{version, h.Features, clean(h.Software, 128), Message{Kind: kindHello, Body: h.Body}},
		listener: l,
		joined:   make(chan joinedConn, MaxStreams),
	}
	rand.Read(in.token[:]) // never fails, see crypto/rand
	select {
	case l.accepted <- in:
		return nil
	case <-c.Done():
		return net.ErrClosed
	}
}

func (l *Listener) join(c *Conn, m Message) error {
	var j join
	if err := m.Decode(&j); err != nil {
		return err
	}
	if j.Index < 0 || j.Index >= MaxStreams {
		return violation("data connection %d of at most %d", j.Index, MaxStreams)
	}
	in := l.find(&j, c.Peer())
	if in == nil {
		return fault.Temporary(errors.New("no such session: it ended, or the target was started anew"))
	}
	c.link.adopt(in.Control.Counters())
	if err := c.SendMessage(kindJoined, struct{}{}); err != nil {
		return err
	}
	if err := c.start(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, open := l.sessions[in]; !open {
		return net.ErrClosed
	}
	select {
	case in.joined <- joinedConn{c, j.Index}:
		return nil
	default:
		return fault.Temporary(errors.New("too many data connections wait to be used"))
	}
}

func (l *Listener) find(j *join, peer Fingerprint) *Incoming {
	l.mu.Lock()
	defer l.mu.Unlock()
	for in := range l.sessions {
		if subtle.ConstantTimeCompare(in.token[:], j.Token) == 1 && in.Control.Peer() == peer {
			return in
		}
	}
	return nil
}

// Incoming is the target's end of a session.
type Incoming struct {
	Control  *Conn
	Greeting Greeting // from the source; Features holds all it named until Accept

	listener *Listener
	token    [tokenSize]byte
	joined   chan joinedConn
}

type joinedConn struct {
	conn  *Conn
	index int
}

// Accept opens the session: data connections may join from here on.
func (in *Incoming) Accept(h Hello) error {
	body, err := encoding.Marshal(h.Body)
	if err != nil {
		return fault.Permanent(fmt.Errorf("encode answer to hello: %w", err))
	}
	in.Greeting.Features = common(in.Greeting.Features, h.Features)
	l := in.listener
	l.mu.Lock()
	l.sessions[in] = struct{}{}
	l.mu.Unlock()
	return in.Control.SendMessage(kindReady, ready{in.Greeting.Version, in.Greeting.Features, h.Software, in.token[:], body})
}

// Join returns the next data connection and the index its source gave it. It ends with the control connection.
func (in *Incoming) Join(ctx context.Context) (*Conn, int, error) {
	select {
	case j := <-in.joined:
		return j.conn, j.index, nil
	case <-in.Control.Done():
		return nil, 0, context.Cause(in.Control.link.ctx)
	case <-ctx.Done():
		return nil, 0, context.Cause(ctx)
	}
}

// Refuse tells the source why there will be no session, and ends it. See Conn.Refuse.
func (in *Incoming) Refuse(err error) error {
	sent := in.Control.Refuse(err)
	_ = in.Close() // is closed already, but for what joined
	return sent
}

// Close ends the session: its control connection and data connections that Join has not returned yet. It may be called again.
func (in *Incoming) Close() error {
	l := in.listener
	l.mu.Lock()
	delete(l.sessions, in)
	l.mu.Unlock()
	err := in.Control.Close()
	for {
		select {
		case j := <-in.joined:
			_ = j.conn.Close()
		default:
			return err
		}
	}
}
