package store

import (
	"fmt"

	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// Project is a migration project: defaults for the tasks of the sources in it.
type Project struct {
	ID   string
	Body smsapi.MigrationProject // isdefault is kept apart: one project at most has it
	Used bool                    // sources belong to it
}

// defaultProject is the setting that holds the id of the project new sources belong to.
const defaultProject = "default_project"

const selectProject = `SELECT id, body, CASE WHEN id = (SELECT value FROM settings WHERE name = '` + defaultProject + `') THEN 1 ELSE 0 END,
	CASE WHEN EXISTS (SELECT 1 FROM sources WHERE sources.project_id = projects.id) THEN 1 ELSE 0 END FROM projects`

// AddProject stores a new project. As the default it takes the place of the one before.
func (t *Tx) AddProject(p Project) error {
	if _, err := t.exec("INSERT INTO projects (id, body) VALUES (?, ?)", p.ID, document{p.Body}); err != nil {
		return fmt.Errorf("create project: %w", err)
	}
	return t.setDefault(p)
}

// SaveProject stores a project anew, or returns ErrNotFound. As the default it takes the place of the one before.
func (t *Tx) SaveProject(p Project) error {
	if err := t.changed("UPDATE projects SET body = ? WHERE id = ?", document{p.Body}, p.ID); err != nil {
		return fmt.Errorf("project %s: %w", p.ID, err)
	}
	return t.setDefault(p)
}

func (t *Tx) setDefault(p Project) error {
	if p.Body.IsDefault {
		return t.SetSetting(defaultProject, p.ID)
	}
	if _, err := t.exec("DELETE FROM settings WHERE name = ? AND value = ?", defaultProject, p.ID); err != nil {
		return fmt.Errorf("default project: %w", err)
	}
	return nil
}

// Project returns the project called id, or ErrNotFound. In a Change nobody else changes it meanwhile.
func (t *Tx) Project(id string) (Project, error) {
	p, err := scanProject(t.one(selectProject+" WHERE id = ?"+forUpdate, id))
	if err != nil {
		return p, fmt.Errorf("project %s: %w", id, err)
	}
	return p, nil
}

// DefaultProject returns the project that new sources belong to, or ErrNotFound.
func (t *Tx) DefaultProject() (Project, error) {
	id, err := t.Setting(defaultProject)
	if err != nil {
		return Project{}, fmt.Errorf("default project: %w", err)
	}
	return t.Project(id)
}

// Projects returns one page of the projects, oldest first, and how many there are.
func (t *Tx) Projects(q smsapi.PageQuery) (page []Project, count int, err error) {
	if err := t.one("SELECT count(*) FROM projects")(&count); err != nil {
		return nil, 0, fmt.Errorf("count projects: %w", err)
	}
	err = t.each(func(row scan) error {
		p, err := scanProject(row)
		page = append(page, p)
		return err
	}, selectProject+" ORDER BY number LIMIT ? OFFSET ?", q.Limit, q.Offset)
	if err != nil {
		return nil, 0, fmt.Errorf("list projects: %w", err)
	}
	return page, count, nil
}

// DeleteProject forgets a project, or returns ErrNotFound.
func (t *Tx) DeleteProject(id string) error {
	if err := t.changed("DELETE FROM projects WHERE id = ?", id); err != nil {
		return fmt.Errorf("project %s: %w", id, err)
	}
	return nil
}

func scanProject(row scan) (p Project, err error) {
	var isDefault bool
	err = row(&p.ID, document{&p.Body}, &isDefault, &p.Used)
	p.Body.IsDefault = isDefault
	return p, err
}
