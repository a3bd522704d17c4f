package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/e2e/dump"
)

// remedy is how an operator error ends: a stable code and what to try.
var remedy = regexp.MustCompile(`\((FERRY-[A-Z-]+)\): \S+`)

// wantRefused checks that a run ended with exit, a stable code and a remedy, and changed nothing below the directories.
func wantRefused(t *testing.T, o *outcome, exit int, code string) {
	t.Helper()
	if o.exit != exit {
		t.Errorf("exit %d, want %d", o.exit, exit)
	}
	found := remedy.FindStringSubmatch(o.message())
	switch {
	case found == nil:
		t.Errorf("no code and remedy in %q", o.message())
	case code != "" && found[1] != code:
		t.Errorf("code %s, want %s: %s", found[1], code, o.message())
	}
	if exit == 1 && o.result != nil && (o.result["ok"] != false || o.result.text("code") == "") {
		t.Errorf("the result does not tell of the error: %v", o.result)
	}
}

// unchanged returns a function that fails the test when dir changed since.
func unchanged(t *testing.T, dir string) func() {
	t.Helper()
	before := dumped(t, dir, dump.Ctime)
	return func() {
		t.Helper()
		for _, d := range dump.Diff(before, dumped(t, dir, dump.Ctime), 5) {
			t.Errorf("%s was changed: %s", dir, d)
		}
	}
}

// TestDeleteGuard: deleting more than half of the target's entries needs to be said twice.
func TestDeleteGuard(t *testing.T) {
	s := newStage(t, "ext4", 64<<20)
	for i := range 100 {
		write(t, s.path(fmt.Sprint("f", i)), 10, byte(i))
	}
	s.mustMigrate()
	for i := range 60 {
		must(t, os.Remove(s.path(fmt.Sprint("f", i))))
	}
	o := s.migrate()
	wantRefused(t, o, 1, "FERRY-DELETE-GUARD")
	if !strings.Contains(o.message(), "--force-delete") {
		t.Errorf("the remedy does not name the option: %s", o.message())
	}
	if names, _ := os.ReadDir(s.target); len(names) != 100 {
		t.Errorf("%d entries are left of 100: something was deleted all the same", len(names))
	}
	s.mustMigrate("--force-delete")
	s.judge()
}

// TestDeleteGuardOfMoved: what moved is not deleted, also when the pass that moves it is cut off before its deletes; what is really
// gone still counts.
func TestDeleteGuardOfMoved(t *testing.T) {
	for name, cut := range map[string]string{"at once": "", "cut off": "FERRY_CRASH_AT=source.phase:2"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, "ext4", 64<<20)
			for i := range 100 {
				write(t, s.path(fmt.Sprintf("old/d%d/f%d", i%10, i)), 10, byte(i))
			}
			for i := range 10 {
				write(t, s.path(fmt.Sprint("goes/", i)), 10, byte(i))
			}
			s.mustMigrate()
			must(t, os.Rename(s.path("old"), s.path("new")))
			must(t, os.RemoveAll(s.path("goes"))) // with the old names that is more than half also when the new ones are there
			if cut != "" {
				s.sourceEnv = []string{cut}
				if o := s.migrate(); o.exit == 0 {
					t.Fatal("the run was not cut off")
				}
				s.sourceEnv = nil
			}
			s.mustMigrate()
			s.judge()
			must(t, os.Rename(s.path("new"), s.path("newer")))
			for i := range 7 {
				must(t, os.RemoveAll(s.path(fmt.Sprint("newer/d", i))))
			}
			wantRefused(t, s.migrate(), 1, "FERRY-DELETE-GUARD")
		})
	}
}

// TestNoDelete keeps what the source has no more, until a run may delete it.
func TestNoDelete(t *testing.T) {
	s := newStage(t, "ext4", 64<<20)
	put("a", 10, "b", 10, "c", 200<<10, "d/e", 10, "f", 10, "g", 10, "h", 10, "i", 10, "cache/x", 10)(t, s)
	s.mustMigrate()
	must(t, os.Remove(s.path("a")))
	must(t, os.RemoveAll(s.path("d")))
	must(t, os.RemoveAll(s.path("cache")))
	kept := func(names ...string) {
		t.Helper()
		for _, name := range names {
			if _, err := os.Lstat(filepath.Join(s.target, name)); err != nil {
				t.Errorf("%s is gone: %v", name, err)
			}
		}
	}
	s.mustMigrate("--no-delete")
	kept("a", "d/e", "cache/x")
	must(t, os.Remove(s.path("b")))
	s.mustMigrate("--no-delete", "--exclude", s.path("cache"))
	kept("a", "b", "d/e", "cache/x")
	write(t, s.path("a"), 20, 1) // one comes back
	s.mustMigrate("--exclude", s.path("cache"))
	kept("a", "cache/x")
	s.mustMigrate() // what was excluded is no more
	s.judge()
}

