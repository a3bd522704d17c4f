package e2e

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ferry-migrate/ferry/e2e/traps"
)

// TestCrashPoints ends the process at every crash point of the code, the first and the last time it is reached, in a first
// copy and in a sync, on each side that reaches it. The same command run again gets done, and source and target are equal.
func TestCrashPoints(t *testing.T) {
	names := crashPoints(t)
	if len(names) == 0 {
		t.Fatal("the code has no crash points: nothing was tried")
	}
	reached := map[string]bool{}
	for _, side := range []string{"source", "target"} {
		for pass, word := range []string{"first", "sync"} {
			hits := trace(t, side, pass)
			for name, n := range hits {
				reached[name] = true
				for _, at := range slices.Compact([]int{1, n}) {
					t.Run(fmt.Sprintf("%s/%s/%s:%d", side, word, name, at), func(t *testing.T) {
						t.Parallel()
						crashAt(t, side, pass, name, at)
					})
				}
			}
		}
	}
	for _, name := range names {
		room, _, _ := strings.Cut(name, ".")
		if !reached[name] && !slices.Contains(triedElsewhere, room) {
			t.Errorf("crash point %s was not reached by any run: it proves nothing", name)
		}
	}
}

// triedElsewhere are the first words of crash points that no copy of files reaches. A test beside them tries them.
var triedElsewhere = []string{"block", "configure", "layout"}

// crashPoints reads the names from the source.
func crashPoints(t *testing.T) (names []string) {
	t.Helper()
	at := map[string]string{}
	must(t, filepath.WalkDir("..", func(path string, d os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if sel, ok := call.Fun.(*ast.SelectorExpr); !ok || sel.Sel.Name != "Hit" || fmt.Sprint(sel.X) != "crashpoint" {
				return true
			}
			literal, ok := call.Args[0].(*ast.BasicLit)
			if !ok {
				t.Errorf("%s: a crash point needs a literal name", path)
				return true
			}
			name, _ := strconv.Unquote(literal.Value)
			if at[name] != "" {
				t.Errorf("crash point %s is in %s and in %s", name, at[name], path)
			}
			at[name] = path
			names = append(names, name)
			return true
		})
		return nil
	}))
	slices.Sort(names)
	return names
}

// crashStage is a small migration that does something of everything: a first copy, then a sync with every kind of change.
func crashStage(t *testing.T) *stage {
	s := newStage(t, "ext4", 128<<20)
	put("large", 2<<20, "gone", 10, "d/moved", 100<<10, "split", 70<<10, "small", 10)(t, s)
	must(t, os.Link(s.path("split"), s.path("split too")))
	flagged(t, s)
	return s
}

func crashChange(t *testing.T, s *stage) {
	flipByte(t, s.path("large"), 1<<20)
	must(t, os.Remove(s.path("gone")))
	must(t, os.Rename(s.path("d"), s.path("e")))
	write(t, s.path("new"), 70<<10, 9)
	must(t, os.Rename(s.path("new"), s.path("split")))
	must(t, traps.ClearFlags(s.path("i"), traps.Immutable))
	flipByte(t, s.path("i"), 1)
	must(t, traps.AddFlags(s.path("i"), traps.Immutable))
}

// upTo returns a stage on which everything before a pass is done, and the target does not run.
func upTo(t *testing.T, pass int) *stage {
	s := crashStage(t)
	if pass == 1 {
		s.mustMigrate()
		s.server.kill()
		s.server = nil
		crashChange(t, s)
	}
	return s
}

// trace counts how often a side reaches each point in a pass.
func trace(t *testing.T, side string, pass int) map[string]int {
	t.Helper()
	s := upTo(t, pass)
	file := filepath.Join(t.TempDir(), "trace")
	s.environ(side, "FERRY_CRASH_TRACE="+file)
	s.mustMigrate()
	s.judge()
	data, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	hits := map[string]int{}
	for _, name := range strings.Fields(string(data)) {
		hits[name]++
	}
	return hits
}

func (s *stage) environ(side, env string) {
	if side == "source" {
		s.sourceEnv = []string{env}
	} else {
		s.serverEnv = []string{env}
	}
}

// crashAt crashes one side in a pass, then runs the same command until it is done.
func crashAt(t *testing.T, side string, pass int, name string, at int) {
	s := upTo(t, pass)
	s.environ(side, fmt.Sprintf("FERRY_CRASH_AT=%s:%d", name, at))
	if side == "target" && !s.comesUp() {
		s.serverEnv = nil
		s.serve()
		s.mustMigrate()
		s.judge()
		return
	}
	run := s.begin()
	if side == "target" {
		select {
		case <-s.server.done:
		case <-run.done: // the point may not have been reached this time
		}
		run.kill() // a source whose target is gone waits for it
	}
	o := run.wait()
	if o.exit == 0 && !s.server.over() {
		t.Log("not reached this time: how often differs from run to run")
	}
	s.sourceEnv, s.serverEnv = nil, nil
	if s.server.over() {
		s.serve()
	}
	s.mustMigrate()
	s.judge()
}
