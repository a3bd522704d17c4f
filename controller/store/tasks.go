package store

import (
	"fmt"

	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

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

// taskColumns are those of scanTask, in its order.
const taskColumns = `number, id, state, request, target_id, created, started, finished, reported,
	speed, compress_rate, replicated, total, remain_seconds, error_json`

// CreateTask stores a new task and sets its number and the ids of its subtasks.
func (t *Tx) CreateTask(task *Task) error {
	r := task.Request
	err := t.one(`INSERT INTO tasks (id, name, state, source_id, enterprise_id, request, target_id, created)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING number`,
		task.ID, r.Name, task.State, r.SourceServer.ID, r.EnterpriseProjectID, document{r}, task.TargetID, task.Created)(&task.Number)
	if err != nil {
		return fmt.Errorf("create task: %w", err)
	}
	return t.saveSubtasks(task)
}

// Task returns the task called id, or ErrNotFound. In a Change nobody else changes it meanwhile.
func (t *Tx) Task(id string) (*Task, error) {
	task, err := scanTask(t.one("SELECT "+taskColumns+" FROM tasks WHERE id = ?"+forUpdate, id))
	if err != nil {
		return nil, fmt.Errorf("task %s: %w", id, err)
	}
	return task, t.loadSubtasks(task)
}

// Tasks returns one page of the tasks that match, newest first, and how many match in all.
func (t *Tx) Tasks(q smsapi.TaskQuery) (page []*Task, count int, err error) {
	where, args := taskConditions(q)
	if err := t.one("SELECT count(*) FROM tasks"+where, args...)(&count); err != nil {
		return nil, 0, fmt.Errorf("count tasks: %w", err)
	}
	err = t.each(func(row scan) error {
		task, err := scanTask(row)
		page = append(page, task)
		return err
	}, "SELECT "+taskColumns+" FROM tasks"+where+" ORDER BY number DESC LIMIT ? OFFSET ?", append(args, q.Limit, q.Offset)...)
	if err != nil {
		return nil, 0, fmt.Errorf("list tasks: %w", err)
	}
	for _, task := range page {
		if err := t.loadSubtasks(task); err != nil {
			return nil, 0, err
		}
	}
	return page, count, nil
}

// taskConditions returns the WHERE clause of a query, and its arguments.
func taskConditions(q smsapi.TaskQuery) (where string, args []any) {
	where = " WHERE true"
	for _, filter := range []struct{ column, value string }{
		{"state", string(q.State)}, {"name", q.Name}, {"id", q.ID},
		{"source_id", q.SourceServerID}, {"enterprise_id", q.EnterpriseProjectID},
	} {
		if filter.value != "" {
			where += " AND " + filter.column + " = ?"
			args = append(args, filter.value)
		}
	}
	return where, args
}

// SaveTask stores a task that this transaction has read, with its subtasks, new ones too. The request of a task does not change.
func (t *Tx) SaveTask(task *Task) error {
	_, err := t.exec(`UPDATE tasks SET state = ?, started = ?, finished = ?, reported = ?, speed = ?,
		compress_rate = ?, replicated = ?, total = ?, remain_seconds = ?, error_json = ? WHERE number = ?`,
		task.State, task.Started, task.Finished, task.Reported, task.Speed,
		task.CompressRate, task.Replicated, task.Total, task.RemainSeconds, task.ErrorJSON, task.Number)
	if err != nil {
		return fmt.Errorf("store task: %w", err)
	}
	return t.saveSubtasks(task)
}

func scanTask(row scan) (*Task, error) {
	task := &Task{}
	return task, row(&task.Number, &task.ID, &task.State, document{&task.Request}, &task.TargetID, &task.Created, &task.Started,
		&task.Finished, &task.Reported, &task.Speed, &task.CompressRate, &task.Replicated, &task.Total, &task.RemainSeconds, &task.ErrorJSON)
}

func (t *Tx) loadSubtasks(task *Task) error {
	err := t.each(func(row scan) error {
		var s Subtask
		err := row(&s.ID, &s.Name, &s.UserOp, &s.Progress, &s.Started, &s.Ended, &s.Speed, &s.Trace)
		task.Subtasks = append(task.Subtasks, s)
		return err
	}, "SELECT id, name, user_op, progress, started, ended, speed, trace FROM subtasks WHERE task = ? ORDER BY id", task.Number)
	if err != nil {
		return fmt.Errorf("read subtasks: %w", err)
	}
	return nil
}

// saveSubtasks stores all subtasks of a task and sets the ids of new ones.
func (t *Tx) saveSubtasks(task *Task) error {
	for i := range task.Subtasks {
		s := &task.Subtasks[i]
		err := t.one(`INSERT INTO subtasks (task, name, user_op, progress, started, ended, speed, trace)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (task, name) DO UPDATE SET progress = excluded.progress, started = excluded.started,
				ended = excluded.ended, speed = excluded.speed, trace = excluded.trace
			RETURNING id`,
			task.Number, s.Name, s.UserOp, s.Progress, s.Started, s.Ended, s.Speed, s.Trace)(&s.ID)
		if err != nil {
			return fmt.Errorf("store subtask %s: %w", s.Name, err)
		}
	}
	return nil
}
