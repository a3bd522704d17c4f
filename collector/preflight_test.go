package collector

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/collector/inventory"
)

// sound is a server that nothing is wrong with.
func sound() *inventory.Server {
	s := blank()
	s.OS = inventory.OS{Family: inventory.FamilyLinux, ID: "debian", Kernel: "6.1.0", Bits: 64}
	s.Host.Architecture = "amd64"
	s.CPU, s.Memory = inventory.CPU{Count: 2}, inventory.Memory{Total: 4 << 30, Available: 3 << 30}
	s.Boot = inventory.Boot{Firmware: "UEFI", Loader: "grub2", LoaderUEFI: true, Initramfs: "/boot/initrd", Kernels: 1, Virtio: inventory.Virtio{Ready: virtioNames, Loadable: []string{}, Absent: []string{}}}
	s.Disks = []inventory.Disk{{
		Name: "/dev/vda", Kind: inventory.KindDisk, Number: "252:0", Size: 20 << 30, LogicalSector: 512, Table: &inventory.Table{Style: inventory.StyleGPT},
		Partitions: []inventory.Partition{{Name: "/dev/vda1", Number: "252:1", Size: 10 << 30, Active: true, Content: &inventory.Content{
			Type: "ext4", Class: inventory.ClassFilesystem, UUID: "u1", Usage: &inventory.Usage{Used: 6 << 30, Free: 4 << 30}, Inodes: &inventory.Inodes{Count: 100, Free: 50}}}},
	}}
	s.Mounts = []inventory.Mount{{ID: 1, Number: "252:1", Root: "/", Path: "/", Source: "/dev/vda1", Type: "ext4", Kind: "local", Usage: &inventory.Usage{Used: 6 << 30, Free: 4 << 30}}}
	s.Tools = []inventory.Tool{{Name: "rsync", Path: "/usr/bin/rsync"}, {Name: "tc", Path: "/sbin/tc"}, {Name: "ssh", Path: "/usr/bin/ssh"}}
	link(s)
	return s
}

var virtioNames = []string{"virtio_pci", "virtio_blk", "virtio_scsi", "virtio_net"}

func TestPreflightSound(t *testing.T) {
	for _, f := range Preflight(sound()) {
		require.Equal(t, LevelOK, f.Level, f)
	}
}

