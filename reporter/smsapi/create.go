package smsapi

// CreateTaskRequest is the body of POST /v3/tasks.
//
// The last group comes from the vendor's SDK; the CreateTask page does not have it.
type CreateTaskRequest struct {
	Name              string          `json:"name" rule:"required"` // letters, digits, '_' and '-' only: see TaskName
	Type              TaskType        `json:"type" rule:"required"`
	OSType            OSType          `json:"os_type" rule:"required"`
	StartTargetServer bool            `json:"start_target_server" rule:"default=true"`
	AutoStart         bool            `json:"auto_start,omitempty"`
	SourceServer      SourceServerID  `json:"source_server" rule:"required"`
	TargetServer      NewTargetServer `json:"target_server" rule:"required"`
	MigrationIP       string          `json:"migration_ip,omitempty"` // address the agent connects to
	RegionName        string          `json:"region_name" rule:"required"`
	RegionID          string          `json:"region_id" rule:"required"`
	ProjectName       string          `json:"project_name" rule:"required"`
	ProjectID         string          `json:"project_id" rule:"required"`
	Priority          int             `json:"priority" rule:"default=1,max=65535"` // 0 low, 1 standard, 2 high
	VMTemplateID      string          `json:"vm_template_id,omitempty"`
	UsePublicIP       bool            `json:"use_public_ip" rule:"default=true"`
	UseIPv6           bool            `json:"use_ipv6,omitempty"`
	Syncing           bool            `json:"syncing"` // keep syncing after the first copy
	ExistServer       bool            `json:"exist_server,omitempty"`
	StartNetworkCheck bool            `json:"start_network_check,omitempty"`

	EnterpriseProjectID  string  `json:"enterprise_project_id,omitempty"`
	CloneVMTemplateID    string  `json:"clonevm_template_id,omitempty"`
	SpeedLimit           int     `json:"speed_limit,omitempty" rule:"max=65535"` // Mbit/s, 0 = none
	OverSpeedThreshold   float64 `json:"over_speed_threshold,omitempty"`         // percent above the limit that stops the task
	NeedConsistencyCheck bool    `json:"is_need_consistency_check,omitempty"`
	NeedMigrationTest    bool    `json:"need_migration_test,omitempty"`
}

// check refuses a name that the service does not take.
func (r *CreateTaskRequest) check() error { return CheckTaskName(r.Name) }

// CreateTaskResponse is the answer of POST /v3/tasks.
type CreateTaskResponse struct {
	ID string `json:"id"`
}

// SourceServerID names a source in CreateTaskRequest.
type SourceServerID struct {
	ID string `json:"id" rule:"required"`
}

// NewTargetServer is the target in CreateTaskRequest. vm_id may be empty, not absent.
type NewTargetServer struct {
	BtrfsList    []BtrfsFileSystem `json:"btrfs_list,omitempty"`
	Disks        []NewTargetDisk   `json:"disks" rule:"required"`
	Name         string            `json:"name" rule:"required"`
	VMID         string            `json:"vm_id" rule:"required"`
	VolumeGroups []VolumeGroup     `json:"volume_groups"`
}

// NewTargetDisk is a disk in CreateTaskRequest. Sizes are bytes.
type NewTargetDisk struct {
	DeviceUse       DeviceUse           `json:"device_use" rule:"default=NORMAL"`
	DiskID          string              `json:"disk_id,omitempty"` // id of the target's volume at its cloud
	Name            string              `json:"name" rule:"required"`
	PhysicalVolumes []NewPhysicalVolume `json:"physical_volumes" rule:"required"`
	Size            int64               `json:"size" rule:"required"`
	UsedSize        int64               `json:"used_size" rule:"required"`
}

// NewPhysicalVolume is a partition in CreateTaskRequest. Sizes are bytes.
type NewPhysicalVolume struct {
	DeviceUse  string  `json:"device_use,omitempty"`
	FileSystem string  `json:"file_system,omitempty"`
	Index      int32   `json:"index"`
	MountPoint string  `json:"mount_point,omitempty"`
	Name       string  `json:"name,omitempty"` // drive letter or device name
	Size       int64   `json:"size"`
	InodeSize  int64   `json:"inode_size,omitempty"` // number of inodes, whatever its name says
	UsedSize   int64   `json:"used_size"`
	UUID       *string `json:"uuid"`
}

// VolumeGroup is an LVM volume group, in requests and answers. Sizes are bytes.
type VolumeGroup struct {
	Components     string          `json:"components"` // the physical volumes
	FreeSize       int64           `json:"free_size"`
	LogicalVolumes []LogicalVolume `json:"logical_volumes" rule:"max=255"`
	Name           string          `json:"name"`
	Size           int64           `json:"size"`
}

// LogicalVolume is an LVM logical volume, in requests and answers. Sizes are bytes.
type LogicalVolume struct {
	BlockCount int64  `json:"block_count" rule:"max=4294967296"`
	BlockSize  int64  `json:"block_size" rule:"max=1048576"`
	FileSystem string `json:"file_system" rule:"required"`
	InodeSize  int64  `json:"inode_size" rule:"required,max=4294967296"` // number of inodes, whatever its name says
	InodeNums  int64  `json:"inode_nums,omitempty"`
	DeviceUse  string `json:"device_use,omitempty"`
	MountPoint string `json:"mount_point" rule:"required,max=256"`
	Name       string `json:"name" rule:"required,max=1024"`
	Size       int64  `json:"size" rule:"required"`
	UsedSize   int64  `json:"used_size" rule:"required"`
	FreeSize   int64  `json:"free_size" rule:"required"`
}

// BtrfsFileSystem is a Btrfs in CreateTaskRequest. Sizes are bytes.
type BtrfsFileSystem struct {
	Name                   string           `json:"name" rule:"required"`
	Label                  string           `json:"label" rule:"required"`
	UUID                   string           `json:"uuid" rule:"required"`
	Device                 string           `json:"device" rule:"required"`
	Size                   int64            `json:"size" rule:"required"` // taken by data
	NodeSize               int64            `json:"nodesize" rule:"required"`
	SectorSize             int32            `json:"sectorsize" rule:"required"`
	DataProfile            string           `json:"data_profile" rule:"required"`
	SystemProfile          string           `json:"system_profile" rule:"required"`
	MetadataProfile        string           `json:"metadata_profile" rule:"required"`
	GlobalReserve          string           `json:"global_reserve1" rule:"required"`
	VolumeUsedSize         int64            `json:"g_vol_used_size" rule:"required"`
	DefaultSubvolumeID     string           `json:"default_subvolid" rule:"required"`
	DefaultSubvolumeName   string           `json:"default_subvol_name" rule:"required"`
	DefaultSubvolumeMountP string           `json:"default_subvol_mountpath" rule:"required"`
	Subvolumes             []BtrfsSubvolume `json:"subvolumn" rule:"required"` // sic
}

// BtrfsSubvolume is one subvolume of a BtrfsFileSystem.
type BtrfsSubvolume struct {
	UUID       string `json:"uuid" rule:"required"`        // of the parent volume
	IsSnapshot string `json:"is_snapshot" rule:"required"` // a string, not a boolean
	ID         string `json:"subvol_id" rule:"required"`
	ParentID   string `json:"parent_id" rule:"required"`
	Name       string `json:"subvol_name" rule:"required"`
	MountPath  string `json:"subvol_mount_path" rule:"required"`
}
