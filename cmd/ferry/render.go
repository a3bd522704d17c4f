package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/vbauerster/mpb/v8/cwriter"
)

// progressEvent is how far a subtask is. The names of its fields on the wire are a contract.
type progressEvent struct {
	Event         string  `json:"event"` // set by the renderer
	Subtask       string  `json:"subtask"`
	Phase         string  `json:"phase,omitempty"` // what the subtask is doing, as transfer.Progress says it
	Percent       int     `json:"percent"`
	Bytes         int64   `json:"bytes"`
	Total         int64   `json:"total"` // bytes; 0 while unknown
	Files         int64   `json:"files"`
	Mbps          float64 `json:"mbps"`          // Mbit/s of content
	CompressRate  float64 `json:"compress_rate"` // percentage of the size left on the wire
	RemainSeconds *int64  `json:"remain_seconds"`
}

// lossEvent is one kind of thing that could not be kept.
type lossEvent struct {
	Kind   string   `json:"kind"`
	Count  int64    `json:"count"`
	Sample []string `json:"sample"` // some of the paths
	Remedy string   `json:"remedy"`
}

// resultEvent is what a run came to. The names of its fields on the wire are a contract.
type resultEvent struct {
	Event         string      `json:"event"` // set by the renderer
	OK            bool        `json:"ok"`
	Pass          string      `json:"pass"` // first, sync or resume
	Files         int64       `json:"files"`
	Bytes         int64       `json:"bytes"`
	BytesRead     int64       `json:"bytes_read"`
	BytesSent     int64       `json:"bytes_sent"`
	BytesSaved    int64       `json:"bytes_saved"`
	Seconds       float64     `json:"seconds"`
	Mbps          float64     `json:"mbps"`
	CompressRate  float64     `json:"compress_rate"`
	Verified      string      `json:"verified"` // none, quick or full
	Differences   int64       `json:"differences"`
	Losses        []lossEvent `json:"losses"`
	Consistent    string      `json:"consistent,omitempty"` // point in time of a migration's last pass: none, crash, filesystem or application
	FrozenSeconds float64     `json:"frozen_seconds,omitempty"`
	Error         *string     `json:"error"`
	Code          *string     `json:"code"`

	Notes []string `json:"-"` // further sentences of the summary: limits of this run
	Next  []string `json:"-"` // commands to go on with, for the summary
}

// passEvent is what one pass of a run with --sync came to.
type passEvent struct {
	resultEvent
	Backlog         int64   `json:"backlog"`    // bytes that changed meanwhile
	ChurnMbps       float64 `json:"churn_mbps"` // Mbit/s that the source changes by
	ForecastSeconds float64 `json:"forecast_seconds"`
}

// renderer shows a run to whoever reads standard output. Calls come from one goroutine. Progress is called as often as there is
// something new, a few times a second at most; each body shows as much of it as its reader can take. Result is the last call.
type renderer interface {
	Progress(progressEvent)
	Pass(passEvent)
	// Note tells a person something at once: a warning, an address to connect to.
	Note(text string)
	Result(resultEvent)
}

// newRenderer picks the body: JSON lines if asked, bars on a terminal, else plain lines.
func newRenderer(stdout, stderr io.Writer, asJSON bool) renderer {
	if asJSON {
		return newJSONRenderer(stdout, stderr)
	}
	f, ok := stdout.(*os.File)
	if ok && cwriter.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb" {
		return newTerminalRenderer(f, os.Getenv("NO_COLOR") == "")
	}
	return newPlainRenderer(stdout)
}

// every lets an event through when enough time has passed since the last one, or when the work is another.
type every struct {
	interval time.Duration
	now      func() time.Time
	last     time.Time
	work     string
}

func (e *every) due(p *progressEvent) bool {
	now, work := e.now(), p.Subtask+"/"+p.Phase
	if work == e.work && now.Sub(e.last) < e.interval {
		return false
	}
	e.last, e.work = now, work
	return true
}

// doing names the work of a progress event for a person.
func (p *progressEvent) doing() string {
	if p.Phase != "" {
		return p.Phase
	}
	return p.Subtask
}

// formatBytes writes a size in binary units, three digits and more.
func formatBytes(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n), 0
	for v >= 1024 && unit < 6 {
		v, unit = v/1024, unit+1
	}
	return fmt.Sprintf("%.*f %ciB", decimals(v), v, " KMGTPE"[unit])
}

func decimals(v float64) int {
	switch {
	case v < 10:
		return 2
	case v < 100:
		return 1
	default:
		return 0
	}
}

// formatSpeed writes Mbit/s as MB/s.
func formatSpeed(mbps float64) string {
	v := mbps / 8
	return fmt.Sprintf("%.*f MB/s", decimals(v), v)
}

// formatCount writes a count with its digits in groups of three.
func formatCount(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// formatSeconds writes a time to wait as h:mm:ss or m:ss.
func formatSeconds(s int64) string {
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}

// printable makes a path fit for a terminal: what does not print is escaped, so that no name plays tricks.
func printable(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case !unicode.IsPrint(r):
			for _, c := range []byte(s[i : i+size]) {
				fmt.Fprintf(&b, `\x%02x`, c)
			}
		default:
			b.WriteRune(r)
		}
		i += size
	}
	return b.String()
}
