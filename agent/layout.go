package agent

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/ferry-migrate/ferry/collector/inventory"
	"github.com/ferry-migrate/ferry/transfer/target/layout"
)

// DiskPlan makes of what was found on a server the plan of a target's disks. Its Left says what of the server is no part of it: what lies on devices that
// are made of others (RAID, encryption), what cannot be made anew, and kinds of volumes that become plain ones. Errors: FERRY-LAYOUT-PLAN, as of a server
// whose disks do not fit together.
func DiskPlan(s *inventory.Server) (*layout.Plan, error) {
	m := &diskPlan{s: s, plan: &layout.Plan{Version: layout.Version}}
	for i := range s.Disks {
		k := &s.Disks[i]
		switch {
		case !k.Real() && k.Kind != inventory.KindImage:
			if k.Kind == inventory.KindRAID || k.Kind == inventory.KindCrypt || k.Kind == inventory.KindMapper {
				m.leave("%s (%s) is no disk: what is on it does not move with the disks", k.Name, k.Kind)
			}
		case k.Removable || k.ReadOnly:
			m.leave("%s is removable or read-only", k.Name)
		case k.Table == nil && k.Content == nil:
			m.leave("%s holds nothing that is known", cmp.Or(k.Name, k.Number))
		default:
			m.disk(k)
		}
	}
	for i := range s.VolumeGroups {
		m.group(&s.VolumeGroups[i])
	}
	if len(m.plan.Disks) == 0 {
		m.plan.Disks = []layout.Disk{} // what Check will say
	}
	return m.plan, m.plan.Check()
}

// diskPlan is a plan that is being made.
type diskPlan struct {
	s    *inventory.Server
	plan *layout.Plan
}

func (m *diskPlan) leave(format string, args ...any) {
	m.plan.Left = append(m.plan.Left, fmt.Sprintf(format, args...))
}

func (m *diskPlan) disk(k *inventory.Disk) {
	d := layout.Disk{Name: k.Name, Size: k.Size, Sector: k.LogicalSector}
	if k.Table == nil {
		if d.Use, d.Least = m.use(k.Name, k.Number, k.Size, k.Content); d.Use != nil {
			m.plan.Disks = append(m.plan.Disks, d)
		}
		return
	}
	d.Table = &layout.Table{Style: strings.ToLower(string(k.Table.Style)), ID: k.Table.ID}
	for _, p := range k.Partitions {
		q := layout.Partition{Index: p.Index, Start: p.Start, Size: p.Size, Type: p.Type, Boot: p.Bootable, Extended: p.Extended}
		if k.Table.Style == inventory.StyleGPT {
			q.UUID, q.Label = p.UUID, p.Label
		}
		if !p.Extended {
			q.Use, q.Least = m.use(p.Name, p.Number, p.Size, p.Content)
		}
		d.Table.Partitions = append(d.Table.Partitions, q)
	}
	m.plan.Disks = append(m.plan.Disks, d)
}

// spare is what a filesystem that is made smaller keeps free, bytes: the service's own rule.
const spare = 1 << 30

// use says what a device of so many bytes is to hold, nil for nothing, and the smallest size that would do, 0 for its own.
func (m *diskPlan) use(name, number string, size int64, c *inventory.Content) (u *layout.Use, least int64) {
	if c == nil || c.Class == inventory.ClassBoot {
		return nil, 0
	}
	u = &layout.Use{Type: c.Type, UUID: c.UUID, Label: c.Label, Block: c.BlockSize, Has: c.Features}
	switch c.Type {
	case "ext2", "ext3", "ext4", layout.XFS:
		if n := c.Inodes; n != nil {
			u.Inode = n.Size
			if c.Type != layout.XFS && n.Count > 0 {
				u.PerIno = min(max(size/n.Count, 1024), 64<<20)
			}
		}
		if c.Usage != nil {
			least = min((c.Usage.Used+spare+4095)/4096*4096, size)
		}
		u.Mounts = m.mounts(func(at *inventory.Mount) bool { return at.Number == number })
	case layout.VFAT:
		u.Has = []string{c.Version}
		u.Mounts = m.mounts(func(at *inventory.Mount) bool { return at.Number == number })
	case layout.Swap:
		u.Has = nil
	case layout.Btrfs:
		m.btrfs(u, name)
	case "LVM2_member":
		return m.physical(name), 0
	default:
		u = nil
	}
	if u == nil || u.UUID == "" {
		m.leave("%s holds %s, which is not made anew", name, c.Type)
		return nil, 0
	}
	return u, least
}

// mounts lists where the filesystem of a device is mounted: as a whole, and not below another mount that hides it.
func (m *diskPlan) mounts(of func(*inventory.Mount) bool) (out []layout.Mount) {
	for i := range m.s.Mounts {
		if at := &m.s.Mounts[i]; of(at) && at.Root == "/" && !at.Bind && !at.Overmount {
			return []layout.Mount{{Path: at.Path}}
		}
	}
	return out
}

