package layout

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"

	"github.com/ferry-migrate/ferry/internal/fault"
)

// Version is the version of the format of a Plan.
const Version = 1

// CodePlan is the code of a plan that cannot be carried out.
const CodePlan = "FERRY-LAYOUT-PLAN"

// Plan says what disks shall hold. Sizes and offsets are bytes.
type Plan struct {
	Version int     `json:"version"`
	Disks   []Disk  `json:"disks"`
	Groups  []Group `json:"volume_groups,omitempty"`
	// Left lists what of the source is no part of the plan, and why, for people.
	Left []string `json:"left,omitempty"`
}

// Disk is one disk: a table with partitions, or one use of the whole.
type Disk struct {
	Name   string `json:"name"` // the source's device; in a fitted plan the target's
	Size   int64  `json:"size"`
	Sector int64  `json:"sector"` // bytes of a logical sector
	Table  *Table `json:"table,omitempty"`
	Use    *Use   `json:"use,omitempty"`   // without a table
	Least  int64  `json:"least,omitempty"` // of a disk without a table: the smallest size that would do; 0: Size
	Was    string `json:"was,omitempty"`   // in a fitted plan: what the source calls it
}

// The kinds of partition table.
const (
	GPT = "gpt"
	MBR = "mbr"
)

// Table is a partition table.
type Table struct {
	Style      string      `json:"style"` // GPT or MBR
	ID         string      `json:"id"`    // disk GUID, or the MBR's signature as eight hexadecimal digits
	Partitions []Partition `json:"partitions"`
}

// Partition is one entry of a table.
type Partition struct {
	Index    int    `json:"index"` // as the kernel counts, from 1; logical partitions from 5
	Start    int64  `json:"start"`
	Size     int64  `json:"size"`
	Least    int64  `json:"least,omitempty"` // the smallest size it may be given; 0: Size
	Type     string `json:"type"`            // GPT type GUID, or MBR type as two hexadecimal digits
	UUID     string `json:"uuid,omitempty"`  // GPT
	Label    string `json:"label,omitempty"` // GPT
	Boot     bool   `json:"boot,omitempty"`  // MBR active, GPT legacy BIOS bootable
	Extended bool   `json:"extended,omitempty"`
	Was      string `json:"was,omitempty"` // in a fitted plan: what the source calls it
	Use      *Use   `json:"use,omitempty"`
}

// Group is an LVM volume group. Its physical volumes are the uses of type LVM that name it.
type Group struct {
	Name    string   `json:"name"`
	UUID    string   `json:"uuid"`
	Extent  int64    `json:"extent"` // bytes of one extent
	Volumes []Volume `json:"volumes"`
}

// Volume is a logical volume, linear.
type Volume struct {
	Name  string `json:"name"`
	UUID  string `json:"uuid"`
	Size  int64  `json:"size"`
	Least int64  `json:"least,omitempty"` // as in Partition
	Use   *Use   `json:"use,omitempty"`
}

// The types of use. Those of filesystems are what blkid calls them.
const (
	LVM   = "lvm"
	Swap  = "swap"
	Btrfs = "btrfs"
	XFS   = "xfs"
	VFAT  = "vfat"
)

// Use is what a partition, a disk or a volume holds.
type Use struct {
	Type   string   `json:"type"`
	UUID   string   `json:"uuid,omitempty"` // of the physical volume, filesystem or swap area
	Label  string   `json:"label,omitempty"`
	Group  string   `json:"group,omitempty"`           // LVM: the volume group
	First  int64    `json:"first,omitempty"`           // LVM: where the first extent begins; 0: at 1 MiB
	Block  int64    `json:"block,omitempty"`           // bytes of a block or cluster; Btrfs: of a sector
	Inode  int64    `json:"inode,omitempty"`           // bytes of an inode; ext and XFS
	PerIno int64    `json:"bytes_per_inode,omitempty"` // ext: bytes of the volume for each inode
	Has    []string `json:"features,omitempty"`        // as the inventory names them
	Trees  *Trees   `json:"btrfs,omitempty"`           // Btrfs; nil on its further devices
	Mounts []Mount  `json:"mounts,omitempty"`
}

