package layout

import "path"

// GrowScript lists what makes use of target disks that are larger than the source's were, once those have been copied block by block: the table is
// written anew for the size of the disk, and what lies last on each grows. p was fitted with grow. Every action may be done again.
func GrowScript(p *Plan, dir string) (out []Action) {
	for i := range p.Disks {
		d := &p.Disks[i]
		at := place{device: d.Name, size: d.Size, use: d.Use}
		if d.Table != nil {
			list := d.Table.sorted()
			if len(list) == 0 {
				continue
			}
			last := list[len(list)-1]
			at = place{device: partitionName(d.Name, last.Index), size: last.Size, use: last.Use}
			out = append(out, Action{Disk: d, KeepBoot: true})
		}
		if at.use != nil {
			out = append(out, p.enlarge(at, path.Join(dir, "top"))...)
		}
	}
	return out
}

// enlarge makes what a place holds as large as the place. XFS and Btrfs grow while they are mounted, which replays
// their journal; ext2 cannot, so its family is checked and grows as it lies.
func (p *Plan) enlarge(at place, top string) []Action {
	in := p.mountpoint(at, top)
	switch at.use.Type {
	case LVM:
		for i := range p.Groups {
			if g := &p.Groups[i]; g.Name == at.use.Group {
				return []Action{{Argv: []string{"pvresize", "--quiet", "--devices", p.devices(g), at.device}}}
			}
		}
		return nil
	case Swap, VFAT:
		return nil
	case XFS:
		return []Action{{Argv: []string{"xfs_growfs", top}, In: in}}
	case Btrfs:
		return []Action{{Argv: []string{"btrfs", "filesystem", "resize", "max", top}, In: in}}
	default:
		return []Action{{Argv: []string{"e2fsck", "-f", "-p", at.device}, Fine: 1}, {Argv: []string{"resize2fs", at.device}}} // 1: it corrected something
	}
}
