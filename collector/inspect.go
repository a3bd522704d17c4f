package collector

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sort"
	"time"

	"github.com/ferry-migrate/ferry/collector/blockdev"
	"github.com/ferry-migrate/ferry/collector/inventory"
	"github.com/ferry-migrate/ferry/collector/probe"
)

// source is what can be read from; a blockdev.Device is one.
type source interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// opener opens a device by its name.
type opener func(path string) (source, error)

func openDevice(path string) (source, error) { return blockdev.Open(path) }

// oneDevice bounds the time for one device: a path that has gone away may never answer.
const oneDevice = 5 * time.Second

// inspector reads what is on devices. Every device is opened on its own, read, and closed.
type inspector struct {
	open opener
	// image is true for files given by name, whose partitions have no device of their own.
	image bool
}

// look opens a device for f, within the time that one device gets. What f finds it returns, and writes nowhere else: when it
// is given up on, it may still be running.
func look[T any](ctx context.Context, open opener, path string, f func(source) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, oneDevice)
	defer cancel()
	return patiently(ctx, func() (none T, err error) {
		d, err := open(path)
		if err != nil {
			return none, err
		}
		defer d.Close()
		return f(d)
	})
}

// disks reads partition tables and content of all disks, several at a time.
func (in inspector) disks(ctx context.Context, list []inventory.Disk) {
	inParallel(len(list), 16, func(i int) {
		if readable(list[i].Kind) {
			in.disk(ctx, &list[i])
		}
	})
}

// readable reports whether there is a point in reading a device: not when it forgets what it holds, nor when it may have no medium.
func readable(kind inventory.DiskKind) bool {
	switch kind {
	case inventory.KindZRAM, inventory.KindCDROM, inventory.KindFloppy, inventory.KindMemory:
		return false
	default:
		return true
	}
}

// onDisk is what a disk shows: a table with its partitions, or content as a whole, or neither.
type onDisk struct {
	table   *inventory.Table
	parts   []inventory.Partition
	content *inventory.Content
}

func (in inspector) disk(ctx context.Context, k *inventory.Disk) {
	known := k.Partitions
	sector := k.LogicalSector
	if in.image {
		sector = 0
	}
	found, err := look(ctx, in.open, k.Name, func(d source) (onDisk, error) { return readDisk(d, sector, known) })
	if err != nil {
		k.Unread = reason(err)
		return
	}
	k.Table, k.Content, k.Partitions = found.table, found.content, merge(k.Name, known, found.parts)
	for i := range k.Partitions {
		p := &k.Partitions[i]
		if !p.Active || p.Extended {
			continue
		}
		kind := p.TypeName
		p.Content, err = look(ctx, in.open, p.Name, func(d source) (*inventory.Content, error) { return contentOf(d, d.Size(), kind) })
		if err != nil {
			p.Unread = reason(err)
		}
	}
}

// readDisk reads the table of a disk, and the content of those partitions that the system does not know and so has no device for.
func readDisk(d source, sector int64, known []inventory.Partition) (out onDisk, err error) {
	out.table, out.parts, err = probe.Table(d, d.Size(), sector)
	if errors.Is(err, probe.ErrUnknown) {
		if len(known) == 0 {
			out.content, err = contentOf(d, d.Size(), "")
			return out, err
		}
		return out, nil
	}
	for i := range out.parts {
		p := &out.parts[i]
		if p.Extended || matching(known, p.Index) != nil {
			continue
		}
		if p.Content, err = contentOf(io.NewSectionReader(d, p.Start, p.Size), p.Size, p.TypeName); err != nil {
			p.Unread = reason(err)
		}
	}
	return out, nil
}

// contentOf probes a partition, or a disk without a table; nil is content that nobody knows. A BIOS boot partition has no
// signature, its type says it.
func contentOf(r io.ReaderAt, size int64, typeName string) (*inventory.Content, error) {
	c, err := probe.Content(r, size)
	if !errors.Is(err, probe.ErrUnknown) {
		return c, err
	}
	if typeName == "BIOS boot" {
		return &inventory.Content{Type: "biosboot", Class: inventory.ClassBoot}, nil
	}
	return nil, nil
}

func matching(list []inventory.Partition, index int) *inventory.Partition {
	for i := range list {
		if list[i].Index == index {
			return &list[i]
		}
	}
	return nil
}

// merge joins what the kernel knows of partitions with what the table says. The kernel is right about where a partition is now,
// the table about everything else.
func merge(disk string, known, table []inventory.Partition) []inventory.Partition {
	out := []inventory.Partition{}
	for _, p := range table {
		p.Name = partitionName(disk, p.Index)
		if k := matching(known, p.Index); k != nil {
			p.Name, p.Number, p.Holders, p.Active = k.Name, k.Number, k.Holders, true
			if k.Start > 0 && !p.Extended { // the kernel shows an extended partition as two sectors, and of one of multipath no start
				p.Start, p.Size = k.Start, k.Size
			}
		}
		out = append(out, p)
	}
	for _, k := range known {
		if matching(table, k.Index) == nil {
			out = append(out, k)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Index < out[j].Index })
	return out
}

// partitionName is how Linux names a partition: with a p between when the disk's name ends in a digit.
func partitionName(disk string, index int) string {
	if disk != "" && disk[len(disk)-1] >= '0' && disk[len(disk)-1] <= '9' {
		return fmt.Sprintf("%sp%d", disk, index)
	}
	return fmt.Sprintf("%s%d", disk, index)
}

// errRights is how every system's refusal for want of rights is named.
var errRights = errors.New("permission denied")

// reason says why a device was not read, in words that need no system knowledge where there are some.
func reason(err error) string {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return errRights.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("did not answer in %v: the device or a path to it may be gone", oneDevice)
	default:
		return err.Error()
	}
}

// carrier is a device, partition or volume with its content, wherever it is in the inventory.
type carrier struct {
	name    string
	number  string
	disk    string // the disk it is on
	content *inventory.Content
	open    func() (io.ReaderAt, io.Closer, int64, error)
}

// carriers lists everything on disks that may have content, with a way to read it.
func (in inspector) carriers(disks []inventory.Disk) (out []carrier) {
	for i := range disks {
		k := &disks[i]
		if k.Content != nil {
			out = append(out, carrier{k.Name, k.Number, k.Name, k.Content, func() (io.ReaderAt, io.Closer, int64, error) { return in.whole(k.Name) }})
		}
		for j := range k.Partitions {
			p := &k.Partitions[j]
			if p.Content == nil {
				continue
			}
			out = append(out, carrier{p.Name, p.Number, k.Name, p.Content, func() (io.ReaderAt, io.Closer, int64, error) {
				if p.Active {
					return in.whole(p.Name)
				}
				d, err := in.open(k.Name)
				if err != nil {
					return nil, nil, 0, err
				}
				return io.NewSectionReader(d, p.Start, p.Size), d, p.Size, nil
			}})
		}
	}
	return out
}

func (in inspector) whole(path string) (io.ReaderAt, io.Closer, int64, error) {
	d, err := in.open(path)
	if err != nil {
		return nil, nil, 0, err
	}
	return d, d, d.Size(), nil
}
