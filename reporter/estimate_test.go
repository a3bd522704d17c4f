package reporter

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var start = time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)

func TestEstimateFollowsTheLastFiveSeconds(t *testing.T) {
	var e Estimate
	done := int64(0)
	observe := func(second int, rate int64) {
		if second > 0 {
			done += rate
		}
		e.Observe(start.Add(time.Duration(second)*time.Second), done)
	}
	require.Zero(t, e.Rate())
	require.Zero(t, e.Remaining(1000))
	for second := range 21 {
		observe(second, 1000)
	}
	require.Equal(t, int64(1000), e.Rate())
	require.Equal(t, 80*time.Second, e.Remaining(100_000))
	for second := 21; second <= 26; second++ {
		observe(second, 0)
	}
	require.Zero(t, e.Rate(), "nothing moved for five seconds")
	require.Greater(t, e.Remaining(100_000), 80*time.Second, "a pause makes it longer")
	require.Less(t, e.Remaining(100_000), 2*time.Minute, "but not at once")
}

// What one observation sees of a step that happens at the same instant is chance: none of it, or two steps at once.
func TestEstimateIsRightFromTheStart(t *testing.T) {
	for name, seen := range map[string][]int64{
		"even":              {0, 100, 200, 300, 400},
		"nothing at first":  {0, 0, 200, 300, 400},
		"twice at first":    {0, 200, 200, 300, 400},
		"nothing for a bit": {0, 0, 0, 0, 400},
	} {
		t.Run(name, func(t *testing.T) {
			var e Estimate
			for second, done := range seen {
				e.Observe(start.Add(time.Duration(second)*time.Second), done)
			}
			require.InDelta(t, 6, e.Remaining(1000).Seconds(), 1)
		})
	}
}

func TestEstimateOfOddClocksAndCounts(t *testing.T) {
	var e Estimate
	e.Observe(start, 0)
	e.Observe(start, 1<<40)
	require.Zero(t, e.Rate(), "no time passed")
	e.Observe(start.Add(-time.Hour), 1<<41)
	require.Zero(t, e.Rate(), "time ran backwards")
	e.Observe(start.Add(time.Second), 500)
	require.Equal(t, int64(500), e.Rate())
	e.Observe(start.Add(2*time.Second), 100)
	require.Zero(t, e.Rate(), "the count began again")
	e.Observe(start.Add(3*time.Second), 101)
	require.Equal(t, time.Duration(0), e.Remaining(math.MaxInt64), "ages are not an estimate")
	require.Equal(t, time.Duration(0), e.Remaining(50), "more than all is done")
}

func TestEstimateIsNeverAbsurd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var e Estimate
		now := start
		for range rapid.IntRange(0, 50).Draw(t, "observations") {
			now = now.Add(time.Duration(rapid.Int64Range(-int64(time.Minute), int64(time.Hour)).Draw(t, "step")))
			e.Observe(now, rapid.Int64Range(0, math.MaxInt64).Draw(t, "done"))
			left := e.Remaining(rapid.Int64Range(0, math.MaxInt64).Draw(t, "total"))
			if e.Rate() < 0 || left < 0 || left > longest {
				t.Fatalf("rate %d, remaining %v", e.Rate(), left)
			}
			if len(e.samples) > 50 {
				t.Fatalf("it keeps %d samples", len(e.samples))
			}
		}
	})
}
