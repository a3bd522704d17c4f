// Package machine starts a real Debian 12 in a virtual machine, with storage of every kind that a test machine's own kernel lacks, and
// compares what Ferry finds there with what the system's own tools say.
//
// root.sh makes the Debian once, in the user's cache directory; disks.sh makes a disk that starts from it, without a machine's help; guest.sh
// runs inside: it makes LVM (linear, striped, RAID 1, thin, snapshots), md, LUKS, multipath, Btrfs on two devices, partitions of every
// sort, asks Ferry and the others, copies
// volumes by way of LVM snapshots and the root while it is frozen (point.sh), and sends all answers out by a virtio port. Two machines: BIOS with the root on LVM, and UEFI with the
// root on Btrfs. QEMU emulates the processor (TCG), so no KVM is needed; each machine takes one to three minutes. The kernel is loaded by QEMU: GRUB
// lies on these disks but does not run.
//
// A third and a fourth machine start from their own disk, GRUB included: a Debian full of what an old machine left in it, made to start by
// package configure (TestConfigureBIOS, TestConfigureUEFI).
//
// It is a slow lab of its own: `make lab`, with the packages of packaging/ci/apt-packages-lab. FERRY_LAB_KEEP=DIR keeps the answers there, and
// FERRY_LAB_REPLAY=DIR compares kept ones again.
package machine
