package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ferry-migrate/ferry/e2e/dump"
	"github.com/ferry-migrate/ferry/e2e/lab"
	"github.com/ferry-migrate/ferry/e2e/traps"
)

// TestKeeps migrates a tree of all traps on each filesystem, over a real TCP target. One subtest per trap says whether its
// part arrived whole; further ones ask the foreign tools, and see what a second run does.
func TestKeeps(t *testing.T) {
	for _, fs := range []string{"ext4", "xfs", "btrfs", "tmpfs"} {
		t.Run(fs, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, fs, 2<<30)
			traps.Build(t, s.source, fs)
			// With strict access times every reader that does not take care leaves a trace on both sides.
			for _, dir := range []string{s.source, s.target} {
				lab.Remount(t, filepath.Dir(dir), "strictatime")
			}
			before := dumped(t, s.source, dump.Ctime)
			first := s.mustMigrate()

			source, target := dumped(t, s.source), dumped(t, s.target)
			for _, dir := range []string{s.source, s.target} {
				lab.Remount(t, filepath.Dir(dir), "noatime") // the judges do not take care
			}
			for _, name := range traps.For(fs) {
				t.Run(name, func(t *testing.T) {
					for _, d := range dump.Diff(part(source, name), part(target, name), 10) {
						t.Error(d)
					}
				})
			}
			t.Run("nothing else", func(t *testing.T) { nothingElse(t, source, target) })
			t.Run("source untouched", func(t *testing.T) {
				for _, d := range dump.Diff(before, dumped(t, s.source, dump.Ctime), 10) {
					t.Error(d)
				}
			})
			t.Run("rsync", func(t *testing.T) { s.on(t).askRsync() })
			t.Run("lsattr", func(t *testing.T) { s.on(t).askLsattr() })
			t.Run("result", func(t *testing.T) { checkFirst(t, first) })
			t.Run("second run", func(t *testing.T) { secondRun(t, s) })
			t.Run("verify", func(t *testing.T) { verifyTells(t, s) })
		})
	}
}

// part is the tree below a top directory, which is part of it.
func part(tree dump.Tree, top string) dump.Tree {
	out := dump.Tree{}
	for path, line := range tree {
		if path == top || strings.HasPrefix(path, top+"/") {
			out[path] = line
		}
	}
	return out
}

func nothingElse(t *testing.T, source, target dump.Tree) {
	for _, d := range dump.Diff(source, target, 1000) {
		path := strings.Trim(strings.SplitN(d, "\n", 2)[0], `"`)
		top, _, _ := strings.Cut(path, "/")
		if _, ours := source[top]; !ours || path == "." {
			t.Error(d)
		}
	}
}

func checkFirst(t *testing.T, r event) {
	if got := r.text("pass"); got != "first" {
		t.Errorf("pass %q, want first", got)
	}
	if got := r.text("verified"); got != "full" {
		t.Errorf("verified %q, want full: it is the default", got)
	}
	if r.number("differences") != 0 {
		t.Errorf("differences %v", r["differences"])
	}
	if losses, ok := r["losses"].([]any); !ok || len(losses) > 0 {
		t.Errorf("losses %v, want none: both filesystems are of one type", r["losses"])
	}
	for _, field := range []string{"files", "bytes", "bytes_read", "bytes_sent", "seconds", "mbps", "compress_rate"} {
		if r.number(field) < 0 || field == "bytes_sent" && r.number(field) == 0 {
			t.Errorf("%s is %v", field, r[field])
		}
	}
	if holes := int64(1 << 30); r.number("bytes_read") > holes {
		t.Errorf("bytes_read %d: holes were read", r.number("bytes_read"))
	}
}

// secondRun does nothing but look: no data is read, next to none sent.
func secondRun(t *testing.T, s *stage) {
	s.on(t).mustMigrate() // both filesystems have other mount options than before: directories are looked at once more
	r := s.on(t).mustMigrate()
	if got := r.text("pass"); got != "sync" {
		t.Errorf("pass %q, want sync", got)
	}
	if read := r.number("bytes_read"); read > 0 {
		t.Errorf("%d bytes of content were read though nothing changed", read)
	}
	if sent := r.number("bytes_sent"); sent > 64<<10 {
		t.Errorf("%d bytes were sent though nothing changed", sent)
	}
	for _, d := range s.differences() {
		t.Error(d)
	}
}

// verifyTells: ferry verify is silent on equal trees and names what differs.
func verifyTells(t *testing.T, s *stage) {
	if o := s.on(t).verify(); o.exit != 0 {
		t.Errorf("verify of equal trees: exit %d, %s", o.exit, o.message())
	}
	spoil := filepath.Join(s.target, "sizes", "noise 65537")
	flipByte(t, spoil, 65536)
	o := s.on(t).verify()
	if o.exit != 4 {
		t.Errorf("verify of a flipped byte: exit %d, want 4", o.exit)
	}
	if !strings.Contains(o.stderr, "noise 65537") && !strings.Contains(fmt.Sprint(o.events), "noise 65537") {
		t.Errorf("verify does not name the file: %s", o.stderr)
	}
}
