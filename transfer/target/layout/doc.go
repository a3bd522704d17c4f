// Package layout makes the disks of a target: partition tables, LVM, filesystems and swap, as a plan says.
//
// A Plan is plain data, made on the source of what was found there. Three steps turn it into disks:
//
//   - Fit places it on the target's disks, which may be fewer, larger or smaller, and returns the plan as it will be: every offset and
//     size is final. What cannot be made to fit is refused with the smallest size that would do.
//   - Script lists the actions of a fitted plan, each as the line a person would type. It touches nothing: `--dry-run` prints it.
//   - Run does the actions one after the other. Each is followed by a look at the disk through another program (its proof), then by an
//     entry in a journal.
//
// A Receiver does so for a source, which sends its plan in a session of its own (Send), and has the files that come then written to the
// filesystems. After a copy block by block onto larger disks, Grow makes use of what they have more.
//
// UUIDs, labels, names, partition types and ids are the source's, also those of LVM: its metadata is written as a text and restored, which
// makes a volume group in one action. Partition tables are written by the package itself: sizes and all identifiers are known, and no tool
// that takes them for both kinds of table can be given them as arguments.
//
// What it guarantees: no device outside the plan's disks is opened for writing; LVM is told of no other. A disk that is in use is refused,
// always; one that holds anything is refused without Overwrite, and the error lists what would be lost. Run may be cut at any action and run
// again: what the journal knows and its proof confirms is left alone, the rest is done again. Without a journal (the state lay in memory) disks
// that hold the whole plan already are left alone too.
//
// What it does not: boot code is not installed (package configure does), and no filesystem is checked or repaired. Thin pools, RAID, encryption and
// snapshots are no part of a plan: whoever makes it says what was left out. A target needs the tools that Script names; they are looked for before
// anything is written. Filesystems have the features of the source's as far as they can be asked for: see mkfs.go.
package layout
