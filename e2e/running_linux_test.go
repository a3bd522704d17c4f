package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/e2e/lab"
	"github.com/ferry-migrate/ferry/e2e/proxy"
)

// task runs `ferry task` with the state directory of the migration that runs.
func (s *stage) task(args ...string) *outcome {
	s.t.Helper()
	return ferry(s.t, append([]string{"task", "--state", s.state}, args...)...)
}

// TestCutover: `ferry task cutover` ends --sync with a last pass, which brings what was written before the command.
func TestCutover(t *testing.T) {
	s := newStage(t, "ext4", 128<<20)
	put("a", 1<<20)(t, s)
	run := s.begin("--sync", "--interval", "1h") // nothing but a cutover begins another pass
	run.waitEvent("pass")
	write(t, s.path("last"), 300<<10, 4)
	if o := s.task("cutover", "no-such-task"); o.exit != 1 {
		t.Errorf("cutover of another task: exit %d, %s", o.exit, o.message())
	}
	if o := s.task("cutover"); o.exit != 0 {
		t.Fatalf("cutover: exit %d: %s", o.exit, o.stderr)
	}
	o := run.wait()
	if o.exit != 0 || o.result["ok"] != true {
		t.Fatalf("exit %d, result %v: %s", o.exit, o.result, o.stderr)
	}
	s.judge()
	wantRefused(t, s.task("cutover"), 1, "FERRY-NOT-RUNNING")
}

// TestCutoverWithoutSync is refused, and the migration goes on.
func TestCutoverWithoutSync(t *testing.T) {
	s := newStage(t, "ext4", 128<<20)
	put("a", 8<<20)(t, s)
	p := s.between()
	run := s.begin("--limit", "4MiB", "--compress", "none")
	p.WaitTotal(proxy.Up, 2<<20)
	wantRefused(t, s.task("cutover"), 1, "FERRY-NOT-SYNCING")
	if o := run.wait(); o.exit != 0 {
		t.Errorf("exit %d: %s", o.exit, o.stderr)
	}
	s.judge()
}

// hooked is a stage whose hooks write what they do to a log. %s in a hook stands for the directory it is in.
func hooked(t *testing.T, before, after string) (s *stage, args []string, log string) {
	s = newStage(t, "ext4", 64<<20)
	put("a", 1000)(t, s)
	dir := t.TempDir()
	for flag, line := range map[string]string{"--before-freeze": before, "--after-thaw": after} {
		if line != "" {
			args = append(args, flag, strings.ReplaceAll(line, "%s", dir))
		}
	}
	return s, args, filepath.Join(dir, "log")
}

func wantLog(t *testing.T, file, want string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if string(text) != want {
		t.Errorf("the hooks left %q, want %q", text, want)
	}
}

// TestHooks: what the first hook flushes is copied, the second runs after the pass and whatever became of it, and a hook that fails or
// hangs fails the run.
func TestHooks(t *testing.T) {
	t.Run("order", func(t *testing.T) {
		s, _, log := hooked(t, "", "")
		s.mustMigrate("--before-freeze", fmt.Sprintf("echo before >> %s; echo flushed > %s", log, s.path("flushed")),
			"--after-thaw", fmt.Sprintf("test -f %s/flushed && echo after >> %s", s.target, log))
		wantLog(t, log, "before\nafter\n")
		s.judge()
	})
	t.Run("sync", func(t *testing.T) { // around the last pass alone
		s, args, log := hooked(t, "echo before >> %s/log", "echo after >> %s/log")
		run := s.begin(append(args, "--sync", "--interval", "1h")...)
		run.waitEvent("pass")
		wantLog(t, log, "")
		run.signal(syscall.SIGUSR1)
		if o := run.wait(); o.exit != 0 {
			t.Errorf("exit %d: %s", o.exit, o.stderr)
		}
		wantLog(t, log, "before\nafter\n")
	})
	t.Run("environment", func(t *testing.T) {
		s, args, log := hooked(t, "echo $HOOK_TEST >> %s/log; env > %s/env", "")
		s.serve()
		s.sourceEnv = []string{"HOOK_TEST=inherited", "FERRY_PAIR=" + s.pair, "CLOUD_SDK_SK=secret-key"}
		s.mustMigrate(args...)
		wantLog(t, log, "inherited\n")
		env, err := os.ReadFile(filepath.Join(filepath.Dir(log), "env"))
		must(t, err)
		for _, secret := range []string{s.pair, "secret-key"} {
			if bytes.Contains(env, []byte(secret)) {
				t.Error("a hook was told a secret")
			}
		}
	})
	t.Run("the first fails", func(t *testing.T) {
		s, args, log := hooked(t, "echo before >> %s/log; exit 3", "echo after >> %s/log")
		wantRefused(t, s.migrate(args...), 1, "FERRY-HOOK")
		wantLog(t, log, "before\nafter\n")
		if names, _ := os.ReadDir(s.target); len(names) > 0 {
			t.Errorf("something was copied without the first hook: %v", names)
		}
		s.mustMigrate()
		s.judge()
	})
	t.Run("the second fails", func(t *testing.T) {
		s, args, _ := hooked(t, "", "exit 3")
		wantRefused(t, s.migrate(args...), 1, "FERRY-HOOK")
		s.judge()
	})
	t.Run("one hangs", func(t *testing.T) {
		s, args, log := hooked(t, "echo $$ > %s/log; exec sleep 1000", "")
		wantRefused(t, s.migrate(append(args, "--hook-timeout", "1s")...), 1, "FERRY-HOOK")
		text, err := os.ReadFile(log)
		must(t, err)
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		must(t, err)
		if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
			t.Errorf("the hook still runs: %v", err)
		}
	})
}

