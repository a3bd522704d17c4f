package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ferry-migrate/ferry/e2e/proxy"
)

// window is a length of time over which a rate has to hold, by a part of it.
type window struct {
	length time.Duration
	within float64
}

// windows is the promise: within 1 % over any 10 s and 2 % over any 2 s.
var windows = []window{{2 * time.Second, 0.02}, {10 * time.Second, 0.01}}

// TestLimit measures the limit on the wire, where no one knows how it was made. More than the limit, proved, fails at once. No
// limiter can make a process send that gets no processor: too little is judged when there were processors to be had, and then one of three
// measurements has to be fast enough. What the limiter itself lets through is judged without a clock in package ratelimit.
func TestLimit(t *testing.T) {
	const rate = 8 << 20
	for try := 1; ; try++ {
		s := newStage(t, "tmpfs", 256<<20)
		for i := range 26 {
			write(t, s.path(fmt.Sprint("f", i)), 4<<20, byte(i))
		}
		m := s.measured()
		began, waited := time.Now(), waitedForProcessors()
		s.mustMigrate("--limit", "8MiB", "--streams", "2", "--verify", "none")
		readings := inTheMiddle(m.Stop())
		slow := false
		for _, w := range windows {
			low, high := extremes(readings, w.length)
			t.Logf("over any %v: %+.2f %% to %+.2f %%", w.length, (low/rate-1)*100, (high/rate-1)*100)
			if high > rate*(1+w.within) {
				t.Fatalf("over some %v at least %.0f bytes/s went over the wire, want %d and at most %.0f %% more", w.length, high, rate, w.within*100)
			}
			slow = slow || low < rate*(1-w.within)
		}
		if !slow {
			return
		}
		if share := float64(waitedForProcessors()-waited) / float64(time.Since(began)); share > 0.25 {
			t.Logf("something waited for a processor %.0f %% of the time: too busy to tell whether the limiter is slow", share*100)
			return
		}
		if try == 3 {
			t.Fatal("each time it was slower than promised")
		}
	}
}

// waitedForProcessors is how long, since the start of the machine, something that could run was not running; 0 if the kernel does not tell.
func waitedForProcessors() time.Duration {
	text, err := os.ReadFile("/proc/pressure/cpu")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), "total=")
	us, _ := strconv.ParseInt(strings.Fields(rest + " 0")[0], 10, 64)
	return time.Duration(us) * time.Microsecond
}

// measured is between with a meter.
func (s *stage) measured() *proxy.Meter {
	s.t.Helper()
	m, err := s.between().Measure(2 * time.Millisecond)
	must(s.t, err)
	return m
}

// inTheMiddle leaves out the first and the last half second: getting to know each other and saying goodbye are not data.
func inTheMiddle(readings []proxy.Reading) []proxy.Reading {
	first, last := 0, len(readings)-1
	for first < last && readings[first].Total == 0 {
		first++
	}
	for last > first && readings[last].Total == readings[last-1].Total {
		last--
	}
	begin, end := readings[first].From.Add(time.Second/2), readings[last].To.Add(-time.Second/2)
	for first < last && readings[first].From.Before(begin) {
		first++
	}
	for last > first && readings[last].To.After(end) {
		last--
	}
	return readings[first : last+1]
}

// extremes returns between which rates, bytes per second, all windows of a length lie. Both are proved whatever the machine did meanwhile: in some window the
// rate was high at least, in some it was low at most.
func extremes(readings []proxy.Reading, length time.Duration) (low, high float64) {
	low = float64(1 << 62)
	inside, around := 0, 0 // the last reading surely inside the window that begins with r, the first surely outside
	for _, r := range readings {
		for inside+1 < len(readings) && readings[inside+1].To.Sub(r.From) <= length {
			inside++
		}
		for around < len(readings) && readings[around].From.Sub(r.To) < length {
			around++
		}
		high = max(high, float64(readings[inside].Total-r.Total)/length.Seconds())
		if around < len(readings) {
			low = min(low, float64(readings[around].Total-r.Total)/length.Seconds())
		}
	}
	return low, high
}
