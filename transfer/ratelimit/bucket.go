package ratelimit

import (
	"context"
	"sync"
	"time"
)

const (
	minPiece = 1 << 10
	maxPiece = 256 << 10

	piecesPerSecond = 400 // of 2.5 ms each
	burstsPerSecond = 33  // 30 ms worth of tokens may gather
)

// Limiter lets bytes through at some rate. It is safe for many goroutines.
type Limiter interface {
	// WaitN returns once n bytes may go, or within 100 ms of ctx being done with its cause; some of the n may then be spent.
	WaitN(ctx context.Context, n int) error
	// Piece is how many bytes to ask for and to write at once, so that the stream stays even.
	Piece() int
}

// None is the Limiter without a limit.
type None struct{}

// WaitN returns at once.
func (None) WaitN(context.Context, int) error { return nil }

// Piece returns 256 KiB.
func (None) Piece() int { return maxPiece }

// Bucket is the Limiter that keeps to a Schedule. Only one waiter sleeps for tokens, the others sleep for their turn, so a new limit
// concerns one waiter. Whoever asks while tokens are there is served before those who sleep: on a busy machine waking one takes longer
// than a piece lasts, and tokens would be lost meanwhile.
type Bucket struct {
	turn  chan struct{} // holds one token while somebody is first
	timer *time.Timer   // of the first

	mu       sync.Mutex
	schedule Schedule
	rate     int64     // by the schedule
	until    time.Time // when to ask it again
	tokens   float64   // bytes that may go now
	filled   time.Time // when tokens was right
	changed  chan struct{}
}

// NewBucket returns a bucket that starts empty.
func NewBucket(s Schedule) *Bucket {
	b := &Bucket{turn: make(chan struct{}, 1), timer: time.NewTimer(0), changed: make(chan struct{}), schedule: s, filled: time.Now()}
	b.timer.Stop()
	return b
}

// SetLimit replaces the schedule; whoever waits goes on under the new one at once.
func (b *Bucket) SetLimit(s Schedule) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.fill(now)
	b.schedule, b.until = s, time.Time{}
	b.fill(now)
	close(b.changed)
	b.changed = make(chan struct{})
}

// Limit returns the schedule and the rate that holds now, in bytes per second, 0 for none.
func (b *Bucket) Limit() (Schedule, int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fill(time.Now())
	return b.schedule, b.rate
}

// Piece returns 2.5 ms worth of bytes within 1 KiB and 256 KiB.
func (b *Bucket) Piece() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fill(time.Now())
	return b.piece()
}

func (b *Bucket) piece() int {
	if b.rate == 0 {
		return maxPiece
	}
	return int(min(max(b.rate/piecesPerSecond, minPiece), maxPiece))
}

// WaitN returns once n bytes may go. See Limiter.
func (b *Bucket) WaitN(ctx context.Context, n int) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for n > 0 {
		took, wait, _ := b.take(n)
		if n -= took; wait > 0 {
			return b.wait(ctx, n)
		}
	}
	return nil
}

// wait is WaitN for those who found too few tokens.
func (b *Bucket) wait(ctx context.Context, n int) error {
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for n > 0 {
		took, wait, changed := b.take(n)
		n -= took
		if wait <= 0 {
			continue
		}
		b.timer.Reset(wait)
		select {
		case <-b.timer.C:
		case <-changed:
			b.timer.Stop()
		case <-ctx.Done():
			b.timer.Stop()
			return context.Cause(ctx)
		}
	}
	return nil
}

// take spends tokens for up to n bytes, a piece at most. If there are too few it spends none and says how long to wait, unless changed
// is closed before.
func (b *Bucket) take(n int) (took int, wait time.Duration, changed <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fill(time.Now())
	if b.rate == 0 {
		return n, 0, nil
	}
	n = min(n, b.piece())
	if missing := float64(n) - b.tokens; missing > 0 {
		return 0, time.Duration(missing/float64(b.rate)*1e9) + 1, b.changed
	}
	b.tokens -= float64(n)
	return n, 0, nil
}

// fill adds the tokens of the time that passed, at the rate that held meanwhile, and then asks the schedule once a minute.
func (b *Bucket) fill(now time.Time) {
	most := float64(max(b.rate/burstsPerSecond, 2*minPiece))
	if passed := now.Sub(b.filled); passed > 0 {
		b.tokens = min(b.tokens+passed.Seconds()*float64(b.rate), most)
		b.filled = now
	}
	if now.Before(b.until) && now.After(b.until.Add(-time.Minute-time.Second)) { // unless the clock was set
		return
	}
	b.until = now.Truncate(time.Minute).Add(time.Minute)
	if rate := b.schedule.At(now); rate != b.rate {
		b.rate, b.tokens = rate, 0
	}
}