// TestLimitChanged: `ferry task limit` changes the rate of a running migration, on the wire, up and down.
func TestLimitChanged(t *testing.T) {
	s := newStage(t, "tmpfs", 128<<20)
	for i := range 12 {
		write(t, s.path(fmt.Sprint("f", i)), 4<<20, byte(i))
	}
	m := s.measured()
	run := s.begin("--limit", "1MiB", "--verify", "none")
	type change struct {
		at    time.Time
		rate  int64
		upTo  int64   // of all bytes
		least float64 // it has to reach for two seconds, however busy the machine
	}
	changes := []change{{rate: 1 << 20, upTo: 3 << 20}, {rate: 8 << 20, upTo: 27 << 20, least: 2 << 20}, {rate: 2 << 20, upTo: 33 << 20}}
	for i := range changes {
		c := &changes[i]
		if i > 0 {
			if o := s.task("limit", fmt.Sprintf("%dMiB", c.rate>>20)); o.exit != 0 {
				t.Fatalf("limit %d: exit %d: %s", c.rate, o.exit, o.stderr)
			}
		}
		c.at = time.Now()
		s.proxy.WaitTotal(proxy.Up, c.upTo)
	}
	if o := s.task("limit", "a lot"); o.exit == 0 || !remedy.MatchString(o.message()) {
		t.Errorf("a nonsense limit: exit %d, %s", o.exit, o.message())
	}
	ended := time.Now()
	must(t, run.cmd.Process.Signal(os.Interrupt))
	run.wait()
	readings := m.Stop()
	for i, c := range changes {
		end := ended
		if i+1 < len(changes) {
			end = changes[i+1].at.Add(-100 * time.Millisecond) // the command took effect before it returned
		}
		var during []proxy.Reading
		for _, r := range readings {
			if r.From.After(c.at) && r.To.Before(end) {
				during = append(during, r)
			}
		}
		_, high := extremes(during, 2*time.Second)
		t.Logf("limit %d: up to %.0f", c.rate, high)
		if high > float64(c.rate)*1.02 || high < c.least {
			t.Errorf("with a limit of %d up to %.0f bytes/s went over the wire", c.rate, high)
		}
	}
}

// TestRemountedDifferently: other mount options on either side are no reason to send directories again.
func TestRemountedDifferently(t *testing.T) {
	for _, fs := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(fs, func(t *testing.T) {
			s := newStage(t, fs, 256<<20)
			for i := range 800 {
				must(t, os.MkdirAll(s.path(fmt.Sprintf("d%d/e%d", i%20, i)), 0o755))
			}
			put("f", 100)(t, s)
			s.mustMigrate("--compress", "none")
			s.server.signal(syscall.SIGTERM)
			s.server.wait()
			lab.Remount(t, filepath.Dir(s.source), "nodev,noexec,nosuid,relatime")
			lab.Remount(t, filepath.Dir(s.target), "nodiratime,sync")
			s.serve()
			r := s.mustMigrate("--compress", "none")
			if sent := r.number("bytes_sent"); sent > 32<<10 || r.text("pass") != "sync" {
				t.Errorf("pass %q sent %d bytes though nothing changed", r.text("pass"), sent)
			}
			s.judge()
			touched := unix.NsecToTimespec(time.Now().UnixNano())
			must(t, unix.UtimesNanoAt(unix.AT_FDCWD, s.path("d1/e1"), []unix.Timespec{touched, touched}, 0))
			s.mustMigrate()
			s.judge()
		})
	}
}
