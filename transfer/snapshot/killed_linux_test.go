package snapshot

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// The places where an agent ends, in their order.
const (
	dieOpen   = "open"   // the freezer is ready
	dieFrozen = "frozen" // critical has begun
	dieRead   = "read"   // critical is over
	dieThawed = "thawed"
	hang      = "hang" // stopped, not killed
)

// child is an agent that freezes args[1:] and dies at the place args[0]; it says who its freezer is.
func child(args []string) {
	if args[0] == "snapshot" {
		snapshots(args[1:])
		return
	}
	die := func(place string) {
		if args[0] == place {
			_ = unix.Kill(os.Getpid(), unix.SIGKILL)
			select {}
		}
	}
	bound := patience
	if args[0] == hang {
		bound = 500 * time.Millisecond
	}
	g, err := Open(context.Background(), Options{Mounts: args[1:], Bound: bound})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(g.pid)
	die(dieOpen)
	if wait, err := time.ParseDuration(args[0]); err == nil {
		time.AfterFunc(wait, func() { _ = unix.Kill(os.Getpid(), unix.SIGKILL) })
	}
	for err == nil {
		_, err = g.Do(context.Background(), func(context.Context) error {
			die(dieFrozen)
			if args[0] == hang {
				_ = unix.Kill(os.Getpid(), unix.SIGSTOP)
			}
			die(dieRead)
			return nil
		})
		die(dieThawed)
	}
	fmt.Println(err)
}

// startChild starts an agent and returns a descriptor of its freezer, -1 if that has ended already.
func startChild(t *testing.T, place string, mounts ...string) (cmd *exec.Cmd, said *bufio.Reader, freezer int) {
	t.Helper()
	cmd = exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"="+place+"|"+strings.Join(mounts, "|"))
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	said = bufio.NewReader(out)
	line, err := said.ReadString('\n')
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	require.NoError(t, err, line)
	freezer, err = unix.PidfdOpen(pid, 0)
	if err != unix.ESRCH {
		require.NoError(t, err)
	}
	return cmd, said, freezer
}

// gone waits for a freezer to end, which it does once nothing is frozen.
func gone(t *testing.T, freezer int) {
	t.Helper()
	if freezer < 0 {
		return
	}
	defer unix.Close(freezer)
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(freezer), Events: unix.POLLIN}}, int(patience.Milliseconds()))
		if err == unix.EINTR {
			continue
		}
		require.NoError(t, err)
		require.Equal(t, 1, n, "the freezer outlives its agent")
		return
	}
}

// An agent killed at any point leaves nothing frozen: 100 kills.
func TestKilled(t *testing.T) {
	for _, fs := range []string{"ext4", "xfs", "btrfs", "ext4+xfs"} {
		t.Run(fs, func(t *testing.T) {
			t.Parallel()
			var mounts []string
			for kind := range strings.SplitSeq(fs, "+") {
				mounts = append(mounts, mount(t, kind))
			}
			var longest time.Duration
			for i := range 25 {
				place := []string{dieOpen, dieFrozen, dieRead, dieThawed, ""}[i%5]
				if place == "" { // somewhere in the freezes that it does without a pause
					place = fmt.Sprint(time.Duration(rand.Int64N(int64(20 * time.Millisecond))))
				}
				cmd, _, freezer := startChild(t, place, mounts...)
				require.Error(t, cmd.Wait(), "it was not killed")
				began := time.Now()
				gone(t, freezer)
				longest = max(longest, time.Since(began))
				for _, mnt := range mounts {
					notFrozen(t, mnt)
				}
			}
			t.Logf("thawed %v after the kill at most", longest)
		})
	}
}

// An agent that is stopped is thawed by the bound, and learns of it when it goes on.
func TestStopped(t *testing.T) {
	mnt := mount(t, "ext4")
	cmd, said, freezer := startChild(t, hang, mnt)
	var status unix.WaitStatus
	_, err := unix.Wait4(cmd.Process.Pid, &status, unix.WUNTRACED, nil)
	require.NoError(t, err)
	require.True(t, status.Stopped())
	require.NoError(t, os.WriteFile(filepath.Join(mnt, "written"), nil, 0o600)) // returns when the bound has passed
	require.NoError(t, cmd.Process.Signal(unix.SIGCONT))
	line, err := said.ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, ErrThawed.Error())
	require.NoError(t, cmd.Wait())
	gone(t, freezer)
}
