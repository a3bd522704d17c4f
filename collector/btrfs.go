package collector

import (
	"context"
	"io"

	"github.com/ferry-migrate/ferry/collector/inventory"
	"github.com/ferry-migrate/ferry/collector/probe"
)

// members groups the devices of Btrfs filesystems by the UUID of the filesystem, in the order they were found.
func members(all []carrier) (ids []string, by map[string][]carrier) {
	by = map[string][]carrier{}
	for _, c := range all {
		if c.content.Type != "btrfs" {
			continue
		}
		if by[c.content.UUID] == nil {
			ids = append(ids, c.content.UUID)
		}
		by[c.content.UUID] = append(by[c.content.UUID], c)
	}
	return ids, by
}

// btrfs describes filesystems that are not mounted, from their trees.
func (in inspector) btrfs(ctx context.Context, all []carrier) (out []inventory.Btrfs) {
	ids, by := members(all)
	for _, id := range ids {
		out = append(out, in.unmountedBtrfs(ctx, by[id]))
	}
	return out
}

func (in inspector) unmountedBtrfs(ctx context.Context, list []carrier) inventory.Btrfs {
	ctx, cancel := context.WithTimeout(ctx, oneDevice)
	defer cancel()
	fs, err := patiently(ctx, func() (inventory.Btrfs, error) {
		var devices []probe.BtrfsDevice
		var open closers
		defer func() { _ = open.Close() }() // they were only read
		seen := map[string]bool{}
		var twice []string
		for _, c := range list {
			if seen[c.content.Member] {
				twice = append(twice, c.name+" is a copy of another member: a second path, or an image beside its original")
				continue
			}
			seen[c.content.Member] = true
			var r io.ReaderAt
			r, closer, size, err := c.open()
			if err != nil {
				return inventory.Btrfs{}, err
			}
			open = append(open, closer)
			devices = append(devices, probe.BtrfsDevice{Name: c.name, R: r, Size: size})
		}
		fs, err := probe.Btrfs(devices)
		fs.Problems = append(fs.Problems, twice...)
		return fs, err
	})
	if err != nil { // what the superblock said when the content was probed still stands
		c := list[0].content
		fs = inventory.Btrfs{
			UUID: c.UUID, Label: c.Label, SectorSize: c.BlockSize, Features: c.Features, Profiles: []inventory.BtrfsProfile{},
			Subvolumes: []inventory.Subvolume{}, MountPaths: []string{}, Problems: []string{reason(err)},
		}
		for _, c := range list {
			fs.Devices = append(fs.Devices, inventory.BtrfsDevice{UUID: c.content.Member, Name: c.name})
		}
		fs.NumDevices = len(fs.Devices)
	}
	if len(fs.Devices) < fs.NumDevices {
		fs.Problems = append(fs.Problems, "not all of its devices were found")
	}
	return fs
}
