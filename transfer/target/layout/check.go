package layout

import (
	"cmp"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Limits of a plan. They are far above what servers have, and keep what a plan costs in bounds.
const (
	maxText       = 1 << 20 // bytes of the JSON
	maxDisks      = 64
	maxPartitions = 128 // of one table; what a GPT has room for
	maxGroups     = 64
	maxVolumes    = 512 // of one group
	maxMounts     = 1024
	maxSubvolumes = 4096
	maxSize       = 1 << 60
	maxPath       = 1024
)

// mib is the unit in which partitions are placed, as every current tool does.
const mib = 1 << 20

var (
	guid       = regexp.MustCompile(`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)
	mbrID      = regexp.MustCompile(`^[0-9A-Fa-f]{8}$`)
	mbrType    = regexp.MustCompile(`^[0-9A-Fa-f]{2}$`)
	fatID      = regexp.MustCompile(`^[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}$`)
	lvmID      = regexp.MustCompile(`^[0-9A-Za-z]{6}(-[0-9A-Za-z]{4}){5}-[0-9A-Za-z]{6}$`)
	lvmName    = regexp.MustCompile(`^[0-9A-Za-z_+.][0-9A-Za-z_+.-]{0,127}$`) // lvm(8), "Valid names"
	deviceName = regexp.MustCompile(`^/[0-9A-Za-z_+.:/#@-]{1,255}$`)
	feature    = regexp.MustCompile(`^[0-9A-Za-z_-]{1,40}$`)
)

// Check refuses a plan that cannot be carried out, whatever the target: what does not fit together, or into a disk, and all that a tool
// could take for something else. Errors: FERRY-LAYOUT-PLAN.
func (p *Plan) Check() error {
	switch {
	case p.Version != Version:
		return refused("the plan has version %d, this ferry knows %d", p.Version, Version)
	case len(p.Disks) == 0 || len(p.Disks) > maxDisks:
		return refused("the plan has %d disks, not 1 to %d", len(p.Disks), maxDisks)
	case len(p.Groups) > maxGroups:
		return refused("the plan has %d volume groups, more than %d", len(p.Groups), maxGroups)
	}
	once := seen{}
	for i := range p.Disks {
		if err := p.Disks[i].check(once); err != nil {
			return err
		}
	}
	for i := range p.Groups {
		if err := p.checkGroup(&p.Groups[i], once); err != nil {
			return err
		}
	}
	return p.checkUses(once)
}

// seen holds what may come once only.
type seen map[string]bool

func (s seen) add(kind, name string) error {
	key := kind + " " + name
	if s[key] {
		return refused("%s %q comes twice", kind, name)
	}
	s[key] = true
	return nil
}

// checkSize refuses what is no size of a device.
func checkSize(what string, size int64) error {
	if size <= 0 || size > maxSize || size%512 != 0 {
		return refused("%s has %d bytes", what, size)
	}
	return nil
}

func (d *Disk) check(once seen) error {
	if !deviceName.MatchString(d.Name) || strings.Contains(d.Name, "..") {
		return refused("%.80q is no name of a disk", d.Name)
	}
	if err := cmp.Or(once.add("disk", d.Name), checkSize(d.Name, d.Size)); err != nil {
		return err
	}
	if d.Sector != 512 && d.Sector != 4096 {
		return refused("%s has sectors of %d bytes", d.Name, d.Sector)
	}
	if d.Least < 0 || d.Least > d.Size {
		return refused("%s of %d bytes needs %d at least", d.Name, d.Size, d.Least)
	}
	if d.Table == nil {
		return nil
	}
	if d.Use != nil {
		return refused("%s has a partition table, and another use", d.Name)
	}
	return d.Table.check(d, once)
}

func (t *Table) check(d *Disk, once seen) error {
	id := guid
	switch t.Style {
	case GPT:
	case MBR:
		id = mbrID
	default:
		return refused("%s has a partition table of kind %.20q", d.Name, t.Style)
	}
	if !id.MatchString(t.ID) {
		return refused("%s has a partition table with the id %.80q", d.Name, t.ID)
	}
	if len(t.Partitions) > maxPartitions {
		return refused("%s has %d partitions, more than %d", d.Name, len(t.Partitions), maxPartitions)
	}
	indexes := seen{}
	for i := range t.Partitions {
		if err := t.checkPartition(d, &t.Partitions[i], indexes, once); err != nil {
			return err
		}
	}
	return t.checkPlaces(d)
}

func (t *Table) checkPartition(d *Disk, p *Partition, indexes, once seen) error {
	name := partitionName(d.Name, p.Index)
	if err := cmp.Or(indexes.add("partition", strconv.Itoa(p.Index)), checkSize(name, p.Size)); err != nil {
		return err
	}
	switch {
	case p.Index < 1 || p.Index > maxPartitions:
		return refused("%s has a partition %d", d.Name, p.Index)
	case p.Start < d.Sector || p.Start%d.Sector != 0 || p.Size%d.Sector != 0 || p.Start > d.Size-p.Size:
		return refused("%s lies at %d with %d bytes, which is not on the disk or between its sectors", name, p.Start, p.Size)
	case p.Least < 0 || p.Least > p.Size:
		return refused("%s of %d bytes needs %d at least", name, p.Size, p.Least)
	case p.Extended && p.Use != nil:
		return refused("%s is extended and has a use", name)
	}
	if t.Style == GPT {
		if !guid.MatchString(p.Type) || !guid.MatchString(p.UUID) || p.Extended || !printable(p.Label, 144) || len(utf16.Encode([]rune(p.Label))) > 36 {
			return refused("%s has type %.80q, UUID %.80q, label %.80q", name, p.Type, p.UUID, p.Label)
		}
		return once.add("partition UUID", strings.ToLower(p.UUID))
	}
	if !mbrType.MatchString(p.Type) || p.Type == "00" || p.UUID != "" || p.Label != "" || p.Extended && p.Index > 4 {
		return refused("%s has type %.80q, UUID %.80q, label %.80q", name, p.Type, p.UUID, p.Label)
	}
	if (p.Start+p.Size)/d.Sector > 1<<32-1 {
		return refused("%s ends behind what an MBR can say", name)
	}
	return nil
}

// checkPlaces refuses partitions that overlap each other or the tables. A logical one has a sector for its own table before it.
func (t *Table) checkPlaces(d *Disk) error {
	var extended *Partition
	for i := range t.Partitions {
		if p := &t.Partitions[i]; p.Extended && extended != nil {
			return refused("%s has two extended partitions", d.Name)
		} else if p.Extended {
			extended = p
		}
	}
	end := usable(t.Style, d.Size, d.Sector).start
	inside := int64(0) // where the next logical partition's table may lie
	if extended != nil {
		inside = extended.Start
	}
	for _, p := range t.sorted() {
		if p.logical(t.Style) {
			if extended == nil || p.Start < inside+d.Sector || p.Start+p.Size > extended.Start+extended.Size {
				return refused("%s is not apart from the others, or not inside the extended partition", partitionName(d.Name, p.Index))
			}
			inside = p.Start + p.Size
			continue
		}
		if p.Start < end || p.Start+p.Size > usable(t.Style, d.Size, d.Sector).end {
			return refused("%s overlaps the table or another partition", partitionName(d.Name, p.Index))
		}
		end = p.Start + p.Size
	}
	return nil
}

func (p *Partition) logical(style string) bool { return style == MBR && p.Index > 4 }

// sorted lists the partitions in the order they lie on the disk, an extended one before those inside.
func (t *Table) sorted() []*Partition {
	out := make([]*Partition, len(t.Partitions))
	for i := range t.Partitions {
		out[i] = &t.Partitions[i]
	}
	slices.SortFunc(out, func(a, b *Partition) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.Index, b.Index))
	})
	return out
}

