package codec

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/ferry-migrate/ferry/internal/fault"
)

// Sample is what the sending side did during one period. Durations of several goroutines are added up.
type Sample struct {
	Period   time.Duration // real time; 250 ms is a good one
	Raw      int64         // bytes of payloads before packing
	Wire     int64         // bytes of payloads after packing
	Blocked  time.Duration // spent inside writes to connections
	Compress time.Duration // spent packing
	Senders  int           // goroutines that write
	CPUs     int           // that this process may use
}

// Chooser picks the strength for the next payloads. Observe is called by one goroutine, Strength by any.
//
// Raising the strength trades CPU for bandwidth, so content per second rises with it up to one strength and falls beyond. The Chooser climbs
// that hill: where senders do little but wait for the link and packing leaves CPU to spare it goes one strength up each period; otherwise it
// tries a neighbour, for as long as it takes to measure, and stays only if more content went through (or as much, with less CPU). A
// neighbour that failed is left alone for a time that doubles from 4 s to a minute, or until the rate shows that link or content changed.
type Chooser struct {
	current atomic.Uint32
	fixed   bool

	settle  bool          // this period still shows the strength before
	raw     int64         // since the last change, without the settling period
	elapsed time.Duration // likewise
	blocked time.Duration // likewise
	packing time.Duration // likewise

	trying bool // current is on trial against:
	from   Strength
	rate   float64 // raw bytes per second at from

	now   time.Duration // sum of all periods
	hold  [2]backoff    // down, up
	usual float64       // the rate when a neighbour last failed, 0 before
	reset time.Duration // when hold was last lifted because the rate was no longer the usual one
}

type backoff struct{ until, wait time.Duration }

const (
	down, up = 0, 1

	measure     = 450 * time.Millisecond // least time to know a rate by
	enough      = 1 << 20                // least raw bytes to know a rate by; less in five times measure is slow, and known too
	firstWait   = 4 * time.Second
	longestWait = time.Minute

	better = 1.04 // a rate that much higher is no accident
	equal  = 0.98
	change = 1.5 // a rate that many times higher or lower is another link, or other content
)

// NewChooser returns a Chooser that starts without compression, which a fast link never pays for, and adapts.
func NewChooser() *Chooser {
	c := &Chooser{settle: true}
	c.current.Store(uint32(Off))
	return c
}

// Fixed returns a Chooser that never changes its mind.
func Fixed(s Strength) *Chooser {
	c := &Chooser{fixed: true}
	c.current.Store(uint32(s))
	return c
}

// ParseMode reads auto, none, s2 or zstd. Anything else is the operator error FERRY-COMPRESS-SYNTAX.
func ParseMode(mode string) (*Chooser, error) {
	switch mode {
	case "auto":
		return NewChooser(), nil
	case "none":
		return Fixed(Off), nil
	case "s2":
		return Fixed(Fast), nil
	case "zstd": // asked for by name where bytes are dear
		return Fixed(Strongest), nil
	}
	return nil, fault.Operator("FERRY-COMPRESS-SYNTAX", "Use auto, none, s2 or zstd.", fmt.Errorf("no such compression: %q", mode))
}

// Strength is the one to use now.
func (c *Chooser) Strength() Strength { return Strength(c.current.Load()) }

// Observe takes one period into account.
func (c *Chooser) Observe(s Sample) {
	if c.fixed || s.Period <= 0 || s.Senders <= 0 || s.CPUs <= 0 {
		return
	}
	c.now += s.Period
	if s.Raw == 0 && s.Blocked < s.Period/2 {
		c.begin() // nothing to send: nothing to learn
		return
	}
	if c.settle {
		c.settle = false
		return
	}
	c.raw += s.Raw
	c.elapsed += s.Period
	c.blocked += s.Blocked
	c.packing += s.Compress
	waiting := float64(c.blocked) / float64(c.elapsed) / float64(s.Senders)
	busy := float64(c.packing) / float64(c.elapsed) / float64(s.CPUs)
	// Off tells nothing of what packing would cost.
	climb := c.Strength() > Off && c.Strength() < Strongest && c.now >= c.hold[up].until
	if climb && !c.trying && waiting > 0.8 && busy < 0.2 && !gainless(s) {
		c.use(c.Strength() + 1)
		return
	}
	if c.elapsed < measure || c.raw < enough && c.elapsed < 5*measure {
		return
	}
	rate := float64(c.raw) / c.elapsed.Seconds()
	if c.trying {
		c.judge(rate)
		return
	}
	c.compare(rate)
	c.try(rate, waiting, busy, gainless(s))
}

// compare lifts the holds when what they were learnt from is no longer so.
func (c *Chooser) compare(rate float64) {
	if c.usual > 0 && (rate > c.usual*change || rate < c.usual/change) && c.now >= c.reset+firstWait {
		c.hold[up].until, c.hold[down].until = c.now, c.now
		c.usual, c.reset = rate, c.now
	}
}

// gainless says that packing left everything as it was: more of it will not help.
func gainless(s Sample) bool { return s.Compress > 0 && !worth(int(s.Wire), int(s.Raw)) }

// try puts the more promising neighbour on trial, unless it failed lately.
func (c *Chooser) try(rate, waiting, busy float64, gainless bool) {
	wantUp := c.Strength() < Strongest && waiting > 0.03 && !gainless && c.now >= c.hold[up].until
	wantDown := c.Strength() > Off && busy > 0.02 && c.now >= c.hold[down].until
	to := c.Strength()
	switch {
	case wantUp && (!wantDown || waiting > busy):
		to++
	case wantDown:
		to--
	default:
		c.begin()
		c.settle = false
		return
	}
	c.trying, c.from, c.rate = true, c.Strength(), rate
	c.use(to)
}

// judge ends a trial.
func (c *Chooser) judge(rate float64) {
	c.trying = false
	way, bar := down, equal
	if c.Strength() > c.from {
		way, bar = up, better
	}
	if rate >= c.rate*bar {
		c.hold[way] = backoff{}
		// What was just left need not be tried at once.
		c.fail(1-way, rate)
		c.begin()
		c.settle = false
		return
	}
	c.fail(way, c.rate)
	c.use(c.from)
}

// fail leaves the neighbour that way alone for a while; rate is what the strength in use does.
func (c *Chooser) fail(way int, rate float64) {
	c.usual = rate
	h := &c.hold[way]
	h.wait = min(max(firstWait, 2*h.wait), longestWait)
	h.until = c.now + h.wait
}

func (c *Chooser) use(s Strength) {
	c.current.Store(uint32(s))
	c.begin()
}

// begin starts a new measurement, after one period to let the change reach the wire.
func (c *Chooser) begin() {
	c.settle = true
	c.raw, c.elapsed, c.blocked, c.packing = 0, 0, 0, 0
}
