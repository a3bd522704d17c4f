package layout

import (
	"cmp"
	"crypto/sha256"
	"fmt"

	"github.com/ferry-migrate/ferry/internal/fault"
)

// CodeSmall is the code of disks on which a plan has no room.
const CodeSmall = "FERRY-LAYOUT-SMALL"

// Target is a disk that a plan may be laid out on.
type Target struct {
	Path   string
	Size   int64
	Sector int64 // bytes of a logical sector
}

// Fit returns p as it will be on the disks given, the first for the first disk of the plan. Disks beyond those of the plan are left out.
//
//   - What has room stays where it is and as large as it is. With grow the last partition of a disk, if it can grow, gets the rest.
//   - On a smaller disk partitions give up what they can spare, each in proportion, and lie one behind the other. Volumes do the same in a group that
//     became too small.
//   - Where disks are missing, what lay on them becomes further partitions of the disk with a GPT that has most room.
//
// Errors: FERRY-LAYOUT-SMALL names the smallest size that would do; FERRY-LAYOUT-PLAN.
func Fit(p *Plan, disks []Target, grow bool) (*Plan, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	if len(disks) == 0 {
		return nil, fault.Operator(CodeSmall, "name disks of the target", fmt.Errorf("there is no disk for the plan's %d", len(p.Disks)))
	}
	out := p.clone()
	out.remember()
	if err := out.merge(disks); err != nil {
		return nil, err
	}
	for i := range out.Disks {
		if err := out.fitDisk(&out.Disks[i], disks[i], grow); err != nil {
			return nil, err
		}
	}
	for i := range out.Groups {
		if err := out.fitGroup(&out.Groups[i]); err != nil {
			return nil, err
		}
	}
	return out, out.Check()
}

// remember keeps the names of the source: files of its system may speak of them.
func (p *Plan) remember() {
	for i := range p.Disks {
		d := &p.Disks[i]
		d.Was = d.Name
		if d.Table == nil {
			continue
		}
		for j := range d.Table.Partitions {
			q := &d.Table.Partitions[j]
			q.Was = partitionName(d.Name, q.Index)
		}
	}
}

// small refuses a device for its size.
func small(what string, have, need int64) error {
	return fault.Operator(CodeSmall, fmt.Sprintf("give %s %d bytes (%.1f GiB) or more, or free space on the source", what, need, float64(need)/(1<<30)),
		fmt.Errorf("%s has %d bytes, and %d are needed at least", what, have, need))
}

type span struct{ start, end int64 }

// usable is where the partitions of a disk may lie.
func usable(style string, size, sector int64) span {
	if style == GPT {
		return span{2*sector + gptEntries, down(size-sector-gptEntries, sector)}
	}
	return span{sector, down(min(size, (1<<32-1)*sector), sector)}
}

func down(n, unit int64) int64 { return n / unit * unit }
func up(n, unit int64) int64   { return down(n+unit-1, unit) }

// fitDisk makes d the disk t, with everything inside.
func (p *Plan) fitDisk(d *Disk, t Target, grow bool) error {
	need := p.least(place{device: t.Path, size: d.Size, least: d.Least, use: d.Use})
	d.Name, d.Size, d.Sector, d.Least = t.Path, t.Size, t.Sector, 0
	if d.Table == nil {
		if d.Use != nil && t.Size < need {
			return small(t.Path, t.Size, need)
		}
		return nil
	}
	room := usable(d.Table.Style, t.Size, t.Sector)
	fits := true
	for _, q := range d.Table.Partitions {
		fits = fits && q.Start >= room.start && q.Start+q.Size <= room.end && q.Start%t.Sector == 0 && q.Size%t.Sector == 0
	}
	if !fits {
		if err := p.repack(d, room); err != nil {
			return err
		}
	}
	if grow {
		d.Table.grow(down(room.end, mib))
	}
	for i := range d.Table.Partitions {
		d.Table.Partitions[i].Least = 0 // what it is now is final
	}
	return nil
}

// least is the smallest size of a place. A physical volume has to hold its group; of a group on several each keeps its size.
func (p *Plan) least(at place) int64 {
	if at.use == nil || at.use.Type != LVM {
		return floor(at.size, at.least)
	}
	if len(p.physical(at.use.Group)) != 1 {
		return at.size
	}
	need := at.use.first() + mib // the second for what rounding to whole extents costs
	for _, g := range p.Groups {
		if g.Name == at.use.Group {
			for _, v := range g.Volumes {
				need += up(floor(v.Size, v.Least), g.Extent)
			}
			need += g.Extent
		}
	}
	return min(need, at.size)
}

func (u *Use) first() int64 { return cmp.Or(u.First, mib) }

