package allocmap

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/extent"
)

// Bounds on what one scan keeps. 1<<20 extents are 16 MiB for each volume that is looked at; see extent.Set for what happens
// beyond.
const (
	limitExtents = 1 << 20
	maxVolumes   = 4096
	maxNesting   = 4 // a disk, a partition, a logical volume, a guest's partition
	maxNotes     = 20
)

// Device is a disk, partition, volume, snapshot or image to be looked at. R must take reads of any offset and length within
// Size bytes, several at once; see blockdev.Aligned for devices that want whole sectors.
type Device struct {
	R      io.ReaderAt
	Size   int64
	Sector int64 // logical sector size in bytes, where partition tables count; 0 when nobody knows, as of an image
}

// Map says what of one device is in use.
type Map struct {
	Extents extent.List
	Grain   int64 // size up to which free ranges were taken along because there were too many extents to remember; usually 0
	Volumes []Volume
}

// Volume is the report on one volume that was found on a device: the device itself, a partition, a logical volume.
type Volume struct {
	Path string // "" the device, "2" its second partition, "2/root" a logical volume on it, "2/root/1" a partition in that
	Type string // "ext4", "xfs", "gpt" …; "" when unknown
	Size int64
	Used int64 // bytes in use
	// Whole says why all of the volume is in use, as it cannot be told what is; "" when it could.
	Whole string
	Notes []string // what a reader of the report should know, in sentences without full stop
}

// Scan says which bytes of each device are in use, in the order of devices. Devices that belong together, members of one
// volume group or one Btrfs, must be given together: of a part of them nothing is known, and all is taken.
//
// What the devices hold is never an error: what cannot be understood or read is in use, and Volume.Whole says so. The error
// is that of ctx, or permanent when a device is impossible.
func Scan(ctx context.Context, devices ...Device) ([]Map, error) {
	s := &scan{ctx: ctx, btrfs: map[string][]*volume{}}
	var roots []*volume
	for _, d := range devices {
		if d.R == nil || d.Size < 0 || d.Size >= maxSize || d.Sector != 0 && !powerOfTwo(uint64(d.Sector), 512, 64<<10) {
			return nil, fault.Permanent(fmt.Errorf("map of a device of %d bytes with sectors of %d: impossible", d.Size, d.Sector))
		}
		v := s.add(&volume{source: source{ctx, d.R, d.Size}, sector: d.Sector})
		roots = append(roots, v)
	}
	s.run()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("map what is in use: %w", err)
	}
	out := make([]Map, len(roots))
	for i, v := range roots {
		v.report.Used = v.used.List().Bytes()
		v.noteGrain()
		out[i] = Map{Extents: v.used.List(), Grain: v.used.Grain(), Volumes: s.reports(v)}
	}
	return out, nil
}

// volume is a run of bytes that may hold something. Its set of used ranges is in its own addresses; emit carries them on to
// what the volume lies on.
type volume struct {
	source
	root    *volume // the device where it begins; itself for a device
	path    string
	sector  int64
	nesting int
	used    *extent.Set         // what has not been emitted yet
	emit    func(extent.Extent) // nil for a device
	on      []*volume           // what emit marks
	report  Volume
}

// use marks a range as in use, as far as it lies inside the volume.
func (v *volume) use(start, size int64) {
	start, end := max(start, 0), min(start+size, v.size)
	v.used.Add(start, end-start)
}

// whole marks all of the volume as in use, and says why.
func (v *volume) whole(why string) {
	v.used = extent.NewSet(limitExtents)
	v.use(0, v.size)
	v.report.Whole = why
}

// note adds a note; of too many the rest is only announced.
func (v *volume) note(format string, args ...any) {
	switch n := len(v.report.Notes); {
	case n < maxNotes:
		v.report.Notes = append(v.report.Notes, fmt.Sprintf(format, args...))
	case n == maxNotes:
		v.report.Notes = append(v.report.Notes, "and more")
	}
}

// flush carries what was marked since the last flush on to what the volume lies on, down to the devices: only those remember.
func (v *volume) flush() {
	if v.emit == nil {
		return
	}
	used := v.used.List()
	v.report.Used = min(v.report.Used+used.Bytes(), v.size)
	v.noteGrain()
	for _, e := range used {
		v.emit(e)
	}
	v.used = extent.NewSet(limitExtents)
	for _, below := range v.on {
		below.flush()
	}
}

func (v *volume) noteGrain() {
	if g := v.used.Grain(); g > 0 {
		v.note("free ranges up to %d bytes were taken along: there are too many", g)
	}
}

