package configure

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// programs returns a system with a shell and what it needs of this machine, and the tree to run them in.
func programs(t *testing.T) *system {
	if os.Getuid() != 0 {
		t.Skip("a chroot needs root")
	}
	shell, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("busybox is not installed")
	}
	root := t.TempDir()
	content, err := os.ReadFile(shell)
	require.NoError(t, err)
	write(t, root, "bin/busybox", string(content))
	require.NoError(t, os.Chmod(root+"/bin/busybox", 0o755))
	require.NoError(t, os.MkdirAll(root+"/usr/bin", 0o755))
	for _, name := range []string{"usr/bin/env", "bin/sh", "bin/ls", "bin/touch", "bin/ip", "bin/sleep", "bin/setsid"} {
		require.NoError(t, os.Symlink("/bin/busybox", filepath.Join(root, name)))
	}
	for _, dir := range []string{"proc", "sys", "dev", "run", "tmp", "var/tmp", "etc"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	tr, err := openTree(root, &Report{})
	require.NoError(t, err)
	t.Cleanup(tr.close)
	return &system{tree: tr, report: tr.report, log: slog.New(slog.NewTextHandler(t.Output(), nil))}
}

// says runs a script inside and returns what it wrote to /tmp/out.
func (s *system) says(t *testing.T, script string) string {
	require.NoError(t, s.run(context.Background(), "/bin/sh", "-c", "exec >/tmp/out 2>&1; "+script+"; true"))
	f, err := s.root.ReadFile(scratch + "/out")
	require.NoError(t, err)
	return strings.TrimSpace(string(f))
}

// TestInside: programs see the system as their root, and can write nothing but the scratch directory.
func TestInside(t *testing.T) {
	s := programs(t)
	require.Contains(t, s.says(t, "ls /"), "bin")
	require.Contains(t, s.says(t, "touch /etc/x"), "Read-only file system")
	require.Contains(t, s.says(t, "touch /x"), "Read-only file system")
	require.Equal(t, "x", s.says(t, "cd /tmp; touch x; ls x"))
	require.Contains(t, s.says(t, "ls /var/tmp"), "given")
	require.Equal(t, "full\nnull\nrandom\nurandom\nzero", strings.Join(without(strings.Fields(s.says(t, "ls /dev")), "fd", "stdin", "stdout", "stderr", "mapper"), "\n"))
	require.NotContains(t, s.says(t, "ip addr"), "inet ")
	require.NoFileExists(t, s.dir+"/etc/x")

	mounts, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	require.NotContains(t, string(mounts), s.dir, "mounts of this machine")
	require.Error(t, s.run(context.Background(), "/bin/sh", "-c", "exit 3"))
	require.Error(t, s.run(context.Background(), "/bin/none"))
}

func without(all []string, names ...string) (out []string) {
	for _, a := range all {
		found := false
		for _, n := range names {
			found = found || a == n
		}
		if !found {
			out = append(out, a)
		}
	}
	return out
}

// TestInsideEnds: nothing that a program started outlives it, and a cancel ends it at once.
func TestInsideEnds(t *testing.T) {
	s := programs(t)
	require.NoError(t, s.clearScratch())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- s.run(ctx, "/bin/sh", "-c", "setsid sh -c 'touch /tmp/started; exec sleep 1001' & sleep 1001")
	}()
	require.Eventually(t, func() bool { _, err := s.root.Lstat(scratch + "/started"); return err == nil }, time.Minute, 10*time.Millisecond)
	cancel()
	require.Error(t, <-done)
	out, err := exec.Command("pgrep", "-f", "^sleep 1001$").Output()
	require.Error(t, err, "%s", out)
}

// TestInsideHostile: mount points of the system that are links to the host's are resolved in the system.
func TestInsideHostile(t *testing.T) {
	for _, name := range []string{"tmp", "var/tmp", "dev", "proc", "run", "sys"} {
		t.Run(name, func(t *testing.T) {
			s, host := programs(t), t.TempDir()
			require.NoError(t, os.Remove(filepath.Join(s.dir, name)))
			require.NoError(t, os.Symlink(host, filepath.Join(s.dir, name)))
			t.Log(s.run(context.Background(), "/bin/sh", "-c", "echo x >/tmp/x; echo x >/dev/x; echo x >/run/x; true"))
			entries, err := os.ReadDir(host)
			require.NoError(t, err)
			require.Empty(t, entries)
		})
	}
}

// TestDevices: a device that is not one, or not below /dev, is refused before anything runs.
func TestDevices(t *testing.T) {
	for _, name := range []string{"/etc/passwd", "/dev/../etc/passwd", "/dev/no-such-device", "null"} {
		f := Facts{Devices: []string{name}}
		_, err := f.nodes()
		require.Error(t, err, name)
	}
	f := Facts{Devices: []string{"/dev/null"}}
	_, err := f.nodes()
	require.NoError(t, err)
}
