package store

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// Task is one migration as the control plane knows it.
type Task struct {
	Number   int64 // counts up; the database's key
	ID       string
	State    smsapi.TaskState
	Request  smsapi.CreateTaskRequest // what it was created with, and updated to
	Detail   Detail
	TargetID string // of the target in this database

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

	stored     texts     // as it was read
	storedSubs []Subtask // as they were read
}

// texts are the parts of a task that are kept as JSON, and written only when they changed.
type texts struct{ request, detail string }

// Detail is what a Task knows that nobody filters by.
type Detail struct {
	Launching bool `json:"launching,omitempty"` // the target's launch was ordered: every subtask done is the end
	Again     bool `json:"again,omitempty"`     // a pass of a finished task was ordered: it ends as SYNC_SUCCESS or SYNC_FAIL
	Cleared   bool `json:"cleared,omitempty"`   // its snapshots are gone: no pass can follow

	Limits    []smsapi.LimitWindow `json:"limits,omitempty"`
	Settings  []smsapi.Config      `json:"settings,omitempty"`   // one of each key
	OverSpeed int                  `json:"over_speed,omitempty"` // reports in a row above the limit and its threshold

	Clone   *smsapi.CloneServer        `json:"clone,omitempty"`
	Network *smsapi.NetworkCheck       `json:"network,omitempty"`
	Usage   smsapi.Usage               `json:"usage,omitzero"`
	Results []smsapi.ConsistencyResult `json:"results,omitempty"` // of the last verification

	// What the agent made on the target.
	Target               smsapi.UpdatedTarget `json:"target,omitzero"`
	ImageDiskID          string               `json:"image_disk_id,omitempty"`
	SnapshotIDs          string               `json:"snapshot_ids,omitempty"`
	CutoveredSnapshotIDs string               `json:"cutovered_snapshot_ids,omitempty"`
	TargetDiskIDs        string               `json:"target_disk_ids,omitempty"`

	Log Log `json:"log,omitzero"`
}

