package ratelimit

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const dayMinutes = 24 * 60

// Schedule is a limit by the time of day, in local time. The zero value is no limit. It is a value: copies are independent.
type Schedule struct {
	text     string
	constant int64
	windows  []window // if any, times outside all of them have no limit
	zone     *time.Location
}

// window is [from, to) in minutes of the day; over midnight when to <= from.
type window struct {
	from, to int
	rate     int64
}

func (w window) holds(minute int) bool {
	if w.from < w.to {
		return w.from <= minute && minute < w.to
	}
	return minute >= w.from || minute < w.to
}

// Constant is the same rate at all times, in bytes per second; 0 or less is no limit.
func Constant(rate int64) Schedule {
	rate = max(rate, 0)
	return Schedule{text: strconv.FormatInt(rate, 10) + " B/s", constant: rate}
}

// ParseLimit reads a rate (see ParseRate) or windows in local time, such as "08:00-18:00=100Mbit,18:00-08:00=0". A window may
// go over midnight, windows may not overlap, and times outside all of them have no limit. When clocks change, the time on the
// clock counts: an hour that is skipped has no part in its window, one that comes twice has it twice.
func ParseLimit(text string) (Schedule, error) {
	if !strings.Contains(text, "=") {
		rate, err := ParseRate(text)
		return Schedule{text: text, constant: rate}, err
	}
	s := Schedule{text: text, zone: time.Local}
	for part := range strings.SplitSeq(text, ",") {
		w, err := parseWindow(strings.TrimSpace(part))
		if err != nil {
			return Schedule{}, syntax(text, err)
		}
		s.windows = append(s.windows, w)
	}
	if err := s.overlap(); err != nil {
		return Schedule{}, syntax(text, err)
	}
	return s, nil
}

func parseWindow(text string) (w window, err error) {
	span, rate, ok := strings.Cut(text, "=")
	from, to, ok2 := strings.Cut(span, "-")
	if !ok || !ok2 {
		return w, fmt.Errorf("%q is not of the form HH:MM-HH:MM=RATE", text)
	}
	if w.from, err = parseClock(from); err != nil {
		return w, err
	}
	if w.to, err = parseClock(to); err != nil {
		return w, err
	}
	w.from %= dayMinutes // 24:00 is the end of a day as well as its start
	w.rate, err = parseRate(strings.ToLower(strings.TrimSpace(rate)))
	return w, err
}

func parseClock(text string) (minute int, err error) {
	bad := fmt.Errorf("%q is no time of day HH:MM", text)
	text = strings.TrimSpace(text)
	if len(text) != len("HH:MM") || text[2] != ':' || strings.Trim(text, "0123456789:") != "" {
		return 0, bad
	}
	hours, err1 := strconv.Atoi(text[:2])
	minutes, err2 := strconv.Atoi(text[3:])
	minute = hours*60 + minutes
	if err1 != nil || err2 != nil || minutes > 59 || minute > dayMinutes {
		return 0, bad
	}
	return minute, nil
}

func (s *Schedule) overlap() error {
	for minute := range dayMinutes {
		found := false
		for _, w := range s.windows {
			if found && w.holds(minute) {
				return errors.New("two windows overlap at " + fmt.Sprintf("%02d:%02d", minute/60, minute%60))
			}
			found = found || w.holds(minute)
		}
	}
	return nil
}

// String returns the schedule as it was written.
func (s Schedule) String() string {
	if s.text == "" {
		return "none"
	}
	return s.text
}

// At returns the rate that holds at t, in bytes per second, 0 for none. It holds until the next full minute at least.
func (s Schedule) At(t time.Time) int64 {
	if len(s.windows) == 0 {
		return s.constant
	}
	t = t.In(s.zone)
	minute := t.Hour()*60 + t.Minute()
	for _, w := range s.windows {
		if w.holds(minute) {
			return w.rate
		}
	}
	return 0
}
