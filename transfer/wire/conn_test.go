package wire

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/ratelimit"
)

// proxy stands between source and target. forward is called with all bytes on their way to the target, and returns what to pass on.
type proxy struct {
	ln      net.Listener
	forward atomic.Pointer[func([]byte) []byte]
	silent  atomic.Bool // passes nothing on, either way, and closes nothing
	passed  atomic.Int64
	mu      sync.Mutex
	conns   []net.Conn
	wg      sync.WaitGroup
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	p := &proxy{ln: ln}
	p.wg.Go(func() {
		for {
			near, err := ln.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", target)
			if err != nil {
				near.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, near, far)
			p.mu.Unlock()
			p.wg.Go(func() { p.pump(far, near, true) })
			p.wg.Go(func() { p.pump(near, far, false) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		p.cut()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) pump(to, from net.Conn, forward bool) {
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		p.passed.Add(int64(n))
		out := buf[:n]
		if f := p.forward.Load(); f != nil && forward {
			out = (*f)(out)
		}
		if p.silent.Load() {
			continue
		}
		if _, err := to.Write(out); err != nil {
			return
		}
	}
}

// cut closes every connection.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}

func openProxied(t *testing.T, opt Options) (*pair, *proxy) {
	t.Helper()
	source, target := newNode(t), newNode(t)
	code := NewPairingCode(target.id.Fingerprint())
	l := target.listen(t, code, opt)
	proxy := newProxy(t, l.Addr().String())
	return openOver(t, l, func(ctx context.Context) (*Conn, error) {
		return Dial(ctx, proxy.ln.Addr().String(), source.id, source.targets, code.Text(), opt)
	}), proxy
}

func wantTemporary(t *testing.T, err error) {
	t.Helper()
	if fault.ClassOf(err) != fault.ClassTemporary {
		t.Fatalf("%v is %s", err, fault.ClassOf(err))
	}
}

func TestTampering(t *testing.T) {
	p, proxy := openProxied(t, Options{})
	flip := func(b []byte) []byte {
		b[len(b)/2] ^= 4
		return b
	}
	proxy.forward.Store(&flip)
	must(t, p.out.WriteFrame(Header{Type: TypeListing}, []byte("precious")))
	_, payload, err := p.in.ReadFrame(nil)
	wantTemporary(t, err)
	if payload != nil {
		t.Errorf("handed out %q", payload)
	}
	if _, _, again := p.in.ReadFrame(nil); again == nil || again.Error() != err.Error() {
		t.Errorf("after the error: %v", again)
	}
}

func TestTruncation(t *testing.T) {
	p, proxy := openProxied(t, Options{})
	half := func(b []byte) []byte { return b[:len(b)/2] }
	proxy.forward.Store(&half)
	must(t, p.out.WriteFrame(Header{Type: TypeListing}, make([]byte, 1000)))
	read := make(chan error, 1)
	go func() {
		_, _, err := p.in.ReadFrame(nil)
		read <- err
	}()
	for proxy.passed.Load() == 0 {
		<-time.After(time.Millisecond)
	}
	proxy.cut()
	err := <-read
	wantTemporary(t, err)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	// Cut between two frames: no alert, so no orderly end.
	p, proxy = openProxied(t, Options{})
	proxy.cut()
	_, _, err = p.in.ReadFrame(nil)
	wantTemporary(t, err)
	if !errors.Is(err, io.ErrUnexpectedEOF) && !strings.Contains(err.Error(), "reset") {
		t.Error(err)
	}
}

func TestConcurrentWriters(t *testing.T) {
	p := openPair(t, Options{}, Options{})
	const writers, frames = 8, 50
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range frames {
				body := bytes.Repeat([]byte{byte(w)}, 1000*i)
				if err := p.out.WriteFrame(Header{Type: TypeListing}, []byte{byte(w), byte(i)}, body); err != nil {
					t.Error(err)
				}
			}
		})
	}
	var next [writers]byte
	var buf []byte
	for range writers * frames {
		var err error
		_, buf, err = p.in.ReadFrame(buf)
		must(t, err)
		w, i := buf[0], buf[1]
		if next[w] != i || len(buf) != 2+1000*int(i) || len(bytes.Trim(buf[2:], string([]byte{w}))) != 0 && w != 0 {
			t.Fatalf("frame %d of writer %d with %d bytes", i, w, len(buf))
		}
		next[w]++
	}
	wg.Wait()
}

// A peer that vanished without a word is noticed on both sides; one that is only quiet is not.
func TestHalfOpen(t *testing.T) {
	const idle = time.Second
	p, proxy := openProxied(t, Options{Idle: idle})
	watch := make(chan error, 3)
	go func() { watch <- p.out.Watch() }()
	go func() { watch <- p.in.Watch() }()
	select {
	case err := <-watch:
		t.Fatalf("quiet is not dead: %v", err)
	case <-time.After(2 * idle):
	}
	proxy.silent.Store(true)
	// A writer that fills the dead connection is freed by the reader.
	go func() {
		for {
			if err := p.out.WriteFrame(Header{Type: TypeListing}, make([]byte, 1<<20)); err != nil {
				watch <- err
				return
			}
		}
	}()
	start := time.Now()
	for range 3 {
		wantTemporary(t, <-watch)
	}
	if took := time.Since(start); took > 4*idle {
		t.Errorf("noticed after %s", took)
	}
}

// stall is a limit of nothing once it is armed.
type stall struct{ armed atomic.Bool }

func (s *stall) Piece() int { return 10_000 }

func (s *stall) WaitN(ctx context.Context, _ int) error {
	if !s.armed.Load() {
		return nil
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

// Neither a limit nor a peer that stopped reading holds up a close.
func TestThrottledClose(t *testing.T) {
	for _, name := range []string{"limit", "full"} {
		for _, way := range []string{"close", "context"} {
			t.Run(name+" "+way, func(t *testing.T) {
				limit := new(stall)
				p := openPair(t, Options{Limiter: limit}, Options{})
				limit.armed.Store(name == "limit")
				ctx, cancel := context.WithCancelCause(context.Background())
				defer p.out.CloseOn(ctx)()
				done := make(chan error, 1)
				before := p.out.Counters().Sent()
				go func() {
					for {
						if err := p.out.WriteFrame(Header{Type: TypeListing}, make([]byte, MaxPayload)); err != nil {
							done <- err
							return
						}
					}
				}()
				for sent := int64(0); sent != p.out.Counters().Sent() || name == "full" && sent == before; {
					sent = p.out.Counters().Sent()
					<-time.After(30 * time.Millisecond)
				}
				why := net.ErrClosed
				start := time.Now()
				if way == "close" {
					p.out.Close()
				} else {
					why = errors.New("the user pressed Ctrl-C")
					cancel(why)
				}
				if err := <-done; !errors.Is(err, why) {
					t.Error(err)
				}
				if took := time.Since(start); took > 100*time.Millisecond {
					t.Errorf("took %s", took)
				}
				cancel(nil)
			})
		}
	}
}

func TestLimitHoldsOnTheWire(t *testing.T) {
	const rate = 4 << 20
	bucket := ratelimit.NewBucket(ratelimit.Constant(rate))
	p := openPair(t, Options{Limiter: bucket, Counters: new(Counters)}, Options{})
	second, err := p.session.Join(context.Background(), 4)
	must(t, err)
	defer second.Close()
	other, _, err := p.incoming.Join(context.Background())
	must(t, err)
	defer other.Close()
	if second.Counters() != p.out.Counters() || other.Counters() != p.in.Counters() {
		t.Fatal("connections of a session count apart")
	}
	for _, c := range []*Conn{p.in, other} {
		go func() {
			var buf []byte
			var err error
			for err == nil {
				_, buf, err = c.ReadFrame(buf)
			}
		}()
	}
	start, before := time.Now(), p.out.Counters().Sent()
	var wg sync.WaitGroup
	for _, c := range []*Conn{p.out, second} {
		wg.Go(func() {
			for range 4 {
				if err := c.WriteFrame(Header{Type: TypeListing}, make([]byte, 1<<20)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(start).Seconds()
	sent := p.out.Counters().Sent() - before
	if float64(sent) > 1.02*rate*took || sent < 8<<20 {
		t.Errorf("%d bytes in %.2f s", sent, took)
	}
	overhead := float64(sent)/(8<<20) - 1
	t.Logf("%.1f %% of the limit, TLS and frames cost %.2f %%", float64(sent)/took/rate*100, overhead*100)
	if overhead > 0.003 {
		t.Error("records are not full")
	}
}

func TestCountersAgreeWithTheWire(t *testing.T) {
	p, proxy := openProxied(t, Options{Counters: new(Counters)})
	must(t, p.out.WriteFrame(Header{Type: TypeListing}, make([]byte, 100_000)))
	_, _, err := p.in.ReadFrame(nil)
	must(t, err)
	must(t, p.in.WriteFrame(Header{Type: TypeListing}, make([]byte, 5000)))
	_, _, err = p.out.ReadFrame(nil)
	must(t, err)
	source, target, wire := p.out.Counters(), p.in.Counters(), proxy.passed.Load()
	if source.Total() != wire || target.Total() != wire || source.Sent() != target.Received() {
		t.Errorf("source %d+%d, target %d+%d, wire %d", source.Sent(), source.Received(), target.Sent(), target.Received(), wire)
	}
}

// The ring between two ends in one process wraps and blocks as it should.
func TestMemoryPipe(t *testing.T) {
	a, b := memoryPipe()
	const count = 200_000
	go func() {
		defer a.Close()
		for i := 0; i < count; {
			chunk := make([]byte, 0, 8*1000)
			for n := 0; n < 1+i%1000 && i < count; n++ {
				chunk = binary.LittleEndian.AppendUint64(chunk, uint64(i))
				i++
			}
			if _, err := a.Write(chunk); err != nil {
				t.Error(err)
			}
		}
	}()
	var word [8]byte
	for i := range uint64(count) {
		if _, err := io.ReadFull(b, word[:]); err != nil || binary.LittleEndian.Uint64(word[:]) != i {
			t.Fatalf("word %d is %x, %v", i, word, err)
		}
	}
	if _, err := b.Read(word[:]); err != io.EOF {
		t.Error(err)
	}
	if _, err := b.Write(word[:]); err == nil {
		t.Error("wrote to nobody")
	}
}
