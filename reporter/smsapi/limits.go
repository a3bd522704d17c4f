package smsapi

import (
	"slices"
	"time"
)

// LimitWindows is the body of POST /v3/tasks/{task_id}/speed-limit and the answer of GET: limits by the time of day, at most five.
// Outside of all windows there is none.
type LimitWindows struct {
	Windows []LimitWindow `json:"speed_limit" rule:"required,max=5"`
}

// LimitWindow is a limit for a part of each day. One that ends before it starts goes over midnight; one that ends when it starts is
// the whole day.
type LimitWindow struct {
	Start     string  `json:"start" rule:"required"`         // HH:MM
	End       string  `json:"end" rule:"required"`           // HH:MM
	Speed     int     `json:"speed" rule:"max=10000"`        // Mbit/s, 0 = none
	Threshold float64 `json:"over_speed_threshold,omitzero"` // percent above the limit that pauses the task; 0 = none
}

// maxLimit is the highest limit, in Mbit/s. The documents let higher ones in, up to 10000, and mean no more than this.
const maxLimit = 1000

const dayMinutes = 24 * 60

// check refuses times that are none and windows that overlap, and lowers limits to the highest one.
func (l *LimitWindows) check() error {
	taken := make([]bool, dayMinutes)
	for i := range l.Windows {
		w := &l.Windows[i]
		from, ok := minuteOf(w.Start)
		to, ok2 := minuteOf(w.End)
		if !ok || !ok2 {
			return invalid("speed_limit[%d]: start and end are times of the form HH:MM", i)
		}
		for m, first := from, true; first || m != to; m, first = (m+1)%dayMinutes, false {
			if taken[m] {
				return invalid("speed_limit[%d]: overlaps another window at %02d:%02d", i, m/60, m%60)
			}
			taken[m] = true
		}
		w.Speed = min(w.Speed, maxLimit)
	}
	return nil
}

// At returns the window that holds at a time of day, if there is one.
func (l LimitWindows) At(t time.Time) (LimitWindow, bool) {
	now := t.Hour()*60 + t.Minute()
	i := slices.IndexFunc(l.Windows, func(w LimitWindow) bool {
		from, _ := minuteOf(w.Start)
		to, _ := minuteOf(w.End)
		if from < to {
			return from <= now && now < to
		}
		return from <= now || now < to
	})
	if i < 0 {
		return LimitWindow{}, false
	}
	return l.Windows[i], true
}

// minuteOf returns the minute of the day that HH:MM names.
func minuteOf(clock string) (int, bool) {
	t, err := time.Parse("15:04", clock)
	return t.Hour()*60 + t.Minute(), err == nil && len(clock) == len("15:04")
}

// TaskSettings is the answer of GET /v3/tasks/{task_id}/configuration-setting as an agent reads it.
type TaskSettings struct {
	Items []Config `json:"configurations"`
}
