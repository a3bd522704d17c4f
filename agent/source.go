package agent

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/ferry-migrate/ferry/collector"
	"github.com/ferry-migrate/ferry/collector/inventory"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// RegisterSource says of a server what POST /v3/sources asks. It is one of the places that map facts to the API: which devices
// are disks of the server, what each is used for.
func RegisterSource(s *inventory.Server, version string) smsapi.RegisterSource {
	disks := SourceDisks(s)
	name := cut(cmp.Or(s.Host.Hostname, "unnamed"), 64)
	out := smsapi.RegisterSource{
		Name: name, Hostname: name, OSType: smsapi.Linux,
		OSVersion: smsapi.OSVersion(s.OS.ID, s.OS.Name, s.OS.Version, s.OS.Bits), Firmware: s.Boot.Firmware,
		CPUQuantity: int32(s.CPU.Count), Memory: s.Memory.Total >> 20, Disks: disks.Disks, VolumeGroups: disks.VolumeGroups,
		BtrfsList: disks.BtrfsList, Networks: sourceNetworks(s), AgentVersion: version, KernelVersion: s.OS.Kernel,
		StartType: "MANUAL", Platform: sourcePlatform(s.Host.Platform), IOReadWait: readWait(s),
	}
	for _, n := range out.Networks { // the primary interface comes first
		if out.IP == "" {
			out.IP = n.IP
		}
		if out.IPv6 == "" {
			out.IPv6 = n.IPv6
		}
	}
	if w := s.Windows; w != nil {
		out.OSType, out.OSVersion, out.SystemDir, out.OEMSystem = smsapi.Windows, smsapi.WindowsVersion(s.OS.Name, s.OS.Bits), w.SystemDirectory, w.OEM
		out.DriverFiles, out.SystemServices, out.AccountRights = ptr(lacksDriver(w)), ptr(abnormalService(w)), ptr(w.Elevated)
		return out
	}
	if strings.HasPrefix(s.Boot.Loader, "grub") {
		out.BootLoader = "GRUB" // the only value that is accepted
	}
	out.HasRsync, out.HasTC, out.Paravirtualization = ptr(s.Find("rsync")), ptr(s.Find("tc")), ptr(s.Host.Paravirtual)
	out.RawDevices = ptr(strings.Join(s.Host.RawDevices, ","))
	out.LinuxBlockCheck = blockCheck(s)
	return out
}

// blockCheck names what stops a migration of the whole server at block level: the codes of the errors that ferry check finds, none if nothing
// does. No document says what linux_block_check holds beside "the result of the check".
func blockCheck(s *inventory.Server) string {
	var codes []string
	for _, f := range collector.Preflight(s) {
		if f.Level == collector.LevelError && !slices.Contains(codes, f.Code) {
			codes = append(codes, f.Code)
		}
	}
	return cut(strings.Join(codes, ","), 255)
}

// readWait is how long a read of the slowest disk took on average, in milliseconds: it bounds the migration.
func readWait(s *inventory.Server) (ms float64) {
	for i := range s.Disks {
		if k := &s.Disks[i]; k.Real() {
			ms = max(ms, k.ReadWait)
		}
	}
	return ms
}

// SourceDisks says what PUT /v3/sources/{id}/diskinfo asks: the disks of the server and what is made of them.
func SourceDisks(s *inventory.Server) smsapi.UpdateDiskInfo {
	out := smsapi.UpdateDiskInfo{Disks: []smsapi.SourceDisk{}, VolumeGroups: []smsapi.VolumeGroup{}, BtrfsList: []smsapi.BtrfsFileSystem{}}
	mounts := mountPoints(s)
	for i := range s.Disks {
		if k := &s.Disks[i]; k.Real() && !k.Removable {
			out.Disks = append(out.Disks, sourceDisk(s, k, mounts))
		}
	}
	files := inFiles(s)
	for i := range s.VolumeGroups {
		if vg := &s.VolumeGroups[i]; len(vg.Physical) == 0 || !files[vg.Physical[0].Device] {
			out.VolumeGroups = append(out.VolumeGroups, sourceGroup(vg, mounts))
		}
	}
	for i := range s.Btrfs {
		if fs := &s.Btrfs[i]; len(fs.Devices) == 0 || !files[fs.Devices[0].Name] {
			out.BtrfsList = append(out.BtrfsList, sourceBtrfs(fs))
		}
	}
	return out
}

// inFiles names the devices that are files of another filesystem, as images of virtual machines are: they move as files.
func inFiles(s *inventory.Server) map[string]bool {
	out := map[string]bool{}
	for _, k := range s.Disks {
		if k.Kind == inventory.KindLoop {
			out[k.Name] = true
			for _, p := range k.Partitions {
				out[p.Name] = true
			}
		}
	}
	return out
}

