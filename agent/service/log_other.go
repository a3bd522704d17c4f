//go:build !linux && !windows

package service

import "log/slog"

// LogHandler returns where a service logs beside its file: nowhere.
func LogHandler(slog.Leveler) slog.Handler { return slog.DiscardHandler }
