package controller

import (
	"net/http"
	"time"

	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// pollRoutes are how agents ask what to do, and answer.
var pollRoutes = []Route{
	{
		Method: "GET", Path: "/v3/sources/{server_id}/command", Name: "ShowCommand", Who: Agents,
		Response: smsapi.Command{}, serve: (*Server).showCommand,
	},
	{
		Method: "POST", Path: "/v3/sources/{server_id}/command_result", Name: "UpdateCommandResult", Who: Agents, MaxBody: smallBody,
		Request: smsapi.CommandResult{}, serve: (*Server).updateCommandResult,
	},
}

// showCommand serves GET /v3/sources/{server_id}/command: how an agent asks what to do, and shows that it is there.
func (s *Server) showCommand(r *http.Request, _ []byte) (any, error) {
	id := r.PathValue("server_id")
	if err := s.heartbeat(r, id); err != nil {
		return nil, err
	}
	return s.nextCommand(r, id)
}

// updateCommandResult serves POST /v3/sources/{server_id}/command_result.
func (s *Server) updateCommandResult(r *http.Request, body []byte) (any, error) {
	var result smsapi.CommandResult
	if err := smsapi.Decode(body, &result); err != nil {
		return nil, err
	}
	id := r.PathValue("server_id")
	if err := s.heartbeat(r, id); err != nil {
		return nil, err
	}
	return nil, s.answerCommand(r, id, result)
}

// heartbeatEvery is how often at most it is written that an agent was heard of: often enough to tell, seldom enough for thousands.
const heartbeatEvery = connectedFor / 6

// heartbeat keeps that the agent of a source was heard of.
func (s *Server) heartbeat(r *http.Request, id string) error {
	var seen int64
	err := s.store.View(r.Context(), func(tx *store.Tx) (err error) {
		seen, err = tx.SourceSeen(id)
		return err
	})
	if err == nil && s.now().Sub(time.UnixMilli(seen)) >= heartbeatEvery {
		err = s.store.Change(r.Context(), func(tx *store.Tx) error { return tx.SawSource(id, s.now().UnixMilli(), s.silence()) })
	}
	return noSource(err, id)
}
