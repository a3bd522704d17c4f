package collector

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ferry-migrate/ferry/collector/inventory"
)

// Limits of the SMS service (FAQ 4.1); Ferry has none of them.
const (
	smsMaxDisks      = 23
	smsMaxSystemDisk = 1 << 40
	smsMaxLinuxDisk  = 16 << 40
)

// checkSpace looks for the room that an agent and its journal need.
func checkSpace(s *inventory.Server, f *findings) {
	const mib = 1 << 20
	for _, m := range s.Mounts {
		if m.Usage == nil || m.Kind != "local" || m.ReadOnly {
			continue
		}
		switch free := m.Usage.Free; {
		case m.Path == "/" && free < 200*mib:
			f.error("FERRY-SPACE-ROOT", m.Path, "only "+size(free)+" are free", "free 200 MiB: the journal and the digest maps are kept there, or set --state to another volume")
		case free < mib:
			f.warn("FERRY-SPACE", m.Path, "only "+size(free)+" are free (SMS.1351)", "free 1 MiB, or programs that start during the migration may fail")
		}
		if m.FreeInodes != nil && *m.FreeInodes == 0 {
			f.warn("FERRY-INODES", m.Path, "no inode is free", "remove files that are not needed")
		}
	}
}

// checkDisks looks at disks and their partition tables.
func checkDisks(s *inventory.Server, f *findings) {
	count := 0
	for i := range s.Disks {
		k := &s.Disks[i]
		if !k.Real() {
			checkStacked(k, f)
			continue
		}
		count++
		if k.LogicalSector != 512 {
			f.warn("FERRY-SECTOR-SIZE", k.Name, fmt.Sprintf("has sectors of %d bytes", k.LogicalSector), "give the target a disk with the same sector size, or migrate at file level: partition tables and some filesystems depend on it")
		}
		if len(k.Paths) > 1 && k.Kind != inventory.KindMultipath {
			f.warn("FERRY-MULTIPATH", k.Name, "is seen by several names ("+strings.Join(k.Paths, ", ")+") without multipath", "start multipathd: writing by two paths damages data")
		}
		if k.Name == s.Boot.SystemDisk && k.Size > smsMaxSystemDisk {
			f.warn("FERRY-SMS-SYSTEM-DISK", k.Name, "the system disk has "+size(k.Size)+" (SMS.6537)", "none needed for Ferry; the SMS service takes up to 1 TiB")
		}
		if k.Size > smsMaxLinuxDisk && s.OS.Family == inventory.FamilyLinux {
			f.warn("FERRY-SMS-DISK", k.Name, "has "+size(k.Size), "none needed for Ferry; the SMS service takes up to 16 TiB")
		}
		checkTable(k, f)
	}
	if count > smsMaxDisks {
		f.warn("FERRY-SMS-DISKS", "", fmt.Sprintf("%d disks", count), "none needed for Ferry; the SMS service takes up to 23")
	}
	for i := range s.Disks { // among those of one driver: which driver comes first only the firmware knows
		if k := &s.Disks[i]; k.Real() && driverOf(k.Name) == driverOf(s.Boot.SystemDisk) {
			if k.Name != s.Boot.SystemDisk {
				f.warn("FERRY-SYSTEM-NOT-FIRST", s.Boot.SystemDisk, "the system is not on the first disk, "+k.Name, "attach the target's disks so that its firmware starts from the right one")
			}
			break
		}
	}
}

// driverOf is the part of a device name that its driver gives to all of its devices.
func driverOf(name string) string {
	name = strings.TrimPrefix(name, "/dev/")
	for _, p := range []string{"sd", "vd", "xvd", "hd", "nvme", "mapper/"} {
		if strings.HasPrefix(name, p) {
			return p
		}
	}
	return strings.TrimRight(name, "0123456789")
}

// checkStacked looks at devices that are made of others.
func checkStacked(k *inventory.Disk, f *findings) {
	switch k.Kind {
	case inventory.KindRAID:
		f.warn("FERRY-RAID", k.Name, "is a software RAID ("+k.Detail+")", "its content moves onto a plain disk of the target. The SMS service refuses it")
	case inventory.KindCrypt:
		f.warn("FERRY-ENCRYPTED", k.Name, "is an opened encrypted volume", "block level copies it as it is, encrypted; file level copies its files in the clear. The SMS service refuses it")
	case inventory.KindMapper:
		f.warn("FERRY-MAPPER", k.Name, "is a device-mapper device of an unknown kind ("+k.Detail+")", "migrate the disks below it, or its files")
	case inventory.KindNetwork:
		f.warn("FERRY-NETWORK-DISK", k.Name, "is a disk behind a network", "attach it to the target instead, or migrate its files")
	}
}

