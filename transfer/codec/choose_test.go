package codec

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ferry-migrate/ferry/internal/fault"
)

// host is a simulated sender. Costs are CPU seconds per byte.
type host struct {
	link   float64              // bytes per second on the wire
	cpus   int                  //
	base   float64              // reading, hashing, the other end: per raw byte
	tls    float64              // per wire byte
	ratio  [strengthEnd]float64 // wire per raw
	cost   [strengthEnd]float64 // packing per raw byte
	source float64              // raw bytes per second that the disk gives
}

// text has the figures of a binary (see zstd and s2 there): costs for one core at 600, 235 and 139 MB/s.
var text = host{
	base: 0.8e-9, tls: 0.5e-9,
	ratio: [strengthEnd]float64{1, 0.555, 0.42, 0.40},
	cost:  [strengthEnd]float64{0, 1 / 600e6, 1 / 235e6, 1 / 139e6},
}

// random is content the probe recognises.
var random = host{
	base: 0.8e-9, tls: 0.5e-9,
	ratio: [strengthEnd]float64{1, 1, 1, 1},
	cost:  [strengthEnd]float64{0, 1e-12, 1e-12, 1e-12},
}

// zeroes compress to nothing.
var zeroes = host{
	base: 0.8e-9, tls: 0.5e-9,
	ratio: [strengthEnd]float64{1, 0.05, 0.001, 0.001},
	cost:  [strengthEnd]float64{0, 1 / 3e9, 1 / 2e9, 1 / 1e9},
}

func (h host) with(link float64, cpus int) host {
	h.link, h.cpus, h.source = link, cpus, 1e12
	return h
}

// run returns raw bytes per second with s, and whether the link was what held it back.
func (h host) run(s Strength) (rate float64, linkBound bool) {
	byLink := h.link / h.ratio[s]
	byCPU := float64(h.cpus) / (h.base + h.cost[s] + h.tls*h.ratio[s])
	rate = min(byLink, byCPU, h.source)
	return rate, byLink < min(byCPU, h.source)
}

func (h host) best() (rate float64) {
	for s := range strengthEnd {
		r, _ := h.run(s)
		rate = max(rate, r)
	}
	return rate
}

// sample simulates one period with a noise of ±3 % on the rate.
func (h host) sample(s Strength, noise *rand.Rand) Sample {
	const period = 250 * time.Millisecond
	senders := h.cpus
	rate, linkBound := h.run(s)
	rate *= 0.97 + 0.06*noise.Float64()
	raw := rate * period.Seconds()
	packing := time.Duration(raw * h.cost[s] * 1e9)
	// With the link full a sender waits whenever it does not pack; otherwise its writes only cost the TLS.
	blocked := time.Duration(raw * h.ratio[s] * h.tls * 1e9)
	if linkBound {
		blocked = max(0, time.Duration(senders)*period-packing)
	}
	return Sample{
		Period: period, Raw: int64(raw), Wire: int64(raw * h.ratio[s]), Blocked: blocked,
		Compress: packing, Senders: senders, CPUs: h.cpus,
	}
}

func TestChooserFindsTheBest(t *testing.T) {
	const mbit = 1e6 / 8
	slowDisk := text.with(1e9/8*10, 2)
	slowDisk.source = 100e6
	for name, h := range map[string]host{
		"text 10 Mbit":          text.with(10*mbit, 2),
		"text 100 Mbit":         text.with(100*mbit, 2),
		"text 1 Gbit":           text.with(1000*mbit, 2),
		"text 1 Gbit 8 CPUs":    text.with(1000*mbit, 8),
		"text 2.5 Gbit":         text.with(2500*mbit, 2),
		"text 10 Gbit":          text.with(10000*mbit, 2),
		"text 10 Gbit 16 CPUs":  text.with(10000*mbit, 16),
		"text 40 Gbit":          text.with(40000*mbit, 2),
		"text 40 Gbit 32 CPUs":  text.with(40000*mbit, 32),
		"random 10 Mbit":        random.with(10*mbit, 2),
		"random 40 Gbit":        random.with(40000*mbit, 2),
		"zeroes 100 Mbit":       zeroes.with(100*mbit, 2),
		"zeroes 40 Gbit":        zeroes.with(40000*mbit, 2),
		"text from a slow disk": slowDisk,
	} {
		for seed := range uint64(20) {
			noise := rand.New(rand.NewPCG(seed, 1))
			c := NewChooser()
			best := h.best()
			var moved float64
			const periods = 240
			for i := range periods {
				rate, _ := h.run(c.Strength())
				moved += rate
				// Trials go on for ever, but seldom: from 2.5 s on, nearly all time is spent at the best.
				c.Observe(h.sample(c.Strength(), noise))
				if i == 9 && !c.trying {
					if rate, _ = h.run(c.Strength()); rate < 0.9*best {
						t.Errorf("%s, seed %d: after 2.5 s %s moves %.0f MB/s, the best does %.0f", name, seed, c.Strength(), rate/1e6, best/1e6)
					}
				}
			}
			if share := moved / periods / best; share < 0.9 {
				t.Errorf("%s, seed %d: moved %.0f %% of the best in a minute", name, seed, share*100)
			}
		}
	}
}

func TestChooserFollowsTheLink(t *testing.T) {
	noise := rand.New(rand.NewPCG(1, 1))
	c := NewChooser()
	for _, link := range []float64{5e9, 12.5e6, 5e9, 12.5e6} {
		h := text.with(link, 2)
		const settle, measured = 20, 400 // periods; in the latter neighbours fail until they are left alone for a minute
		for range settle {
			c.Observe(h.sample(c.Strength(), noise))
		}
		var moved float64
		for range measured {
			rate, _ := h.run(c.Strength())
			moved += rate / measured
			c.Observe(h.sample(c.Strength(), noise))
		}
		if best := h.best(); moved < 0.9*best {
			t.Errorf("link of %.0f MB/s: %.0f MB/s moved, the best does %.0f", link/1e6, moved/1e6, best/1e6)
		}
	}
}

func TestParseMode(t *testing.T) {
	for mode, want := range map[string]Strength{"auto": Off, "none": Off, "s2": Fast, "zstd": Strongest} {
		c, err := ParseMode(mode)
		if err != nil || c.Strength() != want {
			t.Errorf("%s: %v", mode, err)
			continue
		}
		if mode == "auto" {
			continue
		}
		for range 50 {
			c.Observe(text.with(1e6, 2).sample(c.Strength(), rand.New(rand.NewPCG(1, 1))))
		}
		if c.Strength() != want {
			t.Errorf("%s became %s", mode, c.Strength())
		}
	}
	if _, err := ParseMode("gzip"); fault.CodeOf(err) != "FERRY-COMPRESS-SYNTAX" {
		t.Errorf("gzip: %v", err)
	}
}
