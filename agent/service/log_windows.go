package service

import (
	"log/slog"

	"golang.org/x/sys/windows/svc/eventlog"
)

// LogHandler returns where a service logs beside its file: events of Windows, for what is at least a warning.
func LogHandler(level slog.Leveler) slog.Handler {
	log, err := eventlog.Open(Name)
	if err != nil {
		return slog.DiscardHandler
	}
	return &logHandler{level: atLeastWarn{level}, send: func(level slog.Level, line string, _ []field) error {
		if level >= slog.LevelError {
			return log.Error(2, line)
		}
		return log.Warning(1, line)
	}}
}

type atLeastWarn struct{ slog.Leveler }

// Level implements slog.Leveler.
func (l atLeastWarn) Level() slog.Level { return max(l.Leveler.Level(), slog.LevelWarn) }
