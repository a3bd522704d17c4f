// Package track says what was written to a block device since the last pass, without a kernel module.
//
// # How it works
//
// Two small eBPF programs sit on the kernel's block tracepoints, one where a write begins (block_rq_issue, or block_bio_queue for
// devices without a request queue: device-mapper, md, zram, brd), one where it ends (block_rq_complete, block_bio_complete). Both
// set one byte per 64 KiB of the device in an array that this process has mapped. The kernel marks as the write happens: there is
// no queue of events that could overflow. They are raw tracepoints with the kernel's own type information (BTF): the classic ones
// are skipped while any other tracing program runs on that CPU. There is no compiler: program_linux.go writes the instructions,
// with offsets that BTF tells (shape_linux.go). Array, programs and links are pinned in bpffs, so that the kernel goes on marking
// while the agent is restarted (pins_linux.go).
//
// Whatever is not a read or a pure flush counts: writes, write-zeroes, discards, also through partitions, filesystems and
// device-mapper volumes that lie on the disk.
//
// # Why a write in flight is not lost
//
// A write is put on a list of those in flight and marks its chunks before the driver has it; it marks again, and leaves the list, when it
// ends and before its writer is told. Take makes the marks it sees durable in the pending set, clears each by compare-and-swap,
// marks again what is on the list at that moment, and only then its caller reads the device. So a write that ended before is read; one
// that has not ended is taken again by the next Take, even if its end goes unseen. The programs mark with plain stores: a
// store and a compare-and-swap of one word happen one after the other, so a mark set while Take runs is either seen by it or
// left for the next. Beyond that the engine reads what one pass read again in the next.
//
// A request whose end was not seen stays on the list until its place is taken, and is believed until two Takes have seen it there and
// the device has nothing in flight. It costs reading its chunk again, and nothing is lost. That is no theory: the kernel ran no tracing program at the end of
// up to 100 of 200,000 writes here, counted none as skipped, and the tracepoint itself did fire.
//
// # When it does not know
//
// Nothing is assumed. ErrLost comes when the kernel says that it skipped the program that sees writes begin (recursion misses); when a
// write is seen to end and was not seen to begin; when a request is of an operation whose reach nobody can tell (zone resets, passthrough
// writes); when more requests are in flight than the list holds; when the device changed (size, start, disk sequence); after a
// reboot; and when pins or the pending set are missing or not those that were left. The pending set is then the whole device until
// that is acknowledged, so a crash in the middle of the rescan loses nothing either.
//
// # What it does not see
//
// Writes that pass no block layer of this machine: DAX (refused), another host on a shared disk, an image file written beside its
// loop device, a PCI device handed to a guest. On devices without a request queue an unseen beginning is told by its mark at the
// end alone. Where eBPF is missing (kernels before 5.7 or without BTF, no rights) Open says so with ErrUnavailable, and the caller
// compares digests. It writes nothing to the device and opens it never.
package track

import (
	"context"
	"errors"

	"github.com/ferry-migrate/ferry/transfer/extent"
)

// ErrLost says that writes may have gone unseen since the last Take. What changed is then found by digest. The message says why.
var ErrLost = errors.New("writes to the source may have gone unseen")

// ErrUnavailable says that this kernel or this device cannot be tracked, or that the rights do not suffice. The message says why.
var ErrUnavailable = errors.New("the kernel cannot tell what is written")

// Tracker knows what was written to one device since it began to watch. Its methods may be called from one goroutine at a time.
type Tracker interface {
	// Take returns what was written since the last Take, and what earlier Takes returned and Acknowledge did not release. All of
	// it is durable in the tracker's pending set before a mark in the kernel is cleared. The list is sorted, disjoint and inside
	// the device. ErrLost means that the marks do not tell all: the list is then the whole device, and stays so until Acknowledge
	// releases it, while later writes are tracked again.
	Take(ctx context.Context) (extent.List, error)
	// Peek returns what Take would, clears nothing and touches no file: it may be called while filesystems are frozen.
	Peek(ctx context.Context) (extent.List, error)
	// Acknowledge releases ranges that are durable on the target as they were read after the Take that returned them.
	Acknowledge(ctx context.Context, done extent.List) error
	// Close stops using the tracker. The kernel goes on marking when the tracker was opened to outlive its process.
	Close() error
}
