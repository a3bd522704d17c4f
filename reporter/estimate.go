package reporter

import (
	"math"
	"time"
)

const (
	rateWindow = 5 * time.Second        // the rate is that of the last five seconds, as the service's console shows it
	smoothing  = 30 * time.Second       // after this long a change of rate has reached the remaining time by two thirds
	shortest   = 100 * time.Millisecond // two observations closer than this say nothing about a rate
	longest    = 365 * 24 * time.Hour
	fastest    = 1 << 50 // bytes per second
)

// Estimate turns a growing count of bytes into a rate and a remaining time. The zero value is ready. It is not for concurrent use.
//
// The clock is the caller's: observations at the same time, or back in time, add nothing. A count that shrinks starts again.
type Estimate struct {
	samples []sample // of the window, and the last one before it
	moved   float64  // bytes, those long ago weighing less
	lasted  float64  // seconds, weighted alike: moved/lasted is the smoothed rate
}

type sample struct {
	at   time.Time
	done int64
}

// Observe records that done bytes are done at now.
func (e *Estimate) Observe(now time.Time, done int64) {
	n := len(e.samples)
	if n == 0 || done < e.samples[n-1].done {
		*e = Estimate{samples: append(e.samples[:0], sample{now, done})}
		return
	}
	last := e.samples[n-1]
	step := now.Sub(last.at)
	if step < shortest {
		return
	}
	e.follow(float64(done-last.done)/step.Seconds(), step)
	e.samples = append(e.samples, sample{now, done})
	old := 0
	for old+2 < len(e.samples) && now.Sub(e.samples[old+1].at) >= rateWindow {
		old++
	}
	e.samples = append(e.samples[:0], e.samples[old:]...)
}

// follow takes in a rate that held for step. What came before loses weight with the time that passes, bytes and seconds alike: so
// until much time has passed the smoothed rate is the plain average, and an odd first step counts for no more than its time.
func (e *Estimate) follow(rate float64, step time.Duration) {
	keep := math.Exp(-step.Seconds() / smoothing.Seconds())
	weight := smoothing.Seconds() * (1 - keep)
	e.moved = e.moved*keep + rate*weight
	e.lasted = e.lasted*keep + weight
}

// Rate returns bytes per second over the last five seconds, or over the time since the first observation if that is shorter.
func (e *Estimate) Rate() int64 {
	if len(e.samples) < 2 {
		return 0
	}
	first, last := e.samples[0], e.samples[len(e.samples)-1]
	return int64(min(float64(last.done-first.done)/last.at.Sub(first.at).Seconds(), fastest))
}

// Remaining returns how long the rest of total bytes takes at the smoothed rate. It is 0 when nothing is left and when nobody
// can tell: no rate yet, or more than a year.
func (e *Estimate) Remaining(total int64) time.Duration {
	if len(e.samples) == 0 || e.moved <= 0 {
		return 0
	}
	left := float64(total - e.samples[len(e.samples)-1].done)
	seconds := left / (e.moved / e.lasted)
	if left <= 0 || seconds > longest.Seconds() {
		return 0
	}
	return time.Duration(math.Ceil(seconds)) * time.Second
}