// TestPreflight breaks one thing at a time and expects that finding, and no other, beyond OK.
func TestPreflight(t *testing.T) {
	part := func(s *inventory.Server) *inventory.Partition { return &s.Disks[0].Partitions[0] }
	group := func(s *inventory.Server, lv inventory.LogicalVolume) {
		s.VolumeGroups = append(s.VolumeGroups, inventory.VolumeGroup{Name: "vg", Logical: []inventory.LogicalVolume{lv}})
	}
	full := 95.0
	for code, c := range map[string]struct {
		level Level
		spoil func(*inventory.Server)
	}{
		"FERRY-PERMISSION":         {LevelError, func(s *inventory.Server) { s.Failed("storage", "/dev/vda", errors.New("permission denied")) }},
		"FERRY-MOUNT-STUCK":        {LevelError, func(s *inventory.Server) { s.Failed("mounts", "/nfs", errors.New("does not answer")) }},
		"FERRY-NOT-SEEN":           {LevelError, func(s *inventory.Server) { s.Failed("storage", "/dev/vdb", errors.New("input/output error")) }},
		"FERRY-ARCHITECTURE":       {LevelError, func(s *inventory.Server) { s.Host.Architecture = "ppc64le" }},
		"FERRY-PARAVIRTUAL":        {LevelError, func(s *inventory.Server) { s.Host.Paravirtual = true }},
		"FERRY-MEMORY":             {LevelError, func(s *inventory.Server) { s.Memory.Available = 100 << 20 }},
		"FERRY-CPU-BUSY":           {LevelWarn, func(s *inventory.Server) { s.CPU.Load1 = 1.9 }},
		"FERRY-KERNEL-OLD":         {LevelError, func(s *inventory.Server) { s.OS.Kernel = "2.6.32-754.el6" }},
		"FERRY-KERNEL-NO-TRACKING": {LevelWarn, func(s *inventory.Server) { s.OS.Kernel = "4.18.0-372" }},
		"FERRY-32BIT":              {LevelError, func(s *inventory.Server) { s.OS.Bits = 32 }},
		"FERRY-SECURE-BOOT":        {LevelWarn, func(s *inventory.Server) { s.Boot.SecureBoot = true }},
		"FERRY-MULTI-BOOT":         {LevelWarn, func(s *inventory.Server) { s.Boot.OtherOS = true }},
		"FERRY-BOOT-LOADER":        {LevelWarn, func(s *inventory.Server) { s.Boot.Loader = "lilo" }},
		"FERRY-GRUB-BIOS":          {LevelWarn, func(s *inventory.Server) { s.Boot.Firmware, s.Boot.LoaderBIOS = "BIOS", false }},
		"FERRY-INITRAMFS":          {LevelWarn, func(s *inventory.Server) { s.Boot.Initramfs = "" }},
		"FERRY-KERNEL-MISSING":     {LevelWarn, func(s *inventory.Server) { s.Boot.Kernels = 0 }},
		"FERRY-VIRTIO":             {LevelError, func(s *inventory.Server) { s.Boot.Virtio.Absent = []string{"virtio_blk", "virtio_scsi"} }},
		"FERRY-SPACE-ROOT":         {LevelError, func(s *inventory.Server) { s.Mounts[0].Usage.Free = 1 << 20 }},
		"FERRY-SPACE": {LevelWarn, func(s *inventory.Server) {
			s.Mounts = append(s.Mounts, inventory.Mount{Path: "/x", Kind: "local", Usage: &inventory.Usage{Free: 10}})
		}},
		"FERRY-SECTOR-SIZE": {LevelWarn, func(s *inventory.Server) { s.Disks[0].LogicalSector = 4096 }},
		"FERRY-MULTIPATH":   {LevelWarn, func(s *inventory.Server) { s.Disks[0].Paths = []string{"/dev/vda", "/dev/vdb"} }},
		"FERRY-SMS-SYSTEM-DISK": {LevelWarn, func(s *inventory.Server) {
			s.Disks[0].Size = 2 << 40
		}},
		"FERRY-SMS-DISKS": {LevelWarn, func(s *inventory.Server) {
			for i := range 24 {
				s.Disks = append(s.Disks, inventory.Disk{Name: fmt.Sprint(i), Kind: inventory.KindDisk, LogicalSector: 512})
			}
		}},
		"FERRY-RAID": {LevelWarn, func(s *inventory.Server) {
			s.Disks = append(s.Disks, inventory.Disk{Name: "/dev/md0", Kind: inventory.KindRAID})
		}},
		"FERRY-ENCRYPTED": {LevelWarn, func(s *inventory.Server) {
			s.Disks = append(s.Disks, inventory.Disk{Name: "/dev/mapper/c", Kind: inventory.KindCrypt})
		}},
		"FERRY-PARTITION-TABLE":   {LevelWarn, func(s *inventory.Server) { s.Disks[0].Table.Problems = []string{"backup GPT: no header"} }},
		"FERRY-HYBRID-MBR":        {LevelWarn, func(s *inventory.Server) { s.Disks[0].Table.Hybrid = true }},
		"FERRY-PARTITION-UNKNOWN": {LevelWarn, func(s *inventory.Server) { part(s).Active = false }},
		"FERRY-HIBERNATED": {LevelError, func(s *inventory.Server) {
			s.Disks[0].Partitions = append(s.Disks[0].Partitions, inventory.Partition{Name: "/dev/vda2", Active: true, Content: &inventory.Content{Type: "swap", Class: inventory.ClassSwap, Problems: []string{"hibernated"}}})
		}},
		"FERRY-CONTENT":   {LevelWarn, func(s *inventory.Server) { part(s).Content.Problems = []string{"checksum"} }},
		"FERRY-AMBIGUOUS": {LevelWarn, func(s *inventory.Server) { part(s).Content.Also = []string{"xfs"} }},
		"FERRY-BITLOCKER": {LevelError, func(s *inventory.Server) {
			part(s).Content = &inventory.Content{Type: "BitLocker", Class: inventory.ClassMember}
		}},
		"FERRY-DUPLICATE-UUID": {LevelError, func(s *inventory.Server) {
			s.Disks[0].Partitions = append(s.Disks[0].Partitions, inventory.Partition{Name: "/dev/vda2", Active: true, Content: &inventory.Content{Type: "swap", Class: inventory.ClassSwap, UUID: "u1"}})
		}},
		"FERRY-UNMOUNTED": {LevelWarn, func(s *inventory.Server) {
			s.Disks[0].Partitions = append(s.Disks[0].Partitions, inventory.Partition{Name: "/dev/vda2", Active: true, Content: &inventory.Content{Type: "xfs", Class: inventory.ClassFilesystem}})
		}},
		"FERRY-LVM": {LevelError, func(s *inventory.Server) {
			group(s, inventory.LogicalVolume{})
			s.VolumeGroups[0].Problems = []string{"missing"}
		}},
		"FERRY-LVM-THIN":     {LevelWarn, func(s *inventory.Server) { group(s, inventory.LogicalVolume{Kind: "thin"}) }},
		"FERRY-LVM-SNAPSHOT": {LevelWarn, func(s *inventory.Server) { group(s, inventory.LogicalVolume{Kind: "snapshot"}) }},
		"FERRY-LVM-LAYOUT":   {LevelWarn, func(s *inventory.Server) { group(s, inventory.LogicalVolume{Kind: "raid5"}) }},
		"FERRY-LVM-FULL":     {LevelError, func(s *inventory.Server) { group(s, inventory.LogicalVolume{Kind: "linear", FillPercent: &full}) }},
		"FERRY-LVM-DUPLICATE": {LevelError, func(s *inventory.Server) {
			group(s, inventory.LogicalVolume{})
			group(s, inventory.LogicalVolume{})
		}},
		"FERRY-BTRFS-DEVICES": {LevelWarn, func(s *inventory.Server) { s.Btrfs = []inventory.Btrfs{{NumDevices: 2}} }},
		"FERRY-NETWORK-MOUNT": {LevelWarn, func(s *inventory.Server) { s.Mounts = append(s.Mounts, inventory.Mount{Path: "/nfs", Kind: "network"}) }},
		"FERRY-OVERMOUNT": {LevelWarn, func(s *inventory.Server) {
			s.Mounts = append(s.Mounts, inventory.Mount{Path: "/x", Kind: "local", Overmount: true})
		}},
		"FERRY-FSTAB-MISSING": {LevelWarn, func(s *inventory.Server) { s.Fstab = []inventory.FstabEntry{{Spec: "UUID=gone", Path: "/x"}} }},
		"FERRY-FSTAB-NAME":    {LevelWarn, func(s *inventory.Server) { s.Fstab = []inventory.FstabEntry{{Spec: "/dev/sda1", Path: "/x"}} }},
		"FERRY-ROUTES": {LevelWarn, func(s *inventory.Server) {
			s.Routes = []inventory.Route{{Destination: "0.0.0.0/0", Gateway: "a", Interface: "x"}, {Destination: "0.0.0.0/0", Gateway: "b", Interface: "y"}}
		}},
		"FERRY-DATABASE": {LevelWarn, func(s *inventory.Server) { s.Databases = []string{"mysqld"} }},
		"FERRY-DYNAMIC-DISK": {LevelWarn, func(s *inventory.Server) {
			s.Windows = &inventory.Windows{Elevated: true, DynamicDisks: []string{"0"}}
		}},
		"FERRY-SPACE-SHADOW": {LevelWarn, func(s *inventory.Server) {
			s.Windows = &inventory.Windows{Elevated: true, Volumes: []inventory.WindowsVolume{
				{Paths: []string{`C:\`}, Kind: "fixed", Filesystem: "NTFS", Size: 40 << 30, Free: 300 << 20},
				{Label: "System Reserved", Kind: "fixed", Filesystem: "NTFS", Size: 500 << 20, Free: 50 << 20}, {Kind: "cdrom", Filesystem: "UDF"},
			}}
		}},
		"FERRY-VSS": {LevelError, func(s *inventory.Server) {
			s.Windows = &inventory.Windows{Elevated: true, Services: []inventory.WindowsService{{Name: "VSS", Start: "disabled"}}}
		}},
	} {
		t.Run(code, func(t *testing.T) {
			s := sound()
			c.spoil(s)
			found := false
			for _, f := range Preflight(s) {
				if f.Level == LevelOK {
					continue
				}
				require.Equal(t, code, f.Code, f)
				require.Equal(t, c.level, f.Level)
				require.NotEmpty(t, f.Remedy)
				require.Regexp(t, regexp.MustCompile(`^FERRY-[A-Z0-9-]+$`), f.Code)
				found = true
			}
			require.True(t, found)
		})
	}
}

// TestPreflightSMS: what only the SMS service's own agent minds is named, and is no warning.
func TestPreflightSMS(t *testing.T) {
	s := sound()
	s.OS.Locale, s.Tools = "zh_CN.GB18030", nil
	s.Mounts = append(s.Mounts, inventory.Mount{Path: "/tmp", Type: "tmpfs", Kind: "pseudo", Options: "rw,noexec"})
	codes := map[string]Level{}
	for _, f := range Preflight(s) {
		codes[f.Code] = f.Level
	}
	for _, code := range []string{"FERRY-SMS-LOCALE", "FERRY-SMS-TMP", "FERRY-SMS-RSYNC", "FERRY-SMS-TC", "FERRY-SMS-SSH"} {
		require.Equal(t, LevelOK, codes[code], code)
	}
}

func TestPreflightOrder(t *testing.T) {
	s := sound()
	s.Host.Paravirtual, s.Databases = true, []string{"mysqld"}
	var levels []Level
	for _, f := range Preflight(s) {
		levels = append(levels, f.Level)
	}
	require.Equal(t, []Level{LevelError, LevelWarn, LevelOK}, levels[:3])
}

func TestAdvise(t *testing.T) {
	for _, c := range []struct {
		level string
		set   func(*inventory.Server, *inventory.Content)
	}{
		{"block", func(*inventory.Server, *inventory.Content) {}},
		{"file", func(_ *inventory.Server, c *inventory.Content) {
			c.Usage = &inventory.Usage{Used: 1 << 30, Free: 9 << 30}
		}},
		{"file", func(_ *inventory.Server, c *inventory.Content) { c.Type = "f2fs" }},
		{"block", func(_ *inventory.Server, c *inventory.Content) {
			c.Inodes = &inventory.Inodes{Count: 3_000_000, Free: 1_000_000}
		}},
		{"block", func(s *inventory.Server, _ *inventory.Content) { s.Databases = []string{"mysqld"} }},
		{"block", func(s *inventory.Server, _ *inventory.Content) { s.Mounts = nil }},
		{"file", func(s *inventory.Server, c *inventory.Content) {
			c.Type = "btrfs"
			s.Btrfs = []inventory.Btrfs{{UUID: c.UUID, NumDevices: 2}}
		}},
	} {
		s := sound()
		c.set(s, s.Disks[0].Partitions[0].Content)
		a := Advise(s)
		require.Len(t, a, 1)
		require.Equal(t, c.level, a[0].Level, a[0])
		require.NotEmpty(t, a[0].Reason)
	}
}

// TestCodesDocumented: every code that can be found is explained to the user.
func TestCodesDocumented(t *testing.T) {
	doc, err := os.ReadFile("../docs/DISCOVERY.md")
	require.NoError(t, err)
	files, err := filepath.Glob("preflight*.go")
	require.NoError(t, err)
	codes := regexp.MustCompile(`"(FERRY-[A-Z0-9-]+)"`)
	count := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range codes.FindAllStringSubmatch(string(source), -1) {
			require.Regexp(t, regexp.QuoteMeta(m[1])+`[ ,]`, string(doc))
			count++
		}
	}
	require.Greater(t, count, 50)
}
