package consistent

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/e2e/lab"
)

// run runs a program of the system and returns what it says.
func run(t *testing.T, argv ...string) string {
	t.Helper()
	lab.Need(t, argv[0])
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	require.NoError(t, err, "%q: %s", argv, out)
	return strings.TrimSpace(string(out))
}

// A disk whose filesystem is mounted and written to all the while is copied as it was at one instant.
func TestDisk(t *testing.T) {
	for fs, check := range map[string][]string{"ext4": {"e2fsck", "-fn"}, "xfs": {"xfs_repair", "-n"}, "btrfs": {"btrfs", "check"}} {
		t.Run(fs, func(t *testing.T) {
			mnt := lab.Mount(t, fs, 192<<20)
			device := run(t, "findmnt", "-n", "-o", "SOURCE", mnt)
			copied := filepath.Join(t.TempDir(), "copy")
			w := startWriters(t, mnt)
			before := w.committed.Load()
			r := migrate(t, device, "image:"+copied, t.TempDir())
			w.end()
			require.True(t, r.OK)
			require.Equal(t, "filesystem", r.Consistent)
			require.Positive(t, r.FrozenSeconds)
			t.Logf("frozen for %.3fs", r.FrozenSeconds)
			notFrozen(t, mnt)
			lab.Offline(t, mnt, func(string) { // two mounted filesystems of one UUID are one for Btrfs
				dir, options := t.TempDir(), "loop"
				if fs == "xfs" {
					options += ",nouuid"
				}
				run(t, "mount", "-t", fs, "-o", options, copied, dir)
				defer func() {
					run(t, "umount", dir)
					run(t, append(check, copied)...) // the mount has replayed its journal
				}()
				judge(t, dir, true, before, w.committed.Load())
			})
		})
	}
}
