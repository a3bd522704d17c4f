package smsapi

// SourceStatus is what a list and a single source have in common. Times are Unix milliseconds, sizes bytes.
type SourceStatus struct {
	ID                  string             `json:"id"`
	IP                  string             `json:"ip"`
	IPv6                string             `json:"ipv6,omitempty"`
	Name                string             `json:"name"`
	EnterpriseProjectID string             `json:"enterprise_project_id,omitempty"`
	AddDate             int64              `json:"add_date"` // registered first
	OSType              OSType             `json:"os_type"`
	OSVersion           string             `json:"os_version"`
	OEMSystem           bool               `json:"oem_system"`
	State               SourceState        `json:"state"`
	Connected           bool               `json:"connected"` // the agent was heard of lately
	CPUQuantity         int32              `json:"cpu_quantity"`
	Checks              []EnvironmentCheck `json:"checks"`
	InitTargetServer    *InitTargetServer  `json:"init_target_server,omitempty"`
	ReplicatedSize      int64              `json:"replicatesize"`
	TotalSize           int64              `json:"totalsize"`
	StageActionTime     int64              `json:"stage_action_time"` // migration_cycle changed
	LastVisitTime       int64              `json:"last_visit_time"`   // connected changed
	MigrationCycle      MigrationCycle     `json:"migration_cycle"`
	StateActionTime     int64              `json:"state_action_time"` // state changed
	HasTC               bool               `json:"has_tc"`
	StartType           string             `json:"start_type"`
}

// Source is the answer of GET /v3/sources/{source_id}.
type Source struct {
	SourceStatus

	Memory       int64              `json:"memory"` // MB here
	Hostname     string             `json:"hostname"`
	Firmware     string             `json:"firmware,omitempty"`
	Disks        []ShownDisk        `json:"disks"`
	VolumeGroups []ShownVolumeGroup `json:"volume_groups"`
	BtrfsList    []BtrfsFileSystem  `json:"btrfs_list"`
	Networks     []SourceNetwork    `json:"networks"`
	AgentVersion string             `json:"agent_version"`
	CurrentTask  *SourceTask        `json:"current_task,omitempty"`
}

// ListedSourceServer is one source of a SourceList.
type ListedSourceServer struct {
	SourceStatus

	Memory                 int64             `json:"memory"` // bytes here
	ConsistencyResultExist bool              `json:"is_consistency_result_exist"`
	CurrentTask            *ListedSourceTask `json:"current_task,omitempty"`
}

// SourceList is the answer of GET /v3/sources. Count is the number of all matches, whatever the page.
type SourceList struct {
	Count   int                  `json:"count"`
	Sources []ListedSourceServer `json:"source_servers"` // not "sources"
}

// SourceTask is the task of a Source.
type SourceTask struct {
	ID                string       `json:"id"`
	Name              string       `json:"name"`
	Type              TaskType     `json:"type"`
	State             TaskState    `json:"state"`
	StartDate         *int64       `json:"start_date,omitempty"`
	SpeedLimit        int          `json:"speed_limit"`   // Mbit/s, 0 = none
	MigrateSpeed      float64      `json:"migrate_speed"` // Mbit/s
	StartTargetServer bool         `json:"start_target_server"`
	VMTemplateID      string       `json:"vm_template_id,omitempty"`
	RegionID          string       `json:"region_id"`
	ProjectName       string       `json:"project_name"`
	ProjectID         string       `json:"project_id"`
	TargetServer      *NamedServer `json:"target_server,omitempty"`
	LogCollectStatus  LogStatus    `json:"log_collect_status"`
	ExistServer       bool         `json:"exist_server"`
	UsePublicIP       bool         `json:"use_public_ip"`
	CloneServer       *CloneServer `json:"clone_server,omitempty"`
	SubtaskInfo       string       `json:"subtask_info,omitempty"` // the current subtask and its progress
}

// ListedSourceTask is the task of a ListedSourceServer.
type ListedSourceTask struct {
	SourceTask

	EstimateCompleteTime *int64  `json:"estimate_complete_time,omitempty"`
	CompressRate         float64 `json:"compress_rate,omitzero"`
	RemainSeconds        *int64  `json:"remain_seconds,omitempty"`
	LogBucket            string  `json:"log_bucket,omitempty"`
	LogExpire            int64   `json:"log_expire,omitempty"` // seconds
	LogUploadTime        *int64  `json:"log_upload_time,omitempty"`
	LogShareURL          string  `json:"log_share_url,omitempty"`
}

