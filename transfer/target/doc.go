// Package target receives a migration of files and applies it to a directory.
//
// A Receiver speaks with sources: it takes their sessions, hands frames of operations (package transfer/file) to a Tree, has
// them synced and acknowledges what is durable. A Tree is the directory. How a Tree works:
//
//   - Every entry is reached by one name relative to the descriptor of its directory, never through a symbolic link, ".." or a
//     path. So no operation, whoever sends it and whatever somebody swaps in meanwhile, leaves the root, and a path may be
//     as long as it likes. Descriptors are cached, within a bound.
//   - A new small file takes four system calls: open, write, set times, close. Owner, mode, attributes, flags and project id
//     cost more only where they differ from what the kernel gave the new inode, which the Tree knows from the directory
//     and from what it tried when the first pass began. What was there before is looked at first.
//   - Content is compared with its digest before anything is written.
//   - Metadata is set in the order in which nothing undoes what came before: flags that only take on an empty file when it
//     is made, then content, owner, mode, attributes, project id, times, and last the flags that forbid changes. Those of
//     an entry and of its directory are cleared for a change; the operation and the directory's OpDirMeta set them again.
//   - In a pass after the first, a regular file that is replaced is kept in a hidden directory until the pass ends, so that a
//     renamed file is found as it was.
//
// What it guarantees: an operation done again, after a cut at any point, ends in the same state. Nothing is written outside
// the root, on a filesystem mounted there after it was opened, to a device, or before BeginPass (Foresee makes a file without a name). What an entry could not
// keep is reported as a loss (LossKind), never dropped in silence. After Sync everything applied before is on the disk.
//
// What it does not: nothing is durable before Sync. Another program that writes to the same directory meanwhile can spoil what
// arrives there, and a directory that it moves away is written where it went for as long as its descriptor is open. Inode flags and project ids are kept for regular files and directories only,
// because the kernel has no way to them that does not open the entry. Writeback errors are missed before Linux 5.8.
package target
