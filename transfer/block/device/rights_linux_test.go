package device

import (
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/internal/fault"
)

// powerless runs f on a thread of its own without capabilities, whose files are opened as those of a user.
func powerless(t *testing.T, uid int, f func()) {
	t.Helper()
	needRoot(t)
	done := make(chan error)
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		if err := unix.Setfsuid(uid); err != nil {
			done <- err
			return
		}
		if err := unix.Capset(&head, &data[0]); err != nil {
			done <- err
			return
		}
		f()
	}()
	require.NoError(t, <-done)
}

func TestWithoutRights(t *testing.T) {
	image := blank(t, t.TempDir(), mib)
	dev := loop(t, blank(t, t.TempDir(), mib))
	powerless(t, 65534, func() {
		for _, path := range []string{image, dev} {
			_, err := OpenSource(path, SourceOptions{})
			require.Equal(t, CodeSourceRights, fault.CodeOf(err), "%v", err)
			_, err = OpenTarget(path, TargetOptions{})
			require.Equal(t, CodeTargetRights, fault.CodeOf(err), "%v", err)
		}
	})
	require.NoError(t, os.Chmod(image, 0o444))
	powerless(t, 0, func() {
		_, err := OpenTarget(image, TargetOptions{})
		require.Equal(t, CodeTargetRights, fault.CodeOf(err), "may be read, not written: %v", err)
	})
}

// TestWritersWithoutLease asks for the image of another user, of which the kernel tells nothing: descriptors and locks do.
func TestWritersWithoutLease(t *testing.T) {
	needRoot(t)
	image := blank(t, t.TempDir(), mib)
	require.NoError(t, os.Chown(image, 65534, 65534))
	require.NoError(t, os.Chmod(image, 0o666))
	open := func() (err error) {
		powerless(t, 0, func() {
			var s *Source
			if s, err = OpenSource(image, SourceOptions{}); err == nil {
				s.Close()
			}
		})
		return err
	}
	require.NoError(t, open())
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	require.NoError(t, err)
	require.ErrorContains(t, open(), "by process")
	require.NoError(t, f.Close())

	f, err = os.Open(image)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, open())
	require.NoError(t, unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_RDLCK, Start: qemuWrites[0], Len: 1}))
	require.ErrorContains(t, open(), "by a virtual machine")
}
