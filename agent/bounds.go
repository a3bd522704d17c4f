package agent

import (
	"math"
	"runtime"
	"runtime/debug"
)

// allProcessors is how many there are for us when nothing else is said.
var allProcessors = runtime.GOMAXPROCS(0)

// ownMemory is what a process needs beside what the Go runtime counts, bytes.
const ownMemory = 24 << 20

// standard is the priority of a task that has none, and of an agent without a task.
const standard = 1

// settle makes this process keep to bounds and gives it the priority of a task: 0 low, 1 standard, 2 high. What the system refuses
// is left as it is: a task does not fail for its priority.
func (d *Daemon) settle(b Bounds, priority int) {
	processors := allProcessors
	if b.CPU > 0 {
		processors = min(allProcessors, max(1, int(math.Ceil(float64(allProcessors*b.CPU)/100))))
	}
	if processors != runtime.GOMAXPROCS(0) {
		runtime.GOMAXPROCS(processors)
	}
	memory := int64(math.MaxInt64)
	if b.Memory > 0 {
		memory = max(b.Memory-ownMemory, 16<<20)
	}
	debug.SetMemoryLimit(memory)
	if priority = min(max(priority, 0), 2); priority != d.priority {
		setPriority(priority)
		d.priority = priority
	}
}
