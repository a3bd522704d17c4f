package probe

import (
	"fmt"
	"strings"

	"github.com/ferry-migrate/ferry/collector/inventory"
)

// sector512 is the unit of every size in LVM metadata.
const sector512 = 512

// VolumeGroup decodes metadata text. device says which device carries the physical volume of a UUID, "" when none does.
// Activity, device numbers and content of the logical volumes are left to the caller.
func VolumeGroup(data []byte, device func(uuid string) string) (inventory.VolumeGroup, error) {
	root, err := parseText(data)
	if err != nil {
		return inventory.VolumeGroup{}, err
	}
	var name string
	var s *section
	root.each(func(n string, sub *section) {
		if s == nil {
			name, s = n, sub
		}
	})
	if s == nil || s.num("extent_size") == 0 || s.num("extent_size") > 1<<40 {
		return inventory.VolumeGroup{}, fmt.Errorf("%w: no volume group in it", errText)
	}
	g := groupReader{
		vg: inventory.VolumeGroup{
			Name: text([]byte(name)), UUID: s.str("id"), Seqno: s.num("seqno"), ExtentSize: s.num("extent_size") * sector512,
			Status: append(s.strs("status"), s.strs("flags")...), SystemID: s.str("system_id"),
			Physical: []inventory.PhysicalVolume{}, Logical: []inventory.LogicalVolume{},
		},
		physical: map[string]int{},
	}
	s.sub("physical_volumes").each(func(alias string, pv *section) { g.addPhysical(alias, pv, device) })
	lvs := s.sub("logical_volumes")
	lvs.each(g.addLogical)
	lvs.each(g.relate)
	g.finish()
	return g.vg, nil
}

type groupReader struct {
	vg       inventory.VolumeGroup
	physical map[string]int // "pv0" → index in vg.Physical
	hidden   []string       // volumes that only describe a snapshot
}

// extents converts a count of extents to bytes; more than fits is 0.
func (g *groupReader) extents(n int64) int64 { return product(uint64(n), uint64(g.vg.ExtentSize)) }

func (g *groupReader) addPhysical(alias string, s *section, device func(string) string) {
	pv := inventory.PhysicalVolume{
		UUID: s.str("id"), Size: product(uint64(s.num("dev_size")), sector512), Start: product(uint64(s.num("pe_start")), sector512),
		Extents: s.num("pe_count"), Free: s.num("pe_count"),
	}
	pv.Device = device(pv.UUID)
	if pv.Device == "" {
		g.vg.Problems = append(g.vg.Problems, "physical volume "+pv.UUID+" is missing")
	}
	g.physical[alias] = len(g.vg.Physical)
	g.vg.Physical = append(g.vg.Physical, pv)
}

func (g *groupReader) addLogical(name string, s *section) {
	lv := inventory.LogicalVolume{
		Name: text([]byte(name)), UUID: s.str("id"), Status: append(s.strs("status"), s.strs("flags")...),
		Device: MapperName(g.vg.Name, name), Internal: true, Segments: []inventory.Segment{},
	}
	for _, st := range lv.Status {
		if st == "VISIBLE" {
			lv.Internal = false
		}
	}
	s.each(func(_ string, seg *section) {
		out := g.segment(seg)
		if lv.Kind == "" {
			lv.Kind = out.Type
			lv.Pool = firstOf(seg.str("thin_pool"), seg.str("cache_pool"))
			lv.Origin = seg.str("origin")
		}
		if end := out.Offset + out.Size; end > lv.Size {
			lv.Size = end
		}
		lv.Segments = append(lv.Segments, out)
	})
	g.vg.Logical = append(g.vg.Logical, lv)
}

// segment decodes one segment; "striped" over one stripe is what everybody calls linear.
func (g *groupReader) segment(s *section) inventory.Segment {
	out := inventory.Segment{
		Type: s.str("type"), Offset: g.extents(s.num("start_extent")), Size: g.extents(s.num("extent_count")),
		StripeSize: product(uint64(s.num("stripe_size")), sector512), Areas: []inventory.Area{},
	}
	perArea := s.num("extent_count")
	if n := s.num("stripe_count"); n > 1 {
		perArea = (perArea + n - 1) / n
	}
	pairs := append(s.list("stripes"), s.list("mirrors")...)
	if out.Type == "striped" && len(pairs) == 2 {
		out.Type, out.StripeSize = "linear", 0
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		name, _ := pairs[i].(string)
		start, _ := pairs[i+1].(int64)
		out.Areas = append(out.Areas, g.area(name, max(start, 0), perArea))
	}
	for _, key := range []string{"raids", "raid0_lvs"} { // pairs of metadata and data volumes, or data volumes alone
		for _, name := range s.strs(key) {
			out.Areas = append(out.Areas, inventory.Area{Logical: name})
		}
	}
	for _, key := range []string{"pool", "metadata", "data", "thin_pool", "cache_pool", "origin", "writecache"} {
		if name := s.str(key); name != "" && len(pairs) == 0 && out.Type != "snapshot" {
			out.Areas = append(out.Areas, inventory.Area{Logical: name})
		}
	}
	return out
}

func (g *groupReader) area(name string, start, count int64) inventory.Area {
	i, ok := g.physical[name]
	if !ok {
		return inventory.Area{Logical: text([]byte(name)), Offset: g.extents(start)}
	}
	pv := &g.vg.Physical[i]
	pv.Free -= count
	return inventory.Area{Physical: firstOf(pv.Device, pv.UUID), Offset: pv.Start + g.extents(start)}
}

// relate moves what a hidden snapshot description says to the volume that holds the snapshot's changes.
func (g *groupReader) relate(name string, s *section) {
	s.each(func(_ string, seg *section) {
		if seg.str("type") != "snapshot" {
			return
		}
		g.hidden = append(g.hidden, name)
		for i := range g.vg.Logical {
			if lv := &g.vg.Logical[i]; lv.Name == seg.str("cow_store") {
				lv.Kind, lv.Origin, lv.Internal = "snapshot", seg.str("origin"), false
			}
		}
	})
}

func (g *groupReader) finish() {
	shown := g.vg.Logical[:0]
	hidden := map[string]bool{}
	for _, name := range g.hidden {
		hidden[name] = true
	}
	for _, lv := range g.vg.Logical {
		if !hidden[lv.Name] {
			shown = append(shown, lv)
		}
	}
	g.vg.Logical = shown
	var extents, free int64
	for i := range g.vg.Physical {
		pv := &g.vg.Physical[i]
		if pv.Free < 0 {
			g.vg.Problems = append(g.vg.Problems, "physical volume "+pv.UUID+" has more allocated than it has")
			pv.Free = 0
		}
		extents, free = extents+pv.Extents, free+pv.Free
		pv.Free = g.extents(pv.Free)
	}
	g.vg.Size, g.vg.Free = g.extents(max(extents, 0)), g.extents(max(free, 0))
}

// MapperName is the path that device-mapper gives to a logical volume: hyphens in names are doubled.
func MapperName(vg, lv string) string {
	double := func(s string) string { return strings.ReplaceAll(s, "-", "--") }
	return "/dev/mapper/" + double(vg) + "-" + double(lv)
}

func firstOf(s ...string) string {
	for _, x := range s {
		if x != "" {
			return x
		}
	}
	return ""
}
