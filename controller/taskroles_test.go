package controller_test

import (
	"strings"
	"testing"

	"github.com/ferry-migrate/ferry/controller/iam"
	"github.com/stretchr/testify/require"
)

// What an agent may do with the tasks of its own sources, and that it sees no others.
func TestAgentsAndTasks(t *testing.T) {
	dir := t.TempDir()
	p := startPlane(t, dir)
	agent, reader := p.user(dir, "agent", iam.Agent), p.user(dir, "reader", iam.Reader)
	status, answer := p.as(agent, "POST", "/v3/sources", registration(nil))
	require.Equal(t, 200, status, string(answer))
	own := parsed(t, answer)["id"].(string)
	task := p.createFor(own)
	foreign := p.createFor(p.register(registration(interface_("fa:16:3e:00:00:02"))))

	_, answer = p.as(agent, "GET", "/v3/tasks", nil)
	require.InDelta(t, 1, parsed(t, answer)["count"], 0)
	_, answer = p.as(agent, "GET", "/v3/tasks?id="+foreign, nil)
	require.InDelta(t, 0, parsed(t, answer)["count"], 0)
	_, answer = p.as(reader, "GET", "/v3/tasks", nil)
	require.InDelta(t, 2, parsed(t, answer)["count"], 0)

	network := []byte(`{"network_delay":1,"network_jitter":1,"migration_speed":1,"loss_percentage":1,"cpu_usage":1,"mem_usage":1,"evaluation_result":"medium"}`)
	for _, c := range []struct {
		method, path string
		body         string
		agent        int // on its own task; on another one it is always 403
	}{
		{"GET", "/v3/tasks/{}", "", 200},
		{"GET", "/v3/tasks/{}/certkey", "", 200},
		{"GET", "/v3/tasks/{}/passphrase", "", 200},
		{"GET", "/v3/tasks/{}/speed-limit", "", 200},
		{"GET", "/v3/tasks/{}/configuration-setting", "", 200},
		{"PUT", "/v3/tasks/{}", `{}`, 200},
		{"PUT", "/v3/tasks/{}/progress", string(example(t, "progress_request.json")), 200},
		{"POST", "/v3/{}/update-network-check-info", string(network), 200},
		{"POST", "/v3/tasks/{}/consistency-result", `{"consistency_result":[]}`, 200},
		{"POST", "/v3/tasks/{}/action", `{"operation":"error_for_overspeed"}`, 200},
		{"POST", "/v3/tasks/{}/action", `{"operation":"start"}`, 403},
		{"POST", "/v3/tasks/{}/speed-limit", `{"speed_limit":[]}`, 403},
		{"POST", "/v3/tasks/{}/log", `{"log_bucket":"b"}`, 403},
		{"GET", "/v3/tasks/{}/log/content", "", 403},
		{"PUT", "/v3/tasks/{}/log/content", "logs", 400}, // nobody asked
		{"DELETE", "/v3/tasks/{}", "", 403},
	} {
		at := func(id string) string { return strings.ReplaceAll(c.path, "{}", id) }
		status, answer := p.as(agent, c.method, at(task), []byte(c.body))
		require.Equal(t, c.agent, status, "%s %s: %s", c.method, c.path, answer)
		status, _ = p.as(agent, c.method, at(foreign), []byte(c.body))
		require.Equal(t, 403, status, "%s %s of another agent's task", c.method, c.path)
	}
	for _, path := range []string{"/certkey", "/passphrase"} {
		status, _ := p.as(reader, "GET", "/v3/tasks/"+task+path, nil)
		require.Equal(t, 403, status, "who may only look sees no secrets")
	}
}
