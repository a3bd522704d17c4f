package service

import (
	"log/slog"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"
)

// LogHandler returns where a service logs beside its file: the journal, if systemd started it, with a field FERRY_… for each attribute.
// Without systemd it goes nowhere: what the others collect from standard error nobody rotates.
func LogHandler(level slog.Leveler) slog.Handler {
	if ours, err := journal.StderrIsJournalStream(); err != nil || !ours {
		return slog.DiscardHandler
	}
	return &logHandler{level: level, send: sendJournal}
}

func sendJournal(level slog.Level, line string, fields []field) error {
	priority := journal.PriDebug
	switch {
	case level >= slog.LevelError:
		priority = journal.PriErr
	case level >= slog.LevelWarn:
		priority = journal.PriWarning
	case level >= slog.LevelInfo:
		priority = journal.PriInfo
	}
	vars := map[string]string{"SYSLOG_IDENTIFIER": Name}
	for _, f := range fields {
		vars[journalField(f.key)] = f.value
	}
	return journal.Send(line, priority, vars)
}

// journalField makes a key a name that the journal takes: capital letters, digits and underscores, at most 64 (systemd.journal-fields(7)).
func journalField(key string) string {
	name := "FERRY_" + strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, key)
	return name[:min(len(name), 64)]
}