// Trees is what only Btrfs has.
type Trees struct {
	Node     int64  `json:"node"`     // bytes of a tree node
	Data     string `json:"data"`     // profiles, as mkfs.btrfs spells them; "" is its default
	Metadata string `json:"metadata"` //
	// Subvolumes are paths from the top level, parents first. Default is one of them, "" the top level.
	Subvolumes []string `json:"subvolumes,omitempty"`
	Default    string   `json:"default,omitempty"`
}

// Mount is where a filesystem belongs in the tree of the system.
type Mount struct {
	Path      string `json:"path"`
	Subvolume string `json:"subvolume,omitempty"` // Btrfs
}

// Parse reads a plan as JSON and checks it. Errors: FERRY-LAYOUT-PLAN.
func Parse(text []byte) (*Plan, error) {
	p := &Plan{}
	if len(text) > maxText {
		return nil, refused("the plan has %d bytes, more than %d", len(text), maxText)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(p); err != nil {
		return nil, refused("the plan is no JSON of a plan: %w", err)
	}
	if err := p.Check(); err != nil {
		return nil, err
	}
	return p, nil
}

// refused is the error of a plan that cannot be carried out.
func refused(format string, args ...any) error {
	return fault.Operator(CodePlan, "make the plan again with ferry discover --layout, or correct it", fmt.Errorf(format, args...))
}

// A place is a device of the plan that has, or may have, a use.
type place struct {
	device string // of a fitted plan
	size   int64
	least  int64 // 0: size
	use    *Use
	was    string // what the source calls it, of a fitted plan
}

// floor is the smallest size that a place of a size may be given.
func floor(size, least int64) int64 {
	if least == 0 {
		return size
	}
	return least
}

// places lists what has a use: those on disks in the order of the disks, then the logical volumes.
func (p *Plan) places() []place {
	out := p.onDisks()
	for _, g := range p.Groups {
		for _, v := range g.Volumes {
			if v.Use != nil {
				out = append(out, place{"/dev/" + g.Name + "/" + v.Name, v.Size, v.Least, v.Use, ""})
			}
		}
	}
	return out
}

// onDisks lists the partitions and whole disks that have a use.
func (p *Plan) onDisks() (out []place) {
	for _, d := range p.Disks {
		if d.Use != nil {
			out = append(out, place{d.Name, d.Size, d.Least, d.Use, d.Was})
		}
		if d.Table == nil {
			continue
		}
		for _, q := range d.Table.Partitions {
			if q.Use != nil {
				out = append(out, place{partitionName(d.Name, q.Index), q.Size, q.Least, q.Use, q.Was})
			}
		}
	}
	return out
}

// physical lists the physical volumes of a group.
func (p *Plan) physical(group string) (out []place) {
	for _, at := range p.onDisks() {
		if at.use.Type == LVM && at.use.Group == group {
			out = append(out, at)
		}
	}
	return out
}

// partitionName is how the kernel names a partition (block/partitions/core.c): a digit at the end of the disk's name is set apart by a p.
func partitionName(disk string, index int) string {
	if last := disk[len(disk)-1]; last >= '0' && last <= '9' {
		return fmt.Sprintf("%sp%d", disk, index)
	}
	return fmt.Sprintf("%s%d", disk, index)
}

// clone returns a copy that shares nothing with p that Fit changes.
func (p *Plan) clone() *Plan {
	out := *p
	out.Disks, out.Groups = slices.Clone(p.Disks), slices.Clone(p.Groups)
	for i := range out.Disks {
		if t := out.Disks[i].Table; t != nil {
			table := *t
			table.Partitions = slices.Clone(t.Partitions)
			out.Disks[i].Table = &table
		}
	}
	for i := range out.Groups {
		out.Groups[i].Volumes = slices.Clone(out.Groups[i].Volumes)
	}
	return &out
}

// same reports whether two plans say the same, but for what was left out of them.
func (p *Plan) same(other *Plan) bool {
	a, b := *p, *other
	a.Left, b.Left = nil, nil
	return reflect.DeepEqual(a, b)
}
