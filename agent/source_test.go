package agent

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/collector/inventory"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// centos is a server with a boot partition, a volume group and a Btrfs disk.
func centos() *inventory.Server {
	s := &inventory.Server{
		Host: inventory.Host{Hostname: "web", Platform: "kvm"},
		OS:   inventory.OS{Family: inventory.FamilyLinux, ID: "centos", Name: "CentOS Linux 7", Version: "7.6.1810", Kernel: "3.10.0", Bits: 64},
		Boot: inventory.Boot{Firmware: "BIOS", Loader: "grub2", SystemDisk: "/dev/vda", BootDisk: "/dev/vda"},
		CPU:  inventory.CPU{Count: 4}, Memory: inventory.Memory{Total: 8 << 30, Available: 4 << 30},
		NICs: []inventory.NIC{
			{Name: "eth0", MAC: "fa:16:3e:00:00:01", MTU: 1500, Kind: "ethernet", Gateway: "10.0.0.1", Primary: true, Addresses: []string{"fe80::1/64", "10.0.0.7/20", "2001:db8::7/64"}},
			{Name: "lo", MAC: "00:00:00:00:00:00", Kind: "loopback", Addresses: []string{"127.0.0.1/8"}},
		},
		Tools: []inventory.Tool{{Name: "rsync", Path: "/usr/bin/rsync"}, {Name: "tc"}},
	}
	inodes := &inventory.Inodes{Size: 256, Count: 65536, Free: 60000}
	s.Disks = []inventory.Disk{
		{Name: "/dev/vda", Kind: inventory.KindDisk, Size: 40 << 30, ReadWait: 0.5, Table: &inventory.Table{Style: inventory.StyleMBR}, Partitions: []inventory.Partition{
			{Name: "/dev/vda1", Size: 1 << 30, Content: &inventory.Content{Type: "xfs", Class: inventory.ClassFilesystem, UUID: "b00f", Usage: &inventory.Usage{Used: 100 << 20, Free: 924 << 20}, Inodes: inodes}},
			{Name: "/dev/vda2", Size: 38 << 30, Content: &inventory.Content{Type: "LVM2_member", Class: inventory.ClassMember, UUID: "pv"}},
			{Name: "/dev/vda3", Size: 1 << 30, Content: &inventory.Content{Type: "swap", Class: inventory.ClassSwap}},
		}},
		{Name: "/dev/vdb", Kind: inventory.KindDisk, Size: 10 << 30, ReadWait: 1.5, Content: &inventory.Content{Type: "btrfs", Class: inventory.ClassFilesystem, UUID: "b7", Usage: &inventory.Usage{Used: 1 << 30}}},
		{Name: "/dev/loop0", Kind: inventory.KindLoop, Size: 5},
		{Name: "/dev/sdz", Kind: inventory.KindDisk, Removable: true, Size: 5},
	}
	s.VolumeGroups = []inventory.VolumeGroup{{
		Name: "cl", Size: 38 << 30, Free: 8 << 30, ExtentSize: 4 << 20,
		Physical: []inventory.PhysicalVolume{{Device: "/dev/vda2", Extents: 38 << 8, Free: 8 << 30}},
		Logical: []inventory.LogicalVolume{
			{Name: "root", Device: "/dev/mapper/cl-root", Size: 30 << 30, Content: &inventory.Content{Type: "ext4", Class: inventory.ClassFilesystem, BlockSize: 4096, Usage: &inventory.Usage{Used: 5 << 30, Free: 25 << 30}, Inodes: inodes}},
			{Name: "pool_tdata", Internal: true},
		},
	}}
	s.Btrfs = []inventory.Btrfs{{
		UUID: "b7", Label: "data", Devices: []inventory.BtrfsDevice{{Name: "/dev/vdb"}}, Used: 1 << 30, NodeSize: 16384, SectorSize: 4096, DefaultSubvolume: 257, MountPaths: []string{"/data"},
		Profiles:   []inventory.BtrfsProfile{{Kind: "data", Profile: "single"}, {Kind: "metadata", Profile: "DUP"}, {Kind: "system", Profile: "DUP"}, {Kind: "GlobalReserve", Profile: "single"}},
		Subvolumes: []inventory.Subvolume{{ID: 257, Parent: 5, Path: "@", MountPaths: []string{"/data"}}, {ID: 258, Parent: 5, Path: "snap", ParentUUID: "x", Snapshot: true}},
	}}
	s.Mounts = []inventory.Mount{
		{Path: "/", Source: "/dev/mapper/cl-root"}, {Path: "/boot", Source: "/dev/vda1"}, {Path: "/data", Source: "/dev/vdb"}, {Path: "/mnt/again", Source: "/dev/vda1", Bind: true},
	}
	s.Swaps = []inventory.Swap{{Name: "/dev/vda3"}}
	return s
}

