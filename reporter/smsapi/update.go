package smsapi

// UpdateTask is the body of PUT /v3/tasks/{task_id}. What is absent stays as it is. Users change what a task was created with,
// the agent writes what it made: ids of disks and snapshots, the target, the clone.
type UpdateTask struct {
	Name                 *string        `json:"name,omitempty"`
	Type                 *TaskType      `json:"type,omitempty"`
	RegionID             *string        `json:"region_id,omitempty"`
	RegionName           *string        `json:"region_name,omitempty"`
	ExistServer          *bool          `json:"exist_server,omitempty"`
	MigrationIP          *string        `json:"migration_ip,omitempty"`
	UseIPv6              *bool          `json:"use_ipv6,omitempty"`
	UsePublicIP          *bool          `json:"use_public_ip,omitempty"`
	SpeedLimit           *int           `json:"speed_limit,omitempty" rule:"max=65535"` // Mbit/s, 0 = none
	ProjectName          *string        `json:"project_name,omitempty"`
	ProjectID            *string        `json:"project_id,omitempty"`
	EnterpriseProject    *string        `json:"enterprise_project,omitempty"`
	ImageDiskID          *string        `json:"image_disk_id,omitempty"`
	VMTemplateID         *string        `json:"vm_template_id,omitempty"`
	TargetDiskIDs        *string        `json:"target_disk_ids,omitempty" rule:"max=65535"` // separated by spaces
	SnapshotIDs          *string        `json:"snapshot_ids,omitempty" rule:"max=65535"`    // separated by ;
	CutoveredSnapshotIDs *string        `json:"cutovered_snapshot_ids,omitempty"`
	TargetServer         *UpdatedTarget `json:"target_server,omitempty"`
	CloneServer          *CloneServer   `json:"clone_server,omitempty"`
}

// check refuses a name and ids that no other operation would take.
func (u *UpdateTask) check() error {
	if u.Name != nil {
		if *u.Name == "" {
			return invalid("name: must not be empty")
		}
		if err := CheckTaskName(*u.Name); err != nil {
			return err
		}
	}
	if u.TargetDiskIDs == nil {
		return nil
	}
	return checkIDs("target_disk_ids", SplitIDs(*u.TargetDiskIDs))
}

// UpdateTaskResponse is the answer of PUT /v3/tasks/{task_id}.
type UpdateTaskResponse struct {
	ID string `json:"id"`
}

// UpdatedTarget is the target as the agent found or made it. What is absent stays as it is.
type UpdatedTarget struct {
	ID                   *string           `json:"id,omitempty"` // in the service's database; not changed
	IP                   *string           `json:"ip,omitempty"`
	Name                 *string           `json:"name,omitempty"`
	Hostname             *string           `json:"hostname,omitempty"`
	OSType               *OSType           `json:"os_type,omitempty"`
	OSVersion            *string           `json:"os_version,omitempty"`
	Firmware             *string           `json:"firmware,omitempty" rule:"enum=|BIOS|UEFI"`
	CPUQuantity          *int32            `json:"cpu_quantity,omitempty"`
	Memory               *int64            `json:"memory,omitempty"` // MB
	BtrfsList            []BtrfsFileSystem `json:"btrfs_list,omitempty"`
	Networks             []SourceNetwork   `json:"networks,omitempty"`
	DomainID             *string           `json:"domain_id,omitempty"`
	HasRsync             *bool             `json:"has_rsync,omitempty"`
	Paravirtualization   *bool             `json:"paravirtualization,omitempty"`
	RawDevices           *string           `json:"raw_devices,omitempty" rule:"max=65535"`
	DriverFiles          *bool             `json:"driver_files,omitempty"`
	SystemServices       *bool             `json:"system_services,omitempty"`
	AccountRights        *bool             `json:"account_rights,omitempty"`
	BootLoader           *string           `json:"boot_loader,omitempty" rule:"enum=|GRUB|LILO"`
	SystemDir            *string           `json:"system_dir,omitempty"`
	VolumeGroups         []VolumeGroup     `json:"volume_groups,omitempty"`
	VMID                 *string           `json:"vm_id,omitempty"`
	Flavor               *string           `json:"flavor,omitempty"`
	Disks                []UpdatedDisk     `json:"disks,omitempty"`
	ImageDiskID          *string           `json:"image_disk_id,omitempty"`
	SnapshotIDs          *string           `json:"snapshot_ids,omitempty" rule:"max=65535"`
	CutoveredSnapshotIDs *string           `json:"cutovered_snapshot_ids,omitempty"`
}

// UpdatedDisk is a disk of an UpdatedTarget. Sizes are bytes.
type UpdatedDisk struct {
	ID              *int64             `json:"id,omitempty"`
	DeviceUse       DeviceUse          `json:"device_use" rule:"default=NORMAL"`
	DiskID          string             `json:"disk_id"`
	Name            string             `json:"name"`
	PhysicalVolumes []UpdatedPartition `json:"physical_volumes"`
	Size            int64              `json:"size"`
	UsedSize        int64              `json:"used_size"`
	DiskIndex       string             `json:"disk_index"`
	OSDisk          bool               `json:"os_disk"`
	PartitionStyle  *string            `json:"partition_style" rule:"enum=|MBR|GPT"`
	RelationName    *string            `json:"relation_name"` // its name on the target, Linux only
}

// UpdatedPartition is a partition of an UpdatedDisk. Sizes are bytes.
type UpdatedPartition struct {
	ID           *int64  `json:"id,omitempty"`
	DeviceUse    string  `json:"device_use" rule:"default=NORMAL"`
	FileSystem   string  `json:"file_system"`
	Index        int32   `json:"index"`
	MountPoint   *string `json:"mount_point"`
	Name         string  `json:"name"`
	Size         int64   `json:"size"`
	UsedSize     int64   `json:"used_size"`
	UUID         *string `json:"uuid"`
	RelationName *string `json:"relation_name"`
	FreeSize     int64   `json:"free_size"`
}