// physical is the use of a device as a physical volume, nil if its group was not found.
func (m *diskPlan) physical(device string) *layout.Use {
	for _, vg := range m.s.VolumeGroups {
		for _, pv := range vg.Physical {
			if pv.Device == device && m.whole(&vg) {
				return &layout.Use{Type: layout.LVM, UUID: pv.UUID, Group: vg.Name, First: pv.Start}
			}
		}
	}
	m.leave("%s is of a volume group that is not made anew", device)
	return nil
}

// whole reports whether all physical volumes of a group lie on disks that move.
func (m *diskPlan) whole(vg *inventory.VolumeGroup) bool {
	return !slices.ContainsFunc(vg.Physical, func(pv inventory.PhysicalVolume) bool {
		return !slices.ContainsFunc(m.s.Disks, func(k inventory.Disk) bool {
			moves := (k.Real() || k.Kind == inventory.KindImage) && !k.Removable && !k.ReadOnly
			return moves && (k.Name == pv.Device || slices.ContainsFunc(k.Partitions, func(p inventory.Partition) bool { return p.Name == pv.Device }))
		})
	})
}

// group adds a volume group whose volumes are linear: those of other kinds become so, and what is no volume of its own stays behind.
func (m *diskPlan) group(vg *inventory.VolumeGroup) {
	if !m.whole(vg) {
		m.leave("volume group %s does not lie on disks that move", vg.Name)
		return
	}
	g := layout.Group{Name: vg.Name, UUID: vg.UUID, Extent: vg.ExtentSize, Volumes: []layout.Volume{}}
	room := int64(0)
	for _, pv := range vg.Physical {
		room += pv.Extents * vg.ExtentSize
	}
	for _, lv := range vg.Logical {
		name := vg.Name + "/" + lv.Name
		switch {
		case lv.Internal:
			continue
		case lv.Kind == "snapshot" || lv.Kind == "thin" && lv.Origin != "":
			m.leave("%s is a snapshot of %s", name, lv.Origin)
			continue
		case lv.Kind == "thin-pool" || lv.Kind == "cache-pool":
			m.leave("%s is a pool: its volumes become plain ones", name)
			continue
		case lv.Size > room:
			m.leave("%s has %d bytes, and the group has no room for it as a plain volume", name, lv.Size)
			continue
		case lv.Kind != "linear":
			m.leave("%s is %s: it becomes a plain volume", name, lv.Kind)
		}
		room -= lv.Size
		v := layout.Volume{Name: lv.Name, UUID: lv.UUID, Size: lv.Size}
		v.Use, v.Least = m.use(lv.Device, lv.Number, lv.Size, lv.Content)
		g.Volumes = append(g.Volumes, v)
	}
	m.plan.Groups = append(m.plan.Groups, g)
}

// btrfs completes what the superblock said: on the first device all of the filesystem, on the others nothing.
func (m *diskPlan) btrfs(u *layout.Use, device string) {
	u.Block, u.Has = 0, nil
	i := slices.IndexFunc(m.s.Btrfs, func(fs inventory.Btrfs) bool { return fs.UUID == u.UUID })
	if i < 0 {
		return
	}
	first := slices.IndexFunc(m.s.Btrfs[i].Devices, func(d inventory.BtrfsDevice) bool { return d.Name != "" })
	if first < 0 || m.s.Btrfs[i].Devices[first].Name != device {
		return
	}
	fs := &m.s.Btrfs[i]
	u.Block, u.Has, u.Trees = fs.SectorSize, fs.Features, &layout.Trees{Node: fs.NodeSize}
	for _, p := range fs.Profiles {
		switch p.Kind {
		case "data", "data+metadata":
			u.Trees.Data = strings.ToLower(p.Profile)
			if p.Kind == "data+metadata" {
				u.Trees.Metadata = u.Trees.Data
			}
		case "metadata":
			u.Trees.Metadata = strings.ToLower(p.Profile)
		}
	}
	known, used := map[string]bool{}, map[string]bool{}
	for _, v := range fs.Subvolumes {
		known[v.Path] = true
	}
	for i := range m.s.Mounts {
		at := &m.s.Mounts[i]
		ours := slices.ContainsFunc(fs.Devices, func(d inventory.BtrfsDevice) bool { return d.Name == at.Source })
		if sub := strings.TrimPrefix(at.Root, "/"); ours && at.Type == layout.Btrfs && !at.Bind && !at.Overmount && (sub == "" || known[sub]) {
			u.Mounts = append(u.Mounts, layout.Mount{Path: at.Path, Subvolume: sub})
			used[sub] = true
		}
	}
	for _, v := range fs.Subvolumes {
		if v.Snapshot && !used[v.Path] && v.ID != fs.DefaultSubvolume { // some systems run from a snapshot
			m.leave("%s in Btrfs %s is a snapshot", v.Path, u.UUID)
			continue
		}
		u.Trees.Subvolumes = append(u.Trees.Subvolumes, v.Path)
		if v.ID == fs.DefaultSubvolume {
			u.Trees.Default = v.Path
		}
	}
}
