package track

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/e2e/lab"
)

// run runs a program to its end and returns what it said.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(t, err, "%s %v: %s", name, args, out)
	return strings.TrimSpace(string(out))
}

// loop makes a loop device of size bytes on an image in memory.
func loop(t *testing.T, size int64, options ...string) string {
	t.Helper()
	lab.NeedRoot(t)
	lab.Need(t, "losetup")
	image := filepath.Join(lab.Mount(t, "tmpfs", size+1<<20), "image")
	require.NoError(t, os.WriteFile(image, nil, 0o600))
	require.NoError(t, os.Truncate(image, size))
	dev := run(t, "losetup", append([]string{"--find", "--show", "--direct-io=on"}, append(options, image)...)...)
	t.Cleanup(func() { run(t, "losetup", "-d", dev) })
	return dev
}

// opened tracks dev for the length of the test. The pins go to a bpffs of the test's own.
func opened(t *testing.T, o Options) *Kernel {
	t.Helper()
	k, err := Open(context.Background(), o)
	require.NoError(t, err)
	return k
}

func watch(t *testing.T, dev string) *Kernel {
	t.Helper()
	k := opened(t, Options{Device: dev})
	t.Cleanup(func() { require.NoError(t, k.Close()) })
	return k
}