// mountPoints maps device names to where they are mounted first; for a volume of Windows, to its drive letter.
func mountPoints(s *inventory.Server) map[string]string {
	out := map[string]string{}
	for _, m := range s.Mounts {
		if !m.Bind && !m.Overmount && out[m.Source] == "" {
			out[m.Source] = m.Path
		}
	}
	for _, sw := range s.Swaps {
		if !sw.File {
			out[sw.Name] = "swap"
		}
	}
	return out
}

func sourceDisk(s *inventory.Server, k *inventory.Disk, mounts map[string]string) smsapi.SourceDisk {
	out := smsapi.SourceDisk{
		Name: k.Name, Size: k.Size, OSDisk: k.Name == s.Boot.SystemDisk, PhysicalVolumes: []smsapi.SourcePartition{}, DeviceUse: string(smsapi.UseNormal),
	}
	if k.Table != nil {
		out.PartitionStyle = string(k.Table.Style)
	}
	add := func(name string, size int64, uuid string, c *inventory.Content) {
		p := smsapi.SourcePartition{
			Name: name, Index: int32(len(out.PhysicalVolumes)), Size: size, UsedSize: usedSize(s, name, size, c), MountPoint: mounts[name],
			DeviceUse: string(deviceUse(mounts[name], c)), UUID: uuid,
		}
		if c != nil {
			p.FileSystem = c.Type
			if c.UUID != "" {
				p.UUID = c.UUID
			}
			if c.Inodes != nil {
				p.InodeSize, p.InodeNums = c.Inodes.Count, c.Inodes.Count
			}
			if s.Windows != nil {
				p.SizePerCluster = int32(c.BlockSize)
			}
		}
		out.UsedSize += p.UsedSize
		out.PhysicalVolumes = append(out.PhysicalVolumes, p)
	}
	for i := range k.Partitions {
		if p := &k.Partitions[i]; !p.Extended {
			add(p.Name, p.Size, p.UUID, p.Content)
		}
	}
	if k.Content != nil {
		add(k.Name, k.Size, "", k.Content)
		out.DeviceUse = out.PhysicalVolumes[0].DeviceUse
		out.InodeSize = int32(min(out.PhysicalVolumes[0].InodeSize, math.MaxInt32))
	}
	switch k.Name {
	case "":
	case s.Boot.BootDisk:
		out.DeviceUse = string(smsapi.UseBoot)
	case s.Boot.SystemDisk:
		out.DeviceUse = string(smsapi.UseOS)
	}
	return out
}

// deviceUse says what a partition is for.
func deviceUse(mount string, c *inventory.Content) smsapi.DeviceUse {
	switch {
	case mount == "/":
		return smsapi.UseOS
	case mount == "/boot" || mount == "/boot/efi" || mount == "/efi" || c != nil && c.Class == inventory.ClassBoot:
		return smsapi.UseBoot
	case c != nil && c.Type == "LVM2_member":
		return smsapi.UseVolumeGroup
	case c != nil && c.Type == "btrfs":
		return smsapi.UseBtrfs
	default:
		return smsapi.UseNormal
	}
}

// usedSize is what of a partition has to move: allocated extents of a physical volume, blocks in use of a filesystem, nothing of swap,
// and everything of what is not understood.
func usedSize(s *inventory.Server, name string, size int64, c *inventory.Content) int64 {
	if c == nil {
		return size
	}
	for _, vg := range s.VolumeGroups {
		for _, pv := range vg.Physical {
			if pv.Device == name {
				return min(pv.Extents*vg.ExtentSize-pv.Free, size)
			}
		}
	}
	switch {
	case c.Class == inventory.ClassSwap:
		return 0
	case c.Usage != nil:
		return min(c.Usage.Used, size)
	default:
		return size
	}
}

func sourceGroup(vg *inventory.VolumeGroup, mounts map[string]string) smsapi.VolumeGroup {
	out := smsapi.VolumeGroup{Name: vg.Name, Size: vg.Size, FreeSize: vg.Free, LogicalVolumes: []smsapi.LogicalVolume{}}
	var devices []string
	for _, pv := range vg.Physical {
		devices = append(devices, pv.Device)
	}
	out.Components = cut(strings.Join(devices, ","), 255)
	for _, lv := range vg.Logical {
		if lv.Internal {
			continue
		}
		mount := mounts[lv.Device]
		if mount == "" {
			mount = mounts["/dev/"+vg.Name+"/"+lv.Name]
		}
		v := smsapi.LogicalVolume{Name: lv.Name, Size: lv.Size, UsedSize: lv.Size, MountPoint: mount, DeviceUse: string(deviceUse(mount, lv.Content))}
		if c := lv.Content; c != nil {
			v.FileSystem, v.BlockSize = c.Type, min(c.BlockSize, 1<<20)
			if c.Class == inventory.ClassSwap {
				v.UsedSize = 0
			}
			if c.Usage != nil {
				v.UsedSize, v.FreeSize = c.Usage.Used, c.Usage.Free
			}
			if c.BlockSize > 0 {
				v.BlockCount = min(lv.Size/c.BlockSize, 1<<32)
			}
			if c.Inodes != nil {
				v.InodeSize, v.InodeNums = min(c.Inodes.Count, 1<<32), c.Inodes.Count
			}
		}
		out.LogicalVolumes = append(out.LogicalVolumes, v)
	}
	return out
}

