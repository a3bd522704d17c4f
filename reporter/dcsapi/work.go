package dcsapi

// Work is the body of POST /v2/{project_id}/migration-machines/{server_id}/work, an operation of Ferry's own: an agent that runs
// migrations, a migration machine, says what it does for each task and is told everything that it is to do. It asks every half a second
// while it works and seldom else. All of it may come any number of times: an answer that is lost is told again.
type Work struct {
	Version string       `json:"version,omitempty"`
	IP      string       `json:"ip,omitempty"`         // of the machine, which source and target have to let in
	Free    int          `json:"free" rule:"max=1000"` // tasks that it would take beside those it has
	Reports []WorkReport `json:"reports,omitempty" rule:"max=1000"`
}

// Phase is what a machine is doing for a task.
type Phase string

// The phases.
const (
	PhaseConnect Phase = "connect"
	PhaseFull    Phase = "full"
	PhaseFollow  Phase = "follow"
	PhaseDone    Phase = "done"    // what was asked for is reached
	PhaseStopped Phase = "stopped" // as ordered; also of a task that did not run
	PhaseFailed  Phase = "failed"
)

var phases = map[Phase]bool{PhaseConnect: true, PhaseFull: true, PhaseFollow: true, PhaseDone: true, PhaseStopped: true, PhaseFailed: true}

// Known reports whether p is a documented value.
func (p Phase) Known() bool { return phases[p] }

// WorkReport is what a machine says of one task.
type WorkReport struct {
	ID    string `json:"task_id" rule:"required,min=1"`
	Run   int64  `json:"run"` // of the order that is reported on: an earlier one changes nothing
	Phase Phase  `json:"phase" rule:"required"`
	Error string `json:"error,omitempty" rule:"max=1024"` // of PhaseFailed
	Code  string `json:"code,omitempty"`                  // of the error: FERRY-…

	Progress WorkProgress `json:"progress"`
	Logs     []WorkLog    `json:"logs,omitempty" rule:"max=1000"`
}

// WorkProgress is how far a task is. Sizes are bytes.
type WorkProgress struct {
	Percent       int    `json:"percent" rule:"max=100"` // of the full copy
	Keys          int64  `json:"keys"`
	Commands      int64  `json:"commands"`
	Bytes         int64  `json:"bytes"` // read from the source
	Offset        int64  `json:"offset"`
	LagBytes      int64  `json:"lag_bytes"`
	LagMs         int64  `json:"lag_ms"`
	SourceKeys    int64  `json:"source_keys"`
	TargetKeys    int64  `json:"target_keys"`
	TargetInput   int64  `json:"target_input"` // bytes a second
	TargetOps     int64  `json:"target_ops"`   // commands a second
	RemainSeconds *int64 `json:"remain_seconds,omitempty"`
}

// WorkLog is one line of a task's log. No two lines of a task are of one time: a line of the same time is the same line.
type WorkLog struct {
	At      int64  `json:"at"` // Unix nanoseconds
	Level   Level  `json:"level" rule:"required"`
	Message string `json:"message" rule:"max=2048"`
	Code    string `json:"code,omitempty"`
}

// Orders is the answer to Work: all tasks of the machine that have not ended.
type Orders struct {
	Tasks []Order `json:"tasks"`
}

// Order is what a machine is to do for a task. It holds passwords.
type Order struct {
	ID             string     `json:"task_id"`
	Name           string     `json:"task_name"`
	Run            int64      `json:"run"`  // counts the starts of the task
	Stop           bool       `json:"stop"` // it is to end
	Type           Type       `json:"migration_type"`
	Method         Method     `json:"migration_method"`
	ResumeMode     ResumeMode `json:"resume_mode"`
	BandwidthLimit string     `json:"bandwidth_limit_mb,omitempty"`
	Source         *Instance  `json:"source_instance,omitempty"` // nil of a backup import
	Target         Instance   `json:"target_instance"`
	Files          []string   `json:"files,omitempty"` // of a backup import: see BackupFiles.Names
}
