package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ferry-migrate/ferry/e2e/proxy"
)

// TestBadInput gives Ferry what it cannot do. Each case has its exit code, a stable code and a remedy, and writes nothing.
func TestBadInput(t *testing.T) {
	for _, c := range []struct {
		name string
		exit int
		code string
		args func(t *testing.T, s *stage) []string // of ferry migrate
	}{
		{"source missing", 1, "FERRY-SOURCE-MISSING", func(t *testing.T, s *stage) []string { return []string{s.path("none"), "--to", "dir:" + s.target} }},
		{"source is a file", 1, "FERRY-SOURCE-NOT-DIRECTORY", func(t *testing.T, s *stage) []string {
			return []string{s.path("f"), "--type", "file", "--to", "dir:" + s.target}
		}},
		{"target inside source", 1, "", func(t *testing.T, s *stage) []string { return []string{s.source, "--to", "dir:" + s.path("d")} }},
		{"source inside target", 1, "", func(t *testing.T, s *stage) []string { return []string{s.path("d"), "--to", "dir:" + s.source} }},
		{"source is the target", 1, "", func(t *testing.T, s *stage) []string { return []string{s.source, "--to", "dir:" + s.source} }},
		{"target inside source by a symbolic link", 1, "", func(t *testing.T, s *stage) []string {
			link := filepath.Join(t.TempDir(), "link")
			must(t, os.Symlink(s.path("d"), link))
			return []string{s.source, "--to", "dir:" + link}
		}},
		{"target not empty and not ours", 1, "FERRY-TARGET-NOT-EMPTY", func(t *testing.T, s *stage) []string {
			write(t, filepath.Join(s.target, "precious"), 10, 1)
			return []string{s.source, "--to", "dir:" + s.target}
		}},
		{"target inside source over TCP", 1, "", func(t *testing.T, s *stage) []string {
			s.target = s.path("d")
			s.serve()
			return []string{s.source, "--to", s.addr, "--pair", s.pair}
		}},
		{"pairing code malformed", 1, "FERRY-PAIR-MALFORMED", func(t *testing.T, s *stage) []string {
			s.serve()
			return []string{s.source, "--to", s.addr, "--pair", "swordfish"}
		}},
		{"pairing code of another target", 1, "FERRY-PAIR-TARGET", func(t *testing.T, s *stage) []string {
			s.serve()
			other := newStage(t, "tmpfs", 8<<20)
			other.serve()
			return []string{s.source, "--to", s.addr, "--pair", other.pair}
		}},
		{"pairing code used by another source", 1, "FERRY-PAIR-USED", func(t *testing.T, s *stage) []string {
			s.serve()
			first := *s
			first.state = t.TempDir()
			first.mustMigrate()
			return []string{s.source, "--to", s.addr, "--pair", s.pair}
		}},
		{"no pairing code", 1, "FERRY-PAIR-NEEDED", func(t *testing.T, s *stage) []string {
			s.serve()
			return []string{s.source, "--to", s.addr}
		}},
		{"limit of nonsense", 2, "FERRY-LIMIT-SYNTAX", withOption("--limit", "banana")},
		{"limit below zero", 2, "FERRY-LIMIT-SYNTAX", withOption("--limit", "-5Mbit")},
		{"limit window of nonsense", 2, "FERRY-LIMIT-SYNTAX", withOption("--limit", "25:99-08:00=1Mbit")},
		{"compression unknown", 2, "", withOption("--compress", "lzma")},
		{"verify unknown", 2, "", withOption("--verify", "maybe")},
		{"type unknown", 2, "", withOption("--type", "tape")},
		{"streams below one", 2, "", withOption("--streams", "-1")},
		{"memory of nonsense", 2, "", withOption("--memory", "lots")},
		{"option unknown", 2, "", withOption("--frobnicate", "1")},
		{"no target", 2, "", func(t *testing.T, s *stage) []string { return []string{s.source} }},
		{"no source", 2, "", func(t *testing.T, s *stage) []string { return []string{"--to", "dir:" + s.target} }},
		{"target of nonsense", 2, "", func(t *testing.T, s *stage) []string { return []string{s.source, "--to", "ftp://x"} }},
		{"two sources of one name", 2, "", func(t *testing.T, s *stage) []string {
			must(t, os.MkdirAll(s.path("x/d"), 0o755))
			return []string{s.path("d"), s.path("x/d"), "--to", "dir:" + s.target}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, "tmpfs", 64<<20)
			put("f", 10, "d/g", 10)(t, s)
			args := c.args(t, s)
			source, target := unchanged(t, s.source), unchanged(t, s.target)
			o := ferry(t, append([]string{"migrate", "--state", s.state}, args...)...)
			if c.exit == 2 && c.code == "" {
				wantUsage(t, o)
			} else {
				wantRefused(t, o, c.exit, c.code)
			}
			source()
			target()
		})
	}
}