func checkTable(k *inventory.Disk, f *findings) {
	if k.Table == nil {
		return
	}
	for _, p := range k.Table.Problems {
		f.warn("FERRY-PARTITION-TABLE", k.Name, p, "repair it with sgdisk -e or fdisk before the migration, or let Ferry write a sound one to the target")
	}
	if k.Table.Hybrid {
		f.warn("FERRY-HYBRID-MBR", k.Name, "has a GPT and a second, hybrid MBR", "block level keeps both; at file level the target gets the GPT only")
	}
	for _, p := range k.Partitions {
		if !p.Active && k.Number != "" && !p.Extended {
			f.warn("FERRY-PARTITION-UNKNOWN", p.Name, "is in the table, but the system does not know it", "run partprobe "+k.Name+" if the table was changed on purpose")
		}
	}
}

// checkContent looks at what is on disks, partitions and volumes.
func checkContent(s *inventory.Server, f *findings) {
	x := newIndex(s)
	mounted := x.mounted()
	seen := map[string]string{}
	for _, p := range x.places {
		c := p.content
		if c == nil {
			continue
		}
		for _, problem := range c.Problems {
			if c.Class == inventory.ClassSwap {
				f.error("FERRY-HIBERNATED", p.name, problem, "start the server from it and shut it down, or make the swap area anew")
			} else {
				f.warn("FERRY-CONTENT", p.name, c.Type+": "+problem, "check it with the tool of its filesystem while it is not mounted")
			}
		}
		if len(c.Also) > 0 {
			f.warn("FERRY-AMBIGUOUS", p.name, "is taken for "+c.Type+", but looks like "+strings.Join(c.Also, ", ")+" too", "look with wipefs -n, and remove the signature that is left over")
		}
		if c.Type == "BitLocker" {
			f.error("FERRY-BITLOCKER", p.name, "is encrypted by BitLocker", "suspend or switch off BitLocker before the migration")
		}
		if c.Type == "zfs_member" {
			f.warn("FERRY-ZFS", p.name, "belongs to a ZFS pool", "migrate the pool with zfs send, or its mounted files at file level; block level copies the whole device")
		}
		key := c.UUID
		if c.Member != "" {
			key = c.Member
		} else if c.Type == "linux_raid_member" { // before version 1 they have only the UUID of the array
			key = ""
		}
		if p.copied {
			continue
		}
		if other := seen[key]; key != "" && other != "" {
			f.error("FERRY-DUPLICATE-UUID", p.name, "has the same UUID as "+other, "detach the copy, or give it a new UUID: the target may mount the wrong one")
		} else if key != "" {
			seen[key] = p.name
		}
		if c.Class == inventory.ClassFilesystem && !mounted[p.filesystem()] && c.Type != "iso9660" && c.Type != "squashfs" && len(p.disks) > 0 && !p.inFile && !p.copied {
			f.warn("FERRY-UNMOUNTED", p.name, "has a filesystem ("+c.Type+") that is not mounted", "mount it to migrate its files; block level copies it as it is")
		}
	}
}

// checkGroups looks at LVM and Btrfs.
func checkGroups(s *inventory.Server, f *findings) {
	names := map[string]bool{}
	for _, vg := range s.VolumeGroups {
		if names[vg.Name] {
			f.error("FERRY-LVM-DUPLICATE", vg.Name, "two volume groups have this name", "rename one with vgrename and its UUID")
		}
		names[vg.Name] = true
		for _, p := range vg.Problems {
			if p == unreadMetadata && slices.ContainsFunc(s.Missing, lacksRights) {
				continue // the missing rights are an error of their own
			}
			f.error("FERRY-LVM", vg.Name, p, "bring the missing disk back, or remove it from the group with vgreduce --removemissing")
		}
		for _, lv := range vg.Logical {
			checkLogical(vg.Name+"/"+lv.Name, &lv, f)
		}
		for _, pv := range vg.Physical {
			if strings.HasPrefix(pv.Device, "/dev/mapper/") && !strings.Contains(pv.Device, "mpath") {
				f.warn("FERRY-LVM-NESTED", vg.Name, "lies on "+pv.Device, "the target gets plain disks; the SMS service refuses LVM on LVM")
			}
		}
	}
	for _, fs := range s.Btrfs {
		for _, p := range fs.Problems {
			f.warn("FERRY-BTRFS", fs.UUID, p, "bring its devices back, or run as root to see all of it")
		}
		if fs.NumDevices > 1 {
			f.warn("FERRY-BTRFS-DEVICES", fs.UUID, fmt.Sprintf("is a Btrfs on %d devices", fs.NumDevices), "block level must copy all of them together; file level makes one filesystem of them")
		}
	}
}

