package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/ferry-migrate/ferry/transfer/block"
	"github.com/ferry-migrate/ferry/transfer/source"
	"github.com/ferry-migrate/ferry/transfer/wire"
)

// survey looks at sources and target, and says what a run would do.
func (m *migration) survey(ctx context.Context) (err error) {
	defer m.leaveNoDirectories()() // the receiver makes its directory, to look at its filesystem
	dial, stop, err := m.connectTo(ctx, wire.Options{Limiter: m.bucket, Counters: m.counters})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	m.total.Pass, m.total.Verified, m.total.CompressRate = "dry-run", "none", 100
	m.reach(dial, func() bool { return true })
	if m.disk != nil {
		s, err := block.Look(ctx, m.disk, &block.Counters{})
		if err != nil {
			return err
		}
		m.total.Files, m.total.Bytes = s.Entries, s.Bytes
		m.total.Notes = append([]string{m.planOfDisk(s)}, s.Notes...)
		return nil
	}
	for _, cfg := range m.sources {
		s, err := source.Look(ctx, cfg, &source.Counters{})
		if err != nil {
			return err
		}
		m.total.Files += s.Entries
		m.total.Bytes += s.Bytes
		m.total.Losses = append(m.total.Losses, lossEvents(s.Losses)...)
		m.total.Notes = append(m.total.Notes, m.planOf(cfg, s)...)
	}
	return nil
}

// leaveNoDirectories returns what removes the directories of a target on this machine that do not exist yet, as far as they are empty.
func (m *migration) leaveNoDirectories() (remove func()) {
	var missing []string
	for _, cfg := range m.sources {
		for dir := filepath.Join(m.to.dir, cfg.Into); m.to.dir != ""; dir = filepath.Dir(dir) {
			if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
				break
			}
			missing = append(missing, dir)
		}
	}
	return func() {
		slices.SortFunc(missing, func(a, b string) int { return len(b) - len(a) }) // children first
		for _, dir := range missing {
			_ = os.Remove(dir) // if it cannot be removed, somebody uses it
		}
	}
}

// planOfDisk describes what would be done with a disk.
func (m *migration) planOfDisk(s *source.Survey) string {
	verb := "What is in use of " + m.disk.Path + " would be copied"
	if s.Known {
		verb = "What is in use of " + m.disk.Path + " would be read, and what changed since the last run sent,"
	}
	return fmt.Sprintf("%s to the %s %s: %s.", verb, s.Type, s.Target, formatBytes(s.Bytes))
}

// planOf describes what would be done with one source.
func (m *migration) planOf(cfg *source.Config, s *source.Survey) []string {
	verb := "Everything in " + cfg.Root + " would be copied"
	if s.Known {
		verb = "What changed in " + cfg.Root + " since the last run would be sent"
	}
	lines := []string{fmt.Sprintf("%s to %s (%s, %s free): %s in %s entries%s.", verb, s.Target, s.Type, formatBytes(s.Free),
		formatBytes(s.Bytes), formatCount(s.Entries), kindsOf(s.Kinds))}
	if !s.Known && s.Bytes > s.Free {
		lines = append(lines, fmt.Sprintf("The target is too small: it lacks %s.", formatBytes(s.Bytes-s.Free)))
	}
	_, limit := m.bucket.Limit()
	if s.Known {
		return lines
	}
	if limit > 0 {
		took := time.Duration(float64(s.Bytes) / float64(limit) * float64(time.Second))
		lines = append(lines, fmt.Sprintf("At the limit of %s that takes %s if nothing can be compressed.", m.limit, formatSeconds(int64(took.Seconds()))))
	} else {
		low, high := estimate(s)
		lines = append(lines, fmt.Sprintf("On a network of 1 Gbit/s or more that takes %s to %s.", formatSeconds(low), formatSeconds(high)))
	}
	return lines
}

// estimate is a range of seconds for a first copy: by bytes at 110 MB/s (a full gigabit) and by entries at 20,000 to 3,000 a second,
// which is what new and aged target filesystems were measured to create.
func estimate(s *source.Survey) (low, high int64) {
	bytes := float64(s.Bytes) / 110e6
	return int64(max(bytes, float64(s.Entries)/20000)) + 1, int64(bytes+float64(s.Entries)/3000) + 1
}

func kindsOf(kinds map[string]int64) string {
	var words []string
	for k, n := range kinds {
		words = append(words, fmt.Sprintf("%s %s", formatCount(n), k))
	}
	sort.Strings(words)
	if len(words) == 0 {
		return ""
	}
	return " (" + strings.Join(words, ", ") + ")"
}
