package machine

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter/dcsapi"
)

const (
	keptLines  = 500  // that wait to be told; the oldest go first
	maxMessage = 2048 // characters of a line
	maxError   = 1024 // characters of an error
)

// lines are those of a task's log that the control plane did not hear yet.
type lines struct {
	mu   sync.Mutex
	wait []dcsapi.WorkLog
	last int64 // time of the newest
}

// add keeps a line. No two lines are of one time.
func (l *lines) add(line dcsapi.WorkLog, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = max(at.UnixNano(), l.last+1)
	line.At = l.last
	if l.wait = append(l.wait, line); len(l.wait) > keptLines {
		l.wait = l.wait[1:]
	}
}

// pending returns the lines, oldest first.
func (l *lines) pending() []dcsapi.WorkLog {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]dcsapi.WorkLog(nil), l.wait...)
}

// heard drops the lines up to and including the last that was told.
func (l *lines) heard(told []dcsapi.WorkLog) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(told) > 0 && len(l.wait) > 0 && l.wait[0].At <= told[len(told)-1].At {
		l.wait = l.wait[1:]
	}
}

// teller is a log handler that also keeps what the control plane is to be told.
type teller struct {
	slog.Handler
	lines *lines
}

// Handle implements slog.Handler. What is worth a warning is an error to the API, which has nothing between that and INFO.
func (t teller) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelInfo {
		line := dcsapi.WorkLog{Level: dcsapi.Info}
		if r.Level >= slog.LevelWarn {
			line.Level = dcsapi.Error
		}
		var text strings.Builder
		text.WriteString(r.Message)
		r.Attrs(func(a slog.Attr) bool {
			if err, ok := a.Value.Any().(error); ok {
				line.Code = fault.CodeOf(err)
			}
			if value := a.Value.String(); value != "" {
				text.WriteString("; " + a.Key + ": " + value)
			}
			return true
		})
		line.Message = clip(text.String(), maxMessage)
		t.lines.add(line, r.Time)
	}
	if !t.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return t.Handler.Handle(ctx, r)
}

// Enabled implements slog.Handler: the control plane is told also what the agent's own log leaves out.
func (t teller) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo || t.Handler.Enabled(ctx, level)
}

// WithAttrs implements slog.Handler.
func (t teller) WithAttrs(attrs []slog.Attr) slog.Handler {
	return teller{t.Handler.WithAttrs(attrs), t.lines}
}

// WithGroup implements slog.Handler.
func (t teller) WithGroup(name string) slog.Handler {
	return teller{t.Handler.WithGroup(name), t.lines}
}

// clip cuts text to n characters.
func clip(text string, n int) string {
	if runes := []rune(text); len(runes) > n {
		return string(runes[:n-1]) + "…"
	}
	return text
}
