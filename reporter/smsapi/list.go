package smsapi

import (
	"net/url"
	"strconv"
)

// Limits and defaults of the query of GET /v3/tasks.
const (
	DefaultLimit = 100
	MaxLimit     = 200
	MaxOffset    = 65535
)

// TaskQuery is the query of GET /v3/tasks. An empty filter matches everything; filters must all match, exactly.
type TaskQuery struct {
	State               TaskState
	Name                string
	ID                  string
	SourceServerID      string
	EnterpriseProjectID string
	Limit               int // of one page; 0 asks for none, only the count
	Offset              int
}

// Values returns the query as it is sent. The limit is always sent.
func (q TaskQuery) Values() url.Values {
	v := url.Values{"limit": {strconv.Itoa(q.Limit)}}
	for name, value := range map[string]string{
		"state": string(q.State), "name": q.Name, "id": q.ID,
		"source_server_id": q.SourceServerID, "enterprise_project_id": q.EnterpriseProjectID,
	} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if q.Offset > 0 {
		v.Set("offset", strconv.Itoa(q.Offset))
	}
	return v
}

// ParseTaskQuery reads and checks the query of GET /v3/tasks. Unknown parameters are ignored. Errors are *Error.
func ParseTaskQuery(v url.Values) (q TaskQuery, err error) {
	q = TaskQuery{
		State: TaskState(v.Get("state")), Name: v.Get("name"), ID: v.Get("id"),
		SourceServerID: v.Get("source_server_id"), EnterpriseProjectID: v.Get("enterprise_project_id"),
	}
	if err := texts(v, "name", "id", "source_server_id", "enterprise_project_id"); err != nil {
		return q, err
	}
	if q.State != "" && !q.State.Known() {
		return q, invalid("state %q is not a task state", trim(string(q.State), 40))
	}
	q.Limit, q.Offset, err = page(v, DefaultLimit, MaxLimit)
	return q, err
}

func number(v url.Values, name string, absent, most int) (int, error) {
	text := v.Get(name)
	if text == "" {
		return absent, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > most {
		return 0, invalid("%s is not a number from 0 to %d", name, most)
	}
	return n, nil
}

// TaskList is the answer of GET /v3/tasks. Count is the number of all matches, whatever the page.
type TaskList struct {
	Count int          `json:"count"`
	Tasks []ListedTask `json:"tasks"`
}

// ListedTask is one task of a TaskList: fewer fields than Task, and two that Task does not have. Times are Unix milliseconds.
type ListedTask struct {
	ID                   string          `json:"id"`
	Name                 string          `json:"name"`
	Type                 TaskType        `json:"type"`
	OSType               OSType          `json:"os_type"`
	State                TaskState       `json:"state"`
	EstimateCompleteTime *int64          `json:"estimate_complete_time"`
	CreateDate           int64           `json:"create_date"`
	Priority             int             `json:"priority"`
	SpeedLimit           int             `json:"speed_limit"`   // Mbit/s, 0 = none
	MigrateSpeed         float64         `json:"migrate_speed"` // Mbit/s
	CompressRate         float64         `json:"compress_rate,omitzero"`
	StartTargetServer    bool            `json:"start_target_server"`
	ErrorJSON            string          `json:"error_json"`
	TotalTime            int64           `json:"total_time"` // milliseconds
	MigrationIP          string          `json:"migration_ip"`
	Subtasks             []ListedSubtask `json:"sub_tasks,omitempty"`
	SourceServer         *ListedSource   `json:"source_server"` // may be nil
	EnterpriseProjectID  string          `json:"enterprise_project_id,omitempty"`
	TargetServer         *ListedTarget   `json:"target_server"`
	LogCollectStatus     LogStatus       `json:"log_collect_status"`
	CloneServer          *CloneServer    `json:"clone_server,omitempty"`
	Syncing              bool            `json:"syncing,omitempty"`
	NetworkCheckInfo     *NetworkCheck   `json:"network_check_info,omitempty"`
	SpecialConfig        []Config        `json:"special_config,omitempty"`
	Usage
	NeedMigrationTest bool   `json:"need_migration_test,omitempty"`
	SubtaskInfo       string `json:"subtask_info,omitempty"` // the current subtask and its progress
}

// ListedSubtask is one subtask of a ListedTask.
type ListedSubtask struct {
	ID           int64       `json:"id"`
	Name         SubtaskName `json:"name"`
	Progress     int         `json:"progress"`
	StartDate    *int64      `json:"start_date"`
	EndDate      *int64      `json:"end_date"`
	ProcessTrace *string     `json:"process_trace"`
}

// ListedSource is the source of a ListedTask.
type ListedSource struct {
	ID        string `json:"id"`
	IP        string `json:"ip"`
	Name      string `json:"name"`
	OSType    OSType `json:"os_type"`
	OSVersion string `json:"os_version"`
	OEMSystem bool   `json:"oem_system"`
	State     string `json:"state"`
}

// ListedTarget is the target of a ListedTask.
type ListedTarget struct {
	ID        string  `json:"id"`
	VMID      string  `json:"vm_id"`
	Name      string  `json:"name"`
	IP        *string `json:"ip"`
	OSType    OSType  `json:"os_type"`
	OSVersion *string `json:"os_version"`
}

// Config is one advanced option of a task. The service stores the value, the agent reads it.
type Config struct {
	Key    string `json:"config_key" rule:"required"`
	Value  string `json:"config_value" rule:"max=1024"`
	Status string `json:"config_status,omitempty"`
}