func sourceBtrfs(fs *inventory.Btrfs) smsapi.BtrfsFileSystem {
	out := smsapi.BtrfsFileSystem{
		Name: fs.UUID, Label: fs.Label, UUID: fs.UUID, Size: fs.Used, NodeSize: fs.NodeSize, SectorSize: int32(fs.SectorSize), VolumeUsedSize: fs.Used,
		DefaultSubvolumeID: strconv.FormatUint(fs.DefaultSubvolume, 10), Subvolumes: []smsapi.BtrfsSubvolume{},
	}
	if fs.Label != "" {
		out.Name = fs.Label
	}
	var devices []string
	for _, d := range fs.Devices {
		devices = append(devices, d.Name)
	}
	out.Device = cut(strings.Join(devices, ","), 255)
	for _, p := range fs.Profiles {
		switch p.Kind {
		case "data":
			out.DataProfile = p.Profile
		case "metadata":
			out.MetadataProfile = p.Profile
		case "data+metadata":
			out.DataProfile, out.MetadataProfile = p.Profile, p.Profile
		case "system":
			out.SystemProfile = p.Profile
		case "GlobalReserve":
			out.GlobalReserve = p.Profile
		}
	}
	if len(fs.MountPaths) > 0 {
		out.DefaultSubvolumeMountP = fs.MountPaths[0]
	}
	for _, v := range fs.Subvolumes {
		if v.ID == fs.DefaultSubvolume {
			out.DefaultSubvolumeName = v.Path
		}
		sub := smsapi.BtrfsSubvolume{
			UUID: v.ParentUUID, IsSnapshot: strconv.FormatBool(v.Snapshot), ID: strconv.FormatUint(v.ID, 10), ParentID: strconv.FormatUint(v.Parent, 10), Name: v.Path,
		}
		if len(v.MountPaths) > 0 {
			sub.MountPath = v.MountPaths[0]
		}
		out.Subvolumes = append(out.Subvolumes, sub)
	}
	return out
}

// sourceNetworks lists interfaces that have an address and a MAC; the primary one comes first, as in the inventory.
func sourceNetworks(s *inventory.Server) []smsapi.SourceNetwork {
	out := []smsapi.SourceNetwork{}
	for _, n := range s.NICs {
		if n.Kind == "loopback" || n.MAC == "" || len(n.Addresses) == 0 {
			continue
		}
		net := smsapi.SourceNetwork{Name: n.Name, Gateway: n.Gateway, MTU: int32(n.MTU), MAC: n.MAC}
		for _, a := range n.Addresses {
			p, err := netip.ParsePrefix(a)
			switch {
			case err != nil || p.Addr().IsLinkLocalUnicast():
			case p.Addr().Is4() && net.IP == "":
				net.IP, net.Netmask = p.Addr().String(), netmask(p.Bits())
			case p.Addr().Is6() && net.IPv6 == "":
				net.IPv6 = p.Addr().String()
			}
		}
		out = append(out, net)
	}
	return out
}

func netmask(bits int) string {
	v := ^uint32(0) << (32 - bits)
	if bits == 0 {
		v = 0
	}
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}).String()
}

// sourcePlatform maps to the values that the API knows.
func sourcePlatform(p string) string {
	switch p {
	case "hw", "ali", "aws", "azure", "gcp", "tencent", "vmware", "hyperv":
		return p
	default:
		return "other"
	}
}

func lacksDriver(w *inventory.Windows) bool {
	for _, there := range w.Drivers {
		if !there {
			return true
		}
	}
	return len(w.Drivers) == 0
}

func abnormalService(w *inventory.Windows) bool {
	for _, s := range w.Services {
		if s.State == "absent" || s.Start == "disabled" {
			return true
		}
	}
	return false
}

// cut shortens a name to n characters.
func cut(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n])
	}
	return s
}

func ptr[T any](v T) *T { return &v }