// NamedServer is the target of a SourceTask.
type NamedServer struct {
	VMID string `json:"vm_id"`
	Name string `json:"name"`
}

// ShownDisk is a disk of a Source: what the agent said of it, and what the user chose. The vendor's SDK knows only the former;
// the id is what UpdateSource names.
type ShownDisk struct {
	ID string `json:"id"`
	SourceDisk
	Partitions []ShownPartition `json:"physical_volumes"` // in place of SourceDisk's
	Choice
}

// ShownPartition is a partition of a ShownDisk.
type ShownPartition struct {
	ID string `json:"id"`
	SourcePartition
	Choice
}

// ShownVolumeGroup is a volume group of a Source.
type ShownVolumeGroup struct {
	ID string `json:"id"`
	VolumeGroup
	LogicalVolumes []ShownLogicalVolume `json:"logical_volumes"` // in place of VolumeGroup's
	Choice
}

// ShownLogicalVolume is a logical volume of a ShownVolumeGroup.
type ShownLogicalVolume struct {
	ID string `json:"id"`
	LogicalVolume
	Choice
}

// Choice is what a user wants of a disk, a partition or a volume.
type Choice struct {
	NeedMigration bool  `json:"need_migration"`
	AdjustSize    int64 `json:"adjust_size,omitempty"` // bytes on the target; 0: as on the source
}

// EnvironmentCheck is one thing that was looked at when a source registered.
type EnvironmentCheck struct {
	ID          int64    `json:"id"`
	Params      []string `json:"params,omitempty"`
	Name        string   `json:"name"`
	Result      string   `json:"result"`                  // OK, WARN or ERROR
	ErrorCode   string   `json:"error_code,omitempty"`    // unless OK
	ErrorOrWarn string   `json:"error_or_warn,omitempty"` // unless OK: what is wrong
	ErrorParams string   `json:"error_params,omitempty"`
}

// The results of an EnvironmentCheck.
const (
	CheckOK    = "OK"
	CheckWarn  = "WARN"
	CheckError = "ERROR"
)

// InitTargetServer is the target that the service recommends for a source.
type InitTargetServer struct {
	Disks        []InitTargetDisk `json:"disks"`
	VolumeGroups []VolumeGroup    `json:"volume_groups"`
}

// InitTargetDisk is a disk of an InitTargetServer. Sizes are bytes.
type InitTargetDisk struct {
	Name            string              `json:"name"`
	Size            int64               `json:"size"`
	DeviceUse       DeviceUse           `json:"device_use"`
	UsedSize        int64               `json:"used_size"`
	PhysicalVolumes []NewPhysicalVolume `json:"physical_volumes"`
}

// SourceOverview is the answer of GET /v3/sources/overview: how many sources are in a state. A waiting source counts as
// unconfigured as long as it has no task.
type SourceOverview struct {
	Waiting      int `json:"waiting"`
	Replicate    int `json:"replicate"`
	Syncing      int `json:"syncing"`
	Stopped      int `json:"stopped"`
	Deleting     int `json:"deleting"`
	Cutovering   int `json:"cutovering"`
	Unavailable  int `json:"unavailable"`
	Stopping     int `json:"stopping"`
	Skipping     int `json:"skipping"`
	Finished     int `json:"finished"`
	Initialize   int `json:"initialize"`
	Error        int `json:"error"`
	Cloning      int `json:"cloning"`
	Unconfigured int `json:"unconfigured"`
}

// MigrationErrors is the answer of GET /v3/errors: the sources whose migration failed.
type MigrationErrors struct {
	Count  int              `json:"count"`
	Errors []MigrationError `json:"migration_errors"`
}

// MigrationError says why the migration of one source failed.
type MigrationError struct {
	ErrorJSON string `json:"error_json"`
	HostName  string `json:"host_name"`
	Name      string `json:"name"`
	SourceID  string `json:"source_id"`
	SourceIP  string `json:"source_ip"`
	TargetIP  string `json:"target_ip"`
}
