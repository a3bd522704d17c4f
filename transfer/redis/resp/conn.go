package resp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/ratelimit"
)

// Silence is how long a connection may bring nothing while something is awaited. A source sends a PING every 10 s.
const Silence = 60 * time.Second

const dialTimeout = 10 * time.Second

// Counters count bytes on the wire, over all the connections that share them.
type Counters struct{ Read, Written atomic.Int64 }

// Options are what Dial does beyond the Endpoint. The zero value is fine.
type Options struct {
	Limiter  ratelimit.Limiter // of bytes read; nil is none
	Counters *Counters         // nil: not counted
	Silence  time.Duration     // 0 is the constant
}

// Conn is a connection to a server. One goroutine may write while another one reads.
type Conn struct {
	*Reader
	addr string
	line *line
	out  []byte
	stop func() bool
}

// Dial connects to the first of the endpoint's addresses that answers and authenticates. The connection ends with ctx. The database is
// not selected. Errors are classified: an unreachable server is temporary. Sentinels are asked each time, so that a failover is followed.
func Dial(ctx context.Context, e Endpoint, o Options) (*Conn, error) {
	if e.Master != "" {
		addr, err := master(ctx, e)
		if err != nil {
			return nil, err
		}
		e = e.At(addr)
	}
	var errs []error
	for _, addr := range e.Addrs {
		c, err := dial(ctx, e, addr, o)
		if err == nil {
			return c, nil
		}
		errs = append(errs, fmt.Errorf("connect to %s: %w", addr, err))
	}
	return nil, errors.Join(errs...)
}

// master asks the endpoint's sentinels, which need no login, where their master is.
func master(ctx context.Context, e Endpoint) (string, error) {
	var errs []error
	for _, addr := range e.Addrs {
		c, err := dial(ctx, Endpoint{Network: e.Network}, addr, Options{})
		if err == nil {
			var r Reply
			r, err = c.Do("SENTINEL", "GET-MASTER-ADDR-BY-NAME", e.Master)
			c.Close()
			if err == nil && len(r.Array) == 2 {
				return net.JoinHostPort(r.Array[0].Text(), r.Array[1].Text()), nil
			}
			if err == nil {
				err = fault.Operator("FERRY-REDIS-URL", "see SENTINEL MASTERS for the names", fmt.Errorf("no master is called %q", e.Master))
			}
		}
		errs = append(errs, fmt.Errorf("sentinel %s: %w", addr, err))
	}
	return "", errors.Join(errs...)
}

func dial(ctx context.Context, e Endpoint, addr string, o Options) (*Conn, error) {
	within, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	nc, err := new(net.Dialer).DialContext(within, e.Network, addr)
	if err != nil {
		return nil, dead(ctx, err)
	}
	if e.TLS != nil {
		config := e.TLS.Clone()
		if config.ServerName == "" {
			config.ServerName, _, _ = net.SplitHostPort(addr)
		}
		secure := tls.Client(nc, config)
		if err := secure.HandshakeContext(within); err != nil {
			nc.Close()
			return nil, handshakeFailed(ctx, err)
		}
		nc = secure
	}
	if o.Silence == 0 {
		o.Silence = Silence
	}
	c := &Conn{addr: addr, line: &line{Conn: nc, ctx: ctx, Options: o}}
	c.Reader = NewReader(c.line)
	c.stop = context.AfterFunc(ctx, func() { nc.Close() })
	if err := c.auth(e); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// handshakeFailed tells a certificate nobody trusts, which stays so, from a line that broke.
func handshakeFailed(ctx context.Context, err error) error {
	var untrusted *tls.CertificateVerificationError
	if errors.As(err, &untrusted) {
		return fault.Operator("FERRY-REDIS-TLS", "name the authority with ?ca=FILE in the URL, or the name in the certificate with ?server_name=NAME", err)
	}
	return dead(ctx, err)
}

// dead is err of a line that broke, or why ctx ended if it did.
func dead(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, io.EOF) { // which readers take for a proper end
		err = errors.New("the other side closed the connection")
	}
	return fault.Temporary(err)
}

func (c *Conn) auth(e Endpoint) error {
	var err error
	switch {
	case e.User != "":
		_, err = c.Do("AUTH", e.User, e.Password)
	case e.Password != "":
		_, err = c.Do("AUTH", e.Password)
	}
	return err
}

// Addr is the address that was connected to.
func (c *Conn) Addr() string { return c.addr }

// Write sends bytes.
func (c *Conn) Write(b []byte) error {
	_, err := c.line.Write(b)
	return err
}

// Do sends a command and returns its reply. A server's error is an error here, with its class.
func (c *Conn) Do(args ...string) (Reply, error) {
	c.out = AppendCommand(c.out[:0], args...)
	if err := c.Write(c.out); err != nil {
		return Reply{}, fmt.Errorf("%s %s: %w", c.addr, args[0], err)
	}
	r, err := c.Reply()
	if err == nil {
		err = classify(r.Err())
	}
	if err != nil {
		return Reply{}, fmt.Errorf("%s %s: %w", c.addr, args[0], err)
	}
	return r, nil
}

// Pipeline sends several commands at once and returns their replies in order, the server's errors among them.
func (c *Conn) Pipeline(commands ...[]string) ([]Reply, error) {
	c.out = c.out[:0]
	for _, args := range commands {
		c.out = AppendCommand(c.out, args...)
	}
	if err := c.Write(c.out); err != nil {
		return nil, fmt.Errorf("%s: %w", c.addr, err)
	}
	replies := make([]Reply, 0, len(commands))
	for range commands {
		r, err := c.Reply()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.addr, err)
		}
		replies = append(replies, r)
	}
	return replies, nil
}

// Close ends the connection. It may be called again, and while others read or write, who then fail.
func (c *Conn) Close() {
	c.stop()
	c.line.Close()
}

// line is a socket with a bound on silence, a limit and counters. Its errors are temporary, or why the context ended.
type line struct {
	net.Conn
	Options
	ctx context.Context
}

func (l *line) Read(b []byte) (int, error) {
	if l.Limiter != nil {
		b = b[:min(len(b), l.Limiter.Piece())]
	}
	if err := l.SetReadDeadline(time.Now().Add(l.Silence)); err != nil {
		return 0, dead(l.ctx, err)
	}
	n, err := l.Conn.Read(b)
	if l.Counters != nil {
		l.Counters.Read.Add(int64(n))
	}
	if err != nil {
		return n, dead(l.ctx, err)
	}
	if l.Limiter != nil {
		err = l.Limiter.WaitN(l.ctx, n)
	}
	return n, err
}

func (l *line) Write(b []byte) (int, error) {
	if err := l.SetWriteDeadline(time.Now().Add(l.Silence)); err != nil {
		return 0, dead(l.ctx, err)
	}
	n, err := l.Conn.Write(b)
	if l.Counters != nil {
		l.Counters.Written.Add(int64(n))
	}
	if err != nil {
		return n, dead(l.ctx, err)
	}
	return n, nil
}

// LocalAddr is our own end of the connection.
func (c *Conn) LocalAddr() string { return c.line.LocalAddr().String() }
