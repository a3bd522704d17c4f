package agent

import "golang.org/x/sys/windows"

// classes are what the priorities 0 low, 1 standard and 2 high mean.
var classes = [...]uint32{windows.BELOW_NORMAL_PRIORITY_CLASS, windows.NORMAL_PRIORITY_CLASS, windows.ABOVE_NORMAL_PRIORITY_CLASS}

// setPriority gives this process a priority class, which covers its I/O.
func setPriority(priority int) {
	windows.SetPriorityClass(windows.CurrentProcess(), classes[priority]) //nolint:errcheck // what is refused stays as it is
}
