package controller

import (
	"net/http"

	"github.com/ferry-migrate/ferry/controller/iam"
	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// serviceRoutes are the operations on the service itself.
var serviceRoutes = []Route{
	{
		Method: "GET", Path: "/{$}", Name: "ListApiVersion", Who: Users | Agents,
		Response: smsapi.Versions{}, serve: (*Server).listVersions,
	},
	{
		Method: "GET", Path: "/{version}", Name: "ShowApiVersion", Who: Users | Agents,
		Response: smsapi.Version{}, serve: (*Server).showVersion,
	},
	{
		Method: "GET", Path: "/v3/config", Name: "ShowConfig", Who: Users | Agents,
		Response: smsapi.ServiceConfig{}, serve: (*Server).showConfig,
	},
	{
		Method: "GET", Path: "/v3/privacy-agreements", Name: "ShowPrivacyAgreements", Who: Users | Agents,
		Response: smsapi.PrivacyAgreement{}, serve: (*Server).showPrivacyAgreement,
	},
	{
		Method: "POST", Path: "/v3/privacy-agreements", Name: "CreatePrivacyAgreements", Who: Users | Agents, MaxBody: smallBody,
		serve: (*Server).agreeToPrivacy,
	},
}

// The one version of the API, and when it became what it is here.
const (
	apiVersion = "v3"
	apiUpdated = "2026-01-28T00:00:00Z"
)

func (s *Server) version() smsapi.Version {
	return smsapi.Version{
		ID: apiVersion, Status: "SUPPORTED", Updated: apiUpdated, Links: []smsapi.Link{{Href: s.URL() + "/" + apiVersion, Rel: "self"}},
	}
}

// listVersions serves GET /.
func (s *Server) listVersions(*http.Request, []byte) (any, error) {
	return smsapi.Versions{Versions: []smsapi.Version{s.version()}}, nil
}

// showVersion serves GET /{version}.
func (s *Server) showVersion(r *http.Request, _ []byte) (any, error) {
	if id := r.PathValue("version"); id != apiVersion {
		return nil, smsapi.NewError(http.StatusNotFound, smsapi.CodeNotFound, "there is no API version %q", id)
	}
	return s.version(), nil
}

// showConfig serves GET /v3/config. There is one region, the control plane's own, and no object storage.
func (s *Server) showConfig(*http.Request, []byte) (any, error) {
	return smsapi.ServiceConfig{
		Config:  map[string]string{"mainRegion": iam.ProjectName, "obs_domain": "", "disktype": "SATA", "process_and_it": ""},
		Regions: []map[string]string{{"region_name": iam.ProjectName, "project_name": iam.ProjectName}},
	}, nil
}

// privacySetting holds whether the privacy statement was accepted: once, for everybody.
const privacySetting = "privacy_agreement"

// showPrivacyAgreement serves GET /v3/privacy-agreements.
func (s *Server) showPrivacyAgreement(r *http.Request, _ []byte) (any, error) {
	var agreed string
	err := s.store.View(r.Context(), func(tx *store.Tx) (err error) {
		agreed, err = tx.Setting(privacySetting)
		return err
	})
	return smsapi.PrivacyAgreement{Flag: agreed == "true"}, err
}

// agreeToPrivacy serves POST /v3/privacy-agreements. It has no body.
func (s *Server) agreeToPrivacy(r *http.Request, _ []byte) (any, error) {
	return nil, s.store.Change(r.Context(), func(tx *store.Tx) error { return tx.SetSetting(privacySetting, "true") })
}
