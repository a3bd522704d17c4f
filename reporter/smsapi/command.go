package smsapi

import (
	"encoding/json"
	"net/http"
	"slices"
)

// CommandName says what the service asks of an agent.
type CommandName string

// The commands that an agent may be told: the union of what the documents of all years list, and two that they lack. The last three only say how the
// task stands; they ask for nothing and are not answered.
const (
	CommandStart       CommandName = "START"      // run the subtasks from the first unfinished one
	CommandStop        CommandName = "STOP"       // stop cleanly, keep what a resume needs
	CommandSync        CommandName = "SYNC"       // an incremental pass of a finished task
	CommandSkip        CommandName = "SKIP"       // leave the verification out
	CommandPremigrate  CommandName = "PREMIGRATE" // run the migration drill
	CommandDelete      CommandName = "DELETE"     // abort, clean up, forget the task
	CommandUploadLog   CommandName = "UPLOAD_LOG"
	CommandResetLogACL CommandName = "RSET_LOG_ACL" // sic

	CommandNetworkCheck CommandName = "NETWORK_CHECK"        // measure the way to the target; Ferry's own
	CommandRollback     CommandName = "SYNC_FAILED_ROLLBACK" // roll a failed sync back; Ferry's own

	TaskNotStarted  CommandName = "TASK_NOT_STARTED"
	TaskHasStopped  CommandName = "TASK_HAS_STOPPED"
	TaskHasFinished CommandName = "TASK_HAS_FINISHED"
)

var commandNames = []CommandName{
	CommandStart, CommandStop, CommandSync, CommandSkip, CommandPremigrate, CommandDelete, CommandUploadLog, CommandResetLogACL,
	CommandNetworkCheck, CommandRollback,
}

// Known reports whether an agent answers the command.
func (c CommandName) Known() bool { return slices.Contains(commandNames, c) }

// Command is the answer of GET /v3/sources/{server_id}/command. An empty name, or an unknown one, asks for nothing.
type Command struct {
	Name  CommandName   `json:"command_name,omitempty"`
	Param *CommandParam `json:"command_param,omitempty"`
}

// CommandParam is what a command is about. Task is absent from UPLOAD_LOG in the oldest documents, Bucket from all others; Object
// is only in those.
type CommandParam struct {
	Task   string `json:"task_id,omitempty"`
	Bucket string `json:"bucket,omitempty"` // where UPLOAD_LOG puts the logs
	Object string `json:"object,omitempty"`
}

// The results of a command.
const (
	ResultSuccess = "success"
	ResultFail    = "fail"
)

// CommandResult is the body of POST /v3/sources/{server_id}/command_result. The name is the one of the command that was polled.
type CommandResult struct {
	Name   CommandName     `json:"command_name" rule:"required,code=SMS.6021"`
	Result string          `json:"result" rule:"required,enum=success|fail,code=SMS.6022"`
	Detail json.RawMessage `json:"result_detail" rule:"required"` // an object; only kept
}

// check refuses a detail that is not an object.
func (c *CommandResult) check() error {
	if len(c.Detail) == 0 || c.Detail[0] != '{' {
		return NewError(http.StatusBadRequest, CodeInvalid, "result_detail: not an object")
	}
	return nil
}
