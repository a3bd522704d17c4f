package store

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// Source is a server that is or was to be migrated, as its agent and its users describe it.
type Source struct {
	Number int64 // counts up; the database's key
	ID     string
	Name   string // as users call it

	ProjectID    string // of its migration project; empty without one
	EnterpriseID string

	State   smsapi.SourceState
	Cycle   smsapi.MigrationCycle
	StateAt int64 // State changed
	CycleAt int64 // Cycle changed

	Info    smsapi.RegisterSource // what its agent said
	Checks  []smsapi.EnvironmentCheck
	Choices map[string]smsapi.Choice // by the path of ids; what is not here is as its agent said

	Added int64
	Seen  int64 // last word of its agent
	Since int64 // first word of its agent after a silence
}

// Move sets state and cycle, at now.
func (s *Source) Move(state smsapi.SourceState, cycle smsapi.MigrationCycle, now int64) {
	if s.State != state {
		s.State, s.StateAt = state, now
	}
	if s.Cycle != cycle {
		s.Cycle, s.CycleAt = cycle, now
	}
}

// sourceColumns are those of scanSource, in its order.
const sourceColumns = `number, id, name, project_id, enterprise_id, state, cycle, state_at, cycle_at, info, checks, choices, added, seen, since`

// AddSource stores a new source, and reports whether the id was free.
func (t *Tx) AddSource(s *Source) (bool, error) {
	n, err := t.exec(`INSERT INTO sources (id, name, ip, ipv6, project_id, enterprise_id, state, cycle, state_at, cycle_at,
		info, checks, choices, added, seen, since) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`,
		s.ID, s.Name, s.Info.IP, s.Info.IPv6, s.ProjectID, s.EnterpriseID, s.State, s.Cycle, s.StateAt, s.CycleAt,
		document{s.Info}, document{s.Checks}, document{s.Choices}, s.Added, s.Seen, s.Since)
	if err != nil {
		return false, fmt.Errorf("register source: %w", err)
	}
	return n == 1, nil
}

// ClaimMAC returns the source that a network interface belongs to: the one that claimed it first.
func (t *Tx) ClaimMAC(mac, id string) (owner string, err error) {
	if _, err := t.exec("INSERT INTO source_macs (mac, source_id) VALUES (?, ?) ON CONFLICT (mac) DO NOTHING", mac, id); err != nil {
		return "", fmt.Errorf("claim interface: %w", err)
	}
	if err := t.one("SELECT source_id FROM source_macs WHERE mac = ?", mac)(&owner); err != nil {
		return "", fmt.Errorf("claim interface: %w", err)
	}
	return owner, nil
}

// Source returns the source called id, or ErrNotFound. In a Change nobody else changes it meanwhile.
func (t *Tx) Source(id string) (*Source, error) {
	s, err := scanSource(t.one("SELECT "+sourceColumns+" FROM sources WHERE id = ?"+forUpdate, id))
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", id, err)
	}
	return s, nil
}

// SaveSource stores a source that this transaction has read.
func (t *Tx) SaveSource(s *Source) error {
	_, err := t.exec(`UPDATE sources SET name = ?, ip = ?, ipv6 = ?, project_id = ?, enterprise_id = ?, state = ?, cycle = ?, state_at = ?,
		cycle_at = ?, info = ?, checks = ?, choices = ?, seen = ?, since = ? WHERE number = ?`,
		s.Name, s.Info.IP, s.Info.IPv6, s.ProjectID, s.EnterpriseID, s.State, s.Cycle, s.StateAt, s.CycleAt,
		document{s.Info}, document{s.Checks}, document{s.Choices}, s.Seen, s.Since, s.Number)
	if err != nil {
		return fmt.Errorf("store source: %w", err)
	}
	return nil
}

// SourceSeen returns when the agent of a source was last heard of, or ErrNotFound.
func (t *Tx) SourceSeen(id string) (seen int64, err error) {
	err = t.one("SELECT seen FROM sources WHERE id = ?", id)(&seen)
	return seen, err
}

