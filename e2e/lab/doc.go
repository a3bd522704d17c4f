// Package lab gives a test real filesystems of its own: ext4, XFS and Btrfs on loop devices, and tmpfs.
//
// Each lives in a directory ferry-lab-* of the temporary directory, is unmounted and removed when its test ends, however it
// ends, and is swept by the next user of the package when the process was killed first. A lock on the directory, which the
// kernel drops with the process, tells the living from the dead; several test processes may run side by side.
//
// FERRY_LAB_KEEP=1 leaves the filesystems of failed tests mounted and logs where; the next run sweeps them.
package lab
