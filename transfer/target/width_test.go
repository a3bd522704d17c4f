package target

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// settle feeds a climber the rates of a model and returns the share of the last half of n windows that each width had.
func settle(c *climber, n int, rate func(width, window int) float64) map[int]float64 {
	share := map[int]float64{}
	for i := range n {
		width := c.width
		if i >= n/2 {
			share[width] += 2 / float64(n)
		}
		c.observe(rate(width, i))
	}
	return share
}

func TestClimber(t *testing.T) {
	noise := rand.New(rand.NewPCG(1, 2))
	jitter := func(by float64) float64 { return 1 + by*(2*noise.Float64()-1) }
	for _, c := range []struct {
		name     string
		rate     func(width, window int) float64
		from, to int // the widths that must rule at the end
	}{
		// perf.md's figures, files per second: a new ext4 on loop, tmpfs, an aged ext4.
		{"new ext4", func(w, _ int) float64 {
			return []float64{0, 39613, 50331, 56000, 59863, 60100, 60500, 61000, 61221}[w] * jitter(0.02)
		}, 3, 4},
		{"tmpfs", func(w, _ int) float64 {
			return []float64{0, 90220, 139908, 146000, 149129, 147000, 145000, 143000, 142317}[w] * jitter(0.02)
		}, 2, 2},
		{"aged ext4", func(w, _ int) float64 {
			return []float64{0, 1757, 1545, 1620, 1713, 1700, 1700, 1700, 1699}[w] * jitter(0.02)
		}, 1, 1},
		{"flat", func(int, int) float64 { return 1000 * jitter(0.02) }, 1, 1},
		{"latency bound", func(w, _ int) float64 { return 1000 * float64(w) * jitter(0.05) }, 7, 8},
		{"drifting load", func(w, i int) float64 {
			return 1000 * math.Min(float64(w), 3) * (1.5 + math.Sin(float64(i)/40)) * jitter(0.01)
		}, 2, 4},
		{"ages while written", func(w, i int) float64 {
			if i < 1000 {
				return 20000 * math.Min(float64(w), 4)
			}
			return 1700 * jitter(0.02)
		}, 1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			climb := newClimber()
			share := settle(&climb, 4000, c.rate)
			good := 0.0
			for w := c.from; w <= c.to; w++ {
				good += share[w]
			}
			if good < 0.9 {
				t.Errorf("widths %v, want %d to %d", share, c.from, c.to)
			}
		})
	}
	climb := newClimber()
	for range 10000 {
		if climb.width < minWidth || climb.width > maxWidth {
			t.Fatalf("width %d", climb.width)
		}
		climb.observe(noise.Float64())
	}
}

// Never more than the width at once, everybody gets a turn, a cancelled wait takes none away.
func TestWidth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := NewWidth()
		var mu sync.Mutex
		active, most := 0, 0
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				for range 50 {
					if err := w.Acquire(t.Context()); err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					active++
					most = max(most, active)
					if active > maxWidth {
						t.Errorf("%d at once", active)
					}
					mu.Unlock()
					time.Sleep(time.Millisecond) // of the simulated clock
					mu.Lock()
					active--
					mu.Unlock()
					w.Release(1)
				}
			})
		}
		all.Wait()
		if most < 3 {
			t.Errorf("at most %d at once, though the simulated disk gains from every one", most)
		}

		for range w.Current() {
			if err := w.Acquire(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		stopped := errors.New("stopped")
		waited := make(chan error)
		go func() { waited <- w.Acquire(ctx) }()
		synctest.Wait()
		cancel(stopped)
		if err := <-waited; !errors.Is(err, stopped) {
			t.Errorf("%v", err)
		}
		w.Release(1)
		if err := w.Acquire(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
