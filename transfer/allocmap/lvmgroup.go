package allocmap

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/ferry-migrate/ferry/transfer/extent"
)

// maxLVMStripes is lvm2's own bound.
const maxLVMStripes = 128

// lvmPhysical is a physical volume as the metadata describes it. Sizes are bytes; count is in extents.
type lvmPhysical struct {
	*physical // nil when it is missing
	start     int64
	count     int64
	taken     []extent.Extent // by segments, in extents
}

// lvmLogical is a logical volume. Its segments follow each other without gaps.
type lvmLogical struct {
	name     string
	size     int64
	segments []lvmSegment
	why      string // it must be taken as a whole; "" when it can be read
}

// lvmSegment is a part of a logical volume, in stripes over its columns. One column is what everybody calls linear.
type lvmSegment struct {
	at, size, stripe int64
	columns          []lvmColumn
}

// lvmColumn is what a segment has of one physical volume.
type lvmColumn struct {
	pv        *lvmPhysical
	off, size int64
}

// row is the number of bytes after which it is the first column's turn again.
func (s lvmSegment) row() int64 { return s.stripe * int64(len(s.columns)) }

type lvmGroup struct {
	*scan
	vg       section
	name     string
	extent   int64 // bytes
	physical map[string]*lvmPhysical
	logical  []*lvmLogical
	inner    map[string]bool // logical volumes that others are made of
}

// read takes the group from its metadata (lvm2 lib/format_text/import_vsn1.c; sizes are in sectors of 512 bytes). Any doubt is
// an error.
func (g *lvmGroup) read() error {
	size := g.vg.num("extent_size")
	if size <= 0 || size > 1<<32 {
		return errors.New("impossible size of extents")
	}
	g.extent, g.inner = size*lvmSector, map[string]bool{}
	byID := map[string]*physical{}
	for _, p := range g.pvs {
		if p.done {
			continue
		}
		if byID[p.id] != nil {
			return errors.New("a physical volume is there twice")
		}
		byID[p.id] = p
	}
	var err error
	g.vg.sub("physical_volumes").each(func(alias string, s section) {
		p := &lvmPhysical{physical: byID[strings.ReplaceAll(s.str("id"), "-", "")], count: s.num("pe_count")}
		g.physical[alias] = p
		sectors := s.num("pe_start")
		if sectors < 0 || sectors > maxSize/lvmSector || p.count < 0 || p.count > (maxSize-sectors*lvmSector)/g.extent {
			err = fmt.Errorf("impossible physical volume %s", alias)
			return
		}
		if p.start = sectors * lvmSector; p.physical != nil && p.start+p.count*g.extent > p.size {
			err = fmt.Errorf("physical volume %s has more extents than the device has room for", alias)
		}
	})
	if err != nil {
		return err
	}
	g.vg.sub("logical_volumes").each(func(name string, s section) {
		lv, e := g.readLogical(name, s)
		if err == nil {
			err = e
		}
		g.logical = append(g.logical, lv)
	})
	if err != nil {
		return err
	}
	return g.disjoint()
}

// readLogical takes one logical volume, and notes which others it refers to in any way.
func (g *lvmGroup) readLogical(name string, s section) (*lvmLogical, error) {
	lv := &lvmLogical{name: name}
	if !slices.Contains(s.list("status"), any("VISIBLE")) {
		lv.why = "it is internal to LVM"
	}
	var err error
	s.each(func(_ string, seg section) {
		e := g.segment(lv, seg)
		if err == nil {
			err = e
		}
		for key, v := range seg.values {
			if key == "type" {
				continue
			}
			switch v := v.(type) {
			case string:
				g.refer(v)
			case []any:
				for _, x := range v {
					if ref, ok := x.(string); ok {
						g.refer(ref)
					}
				}
			}
		}
	})
	return lv, err
}

func (g *lvmGroup) refer(name string) {
	if g.vg.sub("logical_volumes").values[name] != nil {
		g.inner[name] = true
	}
}

// segment takes a part of a logical volume.
func (g *lvmGroup) segment(lv *lvmLogical, s section) error {
	impossible := fmt.Errorf("logical volume %q has an impossible segment", lv.name)
	first, count := s.num("start_extent"), s.num("extent_count")
	if first < 0 || count <= 0 || first > maxSize/g.extent || count > maxSize/g.extent-first || first*g.extent != lv.size {
		return impossible
	}
	seg := lvmSegment{at: lv.size, size: count * g.extent, stripe: count * g.extent}
	lv.size += seg.size
	pairs, each := s.list("stripes"), count
	if n := s.num("stripe_count"); n > maxLVMStripes {
		return impossible
	} else if n > 1 {
		each = (count + n - 1) / n
		seg.stripe = s.num("stripe_size") * lvmSector
		if !powerOfTwo(uint64(s.num("stripe_size")), 8, uint64(g.extent/lvmSector)) || count%n != 0 {
			lv.why = "its stripes are odd"
		}
	}
	if kind := s.str("type"); kind != "striped" || len(pairs) == 0 || int64(len(pairs)) != 2*s.num("stripe_count") {
		lv.why = fmt.Sprintf("it has a segment of type %q", kind)
	}
	// Whatever the type: these are extents of physical volumes that it has. Other names are logical volumes; see refer.
	for pairs = append(slices.Clone(pairs), s.list("mirrors")...); len(pairs) >= 2; pairs = pairs[2:] {
		alias, _ := pairs[0].(string)
		p := g.physical[alias]
		if p == nil {
			if lv.why == "" {
				lv.why = "it lies on what is no physical volume"
			}
			continue
		}
		start, ok := pairs[1].(int64)
		if !ok || start < 0 || start > p.count || each > p.count-start {
			return impossible
		}
		p.taken = append(p.taken, extent.Extent{Start: start, Size: each})
		if p.physical == nil {
			lv.why = "a physical volume is missing"
			continue
		}
		seg.columns = append(seg.columns, lvmColumn{pv: p, off: p.start + start*g.extent, size: each * g.extent})
	}
	lv.segments = append(lv.segments, seg)
	return nil
}

