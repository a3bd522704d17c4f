package wire

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// Local connects a source and a target inside one process: what the DialFunc makes, the Listener gets. There is no TLS, no pairing and
// no idle rule; frames, messages, limit and counters are the same.
func Local(opt Options) (*Listener, DialFunc) {
	opt = opt.withDefaults()
	ln := &localListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	dial := func(ctx context.Context) (*Conn, error) {
		near, far := memoryPipe()
		select {
		case ln.conns <- far:
			return localConn(near, opt), nil
		case <-ln.closed:
			return nil, net.ErrClosed
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	enter := func(c *Conn, _ time.Time) error {
		c.rw = c.link
		return nil
	}
	return newListener(ln, enter, opt), dial
}

// Pipe returns the two ends of a connection inside one process, as Local makes them, outside any session.
func Pipe(opt Options) (a, b *Conn) {
	near, far := memoryPipe()
	opt = opt.withDefaults()
	a = localConn(near, opt)
	opt.Counters = new(Counters)
	return a, localConn(far, opt)
}

func localConn(raw net.Conn, opt Options) *Conn {
	l := newLink(raw, opt)
	return &Conn{link: l, rw: l, idle: opt.Idle}
}

type localListener struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

// Accept returns the far end of the next connection.
func (l *localListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept and dialing.
func (l *localListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr returns a placeholder.
func (l *localListener) Addr() net.Addr { return localAddr{} }

type localAddr struct{}

// Network returns "local".
func (localAddr) Network() string { return "local" }

// String is for messages.
func (localAddr) String() string { return "this process" }

// memoryPipe is a pair of connections with a buffer each way, so that both ends run side by side. net.Pipe has none.
func memoryPipe() (a, b net.Conn) {
	x, y := newRing(), newRing()
	return &memoryConn{in: x, out: y}, &memoryConn{in: y, out: x}
}

// memoryConn is one end. Deadlines do nothing: the other end cannot vanish without closing.
type memoryConn struct{ in, out *ring }

// Read waits for at least one byte, or the end.
func (c *memoryConn) Read(p []byte) (int, error) { return c.in.read(p) }

// Write waits for room.
func (c *memoryConn) Write(p []byte) (int, error) { return c.out.write(p) }

// Close ends both directions. The other end may still read what was written.
func (c *memoryConn) Close() error {
	c.in.close()
	c.out.close()
	return nil
}

// LocalAddr returns a placeholder.
func (c *memoryConn) LocalAddr() net.Addr { return localAddr{} }

// RemoteAddr returns a placeholder.
func (c *memoryConn) RemoteAddr() net.Addr { return localAddr{} }

// SetDeadline does nothing.
func (c *memoryConn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (c *memoryConn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (c *memoryConn) SetWriteDeadline(time.Time) error { return nil }

// ring is a bounded queue of bytes. What was written before close can still be read.
type ring struct {
	mu     sync.Mutex
	change sync.Cond
	buf    [linkBuffer]byte
	start  int // of the content
	length int
	closed bool
}

var errPipeClosed = errors.New("write to a closed connection")

func newRing() *ring {
	r := new(ring)
	r.change.L = &r.mu
	return r
}

func (r *ring) read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.length == 0 && !r.closed && len(p) > 0 {
		r.change.Wait()
	}
	if r.length == 0 && r.closed {
		return 0, io.EOF
	}
	n := copy(p, r.buf[r.start:min(r.start+r.length, len(r.buf))])
	r.start = (r.start + n) % len(r.buf)
	r.length -= n
	r.change.Broadcast()
	return n, nil
}

func (r *ring) write(p []byte) (n int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for n < len(p) {
		for r.length == len(r.buf) && !r.closed {
			r.change.Wait()
		}
		if r.closed {
			return n, errPipeClosed
		}
		end := (r.start + r.length) % len(r.buf)
		limit := len(r.buf)
		if end < r.start {
			limit = r.start
		}
		m := copy(r.buf[end:limit], p[n:])
		r.length += m
		n += m
		r.change.Broadcast()
	}
	return n, nil
}

func (r *ring) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.change.Broadcast()
}
