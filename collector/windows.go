package collector

import (
	"context"
	"encoding/binary"
	"fmt"
	"sort"
	"strings"

	"github.com/ferry-migrate/ferry/collector/inventory"
)

// windowsSystem is what Windows is asked. Everything that is decided from the answers is in this file, so that it is tested
// without Windows; the system calls themselves are in windows_windows.go.
type windowsSystem interface {
	// Drives lists the physical drives: name, size, sectors, and the raw descriptor of each.
	Drives() ([]windowsDrive, error)
	// Volumes lists the volumes of the mount manager, also those without a letter.
	Volumes() ([]inventory.WindowsVolume, error)
	// Facts are the rest: directories, drivers, services, rights.
	Facts() (inventory.Windows, error)
}

// windowsDrive is a physical drive as it answers to IOCTL_STORAGE_QUERY_PROPERTY.
type windowsDrive struct {
	Name                    string
	Size, Logical, Physical int64
	Descriptor              []byte // STORAGE_DEVICE_DESCRIPTOR
}

// collectWindows finds drives, partitions and volumes. Partition tables are read from the disk itself, as everywhere: what the
// mount manager says is joined by where a volume lies.
func collectWindows(sys windowsSystem, in inspector) func(context.Context) (Fill, error) {
	return func(ctx context.Context) (Fill, error) {
		in.image = true // partitions have no device that could be opened beside their volume
		drives, err := sys.Drives()
		if err != nil {
			err = fmt.Errorf("physical drives: %w", err)
		}
		var disks []inventory.Disk
		for _, d := range drives {
			k := inventory.Disk{
				Name: d.Name, Kind: inventory.KindDisk, Size: d.Size, LogicalSector: d.Logical, PhysicalSector: d.Physical, Partitions: []inventory.Partition{},
			}
			describeDrive(&k, d.Descriptor)
			disks = append(disks, k)
		}
		in.disks(ctx, disks)
		volumes, verr := sys.Volumes()
		facts, ferr := sys.Facts()
		facts.Volumes, facts.DynamicDisks = volumes, dynamicDisks(disks)
		mounts := joinVolumes(disks, volumes)
		return func(s *inventory.Server) {
			s.Disks = append(s.Disks, disks...)
			s.Mounts = append(s.Mounts, mounts...)
			s.Windows = &facts
			for _, k := range disks {
				if k.Unread != "" {
					s.Missing = append(s.Missing, inventory.Missing{Part: "storage", Subject: k.Name, Reason: k.Unread})
				}
			}
			for part, e := range map[string]error{"volumes": verr, "windows": ferr} {
				if e != nil {
					s.Failed(part, "", e)
				}
			}
			for _, v := range volumes {
				if v.System && len(v.Extents) > 0 {
					s.Boot.SystemDisk = v.Extents[0].Disk
				}
				if v.Boot && len(v.Extents) > 0 {
					s.Boot.BootDisk = v.Extents[0].Disk
				}
			}
		}, err
	}
}

// busNames are the values of STORAGE_BUS_TYPE (winioctl.h).
var busNames = map[uint32]string{
	1: "scsi", 3: "ata", 6: "fc", 7: "usb", 8: "raid", 9: "iscsi", 10: "sas", 11: "sata", 12: "sd", 13: "mmc", 14: "virtual", 15: "file", 16: "spaces", 17: "nvme",
}

// describeDrive reads a STORAGE_DEVICE_DESCRIPTOR: fixed fields, then text at the offsets that they name.
func describeDrive(k *inventory.Disk, b []byte) {
	if len(b) < 36 {
		return
	}
	word := func(off int) uint32 { return binary.LittleEndian.Uint32(b[off:]) }
	at := func(field int) string {
		off := word(field)
		if off == 0 || uint64(off) >= uint64(len(b)) {
			return ""
		}
		s, _, _ := strings.Cut(string(b[off:]), "\x00")
		return strings.TrimSpace(strings.Map(func(r rune) rune {
			if r < ' ' || r > '~' {
				return -1
			}
			return r
		}, s))
	}
	if b[8] == 5 { // the SCSI type of a CD drive
		k.Kind = inventory.KindCDROM
	}
	k.Removable = b[10] != 0
	k.Vendor, k.Model, k.Serial, k.Transport = at(12), at(16), at(24), busNames[word(28)]
}

// dynamicDisks lists the disks of the Logical Disk Manager, by their partition types.
func dynamicDisks(disks []inventory.Disk) []string {
	out := []string{}
	for _, k := range disks {
		for _, p := range k.Partitions {
			if p.Type == "42" || p.TypeName == "Microsoft LDM metadata" {
				out = append(out, k.Name)
				break
			}
		}
	}
	return out
}

// joinVolumes gives partitions the name and usage of the volume that begins in them, and returns the volumes' mount points.
func joinVolumes(disks []inventory.Disk, volumes []inventory.WindowsVolume) []inventory.Mount {
	var mounts []inventory.Mount
	for _, v := range volumes {
		usage := &inventory.Usage{Used: v.Size - v.Free, Free: v.Free, Source: "statfs"}
		for i := range disks {
			for j := range disks[i].Partitions {
				p := &disks[i].Partitions[j]
				for _, e := range v.Extents {
					if e.Disk != disks[i].Name || e.Offset < p.Start || e.Offset >= p.Start+p.Size {
						continue
					}
					p.Name, p.Active = v.GUIDPath, true
					if p.Content == nil && v.Filesystem != "" {
						p.Content = &inventory.Content{Type: strings.ToLower(v.Filesystem), Class: inventory.ClassFilesystem, Label: v.Label}
					}
					if p.Content != nil && v.Size > 0 && len(v.Extents) == 1 {
						p.Content.Usage, p.Content.BlockSize = usage, v.ClusterSize
					}
				}
			}
		}
		for _, path := range v.Paths {
			m := inventory.Mount{Path: path, Root: "/", Source: v.GUIDPath, Type: v.Filesystem, Kind: "local", Size: v.Size, Usage: usage}
			if v.Kind == "network" {
				m.Kind = "network"
			}
			mounts = append(mounts, m)
		}
	}
	sort.Slice(mounts, func(i, j int) bool { return mounts[i].Path < mounts[j].Path })
	return mounts
}
