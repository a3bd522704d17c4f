package collector

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/ferry-migrate/ferry/collector/blockdev"
	"github.com/ferry-migrate/ferry/collector/inventory"
	"github.com/ferry-migrate/ferry/internal/fault"
)

// Images describes disks of which only image files, or devices given by name, are at hand: disks, volume groups and
// filesystems, nothing of the host. The files are only read. Several that belong together, as the disks of one server do,
// are given together. An error means that a file cannot be opened at all, or is in a format that would have to be unpacked (FERRY-IMAGE-FORMAT).
func Images(ctx context.Context, files []string) (*inventory.Server, error) {
	s := blank()
	in := inspector{open: openDevice, image: true}
	for _, file := range files {
		path, err := filepath.Abs(file)
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", file, err)
		}
		info, err := imageInfo(path)
		if err != nil {
			return nil, err
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

// imageInfo opens a file for a moment, to see that it can be read and what it is.
func imageInfo(path string) (info blockdev.Info, err error) {
	d, err := blockdev.Open(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return info, fmt.Errorf("image: %w", err)
	}
	if err != nil {
		return info, fault.Operator("FERRY-IMAGE-FORMAT", "give raw image files or block devices", fmt.Errorf("image: %w", err))
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	info = d.Info()
	if format := packed(d, info.Size); format != "" {
		return info, fault.Operator("FERRY-IMAGE-FORMAT", "make a raw image of it, for example with qemu-img convert -O raw, and give that",
			fmt.Errorf("image %s: is %s, which is not read", path, format))
	}
	return info, nil
}

// formats are those of virtual disks and archives that hide the bytes of a disk, by what they begin with: the headers of qcow2, VMDK, VHDX and
// VDI as qemu/block has them, and the magic numbers of compressors.
var formats = []struct {
	at    int64
	magic string
	name  string
}{
	{0, "QFI\xfb", "a qcow2 image"}, {0, "KDMV", "a VMDK image"}, {0, "# Disk DescriptorFile", "the description of a VMDK image"}, {0, "vhdxfile", "a VHDX image"},
	{0, "conectix", "a dynamic VHD image"}, {64, "\x7f\x10\xda\xbe", "a VDI image"},
	{0, "\x1f\x8b\x08", "compressed by gzip"}, {0, "\xfd7zXZ\x00", "compressed by xz"}, {0, "\x28\xb5\x2f\xfd", "compressed by zstd"}, {0, "BZh", "compressed by bzip2"},
}

// packed names the format of an image that is not raw, "" for one that may be.
func packed(r io.ReaderAt, size int64) string {
	head := make([]byte, min(size, 512))
	if _, err := r.ReadAt(head, 0); err != nil {
		return "" // said when the content is read
	}
	for _, f := range formats {
		if int64(len(head)) > f.at && bytes.HasPrefix(head[f.at:], []byte(f.magic)) {
			return f.name
		}
	}
	return ""
}