// tail marks what lies behind the end of a filesystem: nobody knows what it is.
func (v *volume) tail(end int64) {
	if v.size-end >= 16<<20 {
		v.note("the %d bytes behind the filesystem are in use: what they hold is unknown", v.size-end)
	}
	v.use(end, v.size-end)
}

// scan is one call of Scan.
type scan struct {
	ctx     context.Context
	volumes []*volume // what a volume lies on comes before it
	looked  int       // how many of them were looked at
	pvs     []*physical
	texts   lvmTexts
	btrfs   map[string][]*volume // members by filesystem id
	order   []string             // of the keys of btrfs
}

// add takes up a volume to be looked at. Too many, or too deep in one another, are not: then the volume is in use.
func (s *scan) add(v *volume) *volume {
	v.used = extent.NewSet(limitExtents)
	v.report = Volume{Path: v.path, Size: v.size}
	if v.root == nil {
		v.root = v
	}
	s.volumes = append(s.volumes, v)
	return v
}

// within takes up size bytes at start of v as a volume of their own.
func (s *scan) within(v *volume, name string, start, size int64) *volume {
	if len(s.volumes) >= maxVolumes {
		v.use(start, size)
		return nil
	}
	return s.add(&volume{
		source: source{s.ctx, io.NewSectionReader(v, start, size), size},
		root:   v.root, path: join(v.path, name), sector: v.sector, nesting: v.nesting + 1,
		emit: func(e extent.Extent) { v.use(start+e.Start, e.Size) },
		on:   []*volume{v},
	})
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "/" + name
}

// run looks at every volume, and at the groups that they make once all members have been seen.
func (s *scan) run() {
	for s.looked < len(s.volumes) && s.ctx.Err() == nil {
		for ; s.looked < len(s.volumes) && s.ctx.Err() == nil; s.looked++ {
			v := s.volumes[s.looked]
			s.look(v)
			v.flush()
		}
		s.groups()
	}
	for _, id := range s.order {
		scanBtrfs(s.btrfs[id])
		for _, v := range s.btrfs[id] {
			v.flush()
		}
	}
}

// format is one kind of content. is looks for its signature; scan marks what is in use and otherwise says in its error why
// that cannot be told.
type format struct {
	name string
	is   func(v *volume) bool
	scan func(s *scan, v *volume) error
}

// formats are all that is recognised. What is only recognised has no scan: it must not be taken for what else its bytes look
// like, as the half of a mirror is for the filesystem in it.
func formats() []format {
	simple := func(f func(v *volume) error) func(*scan, *volume) error {
		return func(_ *scan, v *volume) error { return f(v) }
	}
	return append([]format{
		{"ext", isExt, simple(scanExt)},
		{"xfs", isXFS, simple(scanXFS)},
		{"btrfs", isBtrfs, (*scan).collectBtrfs},
		{"ntfs", isNTFS, simple(scanNTFS)},
		{"vfat", isFAT, simple(scanFAT)},
		{"exfat", isExFAT, simple(scanExFAT)},
		{"swap", isSwap, simple(scanSwap)},
		{"LVM2_member", isLVM, (*scan).collectLVM},
		{"table", isTable, (*scan).scanTable},
	}, foreign...)
}

var errUnknown = errors.New("the content is unknown")

// look finds out what a volume holds.
func (s *scan) look(v *volume) {
	if v.size == 0 {
		return
	}
	if err := s.recognise(v); err != nil {
		v.whole(err.Error())
	}
}

func (s *scan) recognise(v *volume) error {
	if v.nesting > maxNesting {
		return fmt.Errorf("more than %d volumes in one another", maxNesting)
	}
	if _, err := v.read(0, int(min(v.size, 512))); err != nil {
		return err
	}
	var found []format
	for _, f := range formats() {
		if f.is(v) {
			found = append(found, f)
		}
	}
	switch {
	case len(found) == 0:
		return errUnknown
	case len(found) > 1:
		return fmt.Errorf("there are signatures of %s and of %s", found[0].name, found[1].name)
	}
	v.report.Type = found[0].name
	if found[0].scan == nil {
		return fmt.Errorf("%s is read in full", found[0].name)
	}
	return found[0].scan(s, v)
}

// reports lists what was found on a device.
func (s *scan) reports(root *volume) (out []Volume) {
	for _, v := range s.volumes {
		if v.root == root {
			out = append(out, v.report)
		}
	}
	return out
}
