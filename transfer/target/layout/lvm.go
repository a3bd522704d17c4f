package layout

import (
	"fmt"
	"strings"
)

// metadata is the description of a fitted group as LVM keeps it (lvm2, lib/format_text/export.c), for pvcreate and vgcfgrestore. Volumes are
// allocated in their order from the first free extent on, across physical volumes where one ends.
func (p *Plan) metadata(g *Group) string {
	var b strings.Builder
	physical := p.physical(g.Name)
	fmt.Fprintf(&b, "contents = \"Text Format Volume Group\"\nversion = 1\ndescription = \"made by ferry\"\n\n%s {\n", g.Name)
	fmt.Fprintf(&b, "id = %q\nseqno = 1\nformat = \"lvm2\"\nstatus = [\"RESIZEABLE\", \"READ\", \"WRITE\"]\nflags = []\n", g.UUID)
	fmt.Fprintf(&b, "extent_size = %d\nmax_lv = 0\nmax_pv = 0\nmetadata_copies = 0\n\nphysical_volumes {\n", g.Extent/512)
	free := make([]int64, len(physical)) // extents
	for i, at := range physical {
		free[i] = (at.size - at.use.first()) / g.Extent
		fmt.Fprintf(&b, "pv%d {\nid = %q\ndevice = %q\nstatus = [\"ALLOCATABLE\"]\nflags = []\n", i, at.use.UUID, at.device)
		fmt.Fprintf(&b, "dev_size = %d\npe_start = %d\npe_count = %d\n}\n", at.size/512, at.use.first()/512, free[i])
	}
	b.WriteString("}\n\nlogical_volumes {\n")
	pv, used := 0, int64(0)
	for _, v := range g.Volumes {
		var segments strings.Builder
		count, done := 0, int64(0)
		for want := v.Size / g.Extent; done < want; {
			if used == free[pv] {
				pv, used = pv+1, 0
				continue
			}
			n := min(want-done, free[pv]-used)
			count++
			fmt.Fprintf(&segments, "segment%d {\nstart_extent = %d\nextent_count = %d\ntype = \"striped\"\nstripe_count = 1\nstripes = [\"pv%d\", %d]\n}\n", count, done, n, pv, used)
			done, used = done+n, used+n
		}
		fmt.Fprintf(&b, "%s {\nid = %q\nstatus = [\"READ\", \"WRITE\", \"VISIBLE\"]\nflags = []\nsegment_count = %d\n%s}\n", v.Name, v.UUID, count, segments.String())
	}
	b.WriteString("}\n}\n")
	return b.String()
}

// devices is how LVM is told which devices there are for it: it then looks at no other.
func (p *Plan) devices(g *Group) string {
	var names []string
	for _, at := range p.physical(g.Name) {
		names = append(names, at.device)
	}
	return strings.Join(names, ",")
}
