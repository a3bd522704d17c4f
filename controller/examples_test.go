package controller_test

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/stretchr/testify/require"
)

// stored puts what the examples show into the database of a controller, past its operations.
func stored(t *testing.T, dir string, change func(tx *store.Tx) error) {
	t.Helper()
	db, err := store.Open(t.Context(), "sqlite:"+filepath.Join(dir, "controller.db"))
	require.NoError(t, err)
	defer db.Close()
	require.NoError(t, db.Change(t.Context(), change))
}

// requireShown asserts that got has every field of want, with its value, at every level.
func requireShown(t *testing.T, path string, want, got any) {
	t.Helper()
	switch want := want.(type) {
	case map[string]any:
		object, ok := got.(map[string]any)
		require.True(t, ok, "%s is %v", path, got)
		for name, value := range want {
			require.Contains(t, object, name, path)
			requireShown(t, path+"."+name, value, object[name])
		}
	case []any:
		list, ok := got.([]any)
		require.True(t, ok && len(list) == len(want), "%s is %v", path, got)
		for i := range want {
			requireShown(t, fmt.Sprintf("%s[%d]", path, i), want[i], list[i])
		}
	default:
		require.Equal(t, want, got, path)
	}
}

func parsed(t *testing.T, text []byte) (object map[string]any) {
	t.Helper()
	require.NoError(t, json.Unmarshal(text, &object))
	return object
}

func at(ms int64) *int64 { return &ms }

func addSource(tx *store.Tx, id, name, ip string, system smsapi.OSType, version string, state smsapi.SourceState, cycle smsapi.MigrationCycle) error {
	_, err := tx.AddSource(&store.Source{
		ID: id, Name: name, State: state, Cycle: cycle, Info: smsapi.RegisterSource{IP: ip, OSType: system, OSVersion: version},
	})
	return err
}

// The documentation's answer of ShowTask comes out of stored state, field by field.
func TestShowTaskExample(t *testing.T) {
	dir := t.TempDir()
	p := startPlane(t, dir)
	want := parsed(t, example(t, "show_task_response.json"))
	id := want["id"].(string)

	raw, err := sql.Open("sqlite", filepath.Join(dir, "controller.db"))
	require.NoError(t, err)
	_, err = raw.Exec("INSERT INTO sqlite_sequence (name, seq) VALUES ('subtasks', 7277)") // the example counts from 7278
	require.NoError(t, err)
	require.NoError(t, raw.Close())

	var target struct {
		Target smsapi.UpdatedTarget `json:"target_server"`
	}
	require.NoError(t, json.Unmarshal(example(t, "show_task_response.json"), &target))
	create := fmt.Appendf(nil, `{"name":"MigrationTask","type":"MIGRATE_BLOCK","os_type":"WINDOWS","vm_template_id":%q,"region_name":"region name",
		"region_id":"region id","project_name":"project name","project_id":"b276e6fb38c74aa2ba4598f049745ce9","source_server":{"id":"1cce5dab-df33-4abe-b2ac-e94fa05d6a01"},
		"target_server":{"name":"","vm_id":"","disks":[]}}`, want["vm_template_id"])
	made := p.create(create)
	stored(t, dir, func(tx *store.Tx) error {
		task, err := tx.Task(made)
		require.NoError(t, err)
		require.NoError(t, tx.DeleteTask(made))
		task.ID, task.TargetID = id, "c1bd67b6-1caa-403e-9e32-81d2feafcda9"
		task.State, task.Created, task.Started = smsapi.StateRunning, 1598435778000, at(1598435784000)
		task.Subtasks[0].Started = at(1598435802000)
		task.Detail.Target = target.Target
		for i := range task.Subtasks {
			task.Subtasks[i].ID = 0
		}
		require.NoError(t, tx.CreateTask(task))
		again, err := tx.Task(id)
		require.NoError(t, err)
		again.Started = task.Started
		require.NoError(t, tx.SaveTask(again))
		return addSource(tx, task.Request.SourceServer.ID, "name-win16", "192.168.0.154", smsapi.Windows, "WINDOWS2016_64BIT",
			smsapi.SourceInitialize, smsapi.CycleReplicating)
	})
	p.clock.add(time.UnixMilli(1598435784000 + 115).Sub(p.clock.now()))
	status, got := p.do("GET", "/v3/tasks/"+id, nil)
	require.Equal(t, 200, status, string(got))
	shown := parsed(t, got)
	for i, s := range want["sub_tasks"].([]any) { // the database goes on counting after the task that was made first
		s.(map[string]any)["id"] = 7278 + float64(i) + 5
	}
	requireShown(t, "task", want, shown)
}

// So does that of ListTasks. Its ids are made unlike, because the documentation shows the same one for three tasks.
func TestListTasksExample(t *testing.T) {
	dir := t.TempDir()
	p := startPlane(t, dir)
	want := parsed(t, example(t, "list_tasks_response.json"))
	stored(t, dir, func(tx *store.Tx) error {
		for i := range 3 {
			w := want["tasks"].([]any)[2-i].(map[string]any) // newest first
			w["id"] = fmt.Sprint("task-", i)
			target := w["target_server"].(map[string]any)
			text := func(object map[string]any, name string) string { s, _ := object[name].(string); return s }
			number := func(name string) int64 { return int64(w[name].(float64)) }
			task := &store.Task{
				ID: fmt.Sprint("task-", i), TargetID: text(target, "id"), State: smsapi.TaskState(text(w, "state")), Created: number("create_date"),
				Request: smsapi.CreateTaskRequest{
					Name: text(w, "name"), Type: smsapi.TaskType(text(w, "type")), OSType: smsapi.OSType(text(w, "os_type")), Priority: 1,
					StartTargetServer: true, MigrationIP: text(w, "migration_ip"), SpeedLimit: int(number("speed_limit")),
					TargetServer: smsapi.NewTargetServer{VMID: text(target, "vm_id"), Name: text(target, "name")},
				},
			}
			if version, ok := target["os_version"].(string); ok {
				task.Detail.Target.OSVersion = &version
			}
			if source, ok := w["source_server"].(map[string]any); ok {
				source["id"] = fmt.Sprint("source-", i)
				task.Request.SourceServer.ID = fmt.Sprint("source-", i)
				require.NoError(t, addSource(tx, fmt.Sprint("source-", i), text(source, "name"), text(source, "ip"), smsapi.OSType(text(source, "os_type")),
					text(source, "os_version"), smsapi.SourceState(text(source, "state")), ""))
			}
			require.NoError(t, tx.CreateTask(task))
			task.Started, task.Finished = at(task.Created), at(task.Created+number("total_time"))
			require.NoError(t, tx.SaveTask(task))
		}
		return nil
	})
	status, got := p.do("GET", "/v3/tasks", nil)
	require.Equal(t, 200, status, string(got))
	requireShown(t, "list", want, parsed(t, got))
}
