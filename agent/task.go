package agent

import (
	"context"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// Task is a task as the source knows it. Only the Runner changes it.
type Task struct {
	ID    string
	State State
	Spec  smsapi.Task // as the controller last showed it; from the journal when the controller cannot be reached

	Again      bool // an incremental pass of a task that was finished was ordered
	Continuous bool // it keeps syncing after the first copy, until cutover
	Settings   []smsapi.Config
	Windows    []smsapi.LimitWindow
}

// Limit returns the task's limit in bytes per second; 0 is none.
func (t *Task) Limit() int64 { return smsapi.BytesPerSecond(float64(t.Spec.SpeedLimit)) }

// Tasks is a controller on which tasks can be created. *reporter.Client is one.
type Tasks interface {
	CreateTask(ctx context.Context, task smsapi.CreateTaskRequest) (string, error)
	ListTasks(ctx context.Context, query smsapi.TaskQuery) (smsapi.TaskList, error)
}

// EnsureTask returns the id of the newest task with the name and the source of spec, and creates one if there is none: a migration
// that is run again is the same task again. When the controller cannot be reached, a task that an earlier run left in the state
// directory dir will do.
func EnsureTask(ctx context.Context, c Tasks, dir string, spec smsapi.CreateTaskRequest) (string, error) {
	list, err := c.ListTasks(ctx, smsapi.TaskQuery{Name: spec.Name, SourceServerID: spec.SourceServer.ID, Limit: 1})
	if err == nil && len(list.Tasks) > 0 {
		return list.Tasks[0].ID, nil
	}
	var id string
	if err == nil {
		id, err = c.CreateTask(ctx, spec)
	}
	if fault.ClassOf(err) != fault.ClassTemporary {
		return id, err
	}
	if id := journalled(dir, spec); id != "" {
		return id, nil
	}
	return "", fault.Operator("FERRY-CONTROLLER-DOWN", "start the controller, or run without --controller to use the built-in one", err)
}
