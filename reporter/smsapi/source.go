package smsapi

// RegisterSource is the body of POST /v3/sources: what the agent says of its server when it starts. The same call registers it
// anew. Fields marked "check" are accepted when absent, but the environment check of the service then fails.
type RegisterSource struct {
	ID                 string            `json:"id,omitempty"` // of an earlier registration
	IP                 string            `json:"ip,omitempty"` // IPv4; one of IP and IPv6 must be there
	IPv6               string            `json:"ipv6,omitempty"`
	Name               string            `json:"name" rule:"required,max=64"`
	Hostname           string            `json:"hostname,omitempty" rule:"max=64"`
	OSType             OSType            `json:"os_type" rule:"required"`
	OSVersion          string            `json:"os_version" rule:"required"` // see OSVersion
	LinuxBlockCheck    string            `json:"linux_block_check,omitempty"`
	Firmware           string            `json:"firmware,omitempty"` // BIOS or UEFI
	CPUQuantity        int32             `json:"cpu_quantity"`
	Memory             int64             `json:"memory"` // MB
	Disks              []SourceDisk      `json:"disks" rule:"max=50"`
	BtrfsList          []BtrfsFileSystem `json:"btrfs_list"` // check (Linux)
	Networks           []SourceNetwork   `json:"networks" rule:"required"`
	DomainID           string            `json:"domain_id,omitempty"`
	HasRsync           *bool             `json:"has_rsync,omitempty"`          // check (Linux)
	Paravirtualization *bool             `json:"paravirtualization,omitempty"` // check (Linux); true is refused
	RawDevices         *string           `json:"raw_devices,omitempty"`        // check (Linux); not empty is refused
	DriverFiles        *bool             `json:"driver_files,omitempty"`       // check (Windows); true: some are lacking
	SystemServices     *bool             `json:"system_services,omitempty"`    // check (Windows); true: abnormal ones exist
	AccountRights      *bool             `json:"account_rights,omitempty"`     // check (Windows); true: sufficient
	BootLoader         string            `json:"boot_loader,omitempty"`        // check (Linux); GRUB
	SystemDir          string            `json:"system_dir,omitempty"`         // check (Windows)
	VolumeGroups       []VolumeGroup     `json:"volume_groups"`                // check (Linux)
	AgentVersion       string            `json:"agent_version" rule:"required"`
	KernelVersion      string            `json:"kernel_version,omitempty"`
	MigrationCycle     string            `json:"migration_cycle,omitempty"`
	State              string            `json:"state,omitempty"`
	OEMSystem          bool              `json:"oem_system,omitempty"`
	StartType          string            `json:"start_type,omitempty"`   // MANUAL, AUTO
	IOReadWait         float64           `json:"io_read_wait,omitempty"` // milliseconds
	HasTC              *bool             `json:"has_tc,omitempty"`       // check (Linux)
	Platform           string            `json:"platform,omitempty"`     // hw, ali, aws, azure, gcp, tencent, vmware, hyperv, other
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
}
