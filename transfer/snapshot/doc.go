// Package snapshot gives a pass one point in time to read, without a kernel module: it freezes filesystems for a bounded time, or takes a
// Btrfs or LVM snapshot.
//
// # Freeze
//
// [Open] starts the freezer, a process that is this program once more, and hands it a descriptor of each filesystem. [Group.Do] has it freeze
// all of them (FIFREEZE: everything written before is on disk, every writer waits), runs what has to be read at that instant, and has
// it thaw them. A filesystem whose device is a file on another one is frozen before that one, the root last; they thaw in reverse.
//
// The freezer is also the watchdog. It makes each FIFREEZE itself, so it always knows which filesystems it froze, and thaws those and no
// others: when it is told to, when the bound has passed since the first FIFREEZE was called, or when its socket says that the agent
// is gone. A FIFREEZE that returns after that is undone at once. It lives in a session and, where it may, in a control group of its
// own, ignores signals, is the last one the kernel would kill for memory, keeps its memory locked, and needs no file once it is ready.
// When the freezer itself is killed, the agent's end of the socket says so, and the agent thaws with its own descriptors.
//
// # Snapshots
//
// A [Snapshotter] makes a tree of files that stands still while the source goes on: a read-only Btrfs snapshot, or an LVM snapshot that
// is mounted read-only. A durable note is written before and removed after, so that [Sweep] finds at the next start what a killed
// process left.
//
// # What it guarantees
//
//   - Nothing stays frozen longer than the bound because the agent died, hung or was stopped, nor because the freezer was killed.
//   - A freeze that somebody else made is respected: Do fails, and it is never thawed.
//   - Do returns an error unless everything was frozen from before critical began until after it returned.
//
// # What it does not
//
// When agent and freezer are killed in the same instant, the filesystems stay frozen: `fsfreeze --unfreeze MOUNT` thaws them. A
// FIFREEZE that the kernel does not finish cannot be taken back before it does. A freezer killed within a FIFREEZE leaves open whether that one
// took effect; the agent thaws it. What cannot be frozen (FAT) is only synced, and [Report] names it. While frozen, critical must not wait for
// anything that writes to a frozen filesystem; [Options].Writes refuses what is known to. Freezing needs Linux and root.
package snapshot
