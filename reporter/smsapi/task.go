package smsapi

import (
	"encoding/json"
	"fmt"
)

// Task is the answer of GET /v3/tasks/{task_id}. Times are Unix milliseconds; a nil time is not known yet.
type Task struct {
	ID                   string        `json:"id"`
	Name                 string        `json:"name"`
	Type                 TaskType      `json:"type"`
	OSType               OSType        `json:"os_type"`
	State                TaskState     `json:"state"`
	EstimateCompleteTime *int64        `json:"estimate_complete_time"` // while running, once the rate is known
	CreateDate           int64         `json:"create_date"`
	StartDate            *int64        `json:"start_date"`
	FinishDate           *int64        `json:"finish_date"`
	Priority             int           `json:"priority"`               // 0 low, 1 standard, 2 high
	SpeedLimit           int           `json:"speed_limit"`            // Mbit/s, 0 = none
	MigrateSpeed         float64       `json:"migrate_speed"`          // Mbit/s
	CompressRate         float64       `json:"compress_rate,omitzero"` // percent of the original size left
	StartTargetServer    bool          `json:"start_target_server"`
	ErrorJSON            string        `json:"error_json"` // empty unless the task failed
	TotalTime            int64         `json:"total_time"` // milliseconds
	RemainSeconds        *int64        `json:"remain_seconds,omitempty"`
	Connected            *bool         `json:"connected,omitempty"` // the agent was heard of lately
	FloatIP              *string       `json:"float_ip"`
	MigrationIP          *string       `json:"migration_ip"`
	EnterpriseProjectID  string        `json:"enterprise_project_id,omitempty"`
	VMTemplateID         *string       `json:"vm_template_id"`
	RegionName           string        `json:"region_name"`
	RegionID             string        `json:"region_id"`
	ProjectName          string        `json:"project_name"`
	ProjectID            string        `json:"project_id"`
	Subtasks             []Subtask     `json:"sub_tasks"`
	SourceServer         *SourceServer `json:"source_server"`
	TargetServer         *TargetServer `json:"target_server"`
	TargetSnapshotID     string        `json:"target_snapshot_id,omitempty"`
	CloneServer          *CloneServer  `json:"clone_server"`
	NetworkCheckInfo     *NetworkCheck `json:"network_check_info,omitempty"`
	Usage
	NeedMigrationTest bool   `json:"need_migration_test,omitempty"`
	SubtaskInfo       string `json:"subtask_info,omitempty"` // the current subtask and its progress
}

// Usage is how busy source and agent are, as the agent last said. The vendor's SDK has it; the documents do not.
type Usage struct {
	TotalCPU    float64 `json:"total_cpu_usage,omitempty" rule:"max=100"` // percent
	AgentCPU    float64 `json:"agent_cpu_usage,omitempty" rule:"max=100"` // percent
	TotalMemory float64 `json:"total_mem_usage,omitempty"`                // MB
	AgentMemory float64 `json:"agent_mem_usage,omitempty"`                // MB
	TotalDiskIO float64 `json:"total_disk_io,omitempty"`                  // Mbit/s
	AgentDiskIO float64 `json:"agent_disk_io,omitempty"`                  // Mbit/s
}

// Subtask is one subtask of a Task. Times are Unix milliseconds.
type Subtask struct {
	ID           int64       `json:"id"`
	Name         SubtaskName `json:"name"`
	Progress     int         `json:"progress"`               // percent
	StartDate    *int64      `json:"start_date"`             // nil until it starts
	EndDate      *int64      `json:"end_date"`               // nil until it ends
	MigrateSpeed float64     `json:"migrate_speed,omitzero"` // Mbit/s
	UserOp       string      `json:"user_op"`                // the operation that made it: REPLICATE, SYNC
	ProcessTrace *string     `json:"process_trace"`
}

// SourceServer is the source of a Task. State and cycle are kept as they come: the documents list four different sets.
type SourceServer struct {
	ID             string `json:"id"`
	IP             string `json:"ip"`
	Name           string `json:"name"`
	OSType         OSType `json:"os_type"`
	OSVersion      string `json:"os_version"`
	OEMSystem      bool   `json:"oem_system"`
	State          string `json:"state"`
	MigrationCycle string `json:"migration_cycle"`
}

