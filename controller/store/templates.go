package store

import (
	"errors"
	"fmt"

	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// Template describes a target server that is to be made.
type Template struct {
	ID       string
	Body     smsapi.Template // without the password
	Password []byte          // sealed; nil if there is none
}

// AddTemplate stores a new template.
func (t *Tx) AddTemplate(m Template) error {
	b := m.Body
	_, err := t.exec("INSERT INTO templates (id, name, availability_zone, region, general, body, password) VALUES (?, ?, ?, ?, ?, ?, ?)",
		m.ID, b.Name, b.AvailabilityZone, b.Region, b.General(), document{b}, m.Password)
	if err != nil {
		return fmt.Errorf("create template: %w", err)
	}
	return nil
}

// SaveTemplate stores a template anew, or returns ErrNotFound. Without a password it keeps the one it had.
func (t *Tx) SaveTemplate(m Template) error {
	b := m.Body
	err := t.changed("UPDATE templates SET name = ?, availability_zone = ?, region = ?, general = ?, body = ?, password = coalesce(?, password) WHERE id = ?",
		b.Name, b.AvailabilityZone, b.Region, b.General(), document{b}, m.Password, m.ID)
	if err != nil {
		return fmt.Errorf("template %s: %w", m.ID, err)
	}
	return nil
}

// Template returns the template called id, or ErrNotFound.
func (t *Tx) Template(id string) (Template, error) {
	m, err := scanTemplate(t.one("SELECT id, body, password FROM templates WHERE id = ?", id))
	if err != nil {
		return m, fmt.Errorf("template %s: %w", id, err)
	}
	return m, nil
}

// Templates returns one page of the templates that match, newest first, and how many match in all. Those made for one task are
// only found by their id.
func (t *Tx) Templates(q smsapi.TemplateQuery) (page []Template, count int, err error) {
	where, args := " WHERE true", []any(nil)
	if q.ID == "" {
		where = " WHERE general = 1"
	}
	for _, filter := range []struct{ column, value string }{
		{"name", q.Name}, {"availability_zone", q.AvailabilityZone}, {"region", q.Region}, {"id", q.ID},
	} {
		if filter.value != "" {
			where += " AND " + filter.column + " = ?"
			args = append(args, filter.value)
		}
	}
	if err := t.one("SELECT count(*) FROM templates"+where, args...)(&count); err != nil {
		return nil, 0, fmt.Errorf("count templates: %w", err)
	}
	err = t.each(func(row scan) error {
		m, err := scanTemplate(row)
		page = append(page, m)
		return err
	}, "SELECT id, body, password FROM templates"+where+" ORDER BY number DESC LIMIT ? OFFSET ?", append(args, q.Limit, q.Offset)...)
	if err != nil {
		return nil, 0, fmt.Errorf("list templates: %w", err)
	}
	return page, count, nil
}

// DeleteTemplate forgets a template, or returns ErrNotFound.
func (t *Tx) DeleteTemplate(id string) error {
	if err := t.changed("DELETE FROM templates WHERE id = ?", id); err != nil {
		return fmt.Errorf("template %s: %w", id, err)
	}
	return nil
}

// DropTemplates forgets the templates that were made for a task which is gone.
func (t *Tx) DropTemplates(task *Task) error {
	_, err := t.exec("DELETE FROM templates WHERE general = 0 AND id IN (?, ?)", task.Request.VMTemplateID, task.Request.CloneVMTemplateID)
	if err != nil {
		return fmt.Errorf("templates of task %s: %w", task.ID, err)
	}
	return nil
}

// UsesTemplate reports whether a task of a source that a user owns makes its target, or a clone of it, from a template.
func (t *Tx) UsesTemplate(template, user string) (used bool, err error) {
	err = t.each(func(row scan) error {
		var r smsapi.CreateTaskRequest
		err := row(document{&r})
		used = used || r.VMTemplateID == template || r.CloneVMTemplateID == template
		return err
	}, "SELECT tasks.request FROM tasks JOIN source_owners ON source_owners.source_id = tasks.source_id WHERE source_owners.user_id = ?", user)
	return used, err
}

func scanTemplate(row scan) (m Template, err error) {
	return m, row(&m.ID, document{&m.Body}, &m.Password)
}

// Setting returns a single value of the control plane, empty if it was never set.
func (t *Tx) Setting(name string) (value string, err error) {
	err = t.one("SELECT value FROM settings WHERE name = ?", name)(&value)
	if errors.Is(err, ErrNotFound) {
		return "", nil
	}
	return value, err
}

// SetSetting keeps a single value of the control plane.
func (t *Tx) SetSetting(name, value string) error {
	_, err := t.exec("INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", name, value)
	return err
}
