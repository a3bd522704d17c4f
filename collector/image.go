package collector

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/ferry-migrate/ferry/collector/blockdev"
	"github.com/ferry-migrate/ferry/collector/inventory"
)

// Images describes disks of which only image files, or devices given by name, are at hand: disks, volume groups and
// filesystems, nothing of the host. The files are only read. Several that belong together, as the disks of one server do,
// are given together. An error means that a file cannot be opened at all.
func Images(ctx context.Context, files []string) (*inventory.Server, error) {
	s := blank()
	in := inspector{open: openDevice, image: true}
	for _, file := range files {
		path, err := filepath.Abs(file)
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", file, err)
		}
		d, err := blockdev.Open(path)
		if err != nil {
			return nil, fmt.Errorf("image: %w", err)
		}
		info := d.Info()
		if err := d.Close(); err != nil {
			return nil, fmt.Errorf("image: %w", err)
		}
		kind := inventory.KindDisk
		if info.Image {
			kind = inventory.KindImage
		}
		s.Disks = append(s.Disks, inventory.Disk{
			Name: path, Kind: kind, Size: info.Size, LogicalSector: max(info.LogicalSector, 512), PhysicalSector: max(info.PhysicalSector, 512),
			ReadOnly: info.ReadOnly, Partitions: []inventory.Partition{},
		})
	}
	in.disks(ctx, s.Disks)
	for i := range s.Disks {
		for j := range s.Disks[i].Partitions {
			p := &s.Disks[i].Partitions[j]
			p.Name = fmt.Sprintf("%s#%d", s.Disks[i].Name, p.Index)
		}
	}
	all := in.carriers(s.Disks)
	groups, missing := in.volumeGroups(ctx, all)
	s.VolumeGroups, s.Missing = append(s.VolumeGroups, groups...), append(s.Missing, missing...)
	all = append(all, in.logicalContent(ctx, s.VolumeGroups, all)...)
	s.Btrfs = append(s.Btrfs, in.btrfs(ctx, all)...)
	return s, nil
}
