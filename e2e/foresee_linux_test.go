package e2e

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/ferry-migrate/ferry/e2e/dump"
	"github.com/ferry-migrate/ferry/e2e/lab"
	"github.com/ferry-migrate/ferry/e2e/traps"
)

// lossCounts are the losses of a result, by kind.
func lossCounts(r event) map[string]int64 {
	counts := map[string]int64{}
	losses, _ := r["losses"].([]any)
	for _, l := range losses {
		loss := event(l.(map[string]any))
		counts[loss.text("kind")] = loss.number("count")
	}
	return counts
}

// TestDryRunForesees: --dry-run tells the losses that the run then has, and leaves no trace on either side.
func TestDryRunForesees(t *testing.T) {
	for name, target := range map[string]func(t *testing.T) string{
		"tmpfs": func(t *testing.T) string { return labMount(t, "tmpfs") },
		"ext4 with small inodes": func(t *testing.T) string {
			return mountedImage(t, "mkfs.ext4", "-q", "-I", "128", "-b", "1024")
		},
		"vfat": func(t *testing.T) string { return mountedImage(t, "mkfs.vfat") },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, "xfs", 400<<20)
			if name == "vfat" {
				simpleTree(t, s)
			} else {
				traps.Build(t, s.source, "xfs")
			}
			s.target = sub(t, target(t), "target")
			source, before := unchanged(t, s.source), dumped(t, s.target, dump.Ctime)
			o := ferry(t, "migrate", s.source, "--to", "dir:"+s.target, "--state", s.state, "--dry-run", "--json")
			if o.exit != 0 || o.result == nil {
				t.Fatalf("exit %d: %s", o.exit, o.stderr)
			}
			source()
			for _, d := range dump.Diff(before, dumped(t, s.target, dump.Ctime), 5) {
				t.Errorf("the target was changed: %s", d)
			}
			foreseen := lossCounts(o.result)
			o = ferry(t, "migrate", s.source, "--to", "dir:"+s.target, "--state", s.state, "--json", "--verify", "none")
			if o.exit != 0 || o.result == nil {
				t.Fatalf("exit %d: %s", o.exit, o.stderr)
			}
			t.Logf("foreseen %v", foreseen)
			t.Logf("lost     %v", lossCounts(o.result))
			if !maps.Equal(foreseen, lossCounts(o.result)) {
				t.Error("not what was foreseen")
			}
		})
	}
}

// simpleTree has something of what vfat cannot keep.
func simpleTree(t *testing.T, s *stage) {
	put("d/file", 100, "d/FILE", 100, "what?", 10, "plain", 10)(t, s)
	must(t, os.Link(s.path("plain"), s.path("linked")))
	must(t, os.Symlink("plain", s.path("symlink")))
	must(t, exec.Command("mkfifo", s.path("fifo")).Run())
	must(t, exec.Command("mknod", s.path("device"), "c", "1", "3").Run())
	must(t, exec.Command("setfattr", "-n", "user.x", "-v", "y", s.path("plain")).Run())
	must(t, os.Truncate(s.path("plain"), 1<<20))
}

// mountedImage mounts an image of 300 MiB that a tool made a filesystem in.
func mountedImage(t *testing.T, mkfs string, args ...string) string {
	t.Helper()
	lab.Need(t, mkfs)
	dir := labMount(t, "tmpfs")
	image, mnt := filepath.Join(dir, "image"), sub(t, dir, "mnt")
	must(t, os.WriteFile(image, nil, 0o600))
	must(t, os.Truncate(image, 300<<20))
	if out, err := exec.Command(mkfs, append(args, image)...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", mkfs, err, out)
	}
	if out, err := exec.Command("mount", "-o", "loop", image, mnt).CombinedOutput(); err != nil {
		t.Skipf("this machine cannot mount what %s makes: %s", mkfs, out)
	}
	t.Cleanup(func() { must(t, exec.Command("umount", mnt).Run()) })
	return mnt
}
