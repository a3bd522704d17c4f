package store

import (
	"fmt"
	"strings"

	"github.com/ferry-migrate/ferry/reporter/dcsapi"
)

// Migration is a task of the DCS API: a migration of Redis.
type Migration struct {
	Number    int64 // counts up; the database's key
	ID        string
	Status    dcsapi.Status
	Machine   string // id of the source whose agent runs it; empty: none yet
	Plan      Plan
	Passwords []byte // sealed; nil if there are none
	Progress  Progress
	Created   int64
	Updated   *int64 // the status changed; nil before it did
	Released  *int64 // nil until its machine is gone
}

// Plan is what users asked for. Its instances hold no passwords.
type Plan struct {
	Name, Description string
	Type              dcsapi.Type
	Method            dcsapi.Method // empty until configured
	ResumeMode        dcsapi.ResumeMode
	BandwidthLimit    string
	Network           dcsapi.Network
	BackupFiles       *dcsapi.BackupFiles
	Source, Target    *dcsapi.Instance // nil until configured

	VPCID, SubnetID, SecurityGroupID string
}

// Progress is what the machine of a migration said last.
type Progress struct {
	Run     int64 // counts the starts; what is said of an earlier one no longer matters
	Work    dcsapi.WorkProgress
	Error   string // empty unless it failed
	Code    string
	Version string // of the machine
	IP      string
	Logged  int64 // time of the last line of the log, Unix nanoseconds
}

const migrationColumns = "number, id, status, machine, plan, passwords, progress, created, updated, released"

func (m *Migration) columns() []any {
	return []any{&m.Number, &m.ID, &m.Status, &m.Machine, document{&m.Plan}, &m.Passwords, document{&m.Progress}, &m.Created, &m.Updated, &m.Released}
}

// AddMigration stores a new migration and sets its number.
func (t *Tx) AddMigration(m *Migration) error {
	err := t.one(`INSERT INTO migrations (id, name, status, machine, plan, passwords, progress, created, updated, released)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING number`,
		m.ID, m.Plan.Name, m.Status, m.Machine, document{m.Plan}, m.Passwords, document{m.Progress}, m.Created, m.Updated, m.Released)(&m.Number)
	if err != nil {
		return fmt.Errorf("create migration: %w", err)
	}
	return nil
}

// SaveMigration stores a migration that this transaction has read.
func (t *Tx) SaveMigration(m *Migration) error {
	_, err := t.exec("UPDATE migrations SET status = ?, machine = ?, plan = ?, passwords = ?, progress = ?, updated = ?, released = ? WHERE number = ?",
		m.Status, m.Machine, document{m.Plan}, m.Passwords, document{m.Progress}, m.Updated, m.Released, m.Number)
	if err != nil {
		return fmt.Errorf("store migration: %w", err)
	}
	return nil
}

// Migration returns the migration called id, or ErrNotFound. In a Change nobody else changes it meanwhile.
func (t *Tx) Migration(id string) (*Migration, error) {
	m := &Migration{}
	if err := t.one("SELECT "+migrationColumns+" FROM migrations WHERE id = ?"+forUpdate, id)(m.columns()...); err != nil {
		return nil, fmt.Errorf("migration %s: %w", id, err)
	}
	return m, nil
}

// Migrations returns one page of the migrations whose name contains the query's, newest first, and how many match in all.
func (t *Tx) Migrations(q dcsapi.ListQuery) (page []*Migration, count int, err error) {
	where, args := "", []any(nil)
	if q.Name != "" {
		where, args = ` WHERE lower(name) LIKE ? ESCAPE '\'`, []any{"%" + likeEscapes.Replace(strings.ToLower(q.Name)) + "%"}
	}
	if err := t.one("SELECT count(*) FROM migrations"+where, args...)(&count); err != nil {
		return nil, 0, fmt.Errorf("count migrations: %w", err)
	}
	page, err = t.migrations(where+" ORDER BY number DESC LIMIT ? OFFSET ?", append(args, q.Limit, q.Offset)...)
	return page, count, err
}

var likeEscapes = strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`)

// MachineMigrations returns the migrations of a machine that are in one of some statuses, oldest first. The machine "" has those that
// wait for one. In a Change nobody else changes them meanwhile.
func (t *Tx) MachineMigrations(machine string, limit int, in ...dcsapi.Status) ([]*Migration, error) {
	args := []any{machine}
	for _, status := range in {
		args = append(args, status)
	}
	return t.migrations(" WHERE machine = ? AND status IN (?"+strings.Repeat(", ?", len(in)-1)+") ORDER BY number LIMIT ?"+forUpdate, append(args, limit)...)
}

func (t *Tx) migrations(tail string, args ...any) (list []*Migration, err error) {
	err = t.each(func(row scan) error {
		m := &Migration{}
		list = append(list, m)
		return row(m.columns()...)
	}, "SELECT "+migrationColumns+" FROM migrations"+tail, args...)
	if err != nil {
		return nil, fmt.Errorf("list migrations: %w", err)
	}
	return list, nil
}

// DeleteMigration forgets a migration with its logs, or returns ErrNotFound.
func (t *Tx) DeleteMigration(id string) error {
	if err := t.changed("DELETE FROM migrations WHERE id = ?", id); err != nil {
		return fmt.Errorf("migration %s: %w", id, err)
	}
	return nil
}

// keptLogs is how many lines of a migration are kept, the newest.
const keptLogs = 1000

// AddMigrationLogs stores lines of a migration's log. A line whose time is there already is the same one.
func (t *Tx) AddMigrationLogs(m *Migration, lines ...dcsapi.WorkLog) error {
	for _, line := range lines {
		_, err := t.exec("INSERT INTO migration_logs (migration, at, level, message, code) VALUES (?, ?, ?, ?, ?) ON CONFLICT (migration, at) DO NOTHING",
			m.Number, line.At, line.Level, line.Message, line.Code)
		if err != nil {
			return fmt.Errorf("store log: %w", err)
		}
	}
	if len(lines) == 0 {
		return nil
	}
	_, err := t.exec(`DELETE FROM migration_logs WHERE migration = ? AND number IN (
		SELECT number FROM migration_logs WHERE migration = ? ORDER BY at DESC LIMIT 1000000 OFFSET ?)`, m.Number, m.Number, keptLogs)
	if err != nil {
		return fmt.Errorf("drop old logs: %w", err)
	}
	return nil
}

// MigrationLogs returns one page of a migration's log, oldest first, and how many lines match in all.
func (t *Tx) MigrationLogs(m *Migration, q dcsapi.ListQuery) (page []dcsapi.WorkLog, count int, err error) {
	where, args := " WHERE migration = ?", []any{m.Number}
	if q.Level != "" {
		where, args = where+" AND level = ?", append(args, q.Level)
	}
	if err := t.one("SELECT count(*) FROM migration_logs"+where, args...)(&count); err != nil {
		return nil, 0, fmt.Errorf("count log: %w", err)
	}
	err = t.each(func(row scan) error {
		var line dcsapi.WorkLog
		err := row(&line.At, &line.Level, &line.Message, &line.Code)
		page = append(page, line)
		return err
	}, "SELECT at, level, message, code FROM migration_logs"+where+" ORDER BY at LIMIT ? OFFSET ?", append(args, q.Limit, q.Offset)...)
	if err != nil {
		return nil, 0, fmt.Errorf("read log: %w", err)
	}
	return page, count, nil
}

// CountMigrations returns how many migrations there are in each status.
func (t *Tx) CountMigrations() (map[string]int, error) {
	return t.countBy("SELECT status, count(*) FROM migrations GROUP BY status")
}
