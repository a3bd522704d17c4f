package controller

import (
	"net/http"
	"slices"
	"time"

	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// wholeDay is the window of a limit that does not depend on the time of day.
const wholeDay = "00:00"

// limitsOf returns the limits of a task by the time of day: what was set, else the one limit it has.
func limitsOf(t *store.Task) smsapi.LimitWindows {
	switch {
	case len(t.Detail.Limits) > 0:
		return smsapi.LimitWindows{Windows: t.Detail.Limits}
	case t.Request.SpeedLimit > 0:
		return smsapi.LimitWindows{Windows: []smsapi.LimitWindow{
			{Start: wholeDay, End: wholeDay, Speed: t.Request.SpeedLimit, Threshold: t.Request.OverSpeedThreshold},
		}}
	}
	return smsapi.LimitWindows{Windows: []smsapi.LimitWindow{}}
}

// showSpeedLimits serves GET /v3/tasks/{task_id}/speed-limit. A task without limits has an empty list.
func (s *Server) showSpeedLimits(r *http.Request, _ []byte) (any, error) {
	t, err := s.task(r)
	if err != nil {
		return nil, err
	}
	return limitsOf(t), nil
}

// updateSpeed serves POST /v3/tasks/{task_id}/speed-limit. It replaces all limits of the task; the agent reads them while it copies.
func (s *Server) updateSpeed(r *http.Request, body []byte) (any, error) {
	var limits smsapi.LimitWindows
	if err := smsapi.Decode(body, &limits); err != nil {
		return nil, err
	}
	return nil, s.changeTask(r, func(_ *store.Tx, t *store.Task) error {
		t.Detail.Limits, t.Detail.OverSpeed = limits.Windows, 0
		t.Request.SpeedLimit, t.Request.OverSpeedThreshold = 0, 0
		return nil
	}, "limits", limits.Windows)
}

// overSpeedReports is how many reports in a row above the limit pause a task: the documents say "several times in a row".
const overSpeedReports = 3

// tooFast counts the reports in a row of which the rate is above the limit by more than its threshold, and reports whether there were
// enough to pause the task. at is the agent's clock: limits depend on its time of day.
func tooFast(t *store.Task, speed float64, at time.Time) bool {
	w, ok := limitsOf(t).At(at)
	if !ok || w.Speed == 0 || w.Threshold == 0 || speed <= float64(w.Speed)*(1+w.Threshold/100) {
		t.Detail.OverSpeed = 0
		return false
	}
	t.Detail.OverSpeed++
	return t.Detail.OverSpeed >= overSpeedReports
}

// agentClocks are the forms in which an agent may tell its clock; no document shows one.
var agentClocks = []string{time.RFC3339, time.DateTime, "15:04:05", "15:04"}

// agentTime returns the time of day that the agent says it is, else now.
func agentTime(said string, now time.Time) time.Time {
	for _, layout := range agentClocks {
		if t, err := time.Parse(layout, said); err == nil {
			return t
		}
	}
	return now
}

// showConfigSetting serves GET /v3/tasks/{task_id}/configuration-setting. Without a key it shows all options.
func (s *Server) showConfigSetting(r *http.Request, _ []byte) (any, error) {
	key, err := smsapi.ParseConfigQuery(r.URL.Query())
	if err != nil {
		return nil, err
	}
	t, err := s.task(r)
	if err != nil {
		return nil, err
	}
	view := smsapi.ShownSettings{
		TaskID: t.ID, MigrateType: smsapi.MigrateType(t.Request.OSType, t.Request.Type), Configurations: []smsapi.Config{},
	}
	for _, one := range t.Detail.Settings {
		if key == "" || smsapi.ConfigKey(one.Key).Canonical() == key {
			view.Configurations = append(view.Configurations, one)
		}
	}
	return view, nil
}

// uploadSettings serves POST /v3/tasks/{task_id}/configuration-setting. An option replaces the one with the same key, in either of its
// spellings; an empty value takes it back. Those that are not named stay.
func (s *Server) uploadSettings(r *http.Request, body []byte) (any, error) {
	var request smsapi.Configurations
	if err := smsapi.Decode(body, &request); err != nil {
		return nil, err
	}
	return nil, s.changeTask(r, func(_ *store.Tx, t *store.Task) error {
		for _, one := range request.Configurations {
			key := smsapi.ConfigKey(one.Key).Canonical()
			t.Detail.Settings = slices.DeleteFunc(t.Detail.Settings, func(c smsapi.Config) bool { return smsapi.ConfigKey(c.Key).Canonical() == key })
			if one.Value != "" {
				t.Detail.Settings = append(t.Detail.Settings, one)
			}
		}
		return nil
	}, "options", len(request.Configurations))
}

// updateNetworkCheckInfo serves POST /v3/{task_id}/update-network-check-info, without a segment "tasks". The result replaces the one before.
func (s *Server) updateNetworkCheckInfo(r *http.Request, body []byte) (any, error) {
	var check smsapi.NetworkCheck
	if err := smsapi.Decode(body, &check); err != nil {
		return nil, err
	}
	err := s.changeTask(r, func(_ *store.Tx, t *store.Task) error {
		t.Detail.Network = &check
		return nil
	}, "evaluation", check.EvaluationResult)
	if err != nil {
		return nil, err
	}
	return smsapi.TaskID{TaskID: r.PathValue("task_id")}, nil
}
