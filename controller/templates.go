package controller

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/google/uuid"
)

// templateRoutes are the operations on templates of target servers.
var templateRoutes = []Route{
	{
		Method: "POST", Path: "/v3/vm/templates", Name: "CreateTemplate", Who: Users, MaxBody: smallBody,
		Request: smsapi.TemplateBody{}, Response: smsapi.Created{}, serve: (*Server).createTemplate,
	},
	{
		Method: "GET", Path: "/v3/vm/templates", Name: "ListTemplates", Who: Users,
		Query: []string{"name", "availability_zone", "region", "limit", "offset", "id"}, Response: smsapi.TemplateList{}, serve: (*Server).listTemplates,
	},
	{
		Method: "POST", Path: "/v3/vm/templates/delete", Name: "DeleteTemplates", Who: Users, MaxBody: largeBody,
		Request: smsapi.IDs{}, serve: (*Server).deleteTemplates,
	},
	{
		Method: "GET", Path: "/v3/vm/templates/{id}", Name: "ShowTemplate", Who: Users | Agents,
		Response: smsapi.ShownTemplateBody{}, serve: (*Server).showTemplate,
	},
	{
		Method: "PUT", Path: "/v3/vm/templates/{id}", Name: "UpdateTemplate", Who: Users, MaxBody: smallBody,
		Request: smsapi.TemplateBody{}, serve: (*Server).updateTemplate,
	},
	{
		Method: "DELETE", Path: "/v3/vm/templates/{id}", Name: "DeleteTemplate", Who: Users,
		serve: (*Server).deleteTemplate,
	},
	{
		Method: "GET", Path: "/v3/vm/templates/{id}/target-password", Name: "ShowTargetPassword", Who: Users | Agents,
		Response: smsapi.TargetPassword{}, serve: (*Server).showTargetPassword,
	},
}

// createTemplate serves POST /v3/vm/templates.
func (s *Server) createTemplate(r *http.Request, body []byte) (any, error) {
	m, err := s.template(uuid.NewString(), body)
	if err != nil {
		return nil, err
	}
	if err := s.store.Change(r.Context(), func(tx *store.Tx) error { return tx.AddTemplate(m) }); err != nil {
		return nil, err
	}
	return smsapi.Created{ID: m.ID}, nil
}

// template reads a body. The password is sealed.
func (s *Server) template(id string, body []byte) (store.Template, error) {
	var request smsapi.TemplateBody
	if err := smsapi.Decode(body, &request); err != nil {
		return store.Template{}, err
	}
	m := store.Template{ID: id, Body: request.Template}
	if password := m.Body.TargetPassword; password != "" {
		m.Password = s.identities.Seal(passwordName(id), []byte(password))
	}
	m.Body.TargetPassword = ""
	return m, nil
}

// passwordName is what the password of a template is sealed under.
func passwordName(template string) string { return "password of template " + template }

// listTemplates serves GET /v3/vm/templates. Passwords are not shown.
func (s *Server) listTemplates(r *http.Request, _ []byte) (any, error) {
	query, err := smsapi.ParseTemplateQuery(r.URL.Query())
	if err != nil {
		return nil, err
	}
	list := smsapi.TemplateList{Templates: []smsapi.ShownTemplate{}}
	err = s.store.View(r.Context(), func(tx *store.Tx) error {
		page, count, err := tx.Templates(query)
		list.Count = count
		for _, m := range page {
			list.Templates = append(list.Templates, m.Body.Shown(m.ID))
		}
		return err
	})
	return list, err
}

// showTemplate serves GET /v3/vm/templates/{id}. The password is not shown.
func (s *Server) showTemplate(r *http.Request, _ []byte) (any, error) {
	m, err := s.visibleTemplate(r.Context(), r.PathValue("id"), "ShowTemplate")
	return smsapi.ShownTemplateBody{Template: m.Body.Shown(m.ID)}, err
}

// showTargetPassword serves GET /v3/vm/templates/{id}/target-password.
func (s *Server) showTargetPassword(r *http.Request, _ []byte) (any, error) {
	m, err := s.visibleTemplate(r.Context(), r.PathValue("id"), "ShowTargetPassword")
	if err != nil || m.Password == nil {
		return smsapi.TargetPassword{TemplateID: m.ID}, err
	}
	password, err := s.identities.Open(passwordName(m.ID), m.Password)
	return smsapi.TargetPassword{TemplateID: m.ID, Password: string(password)}, err
}

// visibleTemplate returns a template. To an agent it must be one that a task of its sources uses.
func (s *Server) visibleTemplate(ctx context.Context, id, operation string) (m store.Template, err error) {
	caller := callerOf(ctx)
	err = s.store.View(ctx, func(tx *store.Tx) error {
		if m, err = tx.Template(id); err != nil {
			return noTemplate(err, id)
		}
		if !caller.IsAgent() {
			return nil
		}
		used, err := tx.UsesTemplate(id, caller.ID)
		if err == nil && !used {
			err = forbidden(caller, operation)
		}
		return err
	})
	return m, err
}

// updateTemplate serves PUT /v3/vm/templates/{id}. The template is replaced; without a password it keeps the one it had.
func (s *Server) updateTemplate(r *http.Request, body []byte) (any, error) {
	m, err := s.template(r.PathValue("id"), body)
	if err != nil {
		return nil, err
	}
	return nil, s.store.Change(r.Context(), func(tx *store.Tx) error { return noTemplate(tx.SaveTemplate(m), m.ID) })
}

// deleteTemplate serves DELETE /v3/vm/templates/{id}.
func (s *Server) deleteTemplate(r *http.Request, _ []byte) (any, error) {
	return nil, s.forgetTemplates(r, r.PathValue("id"))
}

// deleteTemplates serves POST /v3/vm/templates/delete. All are deleted or, if one does not exist, none.
func (s *Server) deleteTemplates(r *http.Request, body []byte) (any, error) {
	var request smsapi.IDs
	if err := smsapi.Decode(body, &request); err != nil {
		return nil, err
	}
	slices.Sort(request.IDs) // changes that meet lock in one order
	return nil, s.forgetTemplates(r, slices.Compact(request.IDs)...)
}

func (s *Server) forgetTemplates(r *http.Request, ids ...string) error {
	return s.store.Change(r.Context(), func(tx *store.Tx) error {
		for _, id := range ids {
			if err := tx.DeleteTemplate(id); err != nil {
				return noTemplate(err, id)
			}
		}
		return nil
	})
}

// noTemplate turns store.ErrNotFound into what the API says.
func noTemplate(err error, id string) error {
	if errors.Is(err, store.ErrNotFound) {
		return smsapi.NewError(http.StatusNotFound, smsapi.CodeNotFound, "there is no template %q", id)
	}
	return err
}