func checkLogical(name string, lv *inventory.LogicalVolume, f *findings) {
	if lv.Internal {
		return
	}
	switch lv.Kind {
	case "thin-pool", "thin":
		f.warn("FERRY-LVM-THIN", name, "is thinly provisioned", "the target needs the full size, "+size(lv.Size)+", or a thin pool of its own. The SMS service refuses it")
	case "snapshot":
		f.warn("FERRY-LVM-SNAPSHOT", name, "is a snapshot of "+lv.Origin, "it is not migrated: remove it, or migrate its files")
	case "linear", "striped", "":
	default:
		f.warn("FERRY-LVM-LAYOUT", name, "has the layout "+lv.Kind, "its content moves to a linear volume of the target")
	}
	if p := lv.FillPercent; p != nil && *p > 90 {
		f.error("FERRY-LVM-FULL", name, fmt.Sprintf("is %.0f %% full: writes will fail soon", *p), "extend it with lvextend")
	}
}

// checkMounts looks at mounts that are no local filesystem.
func checkMounts(s *inventory.Server, f *findings) {
	binds := 0
	for _, m := range s.Mounts {
		switch {
		case m.Bind && m.Kind == "local":
			binds++
		case m.Overmount && m.Kind == "local":
			f.warn("FERRY-OVERMOUNT", m.Path, "is hidden by another mount at the same place", "unmount one of them: only what is seen can be migrated at file level")
		case m.Kind == "network":
			f.warn("FERRY-NETWORK-MOUNT", m.Path, m.Source+" is a network filesystem ("+m.Type+")", "it is not copied: mount it on the target too")
		case m.Kind == "fuse":
			f.warn("FERRY-FUSE", m.Path, m.Source+" is a filesystem of a program ("+m.Type+")", "it is not copied: run the program on the target, or migrate what is below it")
		}
	}
	if binds > 0 {
		f.ok("FERRY-BIND-MOUNT", "", fmt.Sprintf("%d bind mounts: their files are copied once (SMS.1353)", binds))
	}
}

// checkFstab looks for entries that will not hold on the target.
func checkFstab(s *inventory.Server, f *findings) {
	known := false // without the right to read devices no UUID is known, and all would seem missing
	for _, p := range newIndex(s).places {
		known = known || p.content != nil && p.content.UUID != ""
	}
	for _, e := range s.Fstab {
		optional := strings.Contains(e.Options, "noauto") || strings.Contains(e.Options, "nofail")
		tagged := strings.Contains(e.Spec, "=")
		switch {
		case known && tagged && e.Device == "" && !optional && !strings.HasPrefix(e.Spec, "//"):
			f.warn("FERRY-FSTAB-MISSING", e.Path, e.Spec+" in fstab was not found on any disk", "remove the line or add nofail: a target that waits for it may not start")
		case strings.HasPrefix(e.Spec, "/dev/sd") || strings.HasPrefix(e.Spec, "/dev/vd") || strings.HasPrefix(e.Spec, "/dev/xvd") || strings.HasPrefix(e.Spec, "/dev/nvme") || strings.HasPrefix(e.Spec, "/dev/hd"):
			f.warn("FERRY-FSTAB-NAME", e.Path, e.Spec+" in fstab is a name that changes with the hardware", "none needed: the target's fstab is rewritten to UUIDs")
		}
	}
}

// checkNetwork looks at interfaces and routes.
func checkNetwork(s *inventory.Server, f *findings) {
	gateways := map[string]bool{}
	for _, r := range s.Routes {
		if r.Destination == "0.0.0.0/0" && r.Gateway != "" {
			gateways[r.Interface+" "+r.Gateway] = true
		}
	}
	if len(gateways) > 1 {
		f.warn("FERRY-ROUTES", "", fmt.Sprintf("%d default routes (SMS.0410)", len(gateways)), "keep one, or add a route to the target: data may leave by the wrong interface")
	}
	macs := map[string]string{}
	for _, n := range s.NICs {
		if n.Kind != "ethernet" || n.MAC == "" {
			continue
		}
		if other := macs[n.MAC]; other != "" {
			f.ok("FERRY-MAC", n.Name, "has the MAC of "+other)
		}
		macs[n.MAC] = n.Name
	}
}
