package target

import (
	"context"
	"sync"
	"time"
)

// Width bounds how many frames are applied side by side and finds the bound itself.
//
// On a fast filesystem two to four writers are quicker than one; on an aged ext4 all of them wait for the same lock, and
// more of them only burn the processor that the source, the network or other work could use. So a wider setting must earn
// its place: the rate is measured in windows, a neighbouring width is tried now and then, and it is taken when it is
// clearly quicker (wider) or hardly slower (narrower). See climber for the rules.
//
// Acquire and Release are safe for concurrent use.
type Width struct {
	mu      sync.Mutex
	now     func() time.Time
	climb   climber
	active  int
	waiting []chan struct{} // in order of arrival
	start   time.Time       // of the window; zero before the first frame
	work    int64           // done in the window
	frames  int             // finished in the window
	starved bool            // in the window there was a moment with less work than the width allows
}

// NewWidth returns a governor that starts with two frames side by side.
func NewWidth() *Width { return newWidth(time.Now) }

func newWidth(now func() time.Time) *Width {
	return &Width{now: now, climb: newClimber()}
}

// Acquire waits until one more frame may be applied. After a nil error Release must be called.
func (w *Width) Acquire(ctx context.Context) error {
	w.mu.Lock()
	if w.active < w.climb.width && len(w.waiting) == 0 {
		w.enter()
		w.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	w.waiting = append(w.waiting, turn)
	w.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, c := range w.waiting {
		if c == turn {
			w.waiting = append(w.waiting[:i], w.waiting[i+1:]...)
			return context.Cause(ctx)
		}
	}
	w.leave() // the turn came in the same moment
	return context.Cause(ctx)
}

// Release ends what Acquire began; work says how much was done, in a unit of the caller's choice.
func (w *Width) Release(work int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.work += int64(work)
	w.frames++
	w.leave()
	w.measure()
}

// Current returns how many frames may be applied side by side now.
func (w *Width) Current() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.climb.width
}

func (w *Width) enter() {
	w.active++
	if w.start.IsZero() {
		w.start = w.now()
	}
}

func (w *Width) leave() {
	w.active--
	w.admit()
	if w.active < w.climb.width {
		w.starved = true
	}
}

func (w *Width) admit() {
	for w.active < w.climb.width && len(w.waiting) > 0 {
		close(w.waiting[0])
		w.waiting = w.waiting[1:]
		w.enter()
	}
}

// A window lasts until it holds enough frames for its length not to be chance.
const (
	windowTime   = 100 * time.Millisecond
	windowFrames = 8
)

// measure ends the window if it is long enough. A window in which the source, not the width, was the bound says nothing.
func (w *Width) measure() {
	now := w.now()
	took := now.Sub(w.start)
	if took < windowTime || w.frames < windowFrames {
		return
	}
	if w.starved {
		w.climb.skip()
	} else {
		w.climb.observe(float64(w.work) / took.Seconds())
	}
	w.start, w.work, w.frames, w.starved = now, 0, 0, false
	w.admit()
}
