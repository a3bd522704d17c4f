package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/e2e/proxy"
	"github.com/ferry-migrate/ferry/e2e/traps"
)

// TestKills ends either side, or the line between them, at random moments of a first copy and of later syncs, 30 times. Each
// time the same command is run again until it is done, and source and target are then equal.
func TestKills(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	faults := 0
	for round := 0; faults < 30; round++ {
		t.Run(fmt.Sprint("tree ", round), func(t *testing.T) {
			fs := []string{"ext4", "xfs", "btrfs"}[round%3]
			s := newStage(t, fs, 512<<20)
			traps.Build(t, s.source, fs, "huge", "deep") // long to look at, and no other when interrupted
			put("large/a", 9<<20, "large/b", 3<<20)(t, s)
			p := s.between()
			for pass := range 3 {
				faults += s.tormented(p, rnd)
				if t.Failed() {
					t.Fatalf("pass %d is not whole", pass)
				}
				mutate(t, s, rnd)
			}
		})
		if t.Failed() {
			return
		}
	}
}

// tormented migrates with four faults on the way and judges what arrived. It returns how many happened.
func (s *stage) tormented(p *proxy.Proxy, rnd *rand.Rand) (faults int) {
	s.t.Helper()
	const wanted = 4
	for try := 0; ; try++ {
		run := s.begin()
		s.arm(p, run, rnd, wanted, &faults)
		o := run.wait()
		p.Forget()
		if s.server.over() {
			s.serve()
		}
		if o.exit == 0 {
			s.judge()
			return faults
		}
		if try > wanted {
			s.t.Fatalf("not done after %d faults: exit %d, %s", faults, o.exit, o.stderr)
		}
	}
}

// arm lets a fault happen at a random byte of the run, and then the next, until there were as many as wanted.
func (s *stage) arm(p *proxy.Proxy, run *process, rnd *rand.Rand, wanted int, faults *int) {
	if *faults == wanted {
		return
	}
	at := 1 + rnd.Int64N(4<<20)
	if rnd.IntN(3) == 0 {
		at = 1 + rnd.Int64N(64<<10) // while they get to know each other
	}
	kinds := []struct {
		name string
		do   func()
	}{
		{"source killed", run.kill},
		{"both killed", func() { s.server.kill(); run.kill() }},
		{"target restarted", func() { s.server.kill(); s.serve() }},
		{"cut", p.Cut},
		{"corrupted", func() { p.CorruptAfter(proxy.Up, 1) }},
		{"corrupted answer", func() { p.CorruptAfter(proxy.Down, 1) }},
	}
	kind := kinds[rnd.IntN(len(kinds))]
	p.After(at, func() {
		*faults++
		s.t.Logf("%s after %d bytes", kind.name, at)
		kind.do()
		s.arm(p, run, rnd, wanted, faults)
	})
}

func (p *process) over() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// mutate changes about a tenth of the large files' chunks and some names, so that the next pass has something of everything.
func mutate(t testing.TB, s *stage, rnd *rand.Rand) {
	t.Helper()
	for i := range 20 {
		flipByte(t, s.path("large/a"), rnd.Int64N(9<<20))
		name := s.path(fmt.Sprintf("many/f%06d", rnd.IntN(3000)))
		switch i % 4 {
		case 0:
			os.Remove(name)
		case 1:
			must(t, os.WriteFile(name, traps.Noise(rnd.Uint64(), rnd.IntN(100<<10)), 0o600))
		case 2:
			os.Rename(name, name+" moved")
		case 3:
			os.Link(name, name+" too")
		}
	}
	write(t, s.path(fmt.Sprint("large/", rnd.Uint64())), 2<<20, byte(rnd.IntN(256)))
}

