// Package proxy is a TCP proxy that does what networks do: it delays, throttles, cuts, corrupts, stalls and loses.
//
// It sits between a client (the source) and a server (the target) and forwards bytes of any number of connections. Faults
// are switched on from outside at any time, hold for all connections and count bytes over all of them; a cut or a
// corruption is spent once it happened. It reads from the kernel how much the client sent by when, so that a rate can be judged
// on the wire by someone who does not know how it was made.
//
// It does not lose or reorder single packets: under TCP nobody above could tell.
package proxy

import (
	"fmt"
	"net"
	"sync"
	"time"
)

// Direction says which way bytes go.
type Direction int

// The directions.
const (
	Up   Direction = iota // from the client to the server
	Down                  // from the server to the client
)

// buffer is how much is read at once, bytes; queue is how many of those may be under way in one direction of one
// connection.
const (
	buffer = 64 << 10
	queue  = 64
)

// Proxy forwards connections. All methods may be called from any goroutine.
type Proxy struct {
	listener net.Listener
	server   string
	work     sync.WaitGroup
	calls    int // of After that run

	mu      sync.Mutex
	changed *sync.Cond
	closed  bool
	pairs   map[*pair]bool
	total   [2]int64
	over    func(client *net.TCPConn) int64 // what a meter counts of a connection before it is closed; nil without one
	ended   int64                           // the sum of that
	faults  faults
}

// faults are what the network does at the moment.
type faults struct {
	delay   time.Duration
	rate    [2]int64     // bytes per second, 0: none
	freeAt  [2]time.Time // when the throttled link is free again
	stalled [2]bool
	lost    [2]bool
	refuse  bool
	cutAt   int64 // of total[Up] + total[Down]; 0: none
	flipAt  [2]int64
	callAt  int64 // as cutAt
	call    func()
	connect func()
	cuts    int
	flips   int
}

// New listens on a free port of loopback and forwards to server, an address as net.Dial takes it. Close ends it.
func New(server string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	p := &Proxy{listener: l, server: server, pairs: map[*pair]bool{}}
	p.changed = sync.NewCond(&p.mu)
	p.work.Add(1)
	go p.accept()
	return p, nil
}

// Addr is where clients connect.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// SetServer changes where new connections go, for a server that came back on another port.
func (p *Proxy) SetServer(server string) { p.set(func(*faults) { p.server = server }) }

// SetDelay makes every byte take d longer in each direction.
func (p *Proxy) SetDelay(d time.Duration) { p.set(func(f *faults) { f.delay = d }) }

// SetRate lets at most rate bytes per second through in a direction, over all connections; 0 ends that.
func (p *Proxy) SetRate(d Direction, rate int64) { p.set(func(f *faults) { f.rate[d] = rate }) }

// Stall stops forwarding in a direction, without ending a connection; bytes wait.
func (p *Proxy) Stall(d Direction, on bool) { p.set(func(f *faults) { f.stalled[d] = on }) }

// Lose swallows all bytes of a direction, as when the other end is gone and nobody said so.
func (p *Proxy) Lose(d Direction, on bool) { p.set(func(f *faults) { f.lost[d] = on }) }

// Refuse ends new connections at once.
func (p *Proxy) Refuse(on bool) { p.set(func(f *faults) { f.refuse = on }) }

// CutAfter resets all connections once n more bytes, 1 at least, have passed in either direction.
func (p *Proxy) CutAfter(n int64) {
	p.set(func(f *faults) { f.cutAt = p.total[Up] + p.total[Down] + n })
}

// After calls f, once, when n more bytes have passed in either direction. It replaces the call before.
func (p *Proxy) After(n int64, f func()) {
	p.set(func(faults *faults) { faults.callAt, faults.call = p.total[Up]+p.total[Down]+n, f })
}

// Forget takes back what After asked for, and returns when a call that has begun is over.
func (p *Proxy) Forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults.call = nil
	for p.calls > 0 {
		p.changed.Wait()
		p.faults.call = nil // which a call may have asked for
	}
}

// OnConnect calls f, once, before the next connection is forwarded.
func (p *Proxy) OnConnect(f func()) { p.set(func(faults *faults) { faults.connect = f }) }

// CorruptAfter flips one bit once n more bytes, 1 at least, have passed in a direction.
func (p *Proxy) CorruptAfter(d Direction, n int64) {
	p.set(func(f *faults) { f.flipAt[d] = p.total[d] + n })
}

// Cut resets all connections now.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut()
}

func (p *Proxy) set(change func(*faults)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.faults)
	p.changed.Broadcast()
}

// Total is how many bytes came from a side so far.
func (p *Proxy) Total(d Direction) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.total[d]
}

// Happened is how many cuts and corruptions happened so far.
func (p *Proxy) Happened() (cuts, flips int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.faults.cuts, p.faults.flips
}

// WaitTotal returns once n bytes came from a side, counted from the beginning, or the proxy was closed.
func (p *Proxy) WaitTotal(d Direction, n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.total[d] < n && !p.closed {
		p.changed.Wait()
	}
}

// Close ends all connections and returns when nothing of the proxy runs any more.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.cut()
	p.mu.Unlock()
	p.listener.Close()
	p.work.Wait()
}

// cut resets all connections. The lock is held.
func (p *Proxy) cut() {
	p.faults.cutAt = 0
	if len(p.pairs) > 0 {
		p.faults.cuts++
	}
	for c := range p.pairs {
		c.reset()
	}
	p.changed.Broadcast()
}
