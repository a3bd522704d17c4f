package proxy

import (
	"net"
	"os"
	"runtime"
	"testing"
	"time"
)

// A meter counts what arrived while the proxy reads nothing, and when.
func TestMeter(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a receive buffer of any size needs root")
	}
	p, first := dial(t)
	first.Close()
	m, err := p.Measure(time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p.Stall(Up, true)
	if _, err := c.Write(make([]byte, 2<<20)); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); p.read().Total < 2<<20; {
		if time.Now().After(deadline) {
			t.Fatalf("of %d bytes %d were counted", 2<<20, p.read().Total)
		}
		runtime.Gosched()
	}
	if n := p.Total(Up); n >= 2<<20 {
		t.Errorf("the proxy has read %d bytes: it was to be held up", n)
	}
	p.Stall(Up, false)
	if _, err := echo(c, 1<<20); err != nil {
		t.Fatal(err)
	}
	last := p.read()
	for last.Total < 3<<20 { // the end of the connection is counted when the proxy is done with it
		last = p.read()
	}
	before := Reading{}
	for _, r := range append(m.Stop(), last) {
		if r.Total < before.Total || r.From.Before(before.To) || r.To.Before(r.From) {
			t.Fatalf("%+v after %+v", r, before)
		}
		before = r
	}
	if ends := before.Total - (3 << 20); ends < 0 || ends > 2 {
		t.Errorf("counted %d bytes", before.Total)
	}
}