// TargetServer is the target of a Task.
type TargetServer struct {
	ID                   string        `json:"id"` // in the service's database
	VMID                 string        `json:"vm_id"`
	Name                 string        `json:"name"`
	IP                   *string       `json:"ip"`
	OSType               OSType        `json:"os_type"`
	OSVersion            *string       `json:"os_version"`
	SystemDir            *string       `json:"system_dir"` // Windows only
	Disks                []TargetDisk  `json:"disks"`
	VolumeGroups         []VolumeGroup `json:"volume_groups"`
	BtrfsList            BtrfsNames    `json:"btrfs_list,omitzero"` // Linux only
	ImageDiskID          *string       `json:"image_disk_id"`
	CutoveredSnapshotIDs *string       `json:"cutovered_snapshot_ids"`
}

// TargetDisk is a disk of a TargetServer. Sizes are bytes.
type TargetDisk struct {
	ID              int64                  `json:"id"`
	Name            string                 `json:"name"`
	RelationName    *string                `json:"relation_name"` // its name on the target, Linux only
	DiskID          string                 `json:"disk_id"`
	PartitionStyle  *string                `json:"partition_style"` // MBR or GPT; nil while unknown
	Size            int64                  `json:"size"`
	UsedSize        int64                  `json:"used_size"`
	DeviceUse       DeviceUse              `json:"device_use"`
	OSDisk          bool                   `json:"os_disk"`
	PhysicalVolumes []TargetPhysicalVolume `json:"physical_volumes"`
	DiskIndex       string                 `json:"disk_index"`
}

// TargetPhysicalVolume is a partition of a TargetDisk. Sizes are bytes.
type TargetPhysicalVolume struct {
	ID           int64   `json:"id"`
	UUID         *string `json:"uuid"`
	Index        int32   `json:"index"`
	Name         string  `json:"name"`
	RelationName *string `json:"relation_name"`
	DeviceUse    string  `json:"device_use"`
	FileSystem   string  `json:"file_system"`
	MountPoint   *string `json:"mount_point"`
	Size         int64   `json:"size"`
	UsedSize     int64   `json:"used_size"`
	FreeSize     int64   `json:"free_size"`
}

// CloneServer is the test clone of a Task.
type CloneServer struct {
	VMID       string `json:"vm_id"`
	Name       string `json:"name"`
	CloneError string `json:"clone_error,omitempty"`
	CloneState string `json:"clone_state,omitempty" rule:"enum=|NOT_READY|READY|PREPARING|CREATING|ERROR|FINISHED"`
	ErrorMsg   string `json:"error_msg,omitempty" rule:"max=1024"`
}

// NetworkCheck is the result of a network measurement, the body of POST /v3/{task_id}/update-network-check-info. Delay and jitter are milliseconds, the speed Mbit/s, the rest percent.
type NetworkCheck struct {
	DomainConnectivity      bool    `json:"domain_connectivity"`
	DestinationConnectivity bool    `json:"destination_connectivity"`
	NetworkDelay            float64 `json:"network_delay" rule:"required,max=10000"`
	NetworkJitter           float64 `json:"network_jitter" rule:"required,max=10000"`
	MigrationSpeed          float64 `json:"migration_speed" rule:"required,max=10000"`
	LossPercentage          float64 `json:"loss_percentage" rule:"required,max=100"`
	CPUUsage                float64 `json:"cpu_usage" rule:"required,max=100"`
	MemUsage                float64 `json:"mem_usage" rule:"required,max=100"`
	EvaluationResult        string  `json:"evaluation_result" rule:"required,min=6,max=8"` // no document names the values
}

// BtrfsNames names the Btrfs filesystems of a target. It is sent as a list of strings and read as strings or as objects
// with a name, because the documents show both.
type BtrfsNames []string

// UnmarshalJSON reads strings, and the names of objects.
func (b *BtrfsNames) UnmarshalJSON(data []byte) error {
	var items []json.RawMessage
	if err := json.Unmarshal(data, &items); err != nil {
		return fmt.Errorf("btrfs_list: %w", err)
	}
	names := make(BtrfsNames, 0, len(items))
	for _, item := range items {
		var name string
		if json.Unmarshal(item, &name) != nil {
			var fs struct{ Name string }
			if err := json.Unmarshal(item, &fs); err != nil {
				return fmt.Errorf("btrfs_list: %w", err)
			}
			name = fs.Name
		}
		names = append(names, name)
	}
	*b = names
	return nil
}