// repack lays the partitions of d one behind the other, each as large as the room lets it.
func (p *Plan) repack(d *Disk, room span) error {
	list := d.Table.sorted()
	start, need, spare := up(room.start, mib), int64(0), int64(0)
	least := make([]int64, len(list))
	for i, q := range list {
		if q.Extended {
			continue
		}
		least[i] = up(p.least(place{size: q.Size, least: q.Least, use: q.Use}), mib)
		need += least[i]
		spare += max(0, q.Size-least[i])
		if q.logical(d.Table.Style) {
			need += mib // for its own table
		}
	}
	have := down(room.end, mib) - start
	if have < need {
		return small(d.Name, d.Size, up(start+need+d.Size-down(room.end, mib), mib))
	}
	share := min(1, float64(have-need)/float64(max(spare, 1)))
	var extended *Partition
	for i, q := range list {
		if q.Extended {
			q.Start, q.Size, extended = start, 0, q
			continue
		}
		if q.logical(d.Table.Style) {
			start += mib
		}
		q.Size = least[i] + down(int64(float64(max(0, q.Size-least[i]))*share), mib)
		q.Start = start
		start += q.Size
		if q.logical(d.Table.Style) {
			extended.Size = start - extended.Start
		}
	}
	if extended != nil && extended.Size == 0 {
		extended.Size = mib
	}
	return nil
}

// grow gives the last partition all that is behind it, if what it holds can grow.
func (t *Table) grow(end int64) {
	list := t.sorted()
	if len(list) == 0 {
		return
	}
	last := list[len(list)-1]
	if last.Use == nil || last.Use.Type == Swap || last.Use.Type == VFAT || last.Start+last.Size >= end {
		return
	}
	last.Size = end - last.Start
	for _, q := range list {
		if q.Extended && last.logical(t.Style) {
			q.Size = end - q.Start
		}
	}
}

// room is how many bytes of extents the physical volumes of a group have.
func (g *Group) room(physical []place) (bytes int64) {
	for _, at := range physical {
		bytes += down(max(0, at.size-at.use.first()), g.Extent)
	}
	return bytes
}

// fitGroup makes the volumes of a group smaller if it has no room for them.
func (p *Plan) fitGroup(g *Group) error {
	have, total, need := g.room(p.physical(g.Name)), int64(0), int64(0)
	for _, v := range g.Volumes {
		total += v.Size
		need += up(floor(v.Size, v.Least), g.Extent)
	}
	if have < need {
		return small("volume group "+g.Name, have, need)
	}
	share := min(1, float64(have-need)/float64(max(total-need, 1)))
	for i := range g.Volumes {
		v := &g.Volumes[i]
		least := up(floor(v.Size, v.Least), g.Extent)
		if total > have {
			v.Size = least + down(int64(float64(v.Size-least)*share), g.Extent)
		}
		v.Least = 0
	}
	return nil
}

// gptTypes are the GPT types of what moves from a disk that is missing.
var gptTypes = map[string]string{
	LVM: "E6D6D379-F507-44C2-A23C-238F2A3DF928", Swap: "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F", VFAT: "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7",
}

const gptLinux = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"

// merge moves what lies on disks that the target does not have to those it has.
func (p *Plan) merge(disks []Target) error {
	if len(p.Disks) <= len(disks) {
		return nil
	}
	rest := p.Disks[len(disks):]
	p.Disks = p.Disks[:len(disks):len(disks)]
	for _, d := range rest {
		var moved []Partition
		if d.Use != nil {
			moved = append(moved, Partition{Size: d.Size, Least: d.Least, Was: d.Was, Use: d.Use})
		}
		if d.Table != nil {
			moved = append(moved, d.Table.Partitions...)
		}
		for _, q := range moved {
			if q.Use == nil { // boot code, or room for it
				continue
			}
			t := p.roomiest(disks)
			if t == nil {
				return fault.Operator(CodeSmall, fmt.Sprintf("give the target %d disks", len(disks)+len(rest)),
					fmt.Errorf("the plan has %d disks, the target %d, and none of those has a GPT with room for further partitions", len(disks)+len(rest), len(disks)))
			}
			t.append(q, d.Name)
		}
	}
	return nil
}

// roomiest is the table to which a partition can be added: of the disk with most room left, nil if there is none.
func (p *Plan) roomiest(disks []Target) (table *Table) {
	most := int64(0)
	for i, d := range p.Disks {
		if d.Table == nil || d.Table.Style != GPT || len(d.Table.Partitions) >= maxPartitions {
			continue
		}
		left := disks[i].Size
		for _, q := range d.Table.Partitions {
			left -= floor(q.Size, q.Least)
		}
		if left > most {
			most, table = left, d.Table
		}
	}
	return table
}

// append adds a partition of the disk called from behind the others.
func (t *Table) append(q Partition, from string) {
	if q.UUID == "" {
		sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %d", t.ID, from, q.Index))
		sum[6], sum[8] = sum[6]&0x0f|0x40, sum[8]&0x3f|0x80 // as RFC 9562 marks a random UUID
		q.UUID = fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
	}
	if len(q.Type) != len(gptLinux) {
		q.Type = cmp.Or(gptTypes[q.Use.Type], gptLinux)
	}
	q.Boot, q.Index, q.Start = false, 1, mib
	taken := map[int]bool{}
	for _, other := range t.Partitions {
		taken[other.Index] = true
		q.Start = max(q.Start, up(other.Start+other.Size, mib))
	}
	for taken[q.Index] {
		q.Index++
	}
	t.Partitions = append(t.Partitions, q)
}
