package controller_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/ferry-migrate/ferry/controller"
	"github.com/ferry-migrate/ferry/controller/iam"
	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/stretchr/testify/require"
)

// The life of a source, as its agent tells it, and what it may not tell at each point.
func TestChangeStateGoesForwardOnly(t *testing.T) {
	p := startPlane(t, t.TempDir())
	id := p.register(registration(nil))
	for _, step := range []struct {
		state, cycle string
		shown        smsapi.SourceState
		refused      []string // cycle/state that cannot be next
	}{
		{"waiting", "checking", "waiting", []string{"replicating/init", "syncing/syncing", "cutovering/cutovering", "cutovered/finished", "checking/init", "dance/waiting", "testing/waiting"}},
		{"WAITING", "SETTING", "waiting", []string{"syncing/syncing", "cutovering/cutovering", "cutovered/finished", "setting/replicate"}},
		{"premigready", "setting", "premigready", nil},
		{"premiging", "setting", "premiging", nil},
		{"premigfailed", "setting", "premigfailed", nil},
		{"premiged", "setting", "premiged", nil},
		{"init", "replicating", "initialize", []string{"checking/waiting", "setting/waiting", "cutovered/finished", "replicating/skipping", "replicating/initialize"}},
		{"init", "replicating", "initialize", nil}, // a repeat
		{"replicate", "replicating", "replicate", nil},
		{"error", "replicating", "error", nil},
		{"replicate", "replicating", "replicate", nil},
		{"syncing", "syncing", "syncing", []string{"replicating/replicate", "cutovered/finished", "setting/waiting"}},
		{"cloning", "syncing", "cloning", nil},
		{"syncing", "syncing", "syncing", nil},
		{"cutovering", "cutovering", "cutovering", []string{"replicating/replicate"}},
		{"init", "replicating", "initialize", []string{"cutovered/finished"}}, // a task that runs again
		{"syncing", "syncing", "syncing", nil},                                // the last sync
		{"cutovering", "cutovering", "cutovering", nil},
		{"finished", "cutovered", "finished", nil},
	} {
		p.changeState(id, step.state, step.cycle)
		s := p.source(id)
		require.Equal(t, step.shown, s.State)
		require.Equal(t, smsapi.MigrationCycle(strings.ToLower(step.cycle)), s.MigrationCycle)
		for _, pair := range step.refused {
			cycle, state, _ := strings.Cut(pair, "/")
			p.refused(400, smsapi.CodeInvalid, "PUT", "/v3/sources/"+id+"/changestate", fmt.Appendf(nil, `{"copystate":%q,"migrationcycle":%q}`, state, cycle))
			require.Equal(t, s.State, p.source(id).State, "a refusal changes nothing")
		}
	}
	p.changeState(id, "syncing", "syncing")
	require.Equal(t, smsapi.SourceFinished, p.source(id).State, "a finished source is deaf")
	p.call("PUT", "/v3/sources/"+id+"/changestate", []byte(`{"copystate":"nonsense"}`), nil)
}

func TestDeafStates(t *testing.T) {
	p := startPlane(t, t.TempDir())
	for n, state := range []string{"stopping", "stopped", "deleting"} {
		id := p.register(registration(interface_(fmt.Sprint(n))))
		p.changeState(id, "waiting", "setting")
		p.changeState(id, "replicate", "replicating")
		p.changeState(id, state, "replicating")
		p.changeState(id, "replicate", "replicating")
		p.call("PUT", "/v3/sources/"+id+"/changestate", []byte(`{"copystate":"waiting","migrationcycle":"cutovered"}`), nil) // the example of old documents
		require.Equal(t, smsapi.SourceState(state), p.source(id).State)
	}
	id := p.register(registration(map[string]any{"has_rsync": nil}))
	p.changeState(id, "waiting", "checking")
	require.Equal(t, smsapi.SourceUnavailable, p.source(id).State)

	id = p.register(registration(interface_("stops")))
	p.changeState(id, "waiting", "setting")
	p.changeState(id, "replicate", "replicating")
	p.changeState(id, "stopping", "replicating")
	p.changeState(id, "stopped", "replicating")
	require.Equal(t, smsapi.SourceStopped, p.source(id).State, "a source that stops may say that it has")
}

// Of many that change the state at once each is decided on what the others left: nobody gets a source to go backwards.
func TestChangeStateIsDecidedOneByOne(t *testing.T) {
	onBoth(t, func(t *testing.T, p *plane) {
		id := p.register(registration(nil))
		p.changeState(id, "waiting", "setting")
		var group sync.WaitGroup
		statuses := make([]int, 16)
		for n := range statuses {
			body := `{"copystate":"replicate","migrationcycle":"replicating"}`
			if n%2 == 1 {
				body = `{"copystate":"waiting","migrationcycle":"checking"}`
			}
			group.Go(func() { statuses[n], _ = p.do("PUT", "/v3/sources/"+id+"/changestate", []byte(body)) })
		}
		group.Wait()
		first := 0 // who came first to whom: after that only a repeat is legal
		if p.source(id).MigrationCycle == smsapi.CycleChecking {
			first = 1
		}
		for n, status := range statuses {
			want := 400
			if n%2 == first {
				want = 200
			}
			require.Equal(t, want, status)
		}
	})
}

