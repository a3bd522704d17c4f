package agent

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// nice and ioBand are what the priorities 0 low, 1 standard and 2 high mean. The band is that of the best-effort class.
var (
	nice   = [...]int{10, 0, -5}
	ioBand = [...]int{7, 4, 0}
)

const (
	ioprioProcess    = 1 // IOPRIO_WHO_PROCESS, linux/ioprio.h; it means one thread
	ioprioBestEffort = 2 << 13
)

// setPriority gives every thread of this process a priority. New threads inherit it; those born meanwhile are met in the second round.
func setPriority(priority int) {
	for range 2 {
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return
		}
		for _, t := range threads {
			id, err := strconv.Atoi(t.Name())
			if err != nil {
				continue
			}
			unix.Setpriority(unix.PRIO_PROCESS, id, nice[priority])                                                   //nolint:errcheck // what is refused stays as it is
			unix.Syscall(unix.SYS_IOPRIO_SET, ioprioProcess, uintptr(id), uintptr(ioprioBestEffort|ioBand[priority])) //nolint:errcheck // as above
		}
	}
}
