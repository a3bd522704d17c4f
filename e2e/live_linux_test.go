package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ferry-migrate/ferry/e2e/proxy"
	"github.com/ferry-migrate/ferry/e2e/traps"
)

// TestInterrupt: Ctrl-C ends a throttled run within two seconds, says how to go on, and going on does.
func TestInterrupt(t *testing.T) {
	s := newStage(t, "ext4", 256<<20)
	put("a", 40<<20, "b", 100)(t, s)
	p := s.between()
	run := s.begin("--limit", "4MiB", "--compress", "none")
	p.WaitTotal(proxy.Up, 4<<20)
	began := time.Now()
	run.signal(os.Interrupt)
	o := run.wait()
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("it took %v to stop", took)
	}
	if o.exit != 130 {
		t.Errorf("exit %d, want 130", o.exit)
	}
	if !strings.Contains(o.message(), "again") && !strings.Contains(o.message(), "resume") {
		t.Errorf("the message does not say how to go on: %q", o.message())
	}
	s.mustMigrate()
	s.judge()
}

// TestSync keeps a target in step until cutover: what was written before the signal is there afterwards.
func TestSync(t *testing.T) {
	s := newStage(t, "ext4", 128<<20)
	put("a", 1<<20, "b", 100)(t, s)
	run := s.begin("--sync", "--interval", "1s")
	run.waitEvent("pass")
	write(t, s.path("c"), 200<<10, 3)
	flipByte(t, s.path("a"), 500_000)
	arrived := filepath.Join(s.target, "c")
	run.waitFor("a pass that brought what changed", func(e event) bool {
		st, err := os.Stat(arrived)
		return e.name() == "pass" && err == nil && st.Size() == 200<<10
	})
	write(t, s.path("last"), 300<<10, 4)
	run.signal(syscall.SIGUSR1)
	o := run.wait()
	if o.exit != 0 || o.result["ok"] != true {
		t.Fatalf("exit %d, result %v: %s", o.exit, o.result, o.stderr)
	}
	s.judge()
	for _, e := range o.events {
		if e.name() == "pass" && (e.number("backlog") < 0 || e.number("churn_mbps") < 0 || e.number("forecast_seconds") < 0 || e.number("bytes_sent") < 0) {
			t.Errorf("a pass event lacks a field: %v", e)
		}
	}
}

// TestBusySource copies a tree that is written to all the time, then once more when it is quiet.
func TestBusySource(t *testing.T) {
	s := newStage(t, "ext4", 256<<20)
	put("grows", 1<<20)(t, s)
	for i := range 300 {
		write(t, s.path(fmt.Sprintf("d%d/f%d", i%7, i)), 10<<10, byte(i))
	}
	stop := make(chan struct{})
	var writers sync.WaitGroup
	writers.Go(func() { disturb(t, s, stop) })
	for range 2 {
		if o := s.migrate(); o.exit != 0 {
			t.Errorf("exit %d on a source that changes: %s", o.exit, o.stderr)
		}
	}
	close(stop)
	writers.Wait()
	s.mustMigrate()
	s.judge()
}

// disturb appends, rewrites, renames, deletes and makes again until it is told to stop.
func disturb(t testing.TB, s *stage, stop <-chan struct{}) {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		f := s.path(fmt.Sprintf("d%d/f%d", i%300%7, i%300))
		var err error
		switch i % 5 {
		case 0:
			err = os.WriteFile(f, traps.Noise(uint64(i), 20<<10), 0o644)
		case 1:
			err = os.Rename(f, f+".x")
		case 2:
			err = os.Rename(f+".x", f)
		case 3:
			err = os.Remove(f)
		case 4:
			if g, e := os.OpenFile(s.path("grows"), os.O_APPEND|os.O_WRONLY, 0); e == nil {
				_, err = g.Write(traps.Noise(uint64(i), 1000))
				g.Close()
			}
		}
		if err != nil && !os.IsNotExist(err) {
			t.Error(err)
			return
		}
	}
}

// TestLosses: what a target cannot keep is counted by kind, with samples and a remedy, and --strict makes it the exit code.
func TestLosses(t *testing.T) {
	s := newStage(t, "xfs", 400<<20)
	traps.Build(t, s.source, "xfs")
	s.target = sub(t, labMount(t, "ext4"), "other") // has no project ids
	r := s.mustMigrate()
	losses, _ := r["losses"].([]any)
	if len(losses) == 0 {
		t.Fatal("project ids were lost and no loss was told")
	}
	for _, l := range losses {
		loss := event(l.(map[string]any))
		sample, _ := loss["sample"].([]any)
		if loss.text("kind") == "" || loss.number("count") < 1 || len(sample) == 0 || loss.text("remedy") == "" {
			t.Errorf("a loss without kind, count, sample or remedy: %v", loss)
		}
	}
	if !strings.Contains(fmt.Sprint(losses), "projects/") {
		t.Errorf("no sample names the files with project ids: %v", losses)
	}
	o := s.migrate("--strict")
	if o.exit != 3 {
		t.Errorf("exit %d under --strict, want 3: %s", o.exit, o.message())
	}
	if o.result["ok"] != false || o.result.text("code") == "" {
		t.Errorf("result %v", o.result)
	}
}

