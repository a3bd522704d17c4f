package agent

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/ferry-migrate/ferry/transfer/ratelimit"
)

// Options are the advanced options of a task that mean something here. The zero value is none.
type Options struct {
	Exclude     []string // not copied first
	SyncExclude []string // not synced
	SyncOnly    []string // only these are synced

	Streams, SyncStreams int    // data connections; 0 is as configured
	Uncompressed         bool   // no processor for compression
	TargetIP             string // instead of the task's
	Port                 int    // of the target; 0 is as configured
	CPU                  int    // percent of all processors; 0 for no limit
	Memory               int64  // bytes; 0 for no limit
}

// sshPort is what DYNAMIC_PORT says when nobody changed it; nothing of Ferry's listens there.
const sshPort = 22

// ParseOptions reads the advanced options of a task, in both spellings. What does not mean anything to this agent is told to the
// log and has no effect; what is malformed is an error, FERRY-TASK-OPTION.
func ParseOptions(items []smsapi.Config, log *slog.Logger) (o Options, err error) {
	for _, item := range items {
		key := smsapi.ConfigKey(item.Key).Canonical()
		if item.Value == "" {
			continue
		}
		if key.Known() {
			if err := item.Check(); err != nil {
				return o, fault.Operator("FERRY-TASK-OPTION", "correct the task's advanced options", err)
			}
		}
		number, _ := strconv.Atoi(item.Value)
		switch key {
		case smsapi.ConfigMigrateExclude:
			o.Exclude = smsapi.SplitPaths(item.Value)
		case smsapi.ConfigSyncExclude:
			o.SyncExclude = smsapi.SplitPaths(item.Value)
		case smsapi.ConfigSyncOnly:
			o.SyncOnly = smsapi.SplitPaths(item.Value)
		case smsapi.ConfigMigrateProcesses:
			o.Streams = number
		case smsapi.ConfigSyncProcesses:
			o.SyncStreams = number
		case smsapi.ConfigCompressThreads:
			o.Uncompressed = item.Value == "0"
		case smsapi.ConfigTargetIP:
			o.TargetIP = item.Value
		case smsapi.ConfigPort:
			if number != sshPort {
				o.Port = number
			}
		case smsapi.ConfigCPULimit:
			o.CPU = number
		case smsapi.ConfigMemoryLimit:
			o.Memory = int64(number) << 20
		default:
			log.Warn("an option of the task has no effect here", "option", item.Key, "value", item.Value)
		}
	}
	return o, nil
}

// below returns those of paths that lie in root, root itself not.
func below(root string, paths []string) (found []string) {
	for _, p := range paths {
		if p = filepath.Clean(p); inside(p, root) && p != root {
			found = append(found, p)
		}
	}
	return found
}

// inside reports whether path is dir or lies below it. Both are clean.
func inside(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// escape makes a path a pattern that matches just that path.
var escape = strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`)

// excludes are the patterns for root that leave out paths, and everything that is not on the way to or below one of only, if there
// are any. They are made anew for each pass, because what else is there changes.
func excludes(root string, paths, only []string) (patterns []string, err error) {
	for _, p := range below(root, paths) {
		patterns = append(patterns, escape.Replace(p))
	}
	if len(only) == 0 || slices.ContainsFunc(only, func(p string) bool { return inside(root, filepath.Clean(p)) }) {
		return patterns, nil
	}
	return others(patterns, root, below(root, only))
}

// others adds to patterns what lies in dir beside the way to the paths of only.
func others(patterns []string, dir string, only []string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return patterns, fmt.Errorf("look for what not to sync: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		deeper := below(path, only)
		switch {
		case slices.ContainsFunc(only, func(p string) bool { return filepath.Clean(p) == path }):
		case len(deeper) == 0 || !e.IsDir():
			patterns = append(patterns, escape.Replace(path))
		default:
			if patterns, err = others(patterns, path, deeper); err != nil {
				return patterns, err
			}
		}
	}
	return patterns, nil
}

// schedule turns the limits of a task by the time of day into one schedule; without any the constant mbps counts. 0 is no limit.
func schedule(windows []smsapi.LimitWindow, mbps int) (ratelimit.Schedule, error) {
	var parts []string
	for _, w := range windows {
		if w.Speed > 0 {
			parts = append(parts, fmt.Sprintf("%s-%s=%dMbit", w.Start, w.End, w.Speed))
		}
	}
	if len(windows) == 0 {
		return ratelimit.Constant(smsapi.BytesPerSecond(float64(mbps))), nil
	}
	if len(parts) == 0 {
		return ratelimit.Constant(0), nil
	}
	s, err := ratelimit.ParseLimit(strings.Join(parts, ","))
	if err != nil {
		return s, fault.Operator("FERRY-TASK-LIMIT", "correct the task's limits: they may not overlap", err)
	}
	return s, nil
}

// threshold returns the over-speed threshold that holds at now, in percent; 0 is none.
func threshold(windows []smsapi.LimitWindow, now time.Time) float64 {
	w, _ := smsapi.LimitWindows{Windows: windows}.At(now)
	return w.Threshold
}
