// Package store keeps the control plane's tasks in a database.
//
// A task is one row and one row per subtask, written together or not at all. Reads never wait for writes. Times are Unix
// milliseconds as in the API, so that a copy of a row is a copy of what the API shows.
package store

import (
	"context"
	"errors"

	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// ErrNotFound says that there is no such task.
var ErrNotFound = errors.New("no such task")

// Task is one migration as the control plane knows it.
type Task struct {
	Number   int64 // counts up; the database's key
	ID       string
	State    smsapi.TaskState
	Request  smsapi.CreateTaskRequest // what it was created with
	TargetID string                   // of the target in this database

	Created  int64
	Started  *int64 // nil while READY
	Finished *int64 // nil unless in a final state
	Reported *int64 // last report of the agent; nil until the first

	Speed         float64 // Mbit/s, of the last report
	CompressRate  float64 // percent of the original size left
	Replicated    int64   // bytes
	Total         int64   // bytes; 0 while unknown
	RemainSeconds *int64  // nil while unknown
	ErrorJSON     string  // empty unless the task failed

	Subtasks []Subtask // in the order they run
}

// Subtask is one subtask of a Task.
type Subtask struct {
	ID       int64 // 0 until it is stored
	Name     smsapi.SubtaskName
	UserOp   string // the operation that made it
	Progress int    // percent
	Started  *int64
	Ended    *int64
	Speed    float64 // Mbit/s
	Trace    *string // of the last report
}

// Tasks is a collection of tasks. It is for concurrent use. A task it returns belongs to the caller.
type Tasks interface {
	// Create stores a new task and sets its number and the ids of its subtasks.
	Create(ctx context.Context, task *Task) error
	// Task returns the task called id, or ErrNotFound.
	Task(ctx context.Context, id string) (*Task, error)
	// List returns one page of the tasks that match, newest first, and how many match in all.
	List(ctx context.Context, query smsapi.TaskQuery) (page []*Task, count int, err error)
	// Update changes the task called id: change sees it as it is and nobody else changes it meanwhile. When change returns an
	// error nothing is stored and that error is returned. The request of a task cannot be changed.
	Update(ctx context.Context, id string, change func(*Task) error) error
}
