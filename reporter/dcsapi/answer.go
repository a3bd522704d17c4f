package dcsapi

import "time"

// Refusal is the body of every answer that is not a success.
type Refusal struct {
	Code     string  `json:"error_code"`
	Message  string  `json:"error_msg"`
	Extended *string `json:"error_ext_msg"` // not used: null
}

// Time returns a time as the API writes it: 2019/10/22 14:44:30.
func Time(t time.Time) string { return t.UTC().Format("2006/01/02 15:04:05") }

// LogTime returns a time as the logs of a task have it: 2023-05-15T09:11:25.449Z.
func LogTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// Migration is a migration task: the answer of GET /v2/{project_id}/migration-task/{task_id} and of stopping it.
type Migration struct {
	ID                string       `json:"task_id"`
	Name              string       `json:"task_name"`
	Description       string       `json:"description,omitempty"`
	Status            Status       `json:"status"`
	Type              Type         `json:"migration_type"`
	Method            Method       `json:"migration_method,omitempty"` // empty until configured
	MachineIP         string       `json:"ecs_tenant_private_ip,omitempty"`
	BackupFiles       *BackupFiles `json:"backup_files,omitempty"`
	Network           Network      `json:"network_type,omitempty"`
	Source            *Instance    `json:"source_instance,omitempty"`
	Target            *Instance    `json:"target_instance,omitempty"`
	CreatedAt         string       `json:"created_at"`
	UpdatedAt         string       `json:"updated_at,omitempty"`
	ReleasedAt        string       `json:"released_at,omitempty"`
	Version           string       `json:"version,omitempty"` // of the machine
	ResumeMode        ResumeMode   `json:"resume_mode,omitempty"`
	SupportedFeatures []string     `json:"supported_features,omitempty"`
	VPCID             string       `json:"tenant_vpc_id,omitempty"`
	SubnetID          string       `json:"tenant_subnet_id,omitempty"`
	SecurityGroupID   string       `json:"tenant_security_group_id,omitempty"`
	BandwidthLimit    string       `json:"bandwidth_limit_mb,omitempty"`
	TaskStatus        string       `json:"task_status,omitempty"` // EXCHANGING only, so never here
}

// ChangedMigration is the answer of creating and of configuring a task.
type ChangedMigration struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Status Status `json:"status"`
}

// MigrationList is the answer of GET /v2/{project_id}/migration-tasks. Count is the number of all matches, whatever the page.
type MigrationList struct {
	Count int               `json:"count"`
	Tasks []ListedMigration `json:"migration_tasks"`
}

// ListedMigration is one task of a MigrationList. Of instances that are no cloud instances subnet, status and specification are empty.
type ListedMigration struct {
	ID                string     `json:"task_id"`
	Name              string     `json:"task_name"`
	Status            Status     `json:"status"`
	Type              Type       `json:"migration_type"`
	Method            Method     `json:"migration_method,omitempty"`
	MachineIP         string     `json:"ecs_tenant_private_ip"`
	DataSource        string     `json:"data_source"` // address of the source, or the bucket
	SourceName        string     `json:"source_instance_name"`
	SourceID          string     `json:"source_instance_id"`
	SourceStatus      string     `json:"source_instance_status"`
	SourceSubnetID    string     `json:"source_instance_subnet_id"`
	SourceSpecCode    string     `json:"source_instance_spec_code"`
	TargetAddrs       string     `json:"target_instance_addrs"`
	TargetName        string     `json:"target_instance_name"`
	TargetID          string     `json:"target_instance_id"`
	TargetStatus      string     `json:"target_instance_status"`
	TargetSubnetID    string     `json:"target_instance_subnet_id"`
	TargetSpecCode    string     `json:"target_instance_spec_code"`
	CreatedAt         string     `json:"created_at"`
	Description       string     `json:"description"`
	ErrorMessage      string     `json:"error_message"`
	ReleasedAt        string     `json:"released_at"`
	Version           string     `json:"version"`
	ResumeMode        ResumeMode `json:"resume_mode,omitempty"`
	SupportedFeatures []string   `json:"supported_features"`
}

// Stats is the answer of GET /v2/{project_id}/migration-task/{task_id}/stats: numbers as text.
type Stats struct {
	FullProgress string `json:"full_migration_progress"` // percent
	Offset       string `json:"offset"`                  // of the source's stream, up to which the target has it
	SourceKeys   string `json:"source_dbsize"`
	TargetKeys   string `json:"target_dbsize"`
	TargetInput  string `json:"target_input_kbps"` // KiB a second
	TargetOps    string `json:"target_ops"`        // commands a second
	Migrating    bool   `json:"is_migrating"`

	// Ferry's own, beside the vendor's.
	LagMs         int64  `json:"lag_ms"`    // age of the oldest command that the target does not have
	LagBytes      int64  `json:"lag_bytes"` // of the stream
	Bytes         int64  `json:"bytes"`     // read from the source
	RemainSeconds *int64 `json:"remain_seconds"`
}

// MigrationLogs is the answer of GET /v2/{project_id}/migration-task/{task_id}/logs, oldest first. Count is the number of all matches.
type MigrationLogs struct {
	Count int            `json:"log_num"`
	Logs  []MigrationLog `json:"migration_logs"`
}

// MigrationLog is one line of MigrationLogs.
type MigrationLog struct {
	CreatedAt string   `json:"created_at"`
	Level     Level    `json:"log_level"`
	Message   string   `json:"message"`
	Code      string   `json:"log_code"` // of an error: FERRY-…
	Keywords  []string `json:"keyword"`
}

// MigrationResults is the answer of the operations on several tasks.
type MigrationResults struct {
	Tasks []MigrationResult `json:"migration_tasks"`
}

// The results of an operation on one of several tasks.
const (
	ResultSuccess = "success"
	ResultFailed  = "failed"
)

// MigrationResult is what came of one of several tasks. A success says that it was ordered.
type MigrationResult struct {
	ID      string `json:"task_id"`
	Result  string `json:"result"`
	Code    string `json:"error_code,omitempty"`
	Message string `json:"error_msg,omitempty"`
}