func (p *Plan) checkGroup(g *Group, once seen) error {
	if !lvmName.MatchString(g.Name) || g.Name == "." || g.Name == ".." || !lvmID.MatchString(g.UUID) {
		return refused("volume group %.140q with UUID %.80q", g.Name, g.UUID)
	}
	if err := cmp.Or(once.add("volume group", g.Name), once.add("LVM UUID", g.UUID)); err != nil {
		return err
	}
	if g.Extent < 4096 || g.Extent > 4<<30 || g.Extent&(g.Extent-1) != 0 || len(g.Volumes) > maxVolumes {
		return refused("volume group %s has extents of %d bytes and %d volumes", g.Name, g.Extent, len(g.Volumes))
	}
	need, names := int64(0), seen{}
	for i := range g.Volumes {
		v := &g.Volumes[i]
		name := g.Name + "/" + v.Name
		if !lvmName.MatchString(v.Name) || v.Name == "." || v.Name == ".." || !lvmID.MatchString(v.UUID) {
			return refused("logical volume %.140q of %s with UUID %.80q", v.Name, g.Name, v.UUID)
		}
		if err := cmp.Or(names.add("logical volume", v.Name), once.add("LVM UUID", v.UUID), checkSize(name, v.Size)); err != nil {
			return err
		}
		if v.Size%g.Extent != 0 || v.Least < 0 || v.Least > v.Size {
			return refused("%s has %d bytes, %d at least, in extents of %d", name, v.Size, v.Least, g.Extent)
		}
		if v.Use != nil && v.Use.Type == LVM {
			return refused("%s is a logical volume that holds a volume group", name)
		}
		if need += v.Size; need > maxSize {
			return refused("volume group %s has volumes of more than %d bytes", g.Name, int64(maxSize))
		}
	}
	if have := g.room(p.physical(g.Name)); need > have {
		return refused("volume group %s has %d bytes in its physical volumes, and volumes of %d", g.Name, have, need)
	}
	return nil
}