// Log is the last collection of a task's logs. The zero value is none.
type Log struct {
	Status   smsapi.LogStatus `json:"status,omitempty"`
	Bucket   string           `json:"bucket,omitempty"`
	Expire   int64            `json:"expire,omitempty"`   // seconds; 0 if nobody said
	Uploaded *int64           `json:"uploaded,omitempty"` // nil until it is
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
const taskColumns = `number, id, state, request, detail, target_id, created, started, finished, reported,
	speed, compress_rate, replicated, total, remain_seconds, error_json`

// CreateTask stores a new task and sets its number and the ids of its subtasks.
func (t *Tx) CreateTask(task *Task) error {
	r := task.Request
	err := t.one(`INSERT INTO tasks (id, name, state, source_id, enterprise_id, vm_id, verified, request, detail, target_id, created)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING number`,
		task.ID, r.Name, task.State, r.SourceServer.ID, r.EnterpriseProjectID, task.VMID(), len(task.Detail.Results) > 0,
		document{r}, document{task.Detail}, task.TargetID, task.Created)(&task.Number)
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
	return t.OwnTasks(q, "")
}

// OwnTasks is Tasks for the sources that a user owns; an empty one owns all.
func (t *Tx) OwnTasks(q smsapi.TaskQuery, owner string) (page []*Task, count int, err error) {
	where, args := taskConditions(q)
	if owner != "" {
		where += " AND source_id IN (SELECT source_id FROM source_owners WHERE user_id = ?)"
		args = append(args, owner)
	}
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
	return page, count, t.loadSubtasks(page...)
}

// DeleteTask forgets a task with all that belongs to it, or returns ErrNotFound.
func (t *Tx) DeleteTask(id string) error {
	n, err := t.exec("DELETE FROM tasks WHERE id = ?", id)
	if err != nil {
		return fmt.Errorf("delete task: %w", err)
	}
	if n == 0 {
		return fmt.Errorf("task %s: %w", id, ErrNotFound)
	}
	return t.DropCommands(id)
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

// SaveTask stores a task that this transaction has read, with its subtasks, new ones too. Only what changed is written.
func (t *Tx) SaveTask(task *Task) error {
	_, err := t.exec(`UPDATE tasks SET state = ?, started = ?, finished = ?, reported = ?, speed = ?,
		compress_rate = ?, replicated = ?, total = ?, remain_seconds = ?, error_json = ? WHERE number = ?`,
		task.State, task.Started, task.Finished, task.Reported, task.Speed,
		task.CompressRate, task.Replicated, task.Total, task.RemainSeconds, task.ErrorJSON, task.Number)
	if err == nil {
		err = t.saveTexts(task)
	}
	if err != nil {
		return fmt.Errorf("store task: %w", err)
	}
	return t.saveSubtasks(task)
}

func (t *Tx) saveTexts(task *Task) error {
	now, err := task.texts()
	if err != nil || now == task.stored {
		return err
	}
	r := task.Request
	_, err = t.exec("UPDATE tasks SET name = ?, source_id = ?, enterprise_id = ?, vm_id = ?, verified = ?, request = ?, detail = ? WHERE number = ?",
		r.Name, r.SourceServer.ID, r.EnterpriseProjectID, task.VMID(), len(task.Detail.Results) > 0, now.request, now.detail, task.Number)
	task.stored = now
	return err
}

// VMID returns the id of the target: the one that the agent made, else the one that the task was created with.
func (t *Task) VMID() string {
	if made := t.Detail.Target.VMID; made != nil {
		return *made
	}
	return t.Request.TargetServer.VMID
}

func (t *Task) texts() (texts, error) {
	request, err := json.Marshal(t.Request)
	if err != nil {
		return texts{}, err
	}
	detail, err := json.Marshal(t.Detail)
	return texts{string(request), string(detail)}, err
}

func scanTask(row scan) (*Task, error) {
	t := &Task{}
	err := row(&t.Number, &t.ID, &t.State, &t.stored.request, &t.stored.detail, &t.TargetID, &t.Created, &t.Started,
		&t.Finished, &t.Reported, &t.Speed, &t.CompressRate, &t.Replicated, &t.Total, &t.RemainSeconds, &t.ErrorJSON)
	if err != nil {
		return t, err
	}
	if err := json.Unmarshal([]byte(t.stored.request), &t.Request); err != nil {
		return t, err
	}
	return t, json.Unmarshal([]byte(t.stored.detail), &t.Detail)
}

// loadSubtasks reads the subtasks of tasks with one query.
func (t *Tx) loadSubtasks(tasks ...*Task) error {
	if len(tasks) == 0 {
		return nil
	}
	byNumber, numbers := map[int64]*Task{}, []any{}
	for _, task := range tasks {
		byNumber[task.Number] = task
		numbers = append(numbers, task.Number)
	}
	err := t.each(func(row scan) error {
		var number int64
		var s Subtask
		if err := row(&number, &s.ID, &s.Name, &s.UserOp, &s.Progress, &s.Started, &s.Ended, &s.Speed, &s.Trace); err != nil {
			return err
		}
		task := byNumber[number]
		task.Subtasks = append(task.Subtasks, s)
		return nil
	}, "SELECT task, id, name, user_op, progress, started, ended, speed, trace FROM subtasks WHERE task IN (?"+
		strings.Repeat(", ?", len(numbers)-1)+") ORDER BY id", numbers...)
	if err != nil {
		return fmt.Errorf("read subtasks: %w", err)
	}
	for _, task := range tasks {
		task.storedSubs = slices.Clone(task.Subtasks)
	}
	return nil
}

// saveSubtasks stores the subtasks of a task that changed, sets the ids of new ones and forgets those that are no longer among them.
func (t *Tx) saveSubtasks(task *Task) error {
	for _, old := range task.storedSubs {
		if slices.ContainsFunc(task.Subtasks, func(s Subtask) bool { return s.Name == old.Name }) {
			continue
		}
		if _, err := t.exec("DELETE FROM subtasks WHERE id = ?", old.ID); err != nil {
			return fmt.Errorf("forget subtask %s: %w", old.Name, err)
		}
	}
	for i := range task.Subtasks {
		s := &task.Subtasks[i]
		if i < len(task.storedSubs) && reflect.DeepEqual(*s, task.storedSubs[i]) {
			continue
		}
		err := t.one(`INSERT INTO subtasks (task, name, user_op, progress, started, ended, speed, trace)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (task, name) DO UPDATE SET user_op = excluded.user_op, progress = excluded.progress, started = excluded.started,
				ended = excluded.ended, speed = excluded.speed, trace = excluded.trace
			RETURNING id`,
			task.Number, s.Name, s.UserOp, s.Progress, s.Started, s.Ended, s.Speed, s.Trace)(&s.ID)
		if err != nil {
			return fmt.Errorf("store subtask %s: %w", s.Name, err)
		}
	}
	task.storedSubs = slices.Clone(task.Subtasks)
	return nil
}