func withOption(name, value string) func(t *testing.T, s *stage) []string {
	return func(t *testing.T, s *stage) []string {
		return []string{s.source, "--to", "dir:" + s.target, name, value}
	}
}

// wantUsage checks that the command line was refused in one line that says something.
func wantUsage(t *testing.T, o *outcome) {
	t.Helper()
	if o.exit != 2 {
		t.Errorf("exit %d, want 2", o.exit)
	}
	if len(o.message()) < 20 {
		t.Errorf("the message says too little: %q", o.message())
	}
}

// TestOverwrite: a target with foreign data is taken over when asked for, and what the source has not goes.
func TestOverwrite(t *testing.T) {
	s := newStage(t, "ext4", 64<<20)
	put("f", 100<<10, "d/g", 10)(t, s)
	write(t, filepath.Join(s.target, "f"), 100<<10, 0) // the same by chance
	write(t, filepath.Join(s.target, "d"), 10, 9)      // of another type
	wantRefused(t, s.migrate(), 1, "FERRY-TARGET-NOT-EMPTY")
	s.mustMigrate("--overwrite")
	s.judge()
}

// TestStateLocked: two runs with one state directory do not meet.
func TestStateLocked(t *testing.T) {
	s := newStage(t, "ext4", 64<<20)
	put("f", 4<<20)(t, s)
	p := s.between()
	p.After(1<<20, func() { p.Stall(proxy.Up, true) })
	first := s.begin()
	p.WaitTotal(proxy.Up, 1<<20)
	o := s.migrate()
	wantRefused(t, o, 1, "FERRY-STATE-LOCKED")
	p.Stall(proxy.Up, false)
	if o := first.wait(); o.exit != 0 {
		t.Errorf("the first run was disturbed: exit %d, %s", o.exit, o.message())
	}
	s.judge()
}

// TestStateDamaged spoils each file of both state directories in turn: the run says so, or makes it again, and never copies
// wrong.
func TestStateDamaged(t *testing.T) {
	s := newStage(t, "ext4", 64<<20)
	put("a", 100, "b", 200<<10, "d/c", 1000)(t, s)
	s.mustMigrate()
	s.server.signal(syscall.SIGTERM)
	s.server.wait()
	for _, dir := range []string{s.state, s.targetState} {
		for _, file := range filesBelow(t, dir) {
			for what, spoil := range map[string]func(string) error{
				"cut":     func(f string) error { st, err := os.Stat(f); must(t, err); return os.Truncate(f, st.Size()/2) },
				"flipped": func(f string) error { flipByte(t, f, size(t, f)/2); return nil },
				"emptied": func(f string) error { return os.Truncate(f, 0) },
			} {
				name, _ := filepath.Rel(dir, file)
				t.Run(filepath.Base(dir)+" "+name+" "+what, func(t *testing.T) {
					if _, err := os.Stat(file); err != nil || size(t, file) == 0 {
						t.Skip("the file is gone or empty by now: nothing to spoil")
					}
					copyDir(t, s.state, s.state+".kept")
					copyDir(t, s.targetState, s.targetState+".kept")
					must(t, spoil(file))
					damagedRun(t, s.on(t))
					must(t, os.RemoveAll(s.state))
					must(t, os.RemoveAll(s.targetState))
					must(t, os.Rename(s.state+".kept", s.state))
					must(t, os.Rename(s.targetState+".kept", s.targetState))
				})
			}
		}
	}
}

// damagedRun runs once on spoiled state. It may end well, with equal trees, or with a code and a remedy.
func damagedRun(t *testing.T, s *stage) {
	write(t, s.path("changing"), 1000, byte(len(t.Name())))
	up := s.comesUp()
	defer s.server.kill()
	if !up {
		wantRefused(t, s.server.wait(), 1, "")
		return
	}
	o := s.migrate("--overwrite")
	if o.exit != 0 {
		wantRefused(t, o, 1, "")
		return
	}
	s.judge()
}

func size(t *testing.T, file string) int64 {
	t.Helper()
	st, err := os.Stat(file)
	must(t, err)
	return st.Size()
}

// filesBelow lists the regular files below dir that hold something; logs of SQLite come and go.
func filesBelow(t *testing.T, dir string) (files []string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.HasSuffix(path, "-wal") || strings.HasSuffix(path, "-shm") {
			return err
		}
		if size(t, path) > 0 {
			files = append(files, path)
		}
		return nil
	}))
	return files
}

func copyDir(t *testing.T, from, to string) {
	t.Helper()
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v\n%s", err, out)
	}
}