// disjoint fails when two segments share an extent.
func (g *lvmGroup) disjoint() error {
	for alias, p := range g.physical {
		slices.SortFunc(p.taken, func(a, b extent.Extent) int {
			if a.Start < b.Start {
				return -1
			}
			return 1
		})
		for i := 1; i < len(p.taken); i++ {
			if p.taken[i].Start < p.taken[i-1].End() {
				return fmt.Errorf("physical volume %s has an extent in two volumes", alias)
			}
		}
	}
	return nil
}

// offer marks what belongs to the group itself and takes up its logical volumes.
func (g *lvmGroup) offer() {
	for _, p := range g.physical {
		if p.physical != nil {
			for _, a := range p.areas {
				p.use(int64(a.off), int64(a.size))
			}
			p.use(0, p.start)
			p.tail(p.start + p.count*g.extent) // less than an extent, and perhaps a second metadata area
		}
	}
	for _, lv := range g.logical {
		if g.inner[lv.name] {
			lv.why = "other volumes are made of it"
		}
		g.offerLogical(lv)
	}
}

// offerLogical takes up a logical volume as one to look at, or marks all that it has.
func (g *lvmGroup) offerLogical(lv *lvmLogical) {
	var on *lvmPhysical // where it begins
	for _, seg := range lv.segments {
		if len(seg.columns) > 0 && on == nil {
			on = seg.columns[0].pv
		}
	}
	switch {
	case on == nil:
		return // it has nothing on any device that is here
	case lv.why != "" || len(g.volumes) >= maxVolumes:
		on.note("logical volume %s is taken as a whole: %s", lv.name, lv.why)
		for _, seg := range lv.segments {
			for _, c := range seg.columns {
				c.pv.use(c.off, c.size)
			}
		}
		return
	}
	g.add(&volume{
		source: source{g.ctx, lv, lv.size},
		root:   on.root, path: join(on.path, lv.name), nesting: on.nesting + 1,
		emit: lv.use, on: lv.on(),
	})
}

// on returns the volumes that a logical one lies on, each once.
func (lv *lvmLogical) on() (out []*volume) {
	for _, seg := range lv.segments {
		for _, c := range seg.columns {
			if v := c.pv.volume; !slices.Contains(out, v) {
				out = append(out, v)
			}
		}
	}
	return out
}

// use marks a range of the logical volume on its physical ones.
func (lv *lvmLogical) use(e extent.Extent) {
	mark := func(c lvmColumn, off, _, n int64) bool { c.pv.use(off, n); return true }
	for _, seg := range lv.from(e.Start) {
		start, end := max(e.Start, seg.at)-seg.at, min(e.End(), seg.at+seg.size)-seg.at
		if start >= end {
			return
		}
		// Whole rows in one go: their number is not bounded by anything but the size.
		first, last := (start+seg.row()-1)/seg.row(), end/seg.row()
		if first >= last {
			seg.each(start, end, mark)
			continue
		}
		seg.each(start, first*seg.row(), mark)
		for _, c := range seg.columns {
			c.pv.use(c.off+first*seg.stripe, (last-first)*seg.stripe)
		}
		seg.each(last*seg.row(), end, mark)
	}
}

// from returns the segments from the one on that holds the byte at off.
func (lv *lvmLogical) from(off int64) []lvmSegment {
	i, _ := slices.BinarySearchFunc(lv.segments, off, func(s lvmSegment, off int64) int {
		if s.at+s.size <= off {
			return -1
		}
		return 1
	})
	return lv.segments[i:]
}

// each calls f with the pieces between two bytes of the segment: the column, where on its physical volume, at which byte of the
// segment, and how long; until f returns false.
func (s lvmSegment) each(start, end int64, f func(c lvmColumn, off, at, n int64) bool) {
	for start < end {
		chunk, rest := start/s.stripe, start%s.stripe
		n := min(s.stripe-rest, end-start)
		c := s.columns[chunk%int64(len(s.columns))]
		if !f(c, c.off+chunk/int64(len(s.columns))*s.stripe+rest, start, n) {
			return
		}
		start += n
	}
}

// ReadAt reads the logical volume from its physical ones.
func (lv *lvmLogical) ReadAt(p []byte, off int64) (int, error) {
	done := 0
	for _, seg := range lv.from(off) {
		var err error
		start, end := off+int64(done)-seg.at, min(off+int64(len(p)), seg.at+seg.size)-seg.at
		seg.each(start, end, func(c lvmColumn, from, _, n int64) bool {
			var got int
			got, err = c.pv.ReadAt(p[done:][:n], from)
			done += got
			return err == nil
		})
		if err != nil || done == len(p) {
			return done, err
		}
	}
	return done, io.EOF
}
