package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ferry-migrate/ferry/e2e/lab"
	"github.com/ferry-migrate/ferry/e2e/traps"
)

func labMount(t testing.TB, fs string) string { return lab.Mount(t, fs, 1<<30) }

// TestManyEntries migrates a directory of 200,000 entries.
func TestManyEntries(t *testing.T) {
	s := newStage(t, "ext4", 4<<30)
	must(t, os.Mkdir(s.path("many"), 0o755))
	traps.Many(t, s.path("many"), 200_000)
	s.mustMigrate()
	s.askRsync() // our own dump takes a minute for so many
}

// TestMemory: resident memory of each side on 100,000 files, 64 MiB at most by default and 96 with zstd.
func TestMemory(t *testing.T) {
	s := newStage(t, "tmpfs", 4<<30)
	for i := range 100 {
		dir := s.path(fmt.Sprint("d", i))
		must(t, os.Mkdir(dir, 0o755))
		traps.Many(t, dir, 1000)
	}
	put("large", 256<<20)(t, s)
	for _, c := range []struct {
		compress string
		most     int64 // MiB
	}{{"auto", 64}, {"zstd", 96}} {
		t.Run(c.compress, func(t *testing.T) {
			s := *s.on(t)
			s.target = sub(t, filepath.Dir(s.target), c.compress)
			s.state, s.targetState, s.addr, s.server = t.TempDir(), t.TempDir(), "", nil
			checkMemory(t, &s, c.most, "--compress", c.compress)
			checkMemory(t, &s, c.most, "--compress", c.compress) // nothing changed: the manifest is walked along
		})
	}
}

func checkMemory(t *testing.T, s *stage, most int64, args ...string) {
	t.Helper()
	o := s.migrate(args...)
	if o.exit != 0 {
		t.Fatalf("exit %d: %s", o.exit, o.stderr)
	}
	target := s.server.measure()
	t.Logf("%v: source %d MiB, target %d MiB", args, o.peak>>10, target>>10)
	for side, peak := range map[string]int64{"source": o.peak, "target": target} {
		if peak == 0 || peak>>10 > most {
			t.Errorf("%s: %d MiB of memory at the peak, want %d at most", side, peak>>10, most)
		}
	}
}

// TestSoak is TestMemory on 2,000,000 files, with 128 MiB at most. It takes long: make soak.
func TestSoak(t *testing.T) {
	if os.Getenv("FERRY_SOAK") == "" {
		t.Skip("takes long: make soak runs it")
	}
	usual := patience
	patience = time.Hour
	defer func() { patience = usual }()
	s := newStage(t, "tmpfs", 16<<30)
	for i := range 2000 {
		dir := s.path(fmt.Sprint("d", i))
		must(t, os.Mkdir(dir, 0o755))
		traps.Many(t, dir, 1000)
	}
	for range 2 {
		checkMemory(t, s, 128)
	}
}
