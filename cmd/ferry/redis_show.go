package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/redis"
)

// redisProgress is how far a migration of Redis is. The names of its fields are a contract.
type redisProgress struct {
	Event         string  `json:"event"`
	Subtask       string  `json:"subtask"`
	Phase         string  `json:"phase"` // connect, full or follow
	Percent       int     `json:"percent"`
	Keys          int64   `json:"keys"`
	KeysTotal     int64   `json:"keys_total"`
	Bytes         int64   `json:"bytes"` // of the snapshot
	Total         int64   `json:"total"` // bytes; 0 while unknown, as in a diskless transfer
	Mbps          float64 `json:"mbps"`  // read from the source
	Commands      int64   `json:"commands"`
	Ops           float64 `json:"ops"` // commands a second
	LagBytes      int64   `json:"lag_bytes"`
	LagMs         int64   `json:"lag_ms"`
	RemainSeconds *int64  `json:"remain_seconds"`
}

// redisResult is what a migration of Redis, or a comparison, came to. The names of its fields are a contract.
type redisResult struct {
	Event       string            `json:"event"`
	OK          bool              `json:"ok"`
	Pass        string            `json:"pass,omitempty"` // first or resume
	Keys        int64             `json:"keys"`
	Commands    int64             `json:"commands"`
	Filtered    int64             `json:"filtered"`
	Skipped     int64             `json:"skipped"`
	BytesRead   int64             `json:"bytes_read"`
	BytesSent   int64             `json:"bytes_sent"`
	Seconds     float64           `json:"seconds"`
	Verified    string            `json:"verified"`
	Differences int64             `json:"differences"`
	DBs         []redisComparison `json:"dbs,omitempty"`
	Losses      []lossEvent       `json:"losses"`
	Error       *string           `json:"error"`
	Code        *string           `json:"code"`
}

// redisComparison is what a comparison found in one database.
type redisComparison struct {
	DB      int      `json:"db"`
	Keys    int64    `json:"keys"`
	Missing int64    `json:"missing"`
	Extra   int64    `json:"extra"`
	Type    int64    `json:"type"`
	TTL     int64    `json:"ttl"`
	Value   int64    `json:"value"`
	Sample  []string `json:"sample"`
}

// redisScreen shows one run on standard output: plain lines, or JSON.
type redisScreen struct {
	out   io.Writer
	json  bool
	every every
	began time.Time
	last  redis.Progress
	when  time.Time
}

func newRedisScreen(out io.Writer, asJSON bool) *redisScreen {
	s := &redisScreen{out: out, json: asJSON, began: time.Now(), when: time.Now()}
	s.every = every{interval: 5 * time.Second, now: time.Now}
	if asJSON {
		s.every.interval = time.Second
	}
	return s
}

// progress shows how far it is, when it is time to.
func (s *redisScreen) progress(p redis.Progress) {
	if !s.every.due(&progressEvent{Subtask: "MIGRATE_REDIS", Phase: p.Phase}) {
		return
	}
	seconds := time.Since(s.when).Seconds()
	e := redisProgress{
		Event: "progress", Subtask: "MIGRATE_REDIS", Phase: p.Phase, Keys: p.Keys, KeysTotal: p.KeysTotal, Bytes: p.Bytes, Total: p.BytesTotal,
		Mbps: mbps(p.BytesRead-s.last.BytesRead, seconds), Commands: p.Commands, LagBytes: p.LagBytes, LagMs: p.Lag.Milliseconds(),
	}
	if seconds > 0 {
		e.Ops = float64(p.Commands-s.last.Commands) / seconds
	}
	if p.KeysTotal > 0 {
		e.Percent = int(min(p.Keys*100/p.KeysTotal, 100))
	}
	if rate := float64(p.Keys-s.last.Keys) / max(seconds, 0.001); p.Phase == "full" && rate > 0 {
		left := int64(float64(max(p.KeysTotal-p.Keys, 0)) / rate)
		e.RemainSeconds = &left
	}
	s.last, s.when = p, time.Now()
	if s.json {
		s.print(e)
		return
	}
	switch p.Phase {
	case "full":
		fmt.Fprintf(s.out, "full: %d %%, %s of %s keys, %s read, %s", e.Percent, formatCount(p.Keys), formatCount(p.KeysTotal), formatBytes(p.BytesRead), formatSpeed(e.Mbps))
		if e.RemainSeconds != nil {
			fmt.Fprintf(s.out, ", %s left", formatSeconds(*e.RemainSeconds))
		}
		fmt.Fprintln(s.out)
	case "follow":
		fmt.Fprintf(s.out, "follow: %s commands, %.0f a second, %s and %d ms behind\n", formatCount(p.Commands), e.Ops, formatBytes(p.LagBytes), e.LagMs)
	default:
		fmt.Fprintln(s.out, p.Phase)
	}
}

