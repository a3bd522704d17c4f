package e2e

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ferry-migrate/ferry/e2e/lab"
	"github.com/ferry-migrate/ferry/e2e/proxy"
	"github.com/ferry-migrate/ferry/e2e/traps"
)

func labMount(t testing.TB, fs string) string { return lab.Mount(t, fs, 1<<30) }

// TestLimit measures the limit on the wire, where no one knows how it was made: within 1 % over any 10 s and 2 % over any 2 s.
// No limiter can make a process send that gets no processor, and a proxy that got none sees at once what came one by one: of three
// measurements one has to be right. What the limiter itself lets through is judged without a clock in package ratelimit.
func TestLimit(t *testing.T) {
	const rate = 8 << 20
	var misses []string
	for range 3 {
		misses = nil
		samples := limited(t)
		for _, w := range []struct {
			window time.Duration
			most   float64
		}{{2 * time.Second, 0.02}, {10 * time.Second, 0.01}} {
			low, high := extremes(samples, w.window)
			t.Logf("over any %v: %+.2f %% to %+.2f %%", w.window, (low/rate-1)*100, (high/rate-1)*100)
			if high > rate*(1+w.most) {
				misses = append(misses, fmt.Sprintf("over some %v the rate was %.0f, want %d and at most %.0f %% more", w.window, high, rate, w.most*100))
			}
			if low < rate*(1-w.most) {
				misses = append(misses, fmt.Sprintf("over some %v the rate was %.0f, want %d and at most %.0f %% less", w.window, low, rate, w.most*100))
			}
		}
		if len(misses) == 0 {
			return
		}
	}
	t.Error(misses)
}

// limited migrates 104 MiB at 8 MiB/s and returns what went over the wire when.
func limited(t *testing.T) []proxy.Sample {
	s := newStage(t, "tmpfs", 256<<20)
	for i := range 26 {
		write(t, s.path(fmt.Sprint("f", i)), 4<<20, byte(i))
	}
	p := s.between()
	s.mustMigrate("--limit", "8MiB", "--streams", "2", "--verify", "none")
	return p.Timeline()
}

// extremes returns the lowest and the highest rate, bytes per second, over all windows of a length. The first and the last half
// second are left out: getting to know each other and saying goodbye are not data.
func extremes(samples []proxy.Sample, window time.Duration) (low, high float64) {
	low = math.Inf(1)
	if len(samples) == 0 {
		return 0, 0
	}
	from, to := samples[0].At.Add(time.Second/2), samples[len(samples)-1].At.Add(-time.Second/2)
	for i := range samples {
		begin := samples[i].At
		if begin.Before(from) || begin.Add(window).After(to) {
			continue
		}
		var n int64
		for _, s := range samples[i+1:] {
			if s.At.Sub(begin) > window {
				break
			}
			n += s.N
		}
		rate := float64(n) / window.Seconds()
		low, high = min(low, rate), max(high, rate)
	}
	return low, high
}

// TestManyEntries migrates a directory of 200,000 entries.
func TestManyEntries(t *testing.T) {
	s := newStage(t, "ext4", 4<<30)
	must(t, os.Mkdir(s.path("many"), 0o755))
	traps.Many(t, s.path("many"), 200_000)
	s.mustMigrate()
	s.askRsync() // our own dump takes a minute for so many
}

// TestMemory: resident memory of each side on 100,000 files, 64 MiB at most by default and 96 with zstd.
func TestMemory(t *testing.T) {
	s := newStage(t, "tmpfs", 4<<30)
	for i := range 100 {
		dir := s.path(fmt.Sprint("d", i))
		must(t, os.Mkdir(dir, 0o755))
		traps.Many(t, dir, 1000)
	}
	put("large", 256<<20)(t, s)
	for _, c := range []struct {
		compress string
		most     int64 // MiB
	}{{"auto", 64}, {"zstd", 96}} {
		t.Run(c.compress, func(t *testing.T) {
			s := *s.on(t)
			s.target = sub(t, filepath.Dir(s.target), c.compress)
			s.state, s.targetState, s.addr, s.server = t.TempDir(), t.TempDir(), "", nil
			checkMemory(t, &s, c.most, "--compress", c.compress)
			checkMemory(t, &s, c.most, "--compress", c.compress) // nothing changed: the manifest is walked along
		})
	}
}

func checkMemory(t *testing.T, s *stage, most int64, args ...string) {
	t.Helper()
	o := s.migrate(args...)
	if o.exit != 0 {
		t.Fatalf("exit %d: %s", o.exit, o.stderr)
	}
	target := s.server.measure()
	t.Logf("%v: source %d MiB, target %d MiB", args, o.peak>>10, target>>10)
	for side, peak := range map[string]int64{"source": o.peak, "target": target} {
		if peak == 0 || peak>>10 > most {
			t.Errorf("%s: %d MiB of memory at the peak, want %d at most", side, peak>>10, most)
		}
	}
}

// TestSoak is TestMemory on 2,000,000 files, with 128 MiB at most. It takes long: make soak.
func TestSoak(t *testing.T) {
	if os.Getenv("FERRY_SOAK") == "" {
		t.Skip("takes long: make soak runs it")
	}
	s := newStage(t, "tmpfs", 16<<30)
	for i := range 2000 {
		dir := s.path(fmt.Sprint("d", i))
		must(t, os.Mkdir(dir, 0o755))
		traps.Many(t, dir, 1000)
	}
	for range 2 {
		checkMemory(t, s, 128)
	}
}
