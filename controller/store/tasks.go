package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// columns are those of scanTask, in its order.
const columns = `number, id, state, request, target_id, created, started, finished, reported,
	speed, compress_rate, replicated, total, remain_seconds, error_json`

// Create implements Tasks.
func (s *SQLite) Create(ctx context.Context, t *Task) error {
	request, err := json.Marshal(t.Request)
	if err != nil {
		return fmt.Errorf("encode task: %w", err)
	}
	return s.change(ctx, func(tx *sql.Tx) error {
		result, err := tx.ExecContext(ctx, `INSERT INTO tasks (id, name, state, source_id, enterprise_id, request, target_id, created)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
			t.ID, t.Request.Name, t.State, t.Request.SourceServer.ID, t.Request.EnterpriseProjectID, string(request), t.TargetID, t.Created)
		if err != nil {
			return err
		}
		if t.Number, err = result.LastInsertId(); err != nil {
			return err
		}
		return saveSubtasks(ctx, tx, t)
	})
}

// Task implements Tasks.
func (s *SQLite) Task(ctx context.Context, id string) (*Task, error) {
	return loadTask(ctx, s.read, id)
}

// List implements Tasks.
func (s *SQLite) List(ctx context.Context, q smsapi.TaskQuery) (page []*Task, count int, err error) {
	where, args := conditions(q)
	tx, err := s.read.BeginTx(ctx, nil) // one snapshot for count, page and subtasks
	if err != nil {
		return nil, 0, fmt.Errorf("list tasks: %w", err)
	}
	defer tx.Rollback()
	if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM tasks"+where, args...).Scan(&count); err != nil {
		return nil, 0, fmt.Errorf("count tasks: %w", err)
	}
	rows, err := tx.QueryContext(ctx, "SELECT "+columns+" FROM tasks"+where+" ORDER BY number DESC LIMIT ? OFFSET ?",
		append(args, q.Limit, q.Offset)...)
	if err != nil {
		return nil, 0, fmt.Errorf("list tasks: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		t, err := scanTask(rows)
		if err != nil {
			return nil, 0, err
		}
		page = append(page, t)
	}
	if err := rows.Err(); err != nil {
		return nil, 0, fmt.Errorf("list tasks: %w", err)
	}
	for _, t := range page {
		if err := loadSubtasks(ctx, tx, t); err != nil {
			return nil, 0, err
		}
	}
	return page, count, nil
}

// conditions returns the WHERE clause of a query, and its arguments.
func conditions(q smsapi.TaskQuery) (where string, args []any) {
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

// Update implements Tasks.
func (s *SQLite) Update(ctx context.Context, id string, change func(*Task) error) error {
	return s.change(ctx, func(tx *sql.Tx) error {
		t, err := loadTask(ctx, tx, id)
		if err != nil {
			return err
		}
		if err := change(t); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE tasks SET state = ?, started = ?, finished = ?, reported = ?, speed = ?,
			compress_rate = ?, replicated = ?, total = ?, remain_seconds = ?, error_json = ? WHERE number = ?`,
			t.State, t.Started, t.Finished, t.Reported, t.Speed,
			t.CompressRate, t.Replicated, t.Total, t.RemainSeconds, t.ErrorJSON, t.Number)
		if err != nil {
			return fmt.Errorf("store task: %w", err)
		}
		return saveSubtasks(ctx, tx, t)
	})
}

// change runs do in a transaction that nobody writes beside.
func (s *SQLite) change(ctx context.Context, do func(*sql.Tx) error) error {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer tx.Rollback()
	if err := do(tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// A querier is a database or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func loadTask(ctx context.Context, q querier, id string) (*Task, error) {
	t, err := scanTask(q.QueryRowContext(ctx, "SELECT "+columns+" FROM tasks WHERE id = ?", id))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return t, loadSubtasks(ctx, q, t)
}

func scanTask(row interface{ Scan(dest ...any) error }) (*Task, error) {
	t := &Task{}
	var request []byte
	err := row.Scan(&t.Number, &t.ID, &t.State, &request, &t.TargetID, &t.Created, &t.Started, &t.Finished, &t.Reported,
		&t.Speed, &t.CompressRate, &t.Replicated, &t.Total, &t.RemainSeconds, &t.ErrorJSON)
	if err != nil {
		return nil, fmt.Errorf("read task: %w", err)
	}
	if err := json.Unmarshal(request, &t.Request); err != nil {
		return nil, fmt.Errorf("read task %s: %w", t.ID, err)
	}
	return t, nil
}

func loadSubtasks(ctx context.Context, q querier, t *Task) error {
	rows, err := q.QueryContext(ctx,
		"SELECT id, name, user_op, progress, started, ended, speed, trace FROM subtasks WHERE task = ? ORDER BY id", t.Number)
	if err != nil {
		return fmt.Errorf("read subtasks: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var s Subtask
		if err := rows.Scan(&s.ID, &s.Name, &s.UserOp, &s.Progress, &s.Started, &s.Ended, &s.Speed, &s.Trace); err != nil {
			return fmt.Errorf("read subtask: %w", err)
		}
		t.Subtasks = append(t.Subtasks, s)
	}
	return rows.Err()
}

// saveSubtasks stores all subtasks of t, new ones too, and sets the ids of those.
func saveSubtasks(ctx context.Context, tx *sql.Tx, t *Task) error {
	for i := range t.Subtasks {
		s := &t.Subtasks[i]
		err := tx.QueryRowContext(ctx, `INSERT INTO subtasks (task, name, user_op, progress, started, ended, speed, trace)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (task, name) DO UPDATE SET progress = excluded.progress, started = excluded.started,
				ended = excluded.ended, speed = excluded.speed, trace = excluded.trace
			RETURNING id`,
			t.Number, s.Name, s.UserOp, s.Progress, s.Started, s.Ended, s.Speed, s.Trace).Scan(&s.ID)
		if err != nil {
			return fmt.Errorf("store subtask %s: %w", s.Name, err)
		}
	}
	return nil
}
