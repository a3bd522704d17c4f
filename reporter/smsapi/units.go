package smsapi

import (
	"math"
	"time"
)

// bytesPerMbit is how many bytes one Mbit has.
const bytesPerMbit = 1_000_000 / 8

// Mbps converts bytes per second to the API's Mbit/s, within 0 to MaxSpeed, to two decimals.
func Mbps(bytesPerSecond int64) float64 {
	mbit := float64(bytesPerSecond) / bytesPerMbit
	return math.Round(min(max(mbit, 0), MaxSpeed)*100) / 100
}

// BytesPerSecond converts the API's Mbit/s to bytes per second.
func BytesPerSecond(mbps float64) int64 { return int64(mbps * bytesPerMbit) }

// Millis converts a time to the API's Unix milliseconds; the zero time gives nil.
func Millis(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	ms := t.UnixMilli()
	return &ms
}

// Seconds converts a duration to whole seconds, rounded up, within 0 and the API's maximum.
func Seconds(d time.Duration) int64 {
	return min(max(int64(math.Ceil(d.Seconds())), 0), math.MaxInt32)
}
