package track

import "time"

// Options say what to track.
type Options struct {
	// Device is the node of a whole disk, a partition or any other block device.
	Device string
	// StateDir holds the pending set. It must exist and lie on no filesystem that is frozen during Take. "" keeps nothing: the tracker then
	// ends with its process.
	StateDir string
	// BPFFS is where the kernel's filesystem of pins is mounted, or will be. "" is /sys/fs/bpf, or /run/ferry/bpf where that is not mounted.
	BPFFS string
}

// Status is how a tracker is getting on.
type Status struct {
	Since      time.Time // it has been running since then
	Generation string    // equal in two runs: no program was missing in between
	Outlives   bool      // the kernel goes on marking when this process ends
	Bound      error     // why not, when it does not although there is a state directory
	Marked     int64     // bytes that Take would return now
	Misses     uint64    // times the kernel skipped a program, ever
	Doubts     uint64    // times a program could not tell what is written, ever

	// Runs and Cost count all events of all disks while the kernel keeps statistics (sysctl kernel.bpf_stats_enabled).
	Runs uint64
	Cost time.Duration
}