// SawSource keeps that an agent was heard of at now, its first word if the one before did not come after silence.
func (t *Tx) SawSource(id string, now, silence int64) error {
	return t.changed("UPDATE sources SET since = CASE WHEN seen <= ? THEN ? ELSE since END, seen = ? WHERE id = ?", silence, now, now, id)
}

// DeleteSource forgets a source with its tasks, or returns ErrNotFound.
func (t *Tx) DeleteSource(id string) error {
	if err := t.changed("DELETE FROM sources WHERE id = ?", id); err != nil {
		return fmt.Errorf("source %s: %w", id, err)
	}
	var failed error
	for _, table := range []string{"source_macs", "source_owners", "commands", "tasks"} {
		_, err := t.exec("DELETE FROM "+table+" WHERE source_id = ?", id)
		failed = errors.Join(failed, err)
	}
	return failed
}

// SourceFilter is which sources are asked for. Connected means heard of after Silence.
type SourceFilter struct {
	smsapi.SourceQuery
	Silence int64
}

// Sources returns one page of the sources that match, newest first, and how many match in all.
func (t *Tx) Sources(f SourceFilter) (page []*Source, count int, err error) {
	where, args := sourceConditions(f)
	if err := t.one("SELECT count(*) FROM sources"+where, args...)(&count); err != nil {
		return nil, 0, fmt.Errorf("count sources: %w", err)
	}
	err = t.each(func(row scan) error {
		s, err := scanSource(row)
		page = append(page, s)
		return err
	}, "SELECT "+sourceColumns+" FROM sources"+where+" ORDER BY number DESC LIMIT ? OFFSET ?", append(args, f.Limit, f.Offset)...)
	if err != nil {
		return nil, 0, fmt.Errorf("list sources: %w", err)
	}
	return page, count, nil
}

// sourceConditions returns the WHERE clause of a query, and its arguments.
func sourceConditions(f SourceFilter) (where string, args []any) {
	where = " WHERE true"
	ipv6 := f.IPv6
	if f.IP != "" {
		ipv6 = ""
	}
	for _, filter := range []struct{ column, value string }{
		{"state", string(f.State)}, {"name", f.Name}, {"id", f.ID}, {"ip", f.IP}, {"ipv6", ipv6},
		{"project_id", f.MigrationProject}, {"cycle", string(f.MigrationCycle)}, {"enterprise_id", f.EnterpriseProjectID},
	} {
		if filter.value != "" {
			where += " AND " + filter.column + " = ?"
			args = append(args, filter.value)
		}
	}
	if f.VMID != "" {
		where += " AND EXISTS (SELECT 1 FROM tasks WHERE tasks.source_id = sources.id AND tasks.vm_id = ?)"
		args = append(args, f.VMID)
	}
	if f.ConsistencyResult != nil {
		where += " AND EXISTS (SELECT 1 FROM tasks WHERE tasks.source_id = sources.id AND tasks.verified = 1) = (? = 1)"
		args = append(args, *f.ConsistencyResult)
	}
	if f.Connected != nil {
		compare := " <= ?"
		if *f.Connected {
			compare = " > ?"
		}
		where += " AND seen" + compare
		args = append(args, f.Silence)
	}
	return where, args
}

// CurrentTask returns the newest task of a source, or ErrNotFound. In a Change nobody else changes it meanwhile.
func (t *Tx) CurrentTask(source string) (*Task, error) {
	task, err := scanTask(t.one("SELECT "+taskColumns+" FROM tasks WHERE source_id = ? ORDER BY number DESC LIMIT 1"+forUpdate, source))
	if err != nil {
		return nil, fmt.Errorf("task of source %s: %w", source, err)
	}
	return task, t.loadSubtasks(task)
}

