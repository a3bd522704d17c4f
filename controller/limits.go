package controller

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// How often one client may call, unless the configuration says otherwise. An agent calls less than once a second; programs that
// look at many tasks call in bursts.
const (
	defaultRate = 500.0 // requests a second
	burstFactor = 2     // seconds' worth at once
)

// Logins are slow on purpose, so one address may try few: a burst for a site that starts together, then one a second.
const (
	loginRate  = 1
	loginBurst = 30
)

// Refusals are news in the log up to this number from one site; then they are counted only.
const (
	newsRate  = 0.1
	newsBurst = 10
)

const (
	maxBuckets = 100_000         // clients remembered at a time
	bucketLife = 5 * time.Minute // after which a client that does not call is forgotten: its bucket is full again long before
)

// buckets limit how often each client calls. They are for concurrent use. Each control plane counts for itself.
type buckets struct {
	rate  rate.Limit
	burst int

	mu    sync.Mutex
	of    map[string]*bucket
	swept time.Time
}

type bucket struct {
	limiter *rate.Limiter
	used    time.Time
}

// newBuckets allows rate calls a second and burst at once; a rate of 0 or less allows all.
func newBuckets(perSecond float64, burst int) *buckets {
	b := &buckets{rate: rate.Limit(perSecond), burst: burst, of: map[string]*bucket{}}
	if perSecond <= 0 {
		b.rate = rate.Inf
	}
	return b
}

// take counts a call of client at now and returns 0, or how long the client should wait before the next one.
func (b *buckets) take(client string, now time.Time) time.Duration {
	if b.rate == rate.Inf {
		return 0
	}
	limiter := b.limiter(client, now)
	reservation := limiter.ReserveN(now, 1)
	wait := reservation.DelayFrom(now)
	if wait > 0 {
		reservation.CancelAt(now)
	}
	return wait
}

func (b *buckets) limiter(client string, now time.Time) *rate.Limiter {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Sub(b.swept) > bucketLife || len(b.of) >= maxBuckets {
		for name, idle := range b.of {
			if now.Sub(idle.used) > bucketLife {
				delete(b.of, name)
			}
		}
		if len(b.of) >= maxBuckets { // a flood of addresses: better none is limited than all are remembered
			clear(b.of)
		}
		b.swept = now
	}
	known := b.of[client]
	if known == nil {
		known = &bucket{limiter: rate.NewLimiter(b.rate, b.burst)}
		b.of[client] = known
	}
	known.used = now
	return known.limiter
}

// site returns what counts as one place on the network: an IPv4 address, or the /64 that an IPv6 host may choose addresses from.
func site(remote string) string {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return remote
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	addr = addr.Unmap().WithZone("")
	if prefix, err := addr.Prefix(64); err == nil && addr.Is6() {
		return prefix.String()
	}
	return addr.String()
}

// How many connections are served at a time. Those of one site are fewer, so that none takes them all; loopback is trusted.
const (
	maxConnections     = 20_000
	maxSiteConnections = 12_000 // a NAT may hide a whole fleet
)

// A turnstile is a listener that closes what would be one connection too many.
type turnstile struct {
	net.Listener
	refused func()

	mu    sync.Mutex
	total int
	of    map[string]int
}

func newTurnstile(l net.Listener, refused func()) *turnstile {
	return &turnstile{Listener: l, refused: refused, of: map[string]int{}}
}

// Accept returns the next connection that there is room for.
func (t *turnstile) Accept() (net.Conn, error) {
	for {
		conn, err := t.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := site(conn.RemoteAddr().String())
		if t.enter(from, loopback(from)) {
			return &counted{Conn: conn, leave: sync.OnceFunc(func() { t.left(from) })}, nil
		}
		conn.Close()
		t.refused()
	}
}

func (t *turnstile) enter(from string, trusted bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.total >= maxConnections || !trusted && t.of[from] >= maxSiteConnections {
		return false
	}
	t.total++
	t.of[from]++
	return true
}

func (t *turnstile) left(from string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.total--
	if t.of[from]--; t.of[from] == 0 {
		delete(t.of, from)
	}
}

// open returns how many connections are served now.
func (t *turnstile) open() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.total
}

// counted is a connection that a turnstile let in.
type counted struct {
	net.Conn
	leave func()
}

// Close closes the connection and makes room for another.
func (c *counted) Close() error {
	c.leave()
	return c.Conn.Close()
}

// loopback reports whether a host, by name or address, is this machine and no other.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
