package proxy

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// dial returns a proxy before a server that sends back what it gets, and a connection through it.
func dial(t *testing.T) (*Proxy, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(c, c)
			c.Close()
		}
	}()
	p, err := New(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		p.Close()
		l.Close()
		<-served
	})
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return p, c
}

// echo sends n bytes and returns what comes back, up to an end or an error.
func echo(c net.Conn, n int) ([]byte, error) {
	go func() {
		_, _ = c.Write(make([]byte, n))
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	return io.ReadAll(c)
}

func TestForward(t *testing.T) {
	p, c := dial(t)
	got, err := echo(c, 1<<20)
	if err != nil || !bytes.Equal(got, make([]byte, 1<<20)) {
		t.Fatalf("%d bytes back, %v", len(got), err)
	}
	if up, down := p.Total(Up), p.Total(Down); up != 1<<20 || down != 1<<20 {
		t.Errorf("counted %d up and %d down", up, down)
	}
}

func TestCut(t *testing.T) {
	p, c := dial(t)
	p.CutAfter(300_000)
	got, err := echo(c, 1<<20)
	if err == nil || len(got) >= 300_000 {
		t.Errorf("%d bytes back and %v, want a reset", len(got), err)
	}
	if cuts, _ := p.Happened(); cuts != 1 {
		t.Errorf("%d cuts", cuts)
	}
}

func TestAfter(t *testing.T) {
	p, c := dial(t)
	called := make(chan struct{})
	p.After(300_000, func() { close(called) })
	if _, err := echo(c, 1<<20); err != nil {
		t.Fatal(err)
	}
	select {
	case <-called:
	case <-time.After(20 * time.Second):
		t.Error("not called")
	}
}

func TestCorrupt(t *testing.T) {
	p, c := dial(t)
	p.CorruptAfter(Up, 300_000)
	got, err := echo(c, 1<<20)
	want := make([]byte, 1<<20)
	want[299_999] = 1
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes back, %v; byte 300,000 is not the one changed", len(got), err)
	}
}

func TestStallAndLose(t *testing.T) {
	p, c := dial(t)
	p.Stall(Up, true)
	if _, err := c.Write([]byte("a")); err != nil {
		t.Fatal(err)
	}
	p.WaitTotal(Up, 1)
	if p.Total(Down) != 0 {
		t.Error("a stalled byte went through")
	}
	p.Stall(Up, false)
	p.WaitTotal(Down, 1)
	p.Lose(Up, true)
	if _, err := c.Write([]byte("b")); err != nil {
		t.Fatal(err)
	}
	p.WaitTotal(Up, 2)
	p.Lose(Up, false)
	got, err := echo(c, 1)
	if err != nil || string(got) != "a\x00" {
		t.Errorf("got %q, %v; want the stalled byte and not the lost one", got, err)
	}
}

func TestRateAndDelay(t *testing.T) {
	p, c := dial(t)
	p.SetRate(Up, 4<<20)
	p.SetDelay(50 * time.Millisecond)
	began := time.Now()
	if _, err := echo(c, 1<<20); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 350*time.Millisecond || took > 5*time.Second {
		t.Errorf("1 MiB at 4 MiB/s and 2 x 50 ms took %v", took)
	}
}

func TestRefuseAndGoneServer(t *testing.T) {
	p, _ := dial(t)
	p.Refuse(true)
	expectReset(t, p)
	p.Refuse(false)
	p.SetServer("127.0.0.1:1")
	expectReset(t, p)
}

func expectReset(t *testing.T, p *Proxy) {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		return
	}
	defer c.Close()
	if _, err := io.ReadAll(c); err == nil {
		t.Error("the connection ended well")
	}
}
