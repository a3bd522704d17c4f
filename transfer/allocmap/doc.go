// Package allocmap says which bytes of a disk, a partition or a volume are in use, so that a block copy reads only those.
//
// Scan reads what is on the devices themselves: no kernel, no mount, no tool is asked, so it works the same for a device, an
// image and a snapshot, on every system. It goes down from each device: a partition table (table.go, gpt.go, mbr.go) leads to
// partitions, physical volumes (lvm.go) lead to logical volumes, which may hold tables again; and at the bottom lie
// filesystems, whose own allocation structures are read: group bitmaps (ext.go), free-space trees (xfs.go), extent trees
// (btrfs.go), $Bitmap (ntfs.go), file allocation tables (fat.go, exfat.go), or the header of swap (swap.go). What is found in
// a volume is then carried up to the devices that it lies on.
//
// # What it guarantees
//
// No block that is in use is missing from the map: what is not understood is in use as a whole, and the report says why. That
// holds for unknown content; for a feature, version or flag that is not on the list of those known here; for two signatures
// in one volume; for a filesystem that was not unmounted, frozen or snapshotted cleanly, because its bitmaps are stale until
// the journal is replayed; for structures that contradict each other or fail their checksums (where a filesystem keeps a
// count beside its free space, that space is believed only when they agree); and for what cannot be read. In use always are partition
// tables with their copies, boot code, the gap before the first partition, the boot and EFI partitions, LVM metadata, every
// superblock copy, and the bytes of a volume behind the end of its filesystem.
//
// Every byte that is read may be hostile: offsets are checked, counts bounded, trees followed downwards and forwards only.
// Memory is bounded whatever the size of the devices (a few tens of MiB; see limitExtents), time by the size of the
// allocation structures.
//
// # What it does not
//
// It takes no snapshot and freezes nothing: a mounted filesystem must be frozen while Scan reads, or what it is told is as old
// as the disk. A mounted filesystem without a journal is marked unclean even while frozen, and so is read in full. It replays
// no journal. Space outside all partitions is free when it is larger than maxGap. A hibernated Windows is recognised by its
// $LogFile alone; and while Windows runs that file is in use, also in a shadow copy: there the system's own bitmap is the
// better source. xxhash and BLAKE2b checksums of Btrfs are not computed: its blocks are told by address, identity, generation
// and level.
//
// Partition tables and LVM metadata are parsed here although collector/probe does so too: transfer does not import the
// collector, and where probe makes the best of what it finds, a doubt here must end in "all of it".
package allocmap
