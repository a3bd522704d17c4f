// Package device opens one block device or image file, as the source or as the target of a block migration.
//
// # How it works
//
// A Source reads past the page cache: the cache of a device node does not show what a mounted filesystem has written, and a whole
// disk read through it would push out what the machine works with. Several readers call Fill side by side, each with a Buffer of its own:
// aligned memory is read into without a copy. Where a read fails, it is split until the sectors that cannot be read are known. A Target writes through the page cache and hands every few MiB on to the disk at once, so
// that little of it is dirty or cached at any time; what it reads back it reads from the disk.
//
// What a device lies on (pieces_linux.go) comes from sysfs: a partition lies on a disk, a loop device on an image, a mapped device or a RAID on its
// members, an image on the device of its filesystem. An Identity holds that, so that two names, also names on two machines that
// share a disk, can be told to be the same bytes.
//
// # What it guarantees
//
//   - A Source is opened for reading only. A sector that cannot be read is named, never invented, and costs bounded time.
//   - A Target is refused when it is smaller than what it is to hold, mounted, swap, part of another device, the source itself,
//     or holds data that nobody agreed to replace. It stays claimed until Close: no mount, no volume manager and no second
//     Ferry gets it, and of an image no QEMU.
//   - After Sync returned nil everything written before is on the disk. After it failed it fails for good: the kernel tells of a
//     lost write only once.
//
// # What it does not
//
// It knows nothing of what lies on the device: which ranges are in use is package allocmap's business. A program that opens a
// device without asking for it alone can write to it whatever this package holds; an image on a network filesystem may
// be written from another machine unseen. On Windows it was built and never run; a disk takes writes of whole sectors there.
package device
