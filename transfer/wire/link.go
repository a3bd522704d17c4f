package wire

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/ratelimit"
)

// linkBuffer is the size of each of the two buffers below TLS: crypto/tls writes and reads one record of 16 KiB at a
// time, and a system call for each would cost as much as its encryption.
const linkBuffer = 256 << 10

// Counters counts the bytes of one session on the wire, TLS and frames included.
type Counters struct{ sent, received atomic.Int64 }

// Sent is what this side wrote, in bytes.
func (c *Counters) Sent() int64 { return c.sent.Load() }

// Received is what this side read, in bytes.
func (c *Counters) Received() int64 { return c.received.Load() }

// Total is what went over the wire in both directions, in bytes.
func (c *Counters) Total() int64 { return c.Sent() + c.Received() }

// link is the byte layer under TLS: it buffers, counts, throttles, and notices a peer that fell silent.
//
// Until buffer is called nothing is buffered, as a handshake needs. One goroutine may read, many may write.
// It is a net.Conn because crypto/tls wants one; deadlines set on it hold until listen replaces those of reads.
type link struct {
	net.Conn
	ctx      context.Context // done once the link is closed; its cause says why
	fail     context.CancelCauseFunc
	limit    ratelimit.Limiter
	counters *Counters
	idle     time.Duration // 0: reads wait for ever
	stop     func() bool
	in       io.Reader

	writing sync.Mutex    // a reader under TLS writes too, when the peer wants new keys
	out     *bufio.Writer // nil: unbuffered
	parting atomic.Bool   // see part
}

func newLink(raw net.Conn, opt Options) *link {
	l := &link{Conn: raw, limit: opt.Limiter, counters: opt.Counters}
	l.ctx, l.fail = context.WithCancelCause(context.Background())
	l.in = rawReader{l}
	l.stop = context.AfterFunc(l.ctx, func() { raw.Close() })
	return l
}

// buffer reads ahead and makes writes wait for Flush.
func (l *link) buffer() {
	l.in = bufio.NewReaderSize(rawReader{l}, linkBuffer)
	l.out = bufio.NewWriterSize(rawWriter{l}, linkBuffer)
}

// adopt moves what was counted, and all to come, to the counters of a session. Nobody else may use the link meanwhile.
func (l *link) adopt(session *Counters) {
	session.sent.Add(l.counters.Sent())
	session.received.Add(l.counters.Received())
	l.counters = session
}

func (l *link) Read(p []byte) (int, error) { return l.in.Read(p) }

func (l *link) Write(p []byte) (int, error) {
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.out == nil {
		return rawWriter{l}.Write(p)
	}
	n, err := l.out.Write(p)
	if err == nil && l.parting.Load() {
		err = l.out.Flush()
	}
	return n, err
}

// part lets one last record out, at once and whatever the limit: it says that this is the end and not a cut.
func (l *link) part() {
	_ = l.Conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)) // fails if the connection is gone: so be it
	l.parting.Store(true)
}

// SetWriteDeadline keeps crypto/tls from replacing the deadline of part by its own, which is 5 s and then the past.
func (l *link) SetWriteDeadline(t time.Time) error {
	if l.parting.Load() {
		return nil
	}
	return l.Conn.SetWriteDeadline(t)
}

// Flush writes what is buffered.
func (l *link) Flush() error {
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.out == nil {
		return nil
	}
	return l.out.Flush()
}

// Close ends all waits. What is buffered is lost.
func (l *link) Close() error {
	l.fail(net.ErrClosed)
	if l.stop() {
		return l.Conn.Close()
	}
	return nil
}

// reason turns an error of the connection into what the caller should see: why this side closed it, or what broke it. What
// has no class yet is the network's, and temporary.
func (l *link) reason(err error) error {
	if cause := context.Cause(l.ctx); cause != nil {
		return cause
	}
	var classified *fault.Error
	if errors.As(err, &classified) {
		return err
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && l.idle > 0 {
		err = fmt.Errorf("nothing heard from the peer for %s: %w", l.idle, err)
	}
	return fault.Temporary(err)
}

// errCut is the end of a TCP stream without the alert that ends a TLS stream. crypto/tls takes a plain io.EOF for an orderly end
// if it falls between two records.
var errCut = fmt.Errorf("connection cut: %w", io.ErrUnexpectedEOF)

type rawReader struct{ l *link }

func (r rawReader) Read(p []byte) (int, error) {
	l := r.l
	if l.idle > 0 {
		if err := l.SetReadDeadline(time.Now().Add(l.idle)); err != nil {
			return 0, err
		}
	}
	n, err := l.Conn.Read(p)
	l.counters.received.Add(int64(n))
	if err == io.EOF && l.out != nil {
		err = errCut
	}
	return n, err
}

type rawWriter struct{ l *link }

func (w rawWriter) Write(p []byte) (n int, err error) {
	l := w.l
	limit := l.limit
	if l.parting.Load() {
		limit = ratelimit.None{}
	}
	for n < len(p) && err == nil {
		piece := p[n:min(len(p), n+max(1, limit.Piece()))]
		if err = limit.WaitN(l.ctx, len(piece)); err != nil {
			break
		}
		var m int
		m, err = l.Conn.Write(piece)
		l.counters.sent.Add(int64(m))
		n += m
	}
	return n, err
}