// TestUnprivileged: another user than root migrates what it can, and the report says what was not kept.
func TestUnprivileged(t *testing.T) {
	s := newStage(t, "ext4", 64<<20)
	put("mine", 10, "secret", 10, "d/e", 10)(t, s)
	must(t, os.Chmod(s.path("secret"), 0o600))
	const nobody = 65534
	s.state = sub(t, filepath.Dir(s.target), "state")
	for _, dir := range []string{s.target, s.state} {
		must(t, os.Chown(dir, nobody, nobody))
	}
	p := startAs(t, nobody, "migrate", s.source, "--to", "dir:"+s.target, "--state", s.state, "--json")
	o := p.wait()
	if o.exit != 0 {
		t.Fatalf("exit %d: %s", o.exit, o.stderr)
	}
	if losses := fmt.Sprint(o.result["losses"]); !strings.Contains(losses, "secret") {
		t.Errorf("the unreadable file is not among the losses: %s", losses)
	}
	sameBytes(t, s.path("d/e"), filepath.Join(s.target, "d/e"))
}

// TestUnlistable: a directory that cannot be listed is told, by a dry run too, and nothing below it is deleted on the target.
func TestUnlistable(t *testing.T) {
	s := newStage(t, "ext4", 64<<20)
	put("plain", 10, "locks/f", 10, "locks/d/g", 10, "locked/f", 10)(t, s)
	must(t, os.Chmod(s.path("locked"), 0o700))
	const nobody = 65534
	s.state = sub(t, filepath.Dir(s.target), "state")
	for _, dir := range []string{s.target, s.state} {
		must(t, os.Chown(dir, nobody, nobody))
	}
	run := func(want string, args ...string) {
		t.Helper()
		o := startAs(t, nobody, append([]string{"migrate", s.source, "--to", "dir:" + s.target, "--state", s.state, "--json"}, args...)...).wait()
		if o.exit != 0 {
			t.Fatalf("exit %d: %s", o.exit, o.stderr)
		}
		if n := lossCounts(o.result)["unlistable"]; fmt.Sprint(n) != want || lossCounts(o.result)["changing"] > 0 {
			t.Errorf("%d unlistable directories were told, want %s: %v", n, want, o.result["losses"])
		}
	}
	run("1", "--dry-run")
	run("1")
	must(t, os.Chmod(s.path("locks"), 0o700))
	run("2", "--dry-run")
	run("2")
	for _, kept := range []string{"locks/f", "locks/d/g", "plain"} {
		sameBytes(t, s.path(kept), filepath.Join(s.target, kept))
	}
	if o := startAs(t, nobody, "verify", s.source, "--to", "dir:"+s.target, "--state", s.state, "--json").wait(); o.exit != 4 && o.exit != 0 {
		t.Errorf("verify: exit %d: %s", o.exit, o.stderr)
	}
}

// TestDryRun shows the plan and writes nothing.
func TestDryRun(t *testing.T) {
	s := newStage(t, "ext4", 64<<20)
	put("a", 1<<20, "b/c", 100)(t, s)
	source, target := unchanged(t, s.source), unchanged(t, s.target)
	o := ferry(t, "migrate", s.source, "--to", "dir:"+s.target, "--state", s.state, "--dry-run")
	if o.exit != 0 || len(o.stray) == 0 {
		t.Errorf("exit %d, said %q: %s", o.exit, o.stray, o.stderr)
	}
	target()
	missing := filepath.Join(s.target, "not/there")
	for _, sources := range [][]string{{s.source}, {s.path("b"), s.source}} { // one fills the target, several lie in it
		args := append(append([]string{"migrate"}, sources...), "--to", "dir:"+missing, "--state", s.state, "--dry-run")
		if o := ferry(t, args...); o.exit != 0 {
			t.Errorf("exit %d: %s", o.exit, o.stderr)
		}
	}
	wantRefused(t, ferry(t, "verify", s.source, "--to", "dir:"+missing, "--state", s.state), 1, "FERRY-TARGET-ROOT")
	wantRefused(t, ferry(t, "target", "--into", "dir:"+s.path("a"), "--state", s.targetState), 1, "FERRY-TARGET-ROOT")
	source()
	if names, err := os.ReadDir(s.target); err != nil || len(names) > 0 {
		t.Errorf("left in the target: %v, %v", names, err)
	}
}

// TestLocal: without a target process, and several sources each under its own name.
func TestLocal(t *testing.T) {
	s := newStage(t, "ext4", 64<<20)
	put("one/a", 200<<10, "two/b", 10)(t, s)
	o := ferry(t, "migrate", s.path("one"), s.path("two"), "--to", "dir:"+s.target, "--state", s.state, "--json")
	if o.exit != 0 {
		t.Fatalf("exit %d: %s", o.exit, o.stderr)
	}
	sameBytes(t, s.path("one/a"), filepath.Join(s.target, "one/a"))
	sameBytes(t, s.path("two/b"), filepath.Join(s.target, "two/b"))
}

// TestCompress: each way of compressing gives the same tree; what compresses is smaller on the wire, what does not is not larger.
func TestCompress(t *testing.T) {
	for _, way := range []string{"auto", "none", "s2", "zstd"} {
		t.Run(way, func(t *testing.T) {
			s := newStage(t, "ext4", 64<<20)
			put("noise", 2<<20)(t, s)
			must(t, os.WriteFile(s.path("text"), []byte(strings.Repeat("all work and no play\n", 200_000)), 0o600))
			r := s.mustMigrate("--compress", way)
			s.judge()
			sent, plain := r.number("bytes_sent"), int64(2<<20+4_200_000)
			if squeezed := way == "s2" || way == "zstd"; squeezed && sent > plain*6/10 || sent > plain*102/100 {
				t.Errorf("%d bytes sent for %d", sent, plain)
			}
		})
	}
}
