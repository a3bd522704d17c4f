package proxy

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// room is the receive buffer of measured connections, bytes: a proxy that gets no processor for a second must not hold the client up.
const room = 16 << 20

// Reading says that the clients had sent Total bytes at some time between From and To.
type Reading struct {
	From, To time.Time
	Total    int64
}

// Meter reads, again and again, how much the kernel has received of all clients of a proxy. It counts what arrived, not what the
// proxy got round to reading, and a reading that comes late is as true as one in time: no want of a processor bends it.
type Meter struct {
	proxy    *Proxy
	stop     chan struct{}
	readings chan []Reading
}

// Measure starts a meter that reads once in a while of every. It has to be called before the first connection, by root.
func (p *Proxy) Measure(every time.Duration) (*Meter, error) {
	if err := control(p.listener.(*net.TCPListener), func(fd int) error {
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, room)
	}); err != nil {
		return nil, fmt.Errorf("make room for a second of data: %w", err)
	}
	p.set(func(*faults) { p.over = received })
	m := &Meter{proxy: p, stop: make(chan struct{}), readings: make(chan []Reading, 1)}
	go m.run(every)
	return m, nil
}

// Stop ends the meter and returns its readings.
func (m *Meter) Stop() []Reading {
	close(m.stop)
	return <-m.readings
}

func (m *Meter) run(every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var all []Reading
	for {
		select {
		case <-tick.C:
			all = append(all, m.proxy.read())
		case <-m.stop:
			m.readings <- all
			return
		}
	}
}

func (p *Proxy) read() Reading {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := Reading{From: time.Now(), Total: p.ended}
	for c := range p.pairs {
		r.Total += received(c.client)
	}
	r.To = time.Now()
	return r
}

// received is how many bytes the kernel has received on a connection, read or not; its end counts as one. It is 0 once it is closed.
func received(c *net.TCPConn) (n int64) {
	_ = control(c, func(fd int) error {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil {
			n = int64(info.Bytes_received)
		}
		return err
	})
	return n
}

// control calls f with the descriptor of a socket.
func control(s syscall.Conn, f func(fd int) error) error {
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = f(int(fd)) })
	return errors.Join(err, failed)
}
