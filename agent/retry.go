package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter"
)

// longestPause is the longest pause between attempts, before jitter.
const longestPause = time.Minute

// A retry runs something until it succeeds, fails for good or is stopped. The pause between attempts grows from one second to one
// minute, with jitter, without an end, and is short again after an attempt that got further or lasted longer than any pause.
type retry struct {
	wait     *backoff.ExponentialBackOff
	progress func() int64                                      // how far it got; grows
	failed   func(attempt int, err error, pause time.Duration) // told of each attempt that will be repeated
}

func newRetry(progress func() int64, failed func(int, error, time.Duration)) *retry {
	return &retry{
		wait: backoff.NewExponentialBackOff(
			backoff.WithInitialInterval(time.Second),
			backoff.WithMaxInterval(longestPause),
			backoff.WithRandomizationFactor(0.5),
			backoff.WithMaxElapsedTime(0),
		),
		progress: progress, failed: failed,
	}
}

// run calls do until its error is nil or not temporary. Once ctx is done it starts no further attempt and returns the cause.
func (r *retry) run(ctx context.Context, do func(attempt int) error) error {
	for attempt := 1; ; attempt++ {
		if ctx.Err() != nil {
			return cancelled(ctx)
		}
		before, began := r.progress(), time.Now()
		err := do(attempt)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return cancelled(ctx)
		case fault.ClassOf(err) != fault.ClassTemporary:
			return err
		}
		if r.progress() > before || time.Since(began) > longestPause {
			r.wait.Reset()
		}
		pause := max(r.wait.NextBackOff(), reporter.RetryAfter(err))
		r.failed(attempt, err, pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// cancelled returns why ctx is done, as an error that is also ctx.Err(): a cause alone, a signal for example, need not be.
func cancelled(ctx context.Context) error {
	if cause := context.Cause(ctx); !errors.Is(cause, ctx.Err()) {
		return fmt.Errorf("%w: %w", ctx.Err(), cause)
	}
	return context.Cause(ctx)
}
