package wire

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ferry-migrate/ferry/transfer/codec"
	"github.com/ferry-migrate/ferry/transfer/ratelimit"
)

// Options tune connections. The zero value is ready to use.
type Options struct {
	Limiter   ratelimit.Limiter // of written bytes, shared by all connections; nil: none
	Counters  *Counters         // Dial and Local: shared by all connections; nil: one for each. A Listener makes one for each session
	Idle      time.Duration     // a peer silent for so long is dead; 0: 30 s
	Handshake time.Duration     // from TCP connect to the first message; 0: 10 s
	HalfOpen  int               // Listener: connections in their handshake at once, more are closed unanswered; 0: 64
}

func (o Options) withDefaults() Options {
	if o.Limiter == nil {
		o.Limiter = ratelimit.None{}
	}
	if o.Counters == nil {
		o.Counters = new(Counters)
	}
	if o.Idle <= 0 {
		o.Idle = 30 * time.Second
	}
	if o.Handshake <= 0 {
		o.Handshake = 10 * time.Second
	}
	if o.HalfOpen <= 0 {
		o.HalfOpen = 64
	}
	return o
}

// Conn carries frames between two peers that know each other.
//
// Any number of goroutines may write, one may read. Somebody must be reading at all times (see Watch): only a reader
// notices that the peer is gone. After the first error the connection is closed and every call returns that error.
// Errors of the network are temporary, violations of the protocol permanent; io.EOF is wrapped when the peer closed
// between two frames, io.ErrUnexpectedEOF when the stream was cut.
type Conn struct {
	link *link
	tls  *tls.Conn // nil inside one process
	rw   io.ReadWriter
	peer Fingerprint
	idle time.Duration // how long the peer may be silent once started

	writing  sync.Mutex
	outgoing [HeaderSize]byte
	wrote    atomic.Bool // since the last tick of ping

	incoming [HeaderSize]byte
}

// Peer is the fingerprint of the other side's key; zero for a connection inside one process.
func (c *Conn) Peer() Fingerprint { return c.peer }

// Remote is the address of the other side, for messages.
func (c *Conn) Remote() string { return c.link.RemoteAddr().String() }

// Counters counts the bytes of the session that the connection belongs to.
func (c *Conn) Counters() *Counters { return c.link.counters }

// WriteFrame sends one frame whose payload is the given pieces in order. It returns once the frame is handed to the operating system;
// the pieces may then be reused. A frame that breaks the rules of the header is refused and harms nothing.
func (c *Conn) WriteFrame(h Header, payload ...[]byte) error {
	h.Length = 0
	for _, p := range payload {
		h.Length += len(p)
	}
	if h.Codec == codec.None {
		h.Raw = h.Length
	}
	if err := h.check(); err != nil {
		return err
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.write(&h, payload)
}

func (c *Conn) write(h *Header, payload [][]byte) error {
	if cause := context.Cause(c.link.ctx); cause != nil {
		return cause
	}
	h.put(&c.outgoing)
	_, err := c.rw.Write(c.outgoing[:])
	for i := 0; i < len(payload) && err == nil; i++ {
		_, err = c.rw.Write(payload[i])
	}
	if err == nil {
		err = c.link.Flush()
	}
	if err != nil {
		return c.broken("write frame", err)
	}
	c.wrote.Store(true)
	return nil
}

// ReadFrame returns the next frame. The payload is in buf if it fits there, else in a new buffer: pass it to the next call
// to reuse it.
func (c *Conn) ReadFrame(buf []byte) (Header, []byte, error) {
	for {
		if _, err := io.ReadFull(c.rw, c.incoming[:]); err != nil {
			return Header{}, nil, c.broken("read frame", err)
		}
		h, err := parseHeader(&c.incoming)
		if err != nil {
			c.link.fail(err)
			return Header{}, nil, err
		}
		if h.Type == typePing {
			continue
		}
		if cap(buf) < h.Length {
			buf = make([]byte, h.Length)
		}
		buf = buf[:h.Length]
		if _, err := io.ReadFull(c.rw, buf); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return Header{}, nil, c.broken("read frame", err)
		}
		return h, buf, nil
	}
}

// broken closes the connection for err, and returns why it is closed.
func (c *Conn) broken(doing string, err error) error {
	err = c.link.reason(fmt.Errorf("%s: %w", doing, err))
	c.link.fail(err)
	return context.Cause(c.link.ctx)
}

// Watch reads until the connection ends and returns why. A frame other than a ping is a violation of the protocol:
// it is for connections on which only this side talks.
func (c *Conn) Watch() error {
	h, _, err := c.ReadFrame(nil)
	if err == nil {
		err = violation("unexpected frame of type %d", h.Type)
		c.link.fail(err)
	}
	return err
}

// CloseOn closes the connection once ctx is done; calls then return the cause of ctx. stop ends the watch over ctx.
func (c *Conn) CloseOn(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() { c.link.fail(context.Cause(ctx)) })
}

// Done is closed once the connection is.
func (c *Conn) Done() <-chan struct{} { return c.link.ctx.Done() }

// Close ends the connection and every call that waits on it; they return net.ErrClosed. It may be called again.
// The peer reads io.EOF if no frame was being written, else io.ErrUnexpectedEOF.
func (c *Conn) Close() error {
	if c.tls != nil && c.link.ctx.Err() == nil && c.writing.TryLock() {
		c.link.part()
		_ = c.tls.CloseWrite() // the connection ends whether the peer hears it or not
		c.writing.Unlock()
	}
	return c.link.Close()
}

// start ends the handshake: deadlines give way to the idle rule, and pings go out until the connection ends.
func (c *Conn) start() error {
	if c.tls == nil {
		return nil
	}
	if err := c.link.SetDeadline(time.Time{}); err != nil {
		return c.broken("start", err)
	}
	c.link.idle = c.idle
	go c.ping(c.idle / 3)
	return nil
}

func (c *Conn) ping(every time.Duration) {
	t := time.NewTicker(every)
	defer t.Stop()
	h := Header{Type: typePing}
	for {
		select {
		case <-c.link.ctx.Done():
			return
		case <-t.C:
		}
		// Whoever holds the lock is writing, which the peer hears.
		if !c.wrote.Swap(false) && c.writing.TryLock() {
			_ = c.write(&h, nil) // a failure ends the connection, and so this loop
			c.wrote.Store(false)
			c.writing.Unlock()
		}
	}
}
