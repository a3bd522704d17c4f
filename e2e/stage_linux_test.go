package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/e2e/dump"
	"github.com/ferry-migrate/ferry/e2e/lab"
	"github.com/ferry-migrate/ferry/e2e/proxy"
	"github.com/ferry-migrate/ferry/e2e/traps"
)

// stage is a migration from one filesystem to another, over TCP and TLS on loopback, with whatever the test puts between.
type stage struct {
	t              testing.TB
	source, target string // directories
	state          string // of the source
	targetState    string
	server         *process // ferry target, nil when it does not run
	serverEnv      []string
	sourceEnv      []string
	addr, pair     string
	proxy          *proxy.Proxy // nil unless the test asked for one
}

// newStage makes a filesystem each for source and target, and state directories outside of both.
func newStage(t testing.TB, fs string, size int64) *stage {
	t.Helper()
	inLab(t)
	return &stage{t: t, source: sub(t, lab.Mount(t, fs, size), "source"), target: sub(t, lab.Mount(t, fs, size), "target"),
		state: t.TempDir(), targetState: t.TempDir()}
}

// sub makes a directory below one: the root of a filesystem is not like other directories (lost+found).
func sub(t testing.TB, dir, name string) string {
	t.Helper()
	dir = filepath.Join(dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// serve starts the target, which listens on a free port, or on the same one when it ran before.
func (s *stage) serve() {
	s.t.Helper()
	if !s.comesUp() {
		s.t.Fatalf("the target ended before it listened: %s", s.server.errors())
	}
}

// comesUp starts the target and reports whether it lived long enough to listen.
func (s *stage) comesUp() bool {
	s.t.Helper()
	listen := s.addr
	if listen == "" {
		listen = "127.0.0.1:0"
	}
	s.server = start(s.t, s.serverEnv, "target", "--into", "dir:"+s.target, "--listen", listen, "--state", s.targetState, "--json")
	e, ok := s.server.await(func(e event) bool { return e.name() == "listening" })
	if ok {
		s.addr = e.text("addr")
		if code := e.text("pair"); code != "" {
			s.pair = code
		}
	}
	return ok
}

// between puts a proxy between source and target.
func (s *stage) between() *proxy.Proxy {
	s.t.Helper()
	if s.addr == "" {
		s.serve()
	}
	p, err := proxy.New(s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(p.Close)
	s.proxy = p
	return p
}

// begin starts a migration.
func (s *stage) begin(args ...string) *process {
	s.t.Helper()
	if s.server == nil {
		s.serve()
	}
	to := s.addr
	if s.proxy != nil {
		to = s.proxy.Addr()
	}
	args = append([]string{"migrate", s.source, "--to", to, "--pair", s.pair, "--state", s.state, "--json"}, args...)
	return start(s.t, s.sourceEnv, args...)
}

// migrate runs a migration to its end.
func (s *stage) migrate(args ...string) *outcome {
	s.t.Helper()
	return s.begin(args...).wait()
}

// mustMigrate runs a migration that has to end well and returns its result.
func (s *stage) mustMigrate(args ...string) event {
	s.t.Helper()
	o := s.migrate(args...)
	if o.exit != 0 || o.result == nil || o.result["ok"] != true {
		s.t.Fatalf("migrate: exit %d, result %v\n%s", o.exit, o.result, o.stderr)
	}
	if len(o.stray) > 0 {
		s.t.Errorf("standard output holds more than JSON: %q", o.stray)
	}
	return o.result
}

// path is a path below the source.
func (s *stage) path(name string) string { return filepath.Join(s.source, name) }

// judge compares source and target with three tools that share no code with the copier: our dump, rsync and lsattr.
func (s *stage) judge() {
	s.t.Helper()
	for _, d := range s.differences() {
		s.t.Error(d)
	}
	s.askRsync()
	s.askLsattr()
}

// differences are those our own dump sees.
func (s *stage) differences() []string {
	s.t.Helper()
	return dump.Diff(dumped(s.t, s.source), dumped(s.t, s.target), 20)
}

func dumped(t testing.TB, dir string, options ...dump.Option) dump.Tree {
	t.Helper()
	tree, err := dump.Of(dir, options...)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// askRsync fails the test when rsync would change anything. -UU compares access times without moving them.
func (s *stage) askRsync() {
	s.t.Helper()
	args := []string{"-aHAXUUn", "--delete", "--itemize-changes", "--checksum"}
	for _, name := range traps.NotForRsync() {
		args = append(args, "--exclude=/"+name)
	}
	out, err := exec.Command("rsync", append(args, s.source+"/", s.target+"/")...).CombinedOutput()
	if err != nil || len(out) > 0 {
		s.t.Errorf("rsync sees a difference (%v):\n%.4000s", err, out)
	}
}

// unstable are the letters of lsattr that a filesystem sets for itself: extents, an indexed directory, inline data.
var unstable = strings.NewReplacer("e", "-", "I", "-", "N", "-")

// askLsattr compares what lsattr prints. It cannot follow the longest paths, on neither side.
func (s *stage) askLsattr() {
	s.t.Helper()
	if a, b := lsattr(s.source), lsattr(s.target); a != b {
		s.t.Errorf("lsattr sees a difference:\n%s", firstDifference(a, b))
	}
}

func lsattr(dir string) string {
	cmd := exec.Command("lsattr", "-aR", ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var out bytes.Buffer
	cmd.Stdout = &out
	_ = cmd.Run() // it complains of paths that are too long, and ends with 1
	var lines []string
	for line := range strings.Lines(out.String()) {
		flags, name, ok := strings.Cut(line, " ")
		if ok {
			line = unstable.Replace(flags) + " " + name
		}
		lines = append(lines, line)
	}
	slices.Sort(lines) // it prints a directory's entries in the order of the disk
	return strings.Join(lines, "")
}

func firstDifference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return fmt.Sprintf("source: %q\ntarget: %q", x[i], y[i])
		}
	}
	return fmt.Sprintf("%d lines on the source, %d on the target", len(x), len(y))
}

// on is the same stage for a subtest.
func (s *stage) on(t testing.TB) *stage {
	c := *s
	c.t = t
	return &c
}

// verify compares source and target without copying.
func (s *stage) verify(args ...string) *outcome {
	s.t.Helper()
	args = append([]string{"verify", s.source, "--to", s.addr, "--pair", s.pair, "--state", s.state, "--json"}, args...)
	return start(s.t, s.sourceEnv, args...).wait()
}

// flipByte changes one byte of a file and puts its times back.
func flipByte(t testing.TB, path string, at int64) {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Lstat(path, &st))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	must(t, err)
	b[0] ^= 0x55
	_, err = f.WriteAt(b, at)
	must(t, err)
	must(t, unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
