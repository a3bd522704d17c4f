package controller

import (
	"net/http"

	"github.com/ferry-migrate/ferry/controller/iam"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// identityRoutes are what clients of the service ask its identity service: a token, and the ids that they name in headers and paths.
var identityRoutes = []Route{
	{
		Method: "POST", Path: "/v3/auth/tokens", Name: "KeystoneCreateUserToken", Who: Anyone, MaxBody: smallBody, Status: http.StatusCreated,
		Request: smsapi.AuthRequest{}, Response: smsapi.AuthResponse{}, serve: (*Server).createToken,
	},
	{
		Method: "GET", Path: "/v3/auth/domains", Name: "KeystoneListAuthDomains", Who: Users | Agents,
		Response: smsapi.DomainList{}, serve: (*Server).listDomains,
	},
	{
		Method: "GET", Path: "/v3/projects", Name: "KeystoneListProjects", Who: Users | Agents, Query: []string{"name"},
		Response: smsapi.ProjectList{}, serve: (*Server).listProjects,
	},
}

// createToken serves POST /v3/auth/tokens. It answers 201, with the token in a header.
func (s *Server) createToken(r *http.Request, body []byte) (any, error) {
	if wait := s.logins.take(site(r.RemoteAddr), s.now()); wait > 0 {
		return nil, &throttle{wait: wait}
	}
	var request smsapi.AuthRequest
	if err := smsapi.Decode(body, &request); err != nil {
		return nil, err
	}
	token, info, err := s.identities.Issue(r.Context(), request.Auth)
	if err != nil {
		return nil, err
	}
	s.log.Info("token issued", "user", info.User.Name, "peer", r.RemoteAddr)
	header := http.Header{smsapi.SubjectTokenHeader: {token}}
	return reply{header: header, body: smsapi.AuthResponse{Token: info}}, nil
}

// listDomains serves GET /v3/auth/domains.
func (s *Server) listDomains(*http.Request, []byte) (any, error) {
	return smsapi.DomainList{Domains: []smsapi.Domain{{ID: iam.DomainID, Name: iam.DomainID, Enabled: true}}}, nil
}

// listProjects serves GET /v3/projects. Clients ask by the name of their region: every name means the one project there is.
func (s *Server) listProjects(r *http.Request, _ []byte) (any, error) {
	name := r.URL.Query().Get("name")
	if name == "" {
		name = iam.ProjectName
	}
	return smsapi.ProjectList{Projects: []smsapi.Project{{
		ID: iam.ProjectID, Name: name, DomainID: iam.DomainID, Enabled: true,
	}}}, nil
}