// result shows what a migration came to.
func (s *redisScreen) result(p redis.Progress, err error) {
	e := s.ending(err)
	e.Pass, e.Keys, e.Commands, e.Filtered, e.Skipped = "resume", p.Keys, p.Commands, p.Filtered, p.Skipped
	if p.Full > 0 || p.Continued == 0 {
		e.Pass = "first"
	}
	e.BytesRead, e.BytesSent, e.Verified = p.BytesRead, p.BytesSent, "none"
	for _, kind := range slices.Sorted(maps.Keys(p.Losses)) {
		e.Losses = append(e.Losses, lossEvent{Kind: kind, Count: p.Losses[kind].Count, Sample: p.Losses[kind].Sample})
	}
	if s.json {
		s.print(e)
		return
	}
	fmt.Fprintf(s.out, "%s: %s keys and %s commands in %.1f s; read %s, sent %s.\n", done(e.OK), formatCount(e.Keys), formatCount(e.Commands), e.Seconds,
		formatBytes(e.BytesRead), formatBytes(e.BytesSent))
	var losses strings.Builder
	for i := range e.Losses {
		summarizeLoss(&losses, &e.Losses[i])
	}
	fmt.Fprint(s.out, losses.String())
	if e.OK {
		fmt.Fprintln(s.out, "Next: ferry redis compare --from … --to …")
	}
}

// compared shows what a comparison came to.
func (s *redisScreen) compared(c redis.Comparison, err error) {
	e := s.ending(err)
	e.Keys, e.Differences, e.Verified = c.Keys, c.Differences, "full"
	for _, db := range slices.Sorted(maps.Keys(c.DBs)) {
		d := c.DBs[db]
		e.DBs = append(e.DBs, redisComparison{db, d.Keys, d.Missing, d.Extra, d.Type, d.TTL, d.Value, append([]string{}, d.Sample...)})
	}
	if s.json {
		s.print(e)
		return
	}
	for _, d := range e.DBs {
		fmt.Fprintf(s.out, "database %d: %s keys; missing %d, extra %d, other type %d, other expiry %d, other value %d\n",
			d.DB, formatCount(d.Keys), d.Missing, d.Extra, d.Type, d.TTL, d.Value)
		for _, line := range d.Sample {
			fmt.Fprintf(s.out, "  %s\n", printable(line))
		}
	}
	fmt.Fprintf(s.out, "%s: compared %s keys in %.1f s, %s differ.\n", done(err == nil || e.Differences > 0), formatCount(e.Keys), e.Seconds, formatCount(e.Differences))
}

func done(ok bool) string {
	if ok {
		return "Done"
	}
	return "Not done"
}

// ending is what every result says.
func (s *redisScreen) ending(err error) redisResult {
	e := redisResult{Event: "result", OK: err == nil, Seconds: time.Since(s.began).Seconds(), Losses: []lossEvent{}}
	if err != nil {
		text, code := err.Error(), fault.CodeOf(err)
		e.Error = &text
		if code != "" {
			e.Code = &code
		}
	}
	return e
}

func (s *redisScreen) print(event any) {
	lines := json.NewEncoder(s.out)
	lines.SetEscapeHTML(false)
	_ = lines.Encode(event) // a reader that went away does not stop a migration
}
