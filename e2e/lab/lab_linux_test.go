package lab

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMount(t *testing.T) {
	for _, fs := range []string{"ext4", "xfs", "btrfs", "tmpfs"} {
		t.Run(fs, func(t *testing.T) {
			var mnt string
			t.Run("lives", func(t *testing.T) {
				mnt = Mount(t, fs, 64<<20)
				if err := os.WriteFile(filepath.Join(mnt, "f"), []byte("x"), 0o600); err != nil {
					t.Fatal(err)
				}
				// A mount inside goes with it.
				inner := filepath.Join(mnt, "inner")
				if err := os.Mkdir(inner, 0o700); err != nil {
					t.Fatal(err)
				}
				if err := unix.Mount("none", inner, "tmpfs", 0, ""); err != nil {
					t.Fatal(err)
				}
			})
			if mnt == "" {
				t.Skip("no such filesystem here")
			}
			if _, err := os.Stat(filepath.Dir(mnt)); !os.IsNotExist(err) {
				t.Errorf("%s is still there: %v", mnt, err)
			}
		})
	}
}

// TestSweep kills a process that holds a filesystem and sees that the next one cleans up after it, but not before.
func TestSweep(t *testing.T) {
	NeedRoot(t)
	if os.Getenv("FERRY_LAB_CHILD") != "" {
		Mount(t, "ext4", 0)
		os.Stdout.WriteString("\nmounted\n")
		select {}
	}
	tmp := t.TempDir()
	child := exec.Command(os.Args[0], "-test.run=^TestSweep$")
	child.Env = append(os.Environ(), "FERRY_LAB_CHILD=1", "TMPDIR="+tmp)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	for said := ""; !strings.Contains(said, "\nmounted\n"); {
		n, err := out.Read(buf)
		if err != nil {
			t.Fatalf("the child ended: %v, said %q", err, said)
		}
		said += string(buf[:n])
	}
	t.Setenv("TMPDIR", tmp)
	if err := Sweep(); err != nil {
		t.Fatal(err)
	}
	if points, _ := mountsBelow(tmp); len(points) != 1 {
		t.Errorf("a living owner's filesystem: mounted %q", points)
	}
	child.Process.Kill()
	child.Wait()
	if err := Sweep(); err != nil {
		t.Fatal(err)
	}
	if points, _ := mountsBelow(tmp); len(points) != 0 {
		t.Errorf("left mounted: %q", points)
	}
	if left, _ := os.ReadDir(tmp); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}
