package snapshot

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/signal"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// _IOWR('X', 119 and 120, int) of include/uapi/linux/fs.h.
const (
	fiFreeze = 0xc0045877
	fiThaw   = 0xc0045878
)

const (
	socketFD    = 3 // of the freezer; the filesystems follow
	packetBytes = 64 << 10
	thawAgain   = 50 * time.Millisecond // after an error of the disk
)

// Freezer is the body of the freezer process, which Open starts with a socket and a descriptor of each of n filesystems. It
// returns once the agent has closed its end, or is gone, and nothing is frozen.
func Freezer(n int) error {
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGTSTP) // meant for the agent
	conn, err := socketConn(os.NewFile(socketFD, "agent"))
	if err != nil {
		return err
	}
	defer conn.Close()
	f := &freezer{conn: conn}
	for i := range n {
		f.mounts = append(f.mounts, socketFD+1+i)
	}
	f.say(f.ready())
	orders := make(chan order)
	go f.listen(orders)
	for o := range orders {
		r := &round{f: f, n: o.Round, since: make([]time.Time, n), held: make([]time.Duration, n), frozen: make([]bool, n)}
		if !r.run(o.Bound, orders) {
			break
		}
	}
	return nil
}

type freezer struct {
	conn   *net.UnixConn
	mounts []int // descriptors
}

// ready prepares for the worst while every file can still be read, and tries both calls on the socket, which nobody can freeze.
func (f *freezer) ready() news {
	n := news{What: newsReady, Shared: leaveScope() != nil}
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0) // a help, not a condition
	if err := ioctl(socketFD, fiThaw); err == unix.EPERM {
		n.Errno = int(unix.EPERM)
	}
	_ = ioctl(socketFD, fiFreeze)
	lockMemory()
	return n
}

// lockMemory keeps what is in memory there, and what comes later into regions that exist. Regions to come are left out: without the
// right to lock them the runtime could not grow.
func lockMemory() {
	if unix.Mlockall(unix.MCL_CURRENT|unix.MCL_ONFAULT) == unix.EINVAL { // before Linux 4.4
		_ = unix.Mlockall(unix.MCL_CURRENT)
	}
}

// listen passes on what the agent says until it is gone: its end is closed when its last thread is.
func (f *freezer) listen(orders chan<- order) {
	defer close(orders)
	buf := make([]byte, packetBytes)
	for {
		k, err := f.conn.Read(buf)
		var o order
		if err != nil || k == 0 || json.Unmarshal(buf[:k], &o) != nil {
			return
		}
		orders <- o
	}
}

func (f *freezer) say(n news) {
	text, err := json.Marshal(n)
	if err == nil {
		_, _ = f.conn.Write(text) // an agent that is gone is noticed by listen
	}
}

// round is one freeze and its thaw.
type round struct {
	f *freezer
	n int

	mu     sync.Mutex
	over   bool // nothing may stay frozen
	frozen []bool
	since  []time.Time
	held   []time.Duration
	undone []int
}

// run freezes everything and thaws it when it is told to, when bound has passed, when a filesystem refuses, or when the agent is
// gone; then it returns false.
func (r *round) run(bound time.Duration, orders <-chan order) (alive bool) {
	timer := time.NewTimer(bound)
	defer timer.Stop()
	settled, refused := make(chan struct{}), make(chan struct{}, 1)
	go func() {
		defer close(settled)
		if !r.freeze() {
			refused <- struct{}{}
		}
	}()
	alive, early := true, true
	select {
	case _, alive = <-orders:
		early = false
	case <-timer.C:
	case <-refused:
	}
	r.thaw()
	r.mu.Lock()
	r.f.say(news{Round: r.n, What: newsThawed, Early: early, Held: slices.Clone(r.held), Undone: r.undone})
	r.mu.Unlock()
	if early {
		_, alive = <-orders
	}
	<-settled
	return alive
}

// freeze freezes one filesystem after the other, and stops at the first that refuses for another reason than that it cannot be frozen.
func (r *round) freeze() bool {
	for i, fd := range r.f.mounts {
		r.f.say(news{Round: r.n, What: newsFreezing, FS: i})
		began := time.Now()
		err := ioctl(fd, fiFreeze)
		n := news{Round: r.n, What: newsFrozen, FS: i}
		if err != 0 {
			n.What, n.Errno = newsRefused, int(err)
		} else if !r.keep(i, began) {
			return true
		}
		r.f.say(n)
		if err != 0 && err != unix.EOPNOTSUPP {
			return false
		}
	}
	r.f.say(news{Round: r.n, What: newsSettled})
	return true
}

// keep notes that i is frozen, unless the round is over: then i is thawed, and keep returns false.
func (r *round) keep(i int, since time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.frozen[i], r.since[i] = true, since
	if r.over {
		r.thawOne(i)
	}
	return !r.over
}

// thaw ends the round: what is frozen is thawed, in reverse order.
func (r *round) thaw() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	for i := len(r.frozen) - 1; i >= 0; i-- {
		if r.frozen[i] {
			r.thawOne(i)
		}
	}
}

func (r *round) thawOne(i int) {
	if !thaw(r.f.mounts[i]) {
		r.undone = append(r.undone, i)
	}
	r.frozen[i], r.held[i] = false, time.Since(r.since[i])
}

// thaw thaws a filesystem and reports whether it was frozen. It does not give up: an error of the disk leaves it frozen.
func thaw(fd int) (was bool) {
	for {
		switch err := ioctl(fd, fiThaw); err {
		case 0:
			return true
		case unix.EINVAL:
			return false
		}
		time.Sleep(thawAgain)
	}
}

// ioctl makes a request without an argument; both requests here ignore theirs.
func ioctl(fd int, request uintptr) unix.Errno {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, 0)
		if errno != unix.EINTR {
			return errno
		}
	}
}

// socketConn makes a connection of a socket's descriptor, which it takes over.
func socketConn(f *os.File) (*net.UnixConn, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("socket of the freezer: %w", err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("socket of the freezer: descriptor %d is none", socketFD)
	}
	return u, nil
}