// as signs with another key than the admin's.
func (p *plane) as(key smsapi.Key, method, path string, body []byte) (int, []byte) {
	p.Helper()
	r, err := http.NewRequestWithContext(p.Context(), method, p.URL()+path, strings.NewReader(string(body)))
	require.NoError(p, err)
	r.Header.Set("Content-Type", "application/json")
	key.Sign(r, body, p.clock.now())
	return p.send(r)
}

// user makes a user of a plane that was started in dir.
func (p *plane) user(dir, name string, role iam.Role) smsapi.Key {
	p.Helper()
	db, err := store.Open(p.Context(), "sqlite:"+filepath.Join(dir, "controller.db"))
	require.NoError(p, err)
	defer db.Close()
	identities, err := controller.OpenIdentities(p.Context(), db, p.KeyFile(), p.clock.now)
	require.NoError(p, err)
	key, err := identities.Add(p.Context(), name, role, "")
	require.NoError(p, err)
	return key
}

// An agent registers, and touches what it registered. Nothing else.
func TestAgentsTouchOnlyTheirOwnSource(t *testing.T) {
	dir := t.TempDir()
	p := startPlane(t, dir)
	mine, other := p.user(dir, "mine", iam.Agent), p.user(dir, "other", iam.Agent)
	status, answer := p.as(mine, "POST", "/v3/sources", registration(nil))
	require.Equal(t, 200, status, string(answer))
	var registered smsapi.RegisteredSource
	require.NoError(t, json.Unmarshal(answer, &registered))
	source := "/v3/sources/" + registered.ID
	template := p.createTemplate(`{"template":{"name":"t","target_password":"secret"}}`)

	for _, c := range []struct {
		method, path, body string
		mine, other        int
	}{
		{"GET", source, "", 200, 403},
		{"PUT", source + "/diskinfo", `{"disks":[{"name":"/dev/vda"}],"volumegroups":[],"btrfs_list":[]}`, 200, 403},
		{"PUT", source + "/changestate", `{"copystate":"waiting","migrationcycle":"setting"}`, 200, 403},
		{"POST", "/v3/sources", string(registration(nil)), 200, 403}, // the interface of a source is not a way to take it over
		{"POST", "/v3/sources", string(registration(map[string]any{"id": registered.ID})), 200, 403},
		{"GET", "/v3/config", "", 200, 200},
		{"GET", "/v3/privacy-agreements", "", 200, 200},
		{"POST", "/v3/privacy-agreements", "", 200, 200},
		{"PUT", source, `{"name":"n"}`, 403, 403},
		{"DELETE", source, "", 403, 403},
		{"POST", "/v3/sources/delete", `{"ids":["x"]}`, 403, 403},
		{"GET", "/v3/sources", "", 403, 403},
		{"GET", "/v3/sources/overview", "", 403, 403},
		{"GET", "/v3/errors", "", 403, 403},
		{"POST", "/v3/migprojects", `{"name":"n","region":"r","type":"MIGRATE_FILE"}`, 403, 403},
		{"GET", "/v3/vm/templates", "", 403, 403},
		{"GET", "/v3/vm/templates/" + template, "", 403, 403},
		{"GET", "/v3/vm/templates/" + template + "/target-password", "", 403, 403},
	} {
		for _, who := range []struct {
			key  smsapi.Key
			want int
		}{{mine, c.mine}, {other, c.other}} {
			status, answer := p.as(who.key, c.method, c.path, []byte(c.body))
			require.Equal(t, who.want, status, "%s %s: %s", c.method, c.path, answer)
		}
	}
	own := p.create(taskOf(t, registered.ID))
	status, _ = p.as(mine, "PUT", "/v3/tasks/"+own, fmt.Appendf(nil, `{"vm_template_id":%q}`, template))
	require.Equal(t, 403, status, "no agent chooses the template whose password it may read")
	status, answer = p.as(mine, "PUT", "/v3/tasks/"+own, []byte(`{"vm_template_id":"","name":"n"}`))
	require.Equal(t, 200, status, string(answer))

	body := strings.Replace(string(taskOf(t, registered.ID)), `"name"`, fmt.Sprintf(`"vm_template_id":%q,"name"`, template), 1)
	p.create([]byte(body))
	status, answer = p.as(mine, "GET", "/v3/vm/templates/"+template+"/target-password", nil)
	require.Equal(t, 200, status, "the template of its own task")
	require.JSONEq(t, fmt.Sprintf(`{"template_id":%q,"target_password":"secret"}`, template), string(answer))
	status, _ = p.as(other, "GET", "/v3/vm/templates/"+template+"/target-password", nil)
	require.Equal(t, 403, status)
}
