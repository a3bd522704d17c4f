package smsapi

import "slices"

// Operation is what a user asks of a task.
type Operation string

// The operations, the union of what the documents of all years list. What the agent is told is the service's matter; Ferry's
// control plane says it beside its table of transitions.
const (
	OpStart         Operation = "start"   // begin, or go on after a stop or an error
	OpStop          Operation = "stop"    // pause
	OpTest          Operation = "test"    // launch the target, whatever its name says
	OpCutover       Operation = "cutover" // launch the target
	OpCloneTest     Operation = "clone_test"
	OpRestart       Operation = "restart" // an incremental pass of a finished task
	OpCollectLog    Operation = "collect_log"
	OpRollbackSync  Operation = "sync_failed_rollback"
	OpNetworkCheck  Operation = "network_check"
	OpSkip          Operation = "skip"  // leave the verification that runs out
	OpClear         Operation = "clear" // delete the snapshots of a finished task
	OpMigrationTest Operation = "migration_test"
	OpOverSpeed     Operation = "error_for_overspeed" // pause, because the limit was exceeded
)

var operations = []Operation{
	OpStart, OpStop, OpTest, OpCutover, OpCloneTest, OpRestart, OpCollectLog, OpRollbackSync, OpNetworkCheck, OpSkip, OpClear,
	OpMigrationTest, OpOverSpeed,
}

// Known reports whether o is a documented value.
func (o Operation) Known() bool { return slices.Contains(operations, o) }

// TaskAction is the body of POST /v3/tasks/{task_id}/action. The settings of a clone that the SDK also lists are those of a
// template, named by its id here.
type TaskAction struct {
	Operation            Operation         `json:"operation" rule:"required"`
	TemplateID           string            `json:"template_id,omitempty"` // of the clone
	SwitchHCE            bool              `json:"switch_hce,omitempty"`  // convert CentOS to the vendor's own Linux
	NeedConsistencyCheck bool              `json:"is_need_consistency_check,omitempty"`
	Param                map[string]string `json:"param,omitempty"` // older documents only; without a meaning
}

// The subtasks' user_op: which operation made them. The examples show REPLICATE only; the others are named after it.
const (
	UserOpReplicate = "REPLICATE"
	UserOpSync      = "SYNC"
	UserOpCutover   = "CUTOVER"
	UserOpClone     = "CLONE"
)
