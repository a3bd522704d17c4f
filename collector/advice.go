package collector

import (
	"fmt"

	"github.com/ferry-migrate/ferry/collector/inventory"
)

// Advice says which kind of migration suits a volume better, and why.
type Advice struct {
	Volume string `json:"volume"`
	Mount  string `json:"mount,omitempty"`
	Type   string `json:"type"`  // of its content
	Level  string `json:"level"` // file or block
	Reason string `json:"reason"`
}

// mapped content types are those of which block level reads only what is in use.
var mappedTypes = map[string]bool{"ext2": true, "ext3": true, "ext4": true, "xfs": true, "btrfs": true, "ntfs": true, "swap": true}

// Advise goes through the volumes with a filesystem and weighs file against block level for each.
func Advise(s *inventory.Server) []Advice {
	x, out := newIndex(s), []Advice{}
	mount, mounted := map[*place]string{}, x.mounted()
	for i := range s.Mounts {
		m := &s.Mounts[i]
		if p := x.source(m); p != nil && !m.Bind && !m.Overmount && mount[p] == "" {
			mount[p] = m.Path
		}
	}
	multi := map[string]bool{}
	for _, fs := range s.Btrfs {
		multi[fs.UUID] = fs.NumDevices > 1
	}
	for _, p := range x.places {
		if c := p.content; c != nil && !p.inFile && !p.copied && c.Class == inventory.ClassFilesystem && c.Type != "iso9660" && c.Type != "squashfs" {
			if mount[p] == "" && mounted[p.filesystem()] {
				continue // a further device of a Btrfs
			}
			a := Advice{Volume: p.name, Mount: mount[p], Type: c.Type}
			a.Level, a.Reason = advise(s, c, a.Mount != "", multi[c.UUID])
			out = append(out, a)
		}
	}
	return out
}

// advise decides by the first reason that holds, the strongest first.
func advise(s *inventory.Server, c *inventory.Content, mounted, multi bool) (level, reason string) {
	u := c.Usage
	var files, average int64
	if c.Inodes != nil && u != nil {
		if files = c.Inodes.Count - c.Inodes.Free; files > 0 {
			average = u.Used / files
		}
	}
	switch {
	case s.OS.Family == inventory.FamilyWindows:
		return "block", "Windows volumes move at block level, with the boot files in place"
	case !mounted:
		return "block", "it is not mounted: only block level can copy it"
	case multi:
		return "file", "it spans several devices, which block level could only copy together"
	case !mappedTypes[c.Type]:
		return "file", "block level cannot tell which blocks of " + c.Type + " are in use and would copy all"
	case len(s.Databases) > 0 && c.Type != "vfat":
		return "block", "a database runs: block level gives one consistent instant and sends only changed blocks"
	case files > 1_000_000 || files > 50_000 && average < 64<<10:
		return "block", fmt.Sprintf("%d files of %s on average: reading blocks is faster than walking them", files, size(average))
	case u != nil && u.Used+u.Free > 0 && float64(u.Used) < 0.3*float64(u.Used+u.Free):
		return "file", "it is mostly empty: files fit a smaller target, and the filesystem is made anew"
	default:
		return "block", "an exact copy of the blocks in use, at the speed of the disk"
	}
}