// TestReconnect: while the source lives it gets over a cut, a restarted target and a line that went dead by itself.
func TestReconnect(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault func(s *stage, p *proxy.Proxy)
	}{
		{"cut", func(_ *stage, p *proxy.Proxy) { p.Cut() }},
		{"corrupted", func(_ *stage, p *proxy.Proxy) { p.CorruptAfter(proxy.Up, 1) }},
		{"target restarted", func(s *stage, _ *proxy.Proxy) { s.server.kill(); s.serve() }},
		{"half-open", func(_ *stage, p *proxy.Proxy) {
			// Nothing comes through and nobody says so; a new connection works.
			p.Lose(proxy.Up, true)
			p.Lose(proxy.Down, true)
			p.OnConnect(func() { p.Lose(proxy.Up, false); p.Lose(proxy.Down, false) })
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, "ext4", 128<<20)
			put("a", 10<<20, "b", 10<<20, "c", 100)(t, s)
			p := s.between()
			p.SetDelay(2 * time.Millisecond)
			done := make(chan struct{})
			p.After(8<<20, func() { c.fault(s, p); close(done) })
			s.mustMigrate("--compress", "none")
			<-done
			s.judge()
		})
	}
}

// TestResumeSaves: what was durable when the source was killed is not sent again, and the result says how much that was.
func TestResumeSaves(t *testing.T) {
	s := newStage(t, "ext4", 512<<20)
	for i := range 60 {
		write(t, s.path(fmt.Sprint("f", i)), 2<<20, byte(i))
	}
	p := s.between()
	p.SetRate(proxy.Up, 40<<20)
	run := s.begin("--compress", "none")
	p.WaitTotal(proxy.Up, 100<<20)
	run.kill()
	run.wait()
	p.SetRate(proxy.Up, 0)
	r := s.mustMigrate("--compress", "none")
	s.judge()
	saved, sent, total := r.number("bytes_saved"), r.number("bytes_sent"), int64(120<<20)
	t.Logf("killed after 100 of 120 MiB: %d bytes saved, %d sent", saved, sent)
	if r.text("pass") != "resume" {
		t.Errorf("pass %q, want resume", r.text("pass"))
	}
	if saved < total/4 || saved > total {
		t.Errorf("%d bytes saved of %d", saved, total)
	}
	if sent > total-saved+total/20 {
		t.Errorf("%d bytes sent though %d of %d were saved", sent, saved, total)
	}
}

// TestTargetFull: a full target loses nothing; with room again the same command gets done.
func TestTargetFull(t *testing.T) {
	for _, fs := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(fs, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, fs, 400<<20)
			for i := range 30 {
				write(t, s.path(fmt.Sprint("f", i)), 4<<20, byte(i))
			}
			filler := filepath.Join(filepath.Dir(s.target), "filler")
			fill(t, filler, 40<<20)
			wantTold(t, s.migrate())
			must(t, os.Remove(filler))
			if s.server.over() {
				s.serve()
			}
			s.mustMigrate()
			s.judge()
		})
	}
}

// wantTold checks that a run ended for a full target at the first attempt: not as if the connection had been cut.
func wantTold(t *testing.T, o *outcome) {
	t.Helper()
	wantRefused(t, o, 1, "FERRY-TARGET-FULL")
	if strings.Contains(o.stderr, "attempt failed") {
		t.Errorf("it tried again before it heard why: %s", o.stderr)
	}
}

// TestLocalTargetFull: a directory on this machine that is full, again and again.
func TestLocalTargetFull(t *testing.T) {
	s := newStage(t, "tmpfs", 1<<20)
	s.source = sub(t, labMount(t, "tmpfs"), "source")
	for i := range 400 {
		write(t, s.path(fmt.Sprint("f", i)), 5000, byte(i))
	}
	for range 5 {
		wantTold(t, ferry(t, "migrate", s.source, "--to", "dir:"+s.target, "--state", s.state, "--json"))
	}
}

// fill makes a file that leaves about free bytes of its filesystem.
func fill(t testing.TB, path string, free int64) {
	t.Helper()
	var st unix.Statfs_t
	must(t, unix.Statfs(filepath.Dir(path), &st))
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	must(t, unix.Fallocate(int(f.Fd()), 0, 0, int64(st.Bavail)*st.Bsize-free))
}
