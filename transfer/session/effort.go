package session

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/ferry-migrate/ferry/transfer/codec"
)

// Effort measures what all workers of a pass spend, for the chooser of the strength of compression. Its counters may be added to from
// any goroutine.
type Effort struct {
	Chooser *codec.Chooser
	Senders int          // workers that compress
	Raw     atomic.Int64 // bytes before compression
	Wire    atomic.Int64 // bytes after it
	Blocked atomic.Int64 // nanoseconds in writes
	Packing atomic.Int64 // nanoseconds in compression
}

// effortPeriod is how often the chooser looks.
const effortPeriod = 250 * time.Millisecond

// Observe feeds the chooser until ctx is done.
func (e *Effort) Observe(ctx context.Context) {
	tick := time.NewTicker(effortPeriod)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			e.Chooser.Observe(codec.Sample{
				Period: now.Sub(last), Raw: e.Raw.Swap(0), Wire: e.Wire.Swap(0), Blocked: time.Duration(e.Blocked.Swap(0)),
				Compress: time.Duration(e.Packing.Swap(0)), Senders: e.Senders, CPUs: runtime.GOMAXPROCS(0),
			})
			last = now
		}
	}
}
