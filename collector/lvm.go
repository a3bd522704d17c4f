package collector

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sort"

	"github.com/ferry-migrate/ferry/collector/inventory"
	"github.com/ferry-migrate/ferry/collector/probe"
)

// LVM is read from its metadata on disk, never asked of lvm2: so it is seen where lvm2 is not installed, where the group is
// not active, in image files, and without taking lvm2's locks. lvm2 itself serves the tests as the judge. The one thing that
// the disk does not know, how full a thin pool or snapshot is, comes from the kernel.

// unreadMetadata is the problem of a group of which only the active volumes are known.
const unreadMetadata = "its metadata could not be read: run as root, or a disk is missing"

// physicals is what all physical volumes say.
type physicals struct {
	device     map[string]string   // by UUID
	duplicates map[string][]string // further devices, by UUID
	texts      map[string][]byte   // metadata by device
	missing    []inventory.Missing
}

func readPhysicals(ctx context.Context, all []carrier) physicals {
	p := physicals{device: map[string]string{}, duplicates: map[string][]string{}, texts: map[string][]byte{}}
	for _, c := range all {
		if c.content.Type != "LVM2_member" {
			continue
		}
		text, err := reading(ctx, c, func(r io.ReaderAt, size int64) ([]byte, error) {
			_, data, err := probe.LVMMetadata(r, size)
			return data, err
		})
		if err != nil {
			p.missing = append(p.missing, inventory.Missing{Part: "storage", Subject: c.name, Reason: reason(err)})
		}
		id := c.content.UUID
		if p.device[id] != "" {
			p.duplicates[id] = append(p.duplicates[id], c.name)
			continue
		}
		p.device[id] = c.name
		if text != nil {
			p.texts[c.name] = text
		}
	}
	return p
}

// volumeGroups assembles the groups from all physical volumes. The newest metadata of a group wins.
func (in inspector) volumeGroups(ctx context.Context, all []carrier) (groups []inventory.VolumeGroup, missing []inventory.Missing) {
	p := readPhysicals(ctx, all)
	newest := map[string]inventory.VolumeGroup{} // by UUID
	for _, name := range sortedKeys(p.texts) {
		vg, err := probe.VolumeGroup(p.texts[name], func(uuid string) string { return p.device[uuid] })
		if err != nil {
			p.missing = append(p.missing, inventory.Missing{Part: "storage", Subject: name, Reason: err.Error()})
			continue
		}
		old, seen := newest[vg.UUID]
		if seen && vg.Seqno != old.Seqno {
			problem := "physical volumes disagree about the state of the group: " + name + " is behind or ahead"
			vg.Problems, old.Problems = append(vg.Problems, problem), append(old.Problems, problem)
		}
		if seen && vg.Seqno <= old.Seqno {
			vg = old
		}
		newest[vg.UUID] = vg
	}
	for _, id := range sortedKeys(newest) {
		vg := newest[id]
		for _, pv := range vg.Physical {
			for _, name := range p.duplicates[pv.UUID] {
				vg.Problems = append(vg.Problems, fmt.Sprintf("%s has the same UUID as %s: a copy, or a second path", name, pv.Device))
			}
		}
		groups = append(groups, vg)
	}
	sort.Slice(groups, func(i, j int) bool { return groups[i].Name < groups[j].Name })
	return groups, p.missing
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// reading opens a carrier for f, within the time that one device gets.
func reading[T any](ctx context.Context, c carrier, f func(r io.ReaderAt, size int64) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, oneDevice)
	defer cancel()
	return patiently(ctx, func() (none T, err error) {
		r, closer, size, err := c.open()
		if err != nil {
			return none, err
		}
		defer closer.Close()
		return f(r, size)
	})
}

// logicalContent reads what is on the logical volumes: an active one by its device, an inactive one through the physical
// volumes when its layout is simple.
func (in inspector) logicalContent(ctx context.Context, groups []inventory.VolumeGroup, all []carrier) (out []carrier) {
	devices := map[string]carrier{}
	for _, c := range all {
		devices[c.name] = c
	}
	for g := range groups {
		for l := range groups[g].Logical {
			lv := &groups[g].Logical[l]
			if lv.Internal || lv.Kind == "thin-pool" || lv.Kind == "cache-pool" {
				continue
			}
			c := carrier{name: lv.Device, number: lv.Number, open: func() (io.ReaderAt, io.Closer, int64, error) {
				if lv.Active {
					return in.whole(lv.Device)
				}
				return openSegments(lv, devices)
			}}
			content, err := reading(ctx, c, probe.Content)
			switch {
			case err == nil:
				lv.Content, c.content = content, content
				out = append(out, c)
			case !errors.Is(err, probe.ErrUnknown):
				lv.Unread = reason(err)
			}
		}
	}
	return out
}

// segments reads an inactive logical volume through its physical volumes.
type segments struct {
	list []inventory.Segment
	size int64
	from map[string]io.ReaderAt
}

// closers are all that were opened.
type closers []io.Closer

// Close closes them all.
func (c closers) Close() error {
	var errs []error
	for _, x := range c {
		errs = append(errs, x.Close())
	}
	return errors.Join(errs...)
}

func openSegments(lv *inventory.LogicalVolume, devices map[string]carrier) (io.ReaderAt, io.Closer, int64, error) {
	s := segments{size: lv.Size, from: map[string]io.ReaderAt{}}
	var open closers
	for _, seg := range lv.Segments {
		if seg.Type != "linear" && seg.Type != "striped" || len(seg.Areas) == 0 {
			return nil, nil, 0, errors.Join(fmt.Errorf("not active: a volume of type %s can only be read while it is", seg.Type), open.Close())
		}
		for _, a := range seg.Areas {
			if s.from[a.Physical] != nil {
				continue
			}
			d, ok := devices[a.Physical]
			if !ok {
				return nil, nil, 0, errors.Join(fmt.Errorf("not active, and physical volume %s is missing", a.Physical), open.Close())
			}
			r, closer, _, err := d.open()
			if err != nil {
				return nil, nil, 0, errors.Join(err, open.Close())
			}
			s.from[a.Physical], open = r, append(open, closer)
		}
		s.list = append(s.list, seg)
	}
	return s, open, s.size, nil
}

// ReadAt reads piece by piece: up to the end of a stripe, or of a segment.
func (s segments) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		r, at, left := s.locate(off + int64(n))
		if r == nil {
			return n, io.EOF
		}
		m, err := r.ReadAt(p[n:min(int64(len(p)), int64(n)+left)], at)
		n += m
		if err != nil && int64(m) < left && n < len(p) {
			return n, err
		}
	}
	return n, nil
}

func (s segments) locate(off int64) (r io.ReaderAt, at, left int64) {
	for _, seg := range s.list {
		in := off - seg.Offset
		if in < 0 || in >= seg.Size {
			continue
		}
		if seg.Type == "linear" || len(seg.Areas) == 1 || seg.StripeSize <= 0 {
			a := seg.Areas[0]
			return s.from[a.Physical], a.Offset + in, seg.Size - in
		}
		stripe, n := in/seg.StripeSize, int64(len(seg.Areas))
		a := seg.Areas[stripe%n]
		return s.from[a.Physical], a.Offset + stripe/n*seg.StripeSize + in%seg.StripeSize, min(seg.StripeSize-in%seg.StripeSize, seg.Size-in)
	}
	return nil, 0, 0
}
