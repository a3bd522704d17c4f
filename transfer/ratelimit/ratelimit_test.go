package ratelimit

import (
	"context"
	"errors"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	_ "time/tzdata"

	"go.uber.org/goleak"

	"github.com/ferry-migrate/ferry/internal/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParseRate(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "0Mbit": 0, "200Mbit": 25_000_000, "1.5Gbit": 187_500_000, "25MiB": 25 << 20, "25mib": 25 << 20, " 64KiB ": 64 << 10,
		"0.5GiB": 512 << 20, "9kbit": 1125, ".5Mbit": 62_500,
	} {
		if got, err := ParseRate(text); err != nil || got != want {
			t.Errorf("%q: %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", " ", "fast", "-1Mbit", "1e3Mbit", "0x10MiB", "infMbit", "nanMiB", "10", "1.2.3Mbit", "Mbit", "10MB", "10Mb", "1bit", "1kbit",
		"0.0000001Mbit", "9999999999GiB", "200 Mbit/h", "+1Mbit", "1_0Mbit", "08:00", "10Mbit,20Mbit",
	} {
		_, err := ParseRate(text)
		if fault.CodeOf(err) != "FERRY-LIMIT-SYNTAX" || fault.RemedyOf(err) == "" {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestParseLimit(t *testing.T) {
	for _, text := range []string{
		"=", "08:00=1Mbit", "8:00-18:00=1Mbit", "08:00-25:00=1Mbit", "08:60-09:00=1Mbit", "08:00-18:00=", "08:00-18:00=fast", "24:01-09:00=1Mbit",
		"08:00-18:00=1Mbit,17:59-19:00=2Mbit", "00:00-00:00=1Mbit,05:00-06:00=0", "08:00-18:00=1Mbit,", "-1:00-08:00=0", "08:00-18:00=1Mbit=2",
	} {
		if _, err := ParseLimit(text); fault.CodeOf(err) != "FERRY-LIMIT-SYNTAX" {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestScheduleByTheClock(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	schedule := func(text string) Schedule {
		s, err := ParseLimit(text)
		if err != nil {
			t.Fatal(err)
		}
		s.zone = berlin
		return s
	}
	day := schedule("08:00-18:00=80Mbit, 18:00-08:00=0")
	night := schedule("22:00-06:00=8Mbit,06:00-07:30=16Mbit")
	dst := schedule("01:00-02:30=8Mbit,02:30-04:00=16Mbit")
	for _, c := range []struct {
		s    Schedule
		utc  string
		want int64
	}{
		{day, "2026-01-05T06:59:59Z", 0}, {day, "2026-01-05T07:00:00Z", 10_000_000}, {day, "2026-01-05T16:59:59Z", 10_000_000}, {day, "2026-01-05T17:00:00Z", 0},
		{day, "2026-07-05T06:00:00Z", 10_000_000}, {day, "2026-07-05T16:00:00Z", 0}, // summer: the clock is an hour ahead
		{night, "2026-01-05T20:59:00Z", 0}, {night, "2026-01-05T21:00:00Z", 1_000_000}, {night, "2026-01-05T23:30:00Z", 1_000_000},
		{night, "2026-01-06T04:59:00Z", 1_000_000}, {night, "2026-01-06T05:00:00Z", 2_000_000}, {night, "2026-01-06T06:30:00Z", 0},
		// 29 March: 02:00 CET is followed by 03:00 CEST. 25 October: 03:00 CEST is followed by 02:00 CET.
		{dst, "2026-03-29T00:59:59Z", 1_000_000}, {dst, "2026-03-29T01:00:00Z", 2_000_000}, {dst, "2026-03-29T02:00:00Z", 0},
		{dst, "2026-10-25T00:29:00Z", 1_000_000}, {dst, "2026-10-25T00:30:00Z", 2_000_000},
		{dst, "2026-10-25T01:00:00Z", 1_000_000}, {dst, "2026-10-25T01:30:00Z", 2_000_000}, {dst, "2026-10-25T03:00:00Z", 0},
	} {
		at, err := time.Parse(time.RFC3339, c.utc)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.s.At(at); got != c.want {
			t.Errorf("%s at %s: %d, want %d", c.s, at.In(berlin), got, c.want)
		}
	}
	all := schedule("00:00-24:00=8Mbit")
	for minute := range dayMinutes {
		if all.At(time.Date(2026, 1, 1, 0, minute, 0, 0, berlin)) != 1_000_000 {
			t.Fatalf("minute %d is outside the whole day", minute)
		}
	}
}

// record writes with many streams until d has passed and returns when how many bytes went.
type passage struct {
	at    time.Duration
	bytes int
}

func record(t *testing.T, b *Bucket, streams int, d time.Duration, size func(*Bucket) int) []passage {
	t.Helper()
	start := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	var mu sync.Mutex
	var log []passage
	var wg sync.WaitGroup
	for range streams {
		wg.Go(func() {
			for {
				n := size(b)
				if b.WaitN(ctx, n) != nil {
					return
				}
				mu.Lock()
				log = append(log, passage{time.Since(start), n})
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return log
}

func total(log []passage, from, to time.Duration) (sum float64) {
	for _, p := range log {
		if p.at >= from && p.at < to {
			sum += float64(p.bytes)
		}
	}
	return sum
}

// In a bubble of synthetic time, where only the algorithm is to blame.
func TestAccuracy(t *testing.T) {
	for _, rate := range []int64{64 << 10, 1_250_000, 25 << 20, 1_250_000_000} {
		for _, streams := range []int{1, 8} {
			synctest.Test(t, func(t *testing.T) {
				log := record(t, NewBucket(Constant(rate)), streams, 12*time.Second, (*Bucket).Piece)
				if got := total(log, 0, 10*time.Second) / 10; math.Abs(got/float64(rate)-1) > 0.01 {
					t.Errorf("%d B/s, %d streams: %.0f B/s over 10 s", rate, streams, got)
				}
				for from := time.Duration(0); from <= 10*time.Second; from += 7 * time.Millisecond {
					got := total(log, from, from+2*time.Second) / 2
					if math.Abs(got/float64(rate)-1) > 0.02 {
						t.Fatalf("%d B/s, %d streams: %.0f B/s in the 2 s from %s", rate, streams, got, from)
					}
				}
			})
		}
	}
}

// After a pause, and with asks larger than any burst, the limit still holds.
func TestPauseAndLargeAsks(t *testing.T) {
	const rate = 1 << 20
	synctest.Test(t, func(t *testing.T) {
		b := NewBucket(Constant(rate))
		b.Piece()
		time.Sleep(30 * time.Second)
		start := time.Now()
		if err := b.WaitN(t.Context(), 4*rate); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < 3960*time.Millisecond || took > 4040*time.Millisecond {
			t.Errorf("4 s worth of bytes took %s", took)
		}
	})
}

func TestSetLimitWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBucket(Constant(minRate))
		done := make(chan error, 2)
		for range 2 {
			go func() { done <- b.WaitN(t.Context(), 1<<20) }()
		}
		synctest.Wait()
		start := time.Now()
		b.SetLimit(Constant(1 << 20))
		<-done
		<-done
		if took := time.Since(start); took < 1900*time.Millisecond || took > 2100*time.Millisecond {
			t.Errorf("2 s worth of bytes took %s after the change", took)
		}
		b.SetLimit(Constant(minRate))
		go func() { done <- b.WaitN(t.Context(), 1<<30) }()
		synctest.Wait()
		start = time.Now()
		b.SetLimit(Schedule{})
		if err := <-done; err != nil || time.Since(start) > 0 {
			t.Errorf("lifting the limit: %v after %s", err, time.Since(start))
		}
		if s, rate := b.Limit(); rate != 0 || s.String() != "none" {
			t.Errorf("limit %s, %d", s, rate)
		}
	})
}

func TestWindowsChangeWhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // starts at midnight, UTC
		s, err := ParseLimit("00:00-00:01=8Mbit,00:01-00:02=80Mbit,00:02-00:03=0")
		if err != nil {
			t.Fatal(err)
		}
		s.zone = time.UTC
		b := NewBucket(s)
		log := record(t, b, 2, 119*time.Second, (*Bucket).Piece)
		for i, want := range []float64{1e6, 10e6} {
			from := time.Duration(i)*time.Minute + time.Second
			if got := total(log, from, from+58*time.Second) / 58; math.Abs(got/want-1) > 0.01 {
				t.Errorf("minute %d: %.0f B/s", i, got)
			}
		}
		time.Sleep(2 * time.Second)
		if err := b.WaitN(t.Context(), 1<<40); err != nil || b.Piece() != maxPiece {
			t.Errorf("no limit in the third minute: %v", err)
		}
	})
}

func TestCancel(t *testing.T) {
	b := NewBucket(Constant(minRate))
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan error, 2)
	for range 2 { // one sleeps for tokens, one for its turn
		go func() { done <- b.WaitN(ctx, 1<<30) }()
	}
	why := errors.New("enough")
	cancel(why)
	start := time.Now()
	for range 2 {
		if err := <-done; !errors.Is(err, why) {
			t.Error(err)
		}
	}
	if took := time.Since(start); took > 100*time.Millisecond {
		t.Errorf("cancel took %s", took)
	}
	if err := b.WaitN(ctx, 1); !errors.Is(err, why) {
		t.Errorf("wait with a cancelled context: %v", err)
	}
}

// On the real clock, beside goroutines that use every CPU.
func TestRealClock(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 3 s")
	}
	const rate = 20 << 20
	stop := make(chan struct{})
	var load sync.WaitGroup
	for range 2 {
		load.Go(func() {
			for x := 1.0; ; x = math.Sqrt(x + 1) {
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	log := record(t, NewBucket(Constant(rate)), 8, 3*time.Second, (*Bucket).Piece)
	close(stop)
	load.Wait()
	over, under := 0.0, math.Inf(1)
	for from := time.Duration(0); from <= time.Second; from += 10 * time.Millisecond {
		got := total(log, from, from+2*time.Second) / 2 / rate
		over, under = max(over, got), min(under, got)
	}
	t.Logf("windows of 2 s: %.2f %% to %.2f %% of the limit", under*100, over*100)
	if over > 1.02 || under < 0.5 { // how far below depends on what else the machine does
		t.Errorf("windows of 2 s: %.4f to %.4f of the limit", under, over)
	}
}

func TestNone(t *testing.T) {
	var l Limiter = None{}
	if err := l.WaitN(context.Background(), math.MaxInt); err != nil || l.Piece() < 1 {
		t.Error(err)
	}
}

func TestNoAllocation(t *testing.T) {
	for _, s := range []Schedule{{}, Constant(1 << 40)} {
		b := NewBucket(s)
		if n := testing.AllocsPerRun(100, func() { b.WaitN(context.Background(), 4096) }); n > 0 {
			t.Errorf("%s: %.1f allocations", s, n)
		}
	}
}

func FuzzParseLimit(f *testing.F) {
	f.Add("08:00-18:00=100Mbit,18:00-08:00=0")
	f.Add("1.5Gbit")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseLimit(text)
		if err == nil && (s.At(time.Unix(0, 0)) < 0 || strings.TrimSpace(text) == "") {
			t.Fatalf("%q accepted", text)
		}
	})
}

func BenchmarkUnlimited(b *testing.B) {
	bucket := NewBucket(Schedule{})
	for b.Loop() {
		bucket.WaitN(context.Background(), bucket.Piece())
	}
}
