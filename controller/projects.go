package controller

import (
	"errors"
	"net/http"

	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/google/uuid"
)

// projectRoutes are the operations on migration projects.
var projectRoutes = []Route{
	{
		Method: "POST", Path: "/v3/migprojects", Name: "CreateMigproject", Who: Users, MaxBody: smallBody,
		Request: smsapi.MigrationProject{}, Response: smsapi.Created{}, serve: (*Server).createProject,
	},
	{
		Method: "GET", Path: "/v3/migprojects", Name: "ListMigprojects", Who: Users | Agents,
		Query: []string{"limit", "offset"}, Response: smsapi.MigrationProjectList{}, serve: (*Server).listMigrationProjects,
	},
	{
		Method: "GET", Path: "/v3/migprojects/{mig_project_id}", Name: "ShowMigproject", Who: Users,
		Response: smsapi.MigrationProject{}, serve: (*Server).showProject,
	},
	{
		Method: "PUT", Path: "/v3/migprojects/{mig_project_id}", Name: "UpdateMigproject", Who: Users, MaxBody: smallBody,
		Request: smsapi.UpdateMigrationProject{}, serve: (*Server).updateProject,
	},
	{
		Method: "PUT", Path: "/v3/migprojects/{mig_project_id}/default", Name: "UpdateDefaultMigproject", Who: Users,
		serve: (*Server).makeProjectDefault,
	},
	{
		Method: "DELETE", Path: "/v3/migprojects/{mig_project_id}", Name: "DeleteMigproject", Who: Users,
		serve: (*Server).deleteProject,
	},
}

// createProject serves POST /v3/migprojects.
func (s *Server) createProject(r *http.Request, body []byte) (any, error) {
	p := store.Project{ID: uuid.NewString()}
	if err := smsapi.Decode(body, &p.Body); err != nil {
		return nil, err
	}
	if err := s.store.Change(r.Context(), func(tx *store.Tx) error { return tx.AddProject(p) }); err != nil {
		return nil, err
	}
	return smsapi.Created{ID: p.ID}, nil
}

// listMigrationProjects serves GET /v3/migprojects.
func (s *Server) listMigrationProjects(r *http.Request, _ []byte) (any, error) {
	query, err := smsapi.ParsePageQuery(r.URL.Query())
	if err != nil {
		return nil, err
	}
	list := smsapi.MigrationProjectList{Projects: []smsapi.ListedMigrationProject{}}
	err = s.store.View(r.Context(), func(tx *store.Tx) error {
		page, count, err := tx.Projects(query)
		list.Count = count
		for _, p := range page {
			item := smsapi.ListedMigrationProject{ID: p.ID, MigrationProject: p.Body}
			item.ExistServer = p.Used // in a list it means this
			list.Projects = append(list.Projects, item)
		}
		return err
	})
	return list, err
}

// showProject serves GET /v3/migprojects/{mig_project_id}.
func (s *Server) showProject(r *http.Request, _ []byte) (any, error) {
	id := r.PathValue("mig_project_id")
	var p store.Project
	err := s.store.View(r.Context(), func(tx *store.Tx) (err error) {
		p, err = tx.Project(id)
		return noProject(err, id)
	})
	return p.Body, err
}

// updateProject serves PUT /v3/migprojects/{mig_project_id}.
func (s *Server) updateProject(r *http.Request, body []byte) (any, error) {
	var update smsapi.UpdateMigrationProject
	if err := smsapi.Decode(body, &update); err != nil {
		return nil, err
	}
	return nil, s.changeProject(r, func(tx *store.Tx, p store.Project) error {
		update.Apply(&p.Body)
		return tx.SaveProject(p)
	})
}

// makeProjectDefault serves PUT /v3/migprojects/{mig_project_id}/default: new sources register into that project.
func (s *Server) makeProjectDefault(r *http.Request, _ []byte) (any, error) {
	return nil, s.changeProject(r, func(tx *store.Tx, p store.Project) error {
		p.Body.IsDefault = true
		return tx.SaveProject(p)
	})
}

// deleteProject serves DELETE /v3/migprojects/{mig_project_id}. The default, and one that has sources, are kept.
func (s *Server) deleteProject(r *http.Request, _ []byte) (any, error) {
	return nil, s.changeProject(r, func(tx *store.Tx, p store.Project) error {
		switch {
		case p.Body.IsDefault:
			return smsapi.NewError(http.StatusBadRequest, smsapi.CodeInvalid, "project %q is the default: make another one the default first", p.Body.Name)
		case p.Used:
			return smsapi.NewError(http.StatusBadRequest, smsapi.CodeInvalid, "project %q has sources: move them to another one first", p.Body.Name)
		}
		return tx.DeleteProject(p.ID)
	})
}

func (s *Server) changeProject(r *http.Request, change func(*store.Tx, store.Project) error) error {
	id := r.PathValue("mig_project_id")
	return s.store.Change(r.Context(), func(tx *store.Tx) error {
		p, err := tx.Project(id)
		if err != nil {
			return noProject(err, id)
		}
		return change(tx, p)
	})
}

// noProject turns store.ErrNotFound into what the API says.
func noProject(err error, id string) error {
	if errors.Is(err, store.ErrNotFound) {
		return smsapi.NewError(http.StatusNotFound, smsapi.CodeNotFound, "there is no migration project %q", id)
	}
	return err
}
