package service

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
)

// logHandler is a slog.Handler that gives each record to send as a line of text, and its attributes apart.
type logHandler struct {
	level  slog.Leveler
	send   func(level slog.Level, line string, fields []field) error
	group  string // of the attributes that come, with a dot at its end
	fields []field
}

// A field is one attribute. Groups are in its key, with dots.
type field struct{ key, value string }

// Enabled implements slog.Handler.
func (h *logHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.Level()
}

// Handle implements slog.Handler.
func (h *logHandler) Handle(_ context.Context, r slog.Record) error {
	fields := slices.Clone(h.fields)
	r.Attrs(func(a slog.Attr) bool {
		fields = appendFields(fields, h.group, a)
		return true
	})
	var line strings.Builder
	line.WriteString(r.Message)
	for _, f := range fields {
		value := f.value
		if value == "" || strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r == '"' || r == '=' }) {
			value = strconv.Quote(value)
		}
		fmt.Fprintf(&line, " %s=%s", f.key, value)
	}
	return h.send(r.Level, line.String(), fields)
}

// WithAttrs implements slog.Handler.
func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *h
	next.fields = slices.Clone(h.fields)
	for _, a := range attrs {
		next.fields = appendFields(next.fields, h.group, a)
	}
	return &next
}

// WithGroup implements slog.Handler.
func (h *logHandler) WithGroup(name string) slog.Handler {
	next := *h
	if name != "" {
		next.group += name + "."
	}
	return &next
}

func appendFields(to []field, group string, a slog.Attr) []field {
	value := a.Value.Resolve()
	if value.Kind() != slog.KindGroup {
		if a.Key == "" {
			return to
		}
		return append(to, field{group + a.Key, value.String()})
	}
	if a.Key != "" {
		group += a.Key + "."
	}
	for _, b := range value.Group() {
		to = appendFields(to, group, b)
	}
	return to
}