// TestNoDeleteGuard: what was kept is deleted later under the same guard.
func TestNoDeleteGuard(t *testing.T) {
	s := newStage(t, "ext4", 64<<20)
	for i := range 100 {
		write(t, s.path(fmt.Sprint("f", i)), 10, byte(i))
	}
	s.mustMigrate()
	for i := range 60 {
		must(t, os.Remove(s.path(fmt.Sprint("f", i))))
		if i == 30 {
			s.mustMigrate("--no-delete")
		}
	}
	s.mustMigrate("--no-delete")
	wantRefused(t, s.migrate(), 1, "FERRY-DELETE-GUARD")
	if names, _ := os.ReadDir(s.target); len(names) != 100 {
		t.Errorf("%d entries are left of 100: something was deleted all the same", len(names))
	}
	s.mustMigrate("--force-delete")
	s.judge()
}

// TestExclude: an excluded path does not arrive, and a path excluded later stays.
func TestExclude(t *testing.T) {
	s := newStage(t, "ext4", 64<<20)
	put("keep", 10, "cache/a", 10, "later/b", 10, "d/x", 10)(t, s)
	s.mustMigrate("--exclude", s.path("cache"))
	if _, err := os.Lstat(filepath.Join(s.target, "cache")); !os.IsNotExist(err) {
		t.Errorf("the excluded directory arrived: %v", err)
	}
	list := filepath.Join(t.TempDir(), "list")
	must(t, os.WriteFile(list, []byte(s.path("cache")+"\n"+s.path("later")+"\n"), 0o600))
	write(t, s.path("later/b"), 20, 5)
	s.mustMigrate("--exclude-from", list)
	if st, err := os.Stat(filepath.Join(s.target, "later/b")); err != nil || st.Size() != 10 {
		t.Errorf("a newly excluded file has to stay as it is: %v", err)
	}
	s.mustMigrate()
	s.judge()
}

// TestMounts: one filesystem at a time, by mount and not by device, and nothing lost when one comes or goes.
func TestMounts(t *testing.T) {
	t.Run("bind mount", func(t *testing.T) {
		s := newStage(t, "ext4", 64<<20)
		put("dir/f", 10, "point/hidden", 10)(t, s)
		must(t, unix.Mount(s.path("dir"), s.path("point"), "", unix.MS_BIND, ""))
		s.mustMigrate()
		if _, err := os.Lstat(filepath.Join(s.target, "point/f")); !os.IsNotExist(err) {
			t.Errorf("a bind mount was followed: %v", err)
		}
		must(t, unix.Unmount(s.path("point"), 0))
		s.mustMigrate()
		s.judge()
	})
	t.Run("nested mount", func(t *testing.T) {
		s := newStage(t, "ext4", 64<<20)
		put("f", 10, "point/kept", 10)(t, s)
		s.mustMigrate()
		s.judge()
		want := dumped(t, s.target)
		must(t, unix.Mount("none", s.path("point"), "tmpfs", 0, "mode=700"))
		write(t, s.path("point/nested"), 10, 1)
		s.mustMigrate()
		for _, d := range dump.Diff(want, dumped(t, s.target), 5) {
			t.Errorf("a mount over a directory changed the target: %s", d)
		}
	})
	t.Run("unmounted source", func(t *testing.T) {
		s := newStage(t, "ext4", 64<<20)
		// The source is a mount of its own that goes away; what is left is the empty directory below it.
		must(t, unix.Mount("none", s.source, "tmpfs", unix.MS_NOATIME, "mode=755"))
		put("a", 10, "b", 10, "c/d", 10)(t, s)
		s.mustMigrate()
		s.judge()
		want := dumped(t, s.target)
		must(t, unix.Unmount(s.source, 0))
		wantRefused(t, s.migrate(), 1, "FERRY-SOURCE-CHANGED")
		for _, d := range dump.Diff(want, dumped(t, s.target), 5) {
			t.Errorf("an unmounted source changed the target: %s", d)
		}
	})
}