func (p *Plan) checkUses(once seen) error {
	groups, trees := map[string]bool{}, map[string]bool{}
	for _, g := range p.Groups {
		groups[g.Name] = true
	}
	mounts, subvolumes := 0, 0
	for _, at := range p.places() {
		u := at.use
		if err := u.check(at.device, groups, once); err != nil {
			return err
		}
		if u.Type == Btrfs {
			trees[u.UUID] = trees[u.UUID] || u.Trees != nil
		}
		if u.Trees != nil {
			subvolumes += len(u.Trees.Subvolumes)
		}
		if mounts += len(u.Mounts); mounts > maxMounts || subvolumes > maxSubvolumes {
			return refused("the plan has more than %d mounts or %d subvolumes", maxMounts, maxSubvolumes)
		}
	}
	for id, whole := range trees {
		if !whole {
			return refused("Btrfs %s has further devices only", id)
		}
	}
	return nil
}

func (u *Use) check(device string, groups map[string]bool, once seen) error {
	id, room := guid, 0
	switch u.Type {
	case "ext2", "ext3", "ext4":
		room = 16
	case Swap:
		room = 16
	case XFS:
		room = 12
	case VFAT:
		id, room = fatID, 11
	case Btrfs:
		room = 255
		if err := u.checkTrees(device); err != nil {
			return err
		}
	case LVM:
		id = lvmID
		if u.First < 0 || u.First > 64*mib || u.First%512 != 0 || u.First > 0 && u.First < 64<<10 {
			return refused("%s has its first extent at %d", device, u.First)
		}
		if !groups[u.Group] {
			return refused("%s is of a volume group %.140q that is not in the plan", device, u.Group)
		}
	default:
		return refused("%s is to hold %.40q, which cannot be made", device, u.Type)
	}
	if !id.MatchString(u.UUID) || !printable(u.Label, room) {
		return refused("%s has UUID %.80q and label %.300q", device, u.UUID, u.Label)
	}
	if u.Type != Btrfs || u.Trees != nil {
		if err := once.add("UUID", strings.ToLower(u.UUID)); err != nil {
			return err
		}
	}
	if !power(u.Block, 512, 64<<10) || !power(u.Inode, 128, 64<<10) || u.PerIno < 0 || u.PerIno > 64<<20 || u.PerIno > 0 && u.PerIno < 1024 || len(u.Has) > 64 {
		return refused("%s has blocks of %d bytes, inodes of %d, one for %d bytes, %d features", device, u.Block, u.Inode, u.PerIno, len(u.Has))
	}
	if i := slices.IndexFunc(u.Has, func(f string) bool { return !feature.MatchString(f) }); i >= 0 {
		return refused("%s has a feature %.80q", device, u.Has[i])
	}
	return u.checkMounts(device, once)
}

// power reports whether n is 0, for "as the tool likes", or a power of two between the two.
func power(n, least, most int64) bool { return n == 0 || n >= least && n <= most && n&(n-1) == 0 }

func (u *Use) checkMounts(device string, once seen) error {
	if len(u.Mounts) > 0 && (u.Type == LVM || u.Type == Swap || u.Type == Btrfs && u.Trees == nil) {
		return refused("%s is to be mounted, and holds %s", device, u.Type)
	}
	for _, m := range u.Mounts {
		if !path.IsAbs(m.Path) || path.Clean(m.Path) != m.Path || !printable(m.Path, maxPath) {
			return refused("%s is to be mounted at %.200q", device, m.Path)
		}
		if m.Subvolume != "" && (u.Trees == nil || !slices.Contains(u.Trees.Subvolumes, m.Subvolume) || strings.Contains(m.Subvolume, ",")) {
			return refused("%s is to be mounted by a subvolume %.200q that is not in the plan", device, m.Subvolume)
		}
		if err := once.add("mount point", m.Path); err != nil {
			return err
		}
	}
	return nil
}

// profiles are those of Btrfs as mkfs.btrfs spells them, with the devices each needs.
var profiles = map[string]int{"": 1, "single": 1, "dup": 1, "raid0": 2, "raid1": 2, "raid10": 4, "raid5": 2, "raid6": 3, "raid1c3": 3, "raid1c4": 4}

func (u *Use) checkTrees(device string) error {
	t := u.Trees
	if t == nil {
		return nil
	}
	if profiles[t.Data] == 0 || profiles[t.Metadata] == 0 || !power(t.Node, 4096, 64<<10) {
		return refused("%s has Btrfs profiles %.20q and %.20q, nodes of %d bytes", device, t.Data, t.Metadata, t.Node)
	}
	known := map[string]bool{"": true}
	for _, s := range t.Subvolumes {
		if s == "" || path.IsAbs(s) || path.Clean(s) != s || s == "." || s == ".." || strings.HasPrefix(s, "../") || known[s] || !printable(s, maxPath) {
			return refused("%s has a subvolume %.200q", device, s)
		}
		known[s] = true
	}
	if !known[t.Default] {
		return refused("%s has the default subvolume %.200q, which is not in the plan", device, t.Default)
	}
	return nil
}

// printable reports whether s can stand in a line of a script: no more than room bytes, and none
// that a terminal or a shell takes for more than a character.
func printable(s string, room int) bool {
	return utf8.ValidString(s) && len(s) <= room && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}
