// Package block brings a target disk in step with a disk of this machine: a device or an image, block by block.
//
// # Goal
//
// After a pass the target holds what the source held where it is in use, chunk by chunk, and the digest map in the state directory says
// so. The next pass sends only chunks that changed.
//
// # How a pass works
//
//  1. The ranges in use are read from the source's own structures (package allocmap). What is free is neither read nor sent, but for the rest
//     of a chunk that is partly in use: that is zeroes, so a chunk has one content whatever lies in its free parts.
//  2. Workers take jobs of up to 16 chunks in order: they read past the page cache what is in use of them (package device), digest
//     each chunk and compare it with the map. What changed becomes one frame; zeroes travel as ranges.
//  3. The target writes, syncs every now and then, and acknowledges what is synced. Then the map knows it.
//  4. With verification the target reads back, past its page cache, what the pass sent, and compares it with digests from the map.
//  5. The target commits, then the source does.
//
// A chunk that the map knows is made unknown there, durably, before something else is sent for it (digests.go). So after a kill of either side
// the map never claims more than the target has, and the next pass sends what the map does not know or what differs from it. An image
// whose first copy was interrupted, and which was not written since, is not read again where the map knows it.
//
// The target remembers whose copy it is and in which pass (record.go), the source which states of the target fit its map (journal.go). When
// they do not fit (another disk, a restored or altered one, a lost journal) the source has the target compare every chunk in use
// before it copies.
//
// # A source in use
//
// A device is tracked in the kernel while it is copied (package track, live.go). A sync then reads only what was written since; what one take
// of marks brought is read once more with the next before it is released. Filesystems mounted from it are frozen for the instant that it
// takes to read what is in use. The last pass copies what was written meanwhile until that is little, freezes, reads the rest and thaws:
// the target then holds one instant. Nothing is written here while something is frozen. The journal says before that the map is
// behind (blind); a kill in that moment makes the next pass compare everything.
//
// Where the kernel cannot track, a device that is mounted for writing is refused, and of any other each pass digests everything in use.
//
// # What it guarantees, and what not
//
// What cannot be read on the source is reported as a loss with its ranges; the target has zeroes there. The source is opened for reading only. The
// target device is claimed for the process that writes it. Nobody else's data is overwritten unasked: see device.OpenTarget.
//
// What lies in free space on the target is not touched. A device that somebody else wrote between two passes is not noticed, unless it
// is an image, whose time of change tells; a verification finds it.
package block
