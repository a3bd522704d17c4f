// Package configure makes a received Linux system start on its new machine.
//
// Files are in place, disks are laid out and mounted below one directory, the root. What is left is everything in the system that
// speaks of the old machine: devices in fstab and crypttab, drivers in the initramfs, the boot loader, network interfaces, and, when
// asked, identity, guest agents and the console. Run goes through a fixed list of steps, each in a file of its own. A step looks first
// and changes only what is not right already.
//
// How it keeps its hands on what it does:
//
//   - The root is hostile: its links point anywhere. Every path is resolved inside it, as the system itself will resolve it, and opened
//     below one os.Root, so nothing outside is read or written.
//   - Every change goes through a tree. It writes a line in a journal, keeps the original inode beside, hidden, as .NAME.ferry-saved, and
//     puts the new file in its place in one rename. What there is of a boot sector is saved in the same way. So Undo restores names,
//     content, owners, times and attributes exactly, and a run that was cut off is simply run again, or undone.
//   - Programs of the system (mkinitramfs, dracut, grub-mkimage, …) run in a chroot that is read-only but for a scratch directory, in
//     namespaces of their own, with no network and no device nodes but those of the migration. They make files; the tree puts them in
//     place. That is why grub-install and update-initramfs, which write where they like, are not called: nothing could undo them.
//
// It guarantees: a second Run with the same choices changes nothing. After Undo the root is as it was before the first Run, whatever was
// cut off in between, access and change times aside. No device is written but the boot disks in Facts, and there only the boot code in the first sector and
// the room named for the core image. On an error all changes so far are in the Report.
//
// It does not guarantee that the system starts: Check looks at what a machine would need and scores it, without starting one. The
// programs come from the source and run with the rights of root; the chroot keeps their mistakes in, not a source that means harm.
// Windows, LILO, SYSLINUX, GRUB Legacy on a new disk, and /boot inside LUKS are refused (FERRY-CONFIGURE-…), with a remedy each.
package configure
