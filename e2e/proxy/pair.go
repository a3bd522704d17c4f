package proxy

import (
	"net"
	"sync"
	"time"
)

// pair is a connection of a client and the one made for it to the server.
type pair struct {
	client, server *net.TCPConn
	once           sync.Once
	over           chan struct{} // closed when it ends
}

func (p *Proxy) accept() {
	defer p.work.Done()
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.work.Add(1)
		go func() {
			defer p.work.Done()
			p.serve(conn.(*net.TCPConn))
		}()
	}
}

func (p *Proxy) serve(client *net.TCPConn) {
	p.mu.Lock()
	server, refuse, connect := p.server, p.faults.refuse || p.closed, p.faults.connect
	p.faults.connect = nil
	p.mu.Unlock()
	if connect != nil {
		connect()
	}
	if refuse {
		reset(client)
		return
	}
	conn, err := net.DialTimeout("tcp", server, 10*time.Second)
	if err != nil {
		reset(client) // the server is gone: the client sees what it would see without a proxy
		return
	}
	c := &pair{client: client, server: conn.(*net.TCPConn), over: make(chan struct{})}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		c.reset()
		return
	}
	p.pairs[c] = true
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.forward(c, Up, c.client, c.server) })
	both.Go(func() { p.forward(c, Down, c.server, c.client) })
	both.Wait()
	p.mu.Lock()
	delete(p.pairs, c)
	if p.over != nil {
		p.ended += p.over(c.client)
	}
	p.mu.Unlock()
	c.client.Close()
	c.server.Close()
}

// reset ends both connections with RST, as a cut line seen late, or a killed process, does.
func (c *pair) reset() {
	c.once.Do(func() {
		close(c.over)
		reset(c.client)
		reset(c.server)
	})
}

func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	c.Close()
}

// parcel is what was read at once, and when it may go on.
type parcel struct {
	data []byte
	due  time.Time
}

// forward moves one direction of c until it ends. Its end is passed on, so a half-closed connection stays one.
func (p *Proxy) forward(c *pair, d Direction, from, to *net.TCPConn) {
	parcels := make(chan parcel, queue)
	var writer sync.WaitGroup
	writer.Go(func() { p.deliver(c, d, to, parcels) })
	for {
		data := make([]byte, buffer)
		n, err := from.Read(data)
		if n > 0 {
			if due, ok := p.arrived(c, d, data[:n]); ok {
				select {
				case parcels <- parcel{data[:n], due}:
				case <-c.over:
				}
			}
		}
		if err != nil {
			break
		}
	}
	close(parcels)
	writer.Wait()
	_ = to.CloseWrite()
}

// arrived counts data, does to it what the faults say, and tells when it is due. Nothing goes on when ok is false.
func (p *Proxy) arrived(c *pair, d Direction, data []byte) (due time.Time, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f, n, now := &p.faults, int64(len(data)), time.Now()
	if f.flipAt[d] > 0 && p.total[d]+n >= f.flipAt[d] {
		data[max(f.flipAt[d]-p.total[d]-1, 0)] ^= 1
		f.flipAt[d] = 0
		f.flips++
	}
	p.total[d] += n
	p.changed.Broadcast()
	if f.call != nil && p.total[Up]+p.total[Down] >= f.callAt {
		p.begin(f.call)
		f.call = nil
	}
	if f.cutAt > 0 && p.total[Up]+p.total[Down] >= f.cutAt {
		p.cut()
		return now, false
	}
	for f.stalled[d] && !p.closed && !isOver(c) {
		p.changed.Wait()
	}
	due = time.Now()
	if f.rate[d] > 0 {
		if f.freeAt[d].After(due) {
			due = f.freeAt[d]
		}
		due = due.Add(time.Duration(float64(n) / float64(f.rate[d]) * float64(time.Second)))
		f.freeAt[d] = due
	}
	return due.Add(f.delay), !f.lost[d]
}

// begin runs a call of After. The lock is held.
func (p *Proxy) begin(call func()) {
	p.calls++
	p.work.Go(func() {
		defer p.set(func(*faults) { p.calls-- })
		call()
	})
}

func isOver(c *pair) bool {
	select {
	case <-c.over:
		return true
	default:
		return false
	}
}

// deliver writes parcels when they are due.
func (p *Proxy) deliver(c *pair, d Direction, to *net.TCPConn, parcels <-chan parcel) {
	for parcel := range parcels {
		if wait := time.Until(parcel.due); wait > 0 {
			select {
			case <-time.After(wait):
			case <-c.over:
			}
		}
		if isOver(c) {
			continue
		}
		if _, err := to.Write(parcel.data); err != nil {
			c.reset() // the reader of the other direction has to know
		}
	}
}