// CurrentTasks returns the newest task of each of these sources that has one, by the id of the source.
func (t *Tx) CurrentTasks(sources []*Source) (map[string]*Task, error) {
	current := map[string]*Task{}
	if len(sources) == 0 {
		return current, nil
	}
	var ids []any
	for _, s := range sources {
		ids = append(ids, s.ID)
	}
	var tasks []*Task
	err := t.each(func(row scan) error {
		task, err := scanTask(row)
		tasks = append(tasks, task)
		current[task.Request.SourceServer.ID] = task
		return err
	}, "SELECT "+taskColumns+" FROM tasks WHERE number IN (SELECT max(number) FROM tasks WHERE source_id IN (?"+
		strings.Repeat(", ?", len(ids)-1)+") GROUP BY source_id)", ids...)
	if err != nil {
		return nil, fmt.Errorf("tasks of sources: %w", err)
	}
	return current, t.loadSubtasks(tasks...)
}

// A StateCount is how many sources are in a state, with a task or without.
type StateCount struct {
	State    smsapi.SourceState
	WithTask bool
	Count    int
}

// CountSources returns how many sources are in each state.
func (t *Tx) CountSources() (counts []StateCount, err error) {
	err = t.each(func(row scan) error {
		var c StateCount
		err := row(&c.State, &c.WithTask, &c.Count)
		counts = append(counts, c)
		return err
	}, `SELECT state, with_task, count(*) FROM (SELECT state, CASE WHEN EXISTS (SELECT 1 FROM tasks WHERE tasks.source_id = sources.id)
		THEN 1 ELSE 0 END AS with_task FROM sources) AS s GROUP BY state, with_task`)
	if err != nil {
		return nil, fmt.Errorf("count sources: %w", err)
	}
	return counts, nil
}

// A FailedSource is a source whose newest task failed. Source is nil if it is not registered.
type FailedSource struct {
	SourceID, ErrorJSON string
	Name, IP            string
	Info                smsapi.RegisterSource
	Request             smsapi.CreateTaskRequest
}

// FailedSources returns one page of the sources whose newest task is in one of two states, newest first, and how many there are.
func (t *Tx) FailedSources(q smsapi.PageQuery) (page []FailedSource, count int, err error) {
	from := ` FROM tasks LEFT JOIN sources ON sources.id = tasks.source_id WHERE tasks.state IN (?, ?)
		AND tasks.number = (SELECT max(number) FROM tasks AS other WHERE other.source_id = tasks.source_id)`
	args := []any{smsapi.StateMigrateFail, smsapi.StateSyncFail}
	if q.EnterpriseProjectID != "" {
		from += " AND tasks.enterprise_id = ?"
		args = append(args, q.EnterpriseProjectID)
	}
	if err := t.one("SELECT count(*)"+from, args...)(&count); err != nil {
		return nil, 0, fmt.Errorf("count errors: %w", err)
	}
	err = t.each(func(row scan) error {
		var f FailedSource
		err := row(&f.SourceID, &f.ErrorJSON, &f.Name, &f.IP, document{&f.Info}, document{&f.Request})
		page = append(page, f)
		return err
	}, "SELECT tasks.source_id, tasks.error_json, coalesce(sources.name, ''), coalesce(sources.ip, ''), sources.info, tasks.request"+from+
		" ORDER BY tasks.number DESC LIMIT ? OFFSET ?", append(args, q.Limit, q.Offset)...)
	if err != nil {
		return nil, 0, fmt.Errorf("list errors: %w", err)
	}
	return page, count, nil
}

func scanSource(row scan) (*Source, error) {
	s := &Source{}
	return s, row(&s.Number, &s.ID, &s.Name, &s.ProjectID, &s.EnterpriseID, &s.State, &s.Cycle, &s.StateAt, &s.CycleAt,
		document{&s.Info}, document{&s.Checks}, document{&s.Choices}, &s.Added, &s.Seen, &s.Since)
}