func TestRegisterSource(t *testing.T) {
	out := RegisterSource(centos(), "1.2.3")
	body, err := json.Marshal(out)
	require.NoError(t, err)
	var back smsapi.RegisterSource
	require.NoError(t, smsapi.Decode(body, &back), "the body is what the API accepts")

	require.Equal(t, "CENTOS_7_6_64BIT", out.OSVersion)
	require.Equal(t, []any{"web", smsapi.Linux, "BIOS", int32(4), int64(8192), "GRUB", "other", "10.0.0.7", "2001:db8::7"},
		[]any{out.Name, out.OSType, out.Firmware, out.CPUQuantity, out.Memory, out.BootLoader, out.Platform, out.IP, out.IPv6})
	require.True(t, *out.HasRsync)
	require.False(t, *out.HasTC)
	require.False(t, *out.Paravirtualization)
	require.Equal(t, "", *out.RawDevices)
	require.Equal(t, 1.5, out.IOReadWait, "of the slowest disk")
	require.Equal(t, "FERRY-ARCHITECTURE", out.LinuxBlockCheck)
	require.Equal(t, []smsapi.SourceNetwork{{Name: "eth0", IP: "10.0.0.7", IPv6: "2001:db8::7", Netmask: "255.255.240.0", Gateway: "10.0.0.1", MTU: 1500, MAC: "fa:16:3e:00:00:01"}}, out.Networks)

	// An empty list says "none"; an absent one fails the environment check.
	empty, err := json.Marshal(RegisterSource(&inventory.Server{}, "1"))
	require.NoError(t, err)
	for _, field := range []string{`"btrfs_list":[]`, `"volume_groups":[]`, `"disks":[]`, `"networks":[]`, `"raw_devices":""`, `"has_rsync":false`} {
		require.Contains(t, string(empty), field)
	}
}

func TestSourceDisks(t *testing.T) {
	s := centos()
	s.Btrfs = append(s.Btrfs, inventory.Btrfs{UUID: "image", Devices: []inventory.BtrfsDevice{{Name: "/dev/loop0"}}})
	out := SourceDisks(s)
	require.Len(t, out.BtrfsList, 1, "what lies in an image file moves as a file")
	require.Len(t, out.Disks, 2, "loop and removable devices are no disks of the server")
	system, data := out.Disks[0], out.Disks[1]
	require.Equal(t, []any{"/dev/vda", "MBR", "BOOT", true}, []any{system.Name, system.PartitionStyle, system.DeviceUse, system.OSDisk})
	require.Equal(t, int64(100<<20+30<<30), system.UsedSize, "boot files, allocated extents, no swap")
	var uses, mounts []string
	for i, p := range system.PhysicalVolumes {
		require.EqualValues(t, i, p.Index)
		uses, mounts = append(uses, p.DeviceUse), append(mounts, p.MountPoint)
	}
	require.Equal(t, []string{"BOOT", "VOLUME_GROUP", "NORMAL"}, uses)
	require.Equal(t, []string{"/boot", "", "swap"}, mounts)
	require.Equal(t, []any{"BTRFS", "", false}, []any{data.DeviceUse, data.PartitionStyle, data.OSDisk})

	vg := out.VolumeGroups[0]
	require.Equal(t, []any{"cl", "/dev/vda2", int64(8 << 30)}, []any{vg.Name, vg.Components, vg.FreeSize})
	require.Equal(t, []smsapi.LogicalVolume{{
		Name: "root", FileSystem: "ext4", MountPoint: "/", DeviceUse: "OS", Size: 30 << 30, UsedSize: 5 << 30, FreeSize: 25 << 30,
		BlockSize: 4096, BlockCount: 30 << 18, InodeSize: 65536, InodeNums: 65536,
	}}, vg.LogicalVolumes)

	fs := out.BtrfsList[0]
	require.Equal(t, []string{"data", "/dev/vdb", "single", "DUP", "DUP", "single", "257", "@", "/data"},
		[]string{fs.Name, fs.Device, fs.DataProfile, fs.MetadataProfile, fs.SystemProfile, fs.GlobalReserve, fs.DefaultSubvolumeID, fs.DefaultSubvolumeName, fs.DefaultSubvolumeMountP})
	require.Equal(t, smsapi.BtrfsSubvolume{UUID: "x", IsSnapshot: "true", ID: "258", ParentID: "5", Name: "snap"}, fs.Subvolumes[1])
	body, err := json.Marshal(out)
	require.NoError(t, err)
	require.Contains(t, string(body), `"volumegroups":[`, "one word in this operation")
}

func TestRegisterWindows(t *testing.T) {
	s := &inventory.Server{
		OS: inventory.OS{Family: inventory.FamilyWindows, Name: "Windows Server 2012 R2 Standard", Bits: 64},
		Windows: &inventory.Windows{
			SystemDirectory: `C:\Windows\System32`, Elevated: true, Drivers: map[string]bool{"viostor.sys": true, "netkvm.sys": false},
			Services: []inventory.WindowsService{{Name: "VSS", State: "stopped", Start: "manual"}},
		},
	}
	out := RegisterSource(s, "1")
	require.Equal(t, []any{smsapi.Windows, "WINDOWS2012_R2_64BIT", `C:\Windows\System32`, true, false, true},
		[]any{out.OSType, out.OSVersion, out.SystemDir, *out.DriverFiles, *out.SystemServices, *out.AccountRights})
	require.Nil(t, out.HasRsync)
}
