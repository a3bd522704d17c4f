// Package inventory holds the facts about a server: what the collector found, as plain values.
//
// The types are the public format of `ferry discover --json`; docs/inventory.schema.json describes them. They decide
// nothing: which disk may be migrated, and how, is said by whoever reads them. Sizes and offsets are bytes, times RFC 3339.
//
// A value that is not known is absent, never zero by accident: Usage and Inodes are pointers for that reason. What could
// not be looked at is listed in Server.Missing with the reason, so an empty list means "there are none" only when nothing
// in Missing speaks of it.
//
// Fields may be added without a new SchemaVersion; a field renamed or with another meaning raises it.
package inventory

import "time"

// SchemaVersion is the version of the format that Server is written in.
const SchemaVersion = 1

// Server is everything a migration needs to know about one server.
type Server struct {
	Schema    int       `json:"schema"`
	Collected time.Time `json:"collected"`
	Host      Host      `json:"host"`
	OS        OS        `json:"os"`
	Boot      Boot      `json:"boot"`
	CPU       CPU       `json:"cpu"`
	Memory    Memory    `json:"memory"`
	NICs      []NIC     `json:"nics"`
	Routes    []Route   `json:"routes"`
	DNS       DNS       `json:"dns"`
	// Disks are the block devices that are neither a partition nor a logical volume; Disk.Kind tells them apart.
	Disks        []Disk          `json:"disks"`
	VolumeGroups []VolumeGroup   `json:"volume_groups"`
	Btrfs        []Btrfs         `json:"btrfs"`
	Mounts       []Mount         `json:"mounts"`
	Swaps        []Swap          `json:"swaps"`
	Fstab        []FstabEntry    `json:"fstab"`
	Crypttab     []CrypttabEntry `json:"crypttab"`
	Tools        []Tool          `json:"tools"`
	Databases    []string        `json:"databases"`         // programs that run and keep data that must be consistent: mysqld, postgres …
	Windows      *Windows        `json:"windows,omitempty"` // only on Windows
	Missing      []Missing       `json:"missing"`
}

// Missing says that a part of the inventory, or one thing in it, could not be collected.
type Missing struct {
	Part    string `json:"part"`              // name of the collector: "storage", "mounts" …
	Subject string `json:"subject,omitempty"` // the device, file or mount; empty when the whole part is missing
	Reason  string `json:"reason"`
}

// Family is the kind of operating system.
type Family string

// The families Ferry migrates.
const (
	FamilyLinux   Family = "linux"
	FamilyWindows Family = "windows"
)

// Host is the machine itself.
type Host struct {
	Hostname     string `json:"hostname"`
	Architecture string `json:"architecture"` // as Go spells it: amd64, arm64, 386
	// Platform is who runs the virtual machine: hw, ali, aws, azure, gcp, tencent, vmware, hyperv, kvm, xen, virtualbox,
	// physical, or other when nothing tells.
	Platform     string `json:"platform"`
	Manufacturer string `json:"manufacturer,omitempty"` // DMI system vendor
	Product      string `json:"product,omitempty"`      // DMI product name
	// Paravirtual is true on a Xen guest without hardware virtualisation, whose kernel boots nowhere else.
	Paravirtual bool   `json:"paravirtual"`
	MachineID   string `json:"machine_id,omitempty"` // /etc/machine-id; MachineGuid on Windows
	UptimeSec   int64  `json:"uptime_seconds"`
	// RawDevices are bindings of the raw driver, by which databases used to write past every filesystem (gone since Linux 5.14).
	RawDevices []string `json:"raw_devices,omitempty"`
}

// OS is the operating system.
type OS struct {
	Family  Family   `json:"family"`
	ID      string   `json:"id"`      // os-release ID: debian, centos, ubuntu …; "windows"
	Like    []string `json:"like"`    // os-release ID_LIKE
	Name    string   `json:"name"`    // as a person knows it
	Version string   `json:"version"` // as exact as the system says: 7.6.1810, 22.04, 10.0.20348
	Kernel  string   `json:"kernel"`  // uname -r
	Bits    int      `json:"bits"`    // 64 or 32
	SELinux string   `json:"selinux"` // enforcing, permissive, disabled, or "" where the kernel has none
	Locale  string   `json:"locale,omitempty"`
	// Timezone is the name of the zone, for example Asia/Shanghai; empty when the system does not say.
	Timezone string `json:"timezone,omitempty"`
}

// Boot is how the machine starts.
type Boot struct {
	Firmware   string `json:"firmware"`           // BIOS or UEFI
	SecureBoot bool   `json:"secure_boot"`        // valid with UEFI
	Loader     string `json:"loader"`             // grub2, grub, systemd-boot, lilo, syslinux, extlinux, bootmgr, or "" when none was found
	LoaderBIOS bool   `json:"loader_bios"`        // GRUB's i386-pc modules are installed
	LoaderUEFI bool   `json:"loader_uefi"`        // GRUB's x86_64-efi modules or an EFI boot loader are installed
	Initramfs  string `json:"initramfs"`          // image of the running kernel, "" when not found
	CmdLine    string `json:"cmdline,omitempty"`  // kernel command line
	RootSpec   string `json:"root,omitempty"`     // its root=
	Modules    bool   `json:"modules"`            // /lib/modules of the running kernel exists
	Virtio     Virtio `json:"virtio"`             // which drivers the running kernel has for a virtual target
	Kernels    int    `json:"kernels"`            // kernels installed in /boot or /lib/modules
	SystemDisk string `json:"system_disk"`        // the disk that holds the root filesystem, "" when not known
	BootDisk   string `json:"boot_disk"`          // the disk that holds /boot (or the EFI system partition)
	OtherOS    bool   `json:"other_os,omitempty"` // another operating system was found on the disks
}

// Virtio says which drivers for a KVM target the running kernel has. A driver counts when it is built in or in the initramfs;
// one that lies in /lib/modules only can be put into an initramfs, and is listed in Loadable.
type Virtio struct {
	Ready    []string `json:"ready"`    // built in, or in the initramfs: usable at boot
	Loadable []string `json:"loadable"` // modules on disk only
	Absent   []string `json:"absent"`
	Checked  string   `json:"checked"` // what was looked at: "modules" or "modules+initramfs"
}

// CPU is the processor.
type CPU struct {
	Count int     `json:"count"` // logical processors that are online
	Model string  `json:"model,omitempty"`
	Load1 float64 `json:"load1"` // average of one minute; 0 on Windows
	Usage float64 `json:"usage"` // percent since boot, all processors
}

// Memory is main memory, in bytes.
type Memory struct {
	Total     int64 `json:"total"`
	Available int64 `json:"available"`
}

// Tool is a program on the server that matters to a migration.
type Tool struct {
	Name string `json:"name"`           // rsync, tc, ssh, grub …
	Path string `json:"path,omitempty"` // empty when it was not found
}

// Find returns whether a tool was found.
func (s *Server) Find(tool string) bool {
	for _, t := range s.Tools {
		if t.Name == tool {
			return t.Path != ""
		}
	}
	return false
}

// Failed adds one thing that could not be collected.
func (s *Server) Failed(part, subject string, err error) {
	s.Missing = append(s.Missing, Missing{Part: part, Subject: subject, Reason: err.Error()})
}
