package smsapi

// MaxTrace is the longest process_trace, in characters.
const MaxTrace = 2048

// MaxSpeed is the highest migrate_speed, in Mbit/s. A faster one is clamped.
const MaxSpeed = 10000

// Progress is the body of PUT /v3/tasks/{task_id}/progress. Sizes are bytes of the whole task. The last group comes from the
// vendor's SDK and is optional.
type Progress struct {
	Subtask        SubtaskName `json:"subtask_name" rule:"required,code=SMS.6004"`
	Percent        int         `json:"progress" rule:"required,max=100"`
	ReplicatedSize int64       `json:"replicatesize" rule:"required"`
	TotalSize      int64       `json:"totalsize" rule:"required"`
	ProcessTrace   string      `json:"process_trace" rule:"required,max=2048"`      // free text; Ferry sends a Trace
	MigrateSpeed   float64     `json:"migrate_speed" rule:"clamp=10000"`            // Mbit/s
	CompressRate   float64     `json:"compress_rate" rule:"max=10000"`              // percent of the original size left
	RemainTime     *int64      `json:"remain_time,omitempty" rule:"max=2147483647"` // seconds; nil while unknown

	Usage
	NeedMigrationTest bool   `json:"need_migration_test,omitempty"`
	AgentTime         string `json:"agent_time,omitempty"` // the agent's clock
}
