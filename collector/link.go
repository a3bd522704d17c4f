package collector

import (
	"slices"
	"strings"

	"github.com/ferry-migrate/ferry/collector/inventory"
)

// link joins what different collectors found: how full a mounted filesystem is, where subvolumes are mounted, which disk the
// system is on, what fstab's tags stand for. It is pure: it reads and writes the inventory only.
func link(s *inventory.Server) {
	x := newIndex(s)
	for i := range s.Mounts {
		x.mount(&s.Mounts[i])
	}
	for i := range s.Fstab {
		if e := &s.Fstab[i]; e.Device == "" {
			e.Device = x.bySpec(e.Spec)
		}
	}
	if s.OS.Family == inventory.FamilyLinux { // Windows says it itself
		s.Boot.SystemDisk, s.Boot.BootDisk = x.diskOf(s, "/"), x.diskOf(s, "/boot", "/boot/efi", "/efi", "/")
	}
	for _, k := range s.Disks {
		for _, p := range k.Partitions {
			c := p.Content
			if s.OS.Family == inventory.FamilyLinux && c != nil && (c.Type == "ntfs" || c.Type == "BitLocker") && p.Bootable {
				s.Boot.OtherOS = true
			}
		}
	}
}

// place is something with content: a disk, partition or logical volume.
type place struct {
	name    string
	disks   []string // the disks it lies on
	copied  bool     // it is a snapshot, whose UUID is that of its origin
	inFile  bool     // it is a file of another filesystem, and moves as one
	content *inventory.Content
	part    *inventory.Partition
	set     func(*inventory.Content)
}

// filesystem names what a place holds: the place itself, or the Btrfs that it is one device of.
func (p *place) filesystem() string {
	if p.content != nil && p.content.Type == "btrfs" && p.content.UUID != "" {
		return p.content.UUID
	}
	return p.name
}

// index finds places by the names and numbers that others use for them.
type index struct {
	s        *inventory.Server
	byName   map[string]*place
	byNumber map[string]*place
	places   []*place
}

func newIndex(s *inventory.Server) *index {
	x := &index{s: s, byName: map[string]*place{}, byNumber: map[string]*place{}}
	on, loops := disksBelow(s), map[string]bool{}
	for _, k := range s.Disks {
		loops[k.Name] = k.Kind == inventory.KindLoop
	}
	add := func(p *place, number string, names ...string) {
		p.disks = on[p.name]
		p.inFile = len(p.disks) > 0 && loops[p.disks[0]]
		x.places = append(x.places, p)
		for _, n := range names {
			x.byName[n] = p
		}
		if number != "" {
			x.byNumber[number] = p
		}
	}
	for i := range s.Disks {
		k := &s.Disks[i]
		add(&place{name: k.Name, content: k.Content, set: func(c *inventory.Content) { k.Content = c }}, k.Number, append([]string{k.Name}, k.Paths...)...)
		for j := range k.Partitions {
			p := &k.Partitions[j]
			add(&place{name: p.Name, content: p.Content, part: p, set: func(c *inventory.Content) { p.Content = c }}, p.Number, p.Name)
		}
	}
	for g := range s.VolumeGroups {
		vg := &s.VolumeGroups[g]
		for l := range vg.Logical {
			lv := &vg.Logical[l]
			add(&place{name: lv.Device, content: lv.Content, copied: lv.Origin != "", set: func(c *inventory.Content) { lv.Content = c }}, lv.Number, lv.Device, "/dev/"+vg.Name+"/"+lv.Name)
		}
	}
	return x
}

// maxStack bounds how many layers are looked through: partition, RAID, encryption, LVM and encryption again are five.
const maxStack = 8

// disksBelow says of every device on which disks it lies in the end, whatever is stacked between.
func disksBelow(s *inventory.Server) map[string][]string {
	on := map[string][]string{}
	join := func(name string, parts []string) {
		var all []string
		for _, p := range parts {
			all = append(all, on[p]...)
		}
		slices.Sort(all)
		if all = slices.Compact(all); len(all) > 0 {
			on[name] = all
		}
	}
	for range maxStack {
		for i := range s.Disks {
			k := &s.Disks[i]
			if k.Real() || len(k.Slaves) == 0 {
				on[k.Name] = []string{k.Name}
			} else {
				join(k.Name, k.Slaves)
			}
			for j := range k.Partitions {
				join(k.Partitions[j].Name, []string{k.Name})
			}
		}
		for _, vg := range s.VolumeGroups {
			var devices []string
			for _, pv := range vg.Physical {
				devices = append(devices, pv.Device)
			}
			for _, lv := range vg.Logical {
				join(lv.Device, devices)
			}
		}
	}
	return on
}

// source finds what a mount is mounted from. Btrfs mounts have a number of no device, so their source is looked at first.
func (x *index) source(m *inventory.Mount) *place {
	if p := x.byName[m.Source]; p != nil && m.Type == "btrfs" {
		return p
	}
	if p := x.byNumber[m.Number]; p != nil {
		return p
	}
	return x.byName[m.Source]
}

// mounted names the filesystems that are, by whichever of their devices.
func (x *index) mounted() map[string]bool {
	out := map[string]bool{}
	for i := range x.s.Mounts {
		if p := x.source(&x.s.Mounts[i]); p != nil {
			out[p.filesystem()] = true
		}
	}
	return out
}

func (x *index) mount(m *inventory.Mount) {
	p := x.source(m)
	if p == nil {
		return
	}
	if p.content == nil { // not read, for want of rights: what is mounted tells its type and how full it is
		p.set(&inventory.Content{Type: m.Type, Class: inventory.ClassFilesystem, Size: m.Size, Usage: m.Usage})
		return
	}
	if m.Usage != nil && p.content.Type != "btrfs" {
		p.content.Usage = m.Usage
	}
	p.content.Dirty = p.content.Dirty && m.ReadOnly
	if p.content.Type != "btrfs" {
		return
	}
	for i := range x.s.Btrfs {
		fs := &x.s.Btrfs[i]
		if fs.UUID != p.content.UUID {
			continue
		}
		fs.MountPaths = append(fs.MountPaths, m.Path)
		for j := range fs.Subvolumes {
			if v := &fs.Subvolumes[j]; "/"+v.Path == m.Root {
				v.MountPaths = append(v.MountPaths, m.Path)
			}
		}
	}
}

// bySpec finds the device of an fstab entry by the content that was found.
func (x *index) bySpec(spec string) string {
	tag, value, ok := strings.Cut(spec, "=")
	value = strings.Trim(value, `"'`)
	for _, p := range x.places {
		switch {
		case !ok && p == x.byName[spec],
			tag == "UUID" && p.content != nil && p.content.Class != inventory.ClassMember && strings.EqualFold(p.content.UUID, value),
			tag == "LABEL" && p.content != nil && value != "" && p.content.Label == value,
			tag == "PARTUUID" && p.part != nil && strings.EqualFold(p.part.UUID, value),
			tag == "PARTLABEL" && p.part != nil && value != "" && p.part.Label == value:
			return p.name
		}
	}
	return ""
}

// diskOf returns the first disk of the first of paths that is mounted.
func (x *index) diskOf(s *inventory.Server, paths ...string) string {
	for _, path := range paths {
		for i := range s.Mounts {
			m := &s.Mounts[i]
			if m.Path != path || m.Overmount {
				continue
			}
			if p := x.source(m); p != nil && len(p.disks) > 0 {
				return p.disks[0]
			}
		}
	}
	return ""
}
