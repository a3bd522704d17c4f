package smsapi_test

import (
	"testing"
	"time"

	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestLimitAt(t *testing.T) {
	limits := smsapi.LimitWindows{Windows: []smsapi.LimitWindow{
		{Start: "08:00", End: "18:00", Speed: 1}, {Start: "22:00", End: "06:30", Speed: 2}, {Start: "06:30", End: "06:31", Speed: 3},
	}}
	for clock, want := range map[string]int{
		"07:59": 0, "08:00": 1, "17:59": 1, "18:00": 0, "21:59": 0, "22:00": 2, "23:59": 2, "00:00": 2, "06:29": 2, "06:30": 3, "06:31": 0,
	} {
		at, err := time.Parse("15:04", clock)
		require.NoError(t, err)
		w, ok := limits.At(at)
		require.Equal(t, want, w.Speed, clock)
		require.Equal(t, want != 0, ok, clock)
	}
	whole := smsapi.LimitWindows{Windows: []smsapi.LimitWindow{{Start: "13:00", End: "13:00", Speed: 7}}}
	for _, hour := range []int{0, 12, 13, 23} {
		w, _ := whole.At(time.Date(2026, 1, 1, hour, 0, 0, 0, time.UTC))
		require.Equal(t, 7, w.Speed)
	}
}

// Windows that are taken do not overlap: at no minute of the day two of them hold.
func TestLimitsDoNotOverlap(t *testing.T) {
	clock := rapid.Custom(func(t *rapid.T) string {
		return time.Date(0, 1, 1, rapid.IntRange(0, 23).Draw(t, "h"), rapid.SampledFrom([]int{0, 30}).Draw(t, "m"), 0, 0, time.UTC).Format("15:04")
	})
	rapid.Check(t, func(t *rapid.T) {
		text, n := "", rapid.IntRange(1, 5).Draw(t, "windows")
		for i := range n {
			if i > 0 {
				text += ","
			}
			text += `{"start":"` + clock.Draw(t, "start") + `","end":"` + clock.Draw(t, "end") + `","speed":1}`
		}
		var limits smsapi.LimitWindows
		if smsapi.Decode([]byte(`{"speed_limit":[`+text+`]}`), &limits) != nil {
			return
		}
		for minute := range 24 * 60 {
			at, holding := time.Date(0, 1, 1, 0, minute, 0, 0, time.UTC), 0
			for _, w := range limits.Windows {
				if _, ok := (smsapi.LimitWindows{Windows: []smsapi.LimitWindow{w}}).At(at); ok {
					holding++
				}
			}
			if holding > 1 {
				t.Fatalf("%s: %d windows hold at minute %d", text, holding, minute)
			}
		}
	})
}

// Whatever somebody sends as limits, what is taken is in range and can be asked about.
func FuzzLimits(f *testing.F) {
	f.Add([]byte(`{"speed_limit":[{"start":"22:00","end":"06:30","speed":10000,"over_speed_threshold":1}]}`))
	f.Add([]byte(`{"speed_limit":[{"start":"24:00","end":"00:60"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var limits smsapi.LimitWindows
		if smsapi.Decode(body, &limits) != nil {
			return
		}
		require.LessOrEqual(t, len(limits.Windows), 5)
		for _, w := range limits.Windows {
			require.LessOrEqual(t, w.Speed, 1000)
			require.GreaterOrEqual(t, w.Speed, 0)
		}
		limits.At(time.Unix(0, 0))
	})
}
