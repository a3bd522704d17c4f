package agent

import (
	"os"
	"runtime"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Every thread gets the priority, and it is the old one again after the task.
func TestPriority(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may raise a priority again")
	}
	before, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	require.NoError(t, err)
	d := &Daemon{priority: standard}
	of := func() (all map[int]bool) {
		all = map[int]bool{}
		threads, err := os.ReadDir("/proc/self/task")
		require.NoError(t, err)
		for _, thread := range threads {
			id, err := strconv.Atoi(thread.Name())
			require.NoError(t, err)
			if value, err := unix.Getpriority(unix.PRIO_PROCESS, id); err == nil { // 20 minus the nice value
				all[20-value] = true
			}
		}
		return all
	}
	d.settle(Bounds{}, -7)
	require.Equal(t, map[int]bool{10: true}, of())
	d.settle(Bounds{}, 99)
	require.Equal(t, map[int]bool{-5: true}, of())
	d.settle(Bounds{CPU: 1, Memory: 1}, standard)
	require.Equal(t, 1, runtime.GOMAXPROCS(0), "rounded up")
	d.settle(Bounds{}, standard)
	require.Equal(t, allProcessors, runtime.GOMAXPROCS(0))
	if before == 20 {
		require.Equal(t, map[int]bool{0: true}, of())
	}
}
