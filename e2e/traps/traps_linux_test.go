package traps_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/ferry-migrate/ferry/e2e/dump"
	"github.com/ferry-migrate/ferry/e2e/lab"
	"github.com/ferry-migrate/ferry/e2e/traps"
)

// TestBuild sees that the traps are there on each filesystem, that the dump tells a copy without any detail from the tree,
// in every trap, and that looking changes nothing.
func TestBuild(t *testing.T) {
	for _, fs := range []string{"ext4", "xfs", "btrfs", "tmpfs"} {
		t.Run(fs, func(t *testing.T) {
			source, target := lab.Mount(t, fs, 1<<30), lab.Mount(t, fs, 1<<30)
			traps.Build(t, source, fs)
			before, err := dump.Of(source, dump.Ctime)
			if err != nil {
				t.Fatal(err)
			}
			after, err := dump.Of(source, dump.Ctime)
			if err != nil {
				t.Fatal(err)
			}
			if d := dump.Diff(before, after, 5); len(d) > 0 {
				t.Errorf("looking changed the tree: %s", d)
			}
			for _, name := range traps.For(fs) {
				if name != "deep" { // cp knows PATH_MAX
					t.Run(name, func(t *testing.T) { tellsCopy(t, filepath.Join(source, name), filepath.Join(target, name)) })
				}
			}
		})
	}
}

func tellsCopy(t *testing.T, source, target string) {
	if err := os.Mkdir(target, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", "-rP", source+"/.", target).CombinedOutput(); err != nil {
		t.Logf("cp: %v %.500s", err, out)
	}
	a, err := dump.Of(source)
	if err != nil {
		t.Fatal(err)
	}
	b, err := dump.Of(target)
	if err != nil {
		t.Fatal(err)
	}
	if len(dump.Diff(a, b, 1)) == 0 {
		t.Error("a copy of content only passes for the tree itself")
	}
}
