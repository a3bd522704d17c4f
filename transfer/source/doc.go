// Package source brings a target tree in step with a directory of this machine.
//
// # Goal
//
// After a pass the target holds what the source held when each entry was read, in every detail package file knows, and
// the manifest in the state directory says so entry by entry. The next pass reads only metadata of what did not change,
// and sends only what did.
//
// # How a pass works
//
//  1. Remember the time, sync the filesystem, then walk the tree in its fixed order beside the manifest of the last pass (base). The
//     planner decides for each entry: keep, metadata only, content too, or new; runs of entries become jobs.
//  2. Workers, one for each stream, take jobs in order: read, digest, encode operations, compress. The recorder lets them finish in
//     order: entries go to the next manifest, the job's frame gets its number. Then the worker sends the frame on its own
//     connection. When there is a base, a frame leaves only after its entries are durable in the next manifest: whatever
//     the target may have been told is known after a crash.
//  3. Hard links, then deletions, then the metadata of directories, children before parents: each waits for all before it.
//  4. With verification, the target reads back what was sent and compares it with the digests of the next manifest.
//  5. The target commits, then the next manifest becomes the base.
//
// The target acknowledges frames once they are on its disk; the highest acknowledged number is kept durably. After a crash
// the base and the acknowledged part of the next manifest are merged (package manifest): what was sent and not
// acknowledged is uncertain and sent whole.
//
// # What it guarantees, and what not
//
// Unchanged means that size, mtime, ctime, inode, generation and birth time are all equal, and that the ctime is older than the
// start of the pass that recorded it by more than a clock tick: a store through a mapping that was dirty then is caught by the
// sync that write-protects it. Filesystems that never update times on mapped stores (tmpfs) cannot tell.
// A file that changes while it is read is read again, three times; then the pass is followed by another, and what still
// changes is reported. A pass over a tree in use is not one instant.
// Nothing is deleted below a directory that could not be listed, nor what is newly excluded. What a pass leaves on the target though the
// source lacks it (excluded, or deletes were not wanted) is written to a manifest of its own, "left" beside the base, for a later pass to delete.
package source
