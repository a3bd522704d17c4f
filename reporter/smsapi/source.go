package smsapi

import (
	"net/netip"
	"strings"
)

// RegisterSource is the body of POST /v3/sources: what the agent says of its server when it starts. The same call registers it
// anew. Fields marked "check" are accepted when absent, but the environment check of the service then fails.
type RegisterSource struct {
	ID                 string            `json:"id,omitempty"` // of an earlier registration
	IP                 string            `json:"ip,omitempty"` // IPv4; one of IP and IPv6 must be there
	IPv6               string            `json:"ipv6,omitempty"`
	Name               string            `json:"name" rule:"required,min=1,max=64"`
	Hostname           string            `json:"hostname,omitempty" rule:"max=64"`
	OSType             OSType            `json:"os_type" rule:"required"`
	OSVersion          string            `json:"os_version" rule:"required"` // see OSVersion
	LinuxBlockCheck    string            `json:"linux_block_check,omitempty"`
	Firmware           string            `json:"firmware,omitempty" rule:"enum=|BIOS|UEFI"`
	CPUQuantity        int32             `json:"cpu_quantity"`
	Memory             int64             `json:"memory"` // MB
	Disks              []SourceDisk      `json:"disks" rule:"max=50"`
	BtrfsList          []BtrfsFileSystem `json:"btrfs_list"` // check (Linux)
	Networks           []SourceNetwork   `json:"networks" rule:"required,min=1"`
	DomainID           string            `json:"domain_id,omitempty"`
	HasRsync           *bool             `json:"has_rsync,omitempty"`                     // check (Linux)
	Paravirtualization *bool             `json:"paravirtualization,omitempty"`            // check (Linux); true is refused
	RawDevices         *string           `json:"raw_devices,omitempty" rule:"max=65535"`  // check (Linux); not empty is refused
	DriverFiles        *bool             `json:"driver_files,omitempty"`                  // check (Windows); true: some are lacking
	SystemServices     *bool             `json:"system_services,omitempty"`               // check (Windows); true: abnormal ones exist
	AccountRights      *bool             `json:"account_rights,omitempty"`                // check (Windows); true: sufficient
	BootLoader         string            `json:"boot_loader,omitempty" rule:"enum=|GRUB"` // check (Linux)
	SystemDir          string            `json:"system_dir,omitempty"`                    // check (Windows)
	VolumeGroups       []VolumeGroup     `json:"volume_groups"`                           // check (Linux)
	AgentVersion       string            `json:"agent_version" rule:"required"`
	KernelVersion      string            `json:"kernel_version,omitempty"`
	MigrationCycle     string            `json:"migration_cycle,omitempty" rule:"enum=|cutovering|cutovered|checking|setting|replicating|syncing"`
	State              string            `json:"state,omitempty"`                  // a SourceState; what the service knows of the source counts, not this
	OEMSystem          bool              `json:"oem_system,omitempty"`             // Windows
	StartType          string            `json:"start_type" rule:"default=MANUAL"` // MANUAL, AUTO or anything
	IOReadWait         float64           `json:"io_read_wait,omitempty"`           // milliseconds
	HasTC              *bool             `json:"has_tc,omitempty"`                 // check (Linux)
	Platform           string            `json:"platform,omitempty" rule:"enum=|hw|ali|aws|azure|gcp|tencent|vmware|hyperv|other|default"`
}

// check refuses a source that cannot be reached or told from others.
func (r *RegisterSource) check() error {
	if r.State != "" && !SourceState(r.State).Known() {
		return invalid("state: %q is not a documented value", trim(r.State, 40))
	}
	if strings.ContainsFunc(r.ID, func(c rune) bool { return c != '.' && c != ':' && !nameRune(c) }) {
		return invalid("id: only letters, digits and . : _ - are allowed")
	}
	if r.IP == "" && r.IPv6 == "" {
		return invalid("ip: required, or ipv6")
	}
	if ip, err := netip.ParseAddr(r.IP); r.IP != "" && (err != nil || !ip.Is4()) {
		return invalid("ip: not an IPv4 address")
	}
	if ip, err := netip.ParseAddr(r.IPv6); r.IPv6 != "" && (err != nil || !ip.Is6()) {
		return invalid("ipv6: not an IPv6 address")
	}
	if r.Networks[0].MAC == "" {
		return invalid("networks[0].mac: must not be empty")
	}
	return nil
}

// RegisteredSource is the answer of POST /v3/sources.
type RegisteredSource struct {
	ID string `json:"id"`
}

// UpdateDiskInfo is the body of PUT /v3/sources/{source_id}/diskinfo. It replaces everything that was known of disks, and has an
// effect only while the source waits for its target to be configured.
type UpdateDiskInfo struct {
	Disks        []SourceDisk      `json:"disks" rule:"max=50"`
	VolumeGroups []VolumeGroup     `json:"volumegroups" rule:"max=50"` // one word here
	BtrfsList    []BtrfsFileSystem `json:"btrfs_list"`
}

// Uses that a source's disk or partition may have beside those of DeviceUse.
const (
	UseVolumeGroup DeviceUse = "VOLUME_GROUP"
	UseBtrfs       DeviceUse = "BTRFS"
)

// SourceDisk is a disk of a source. Sizes are bytes.
type SourceDisk struct {
	Name            string            `json:"name"`
	PartitionStyle  string            `json:"partition_style"` // check; MBR or GPT, empty for a disk without a table
	DeviceUse       string            `json:"device_use"`
	Size            int64             `json:"size"`
	UsedSize        int64             `json:"used_size"`
	PhysicalVolumes []SourcePartition `json:"physical_volumes"`
	OSDisk          bool              `json:"os_disk"`
	RelationName    string            `json:"relation_name,omitempty"`
	InodeSize       int32             `json:"inode_size,omitempty"`
}

// SourcePartition is a partition of a source. Sizes are bytes.
type SourcePartition struct {
	DeviceUse      string `json:"device_use"`
	FileSystem     string `json:"file_system"`
	Index          int32  `json:"index"` // order on the disk, from 0
	MountPoint     string `json:"mount_point"`
	Name           string `json:"name"` // drive letter or device name
	Size           int64  `json:"size"`
	UsedSize       int64  `json:"used_size"`
	InodeSize      int64  `json:"inode_size,omitempty" rule:"max=4294967296"` // number of inodes, whatever its name says
	InodeNums      int64  `json:"inode_nums,omitempty"`
	UUID           string `json:"uuid,omitempty"`
	SizePerCluster int32  `json:"size_per_cluster,omitempty"` // bytes; Windows
}

// SourceNetwork is a network interface of a source. The MAC of the first one must not be empty: it identifies the source.
type SourceNetwork struct {
	Name    string `json:"name"`
	IP      string `json:"ip"`
	IPv6    string `json:"ipv6,omitempty"`
	Netmask string `json:"netmask"`
	Gateway string `json:"gateway"`
	MTU     int32  `json:"mtu"`
	MAC     string `json:"mac" rule:"required"`
	ID      string `json:"id,omitempty"` // in the service's database
}
