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
// clearly quicker (wider) or hardly slower (narrower). See climber for the rules. Time without anything to apply does not
// count, so a slow source says nothing about the disk.
//
// Acquire and Release are safe for concurrent use.
type Width struct {
	mu      sync.Mutex
	climb   climber
	active  int
	waiting []chan struct{} // in order of arrival
	since   time.Time       // while active > 0: up to when the window's busy time is counted
	busy    time.Duration   // time of the window in which there was a frame to apply
	work    int64           // done in the window
	frames  int             // finished in the window
}

// NewWidth returns a governor that starts with two frames side by side.
func NewWidth() *Width { return &Width{climb: newClimber()} }

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
	w.measure()
	w.leave()
}

// Current returns how many frames may be applied side by side now.
func (w *Width) Current() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.climb.width
}

func (w *Width) enter() {
	if w.active == 0 {
		w.since = time.Now()
	}
	w.active++
}

func (w *Width) leave() {
	w.active--
	w.admit()
}

func (w *Width) admit() {
	for w.active < w.climb.width && len(w.waiting) > 0 {
		close(w.waiting[0])
		w.waiting = w.waiting[1:]
		w.enter()
	}
}

// A window lasts until it holds enough for its length not to be chance.
const (
	windowTime   = 100 * time.Millisecond
	windowFrames = 8
)

// measure counts the time since it was last called, and ends the window if it is long enough. A frame is active.
func (w *Width) measure() {
	now := time.Now()
	w.busy += now.Sub(w.since)
	w.since = now
	if w.busy < windowTime || w.frames < windowFrames {
		return
	}
	w.climb.observe(float64(w.work) / w.busy.Seconds())
	w.busy, w.work, w.frames = 0, 0, 0
}
