package controller_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/stretchr/testify/require"
)

// The documentation's CreateTask example, byte for byte, becomes a task that is shown with every field it was created with.
func TestExampleTaskIsShownFieldByField(t *testing.T) {
	p := startPlane(t, t.TempDir())
	id := p.create(example(t, "create_task_request.json"))
	_, answer := p.do("GET", "/v3/tasks/"+id, nil)
	var got map[string]any
	require.NoError(t, json.Unmarshal(answer, &got))

	target := got["target_server"].(map[string]any)
	require.NotEmpty(t, target["id"])
	disk := target["disks"].([]any)[0].(map[string]any)
	partition := disk["physical_volumes"].([]any)[0].(map[string]any)
	want := fmt.Sprintf(`{
		"id": %q, "name": "MigrationTask", "type": "MIGRATE_FILE", "os_type": "LINUX", "state": "READY",
		"estimate_complete_time": null, "create_date": %d, "start_date": null, "finish_date": null,
		"priority": 1, "speed_limit": 0, "migrate_speed": 0.0, "start_target_server": true, "error_json": "", "total_time": 0,
		"float_ip": null, "migration_ip": "192.168.0.1", "vm_template_id": null, "connected": false,
		"region_name": "region_name", "region_id": "region_id", "project_name": "project_name",
		"project_id": "xxxxxxxxxxxxxxxxxxxxxxxx00000001",
		"sub_tasks": [
			{"id": 1, "name": "SSL_CONFIG", "progress": 0, "start_date": null, "end_date": null, "user_op": "REPLICATE", "process_trace": null},
			{"id": 2, "name": "MIGRATE_LINUX_FILE", "progress": 0, "start_date": null, "end_date": null, "user_op": "REPLICATE", "process_trace": null}],
		"source_server": {"id": "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxx0001", "ip": "", "name": "", "os_type": "LINUX", "os_version": "",
			"oem_system": false, "state": "waiting", "migration_cycle": "setting"},
		"target_server": {"id": %q, "vm_id": "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxx0001", "name": "Auto-tar-name", "ip": null,
			"os_type": "LINUX", "os_version": null, "system_dir": null,
			"disks": [{"id": %.0f, "name": "/dev/vda", "relation_name": null, "disk_id": "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxx0001",
				"partition_style": null, "size": 42949672960, "used_size": 429496, "device_use": "BOOT", "os_disk": true,
				"physical_volumes": [{"id": %.0f, "uuid": null, "index": 0, "name": "/dev/vda1", "relation_name": null,
					"device_use": "OS", "file_system": "ext4", "mount_point": "/", "size": 42947575808, "used_size": 5346484224,
					"free_size": 37601091584}],
				"disk_index": "0"}],
			"volume_groups": [], "btrfs_list": [], "image_disk_id": null, "cutovered_snapshot_ids": null},
		"clone_server": null}`, id, p.clock.now().UnixMilli(), target["id"], disk["id"], partition["id"])
	require.JSONEq(t, want, string(answer))
}

// Our answers have every field that the documentation's examples have, at every level.
func TestAnswersHaveTheFieldsOfTheExamples(t *testing.T) {
	p := startPlane(t, t.TempDir())
	id := p.create(example(t, "create_task_request.json"))
	p.progress(id, smsapi.Progress{Subtask: smsapi.SSLConfig, Percent: 40})
	for path, file := range map[string]string{"/v3/tasks/" + id: "show_task_response.json", "/v3/tasks": "list_tasks_response.json"} {
		var want, got any
		require.NoError(t, json.Unmarshal(example(t, file), &want))
		_, answer := p.do("GET", path, nil)
		require.NoError(t, json.Unmarshal(answer, &got))
		requireFields(t, path, want, got)
	}
}

func requireFields(t *testing.T, path string, want, got any) {
	t.Helper()
	switch want := want.(type) {
	case map[string]any:
		got, ok := got.(map[string]any)
		require.True(t, ok, path)
		for _, name := range slices.Sorted(maps.Keys(want)) {
			require.Contains(t, got, name, path)
			if got[name] != nil {
				requireFields(t, path+"."+name, want[name], got[name])
			}
		}
	case []any:
		for _, item := range got.([]any) {
			requireFields(t, path+"[]", want[0], item)
		}
	}
}

func TestExampleProgressIsTaken(t *testing.T) {
	p := startPlane(t, t.TempDir())
	id := p.create(example(t, "create_task_request.json"))
	status, answer := p.do("PUT", "/v3/tasks/"+id+"/progress", example(t, "progress_request.json"))
	require.Equal(t, 200, status)
	require.Empty(t, answer)
	task := p.show(id)
	require.Equal(t, smsapi.StateRunning, task.State)
	require.Equal(t, smsapi.AttachAgentImage, task.Subtasks[2].Name)
	require.Equal(t, 100, task.Subtasks[2].Progress)
}

// A whole task as an agent reports it, and what a client sees meanwhile.
func TestTaskFromReadyToSuccess(t *testing.T) {
	p := startPlane(t, t.TempDir())
	id := p.create(example(t, "create_task_request.json"))
	began := p.clock.now().UnixMilli()
	p.clock.add(time.Minute)
	p.progress(id, smsapi.Progress{Subtask: smsapi.SSLConfig})
	p.progress(id, smsapi.Progress{Subtask: smsapi.SSLConfig, Percent: 100})
	require.Equal(t, smsapi.StateRunning, p.show(id).State)

	p.clock.add(5 * time.Second)
	remain := int64(100)
	p.progress(id, smsapi.Progress{
		Subtask: smsapi.MigrateLinuxFile, Percent: 41, ReplicatedSize: 41, TotalSize: 100, MigrateSpeed: 123456,
		CompressRate: 47.5, RemainTime: &remain, ProcessTrace: `{"phase":"copy"}`,
	})
	task := p.show(id)
	require.Equal(t, smsapi.StateRunning, task.State)
	require.InDelta(t, 10000, task.MigrateSpeed, 0, "clamped")
	require.InDelta(t, 47.5, task.CompressRate, 0)
	require.Equal(t, remain, *task.RemainSeconds)
	require.Equal(t, p.clock.now().Add(100*time.Second).UnixMilli(), *task.EstimateCompleteTime)
	require.True(t, *task.Connected)
	require.Equal(t, int64(5000), task.TotalTime)
	require.Equal(t, "replicate", task.SourceServer.State)
	sub := task.Subtasks[1]
	require.Equal(t, 41, sub.Progress)
	require.Equal(t, p.clock.now().UnixMilli(), *sub.StartDate)
	require.Nil(t, sub.EndDate)
	require.JSONEq(t, `{"phase":"copy"}`, *sub.ProcessTrace)

	p.clock.add(2 * time.Minute)
	require.False(t, *p.show(id).Connected, "not heard of for two minutes")
	p.progress(id, smsapi.Progress{Subtask: smsapi.MigrateLinuxFile, Percent: 100, ReplicatedSize: 100, TotalSize: 100})
	finished := p.clock.now().UnixMilli()
	p.clock.add(time.Hour)
	p.progress(id, smsapi.Progress{Subtask: smsapi.MigrateLinuxFile, Percent: 100, ReplicatedSize: 100, TotalSize: 100}) // sent twice
	task = p.show(id)
	require.Equal(t, smsapi.StateMigrateSuccess, task.State)
	require.Equal(t, began+60_000, *task.StartDate)
	require.Equal(t, finished, *task.FinishDate)
	require.Equal(t, finished, *task.Subtasks[1].EndDate)
	require.Equal(t, finished-*task.StartDate, task.TotalTime)
	require.Zero(t, task.MigrateSpeed)
	require.Nil(t, task.RemainSeconds)
	require.Equal(t, smsapi.StateMigrateSuccess, p.list("").Tasks[0].State)
	require.Equal(t, "finished", p.list("").Tasks[0].SourceServer.State)
}

func TestListFiltersAndPages(t *testing.T) {
	p := startPlane(t, t.TempDir())
	body := string(example(t, "create_task_request.json"))
	var ids []string
	for i := range 5 {
		text := strings.Replace(body, "MigrationTask", fmt.Sprintf("task-%d", i%2), 1)
		text = strings.Replace(text, `{ "id" : "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxx0001" }`, fmt.Sprintf(`{"id":"source-%d"}`, i), 1)
		text = strings.Replace(text, `"os_type"`, fmt.Sprintf(`"enterprise_project_id":"e%d","os_type"`, i), 1)
		ids = append(ids, p.create([]byte(text)))
	}
	p.progress(ids[3], smsapi.Progress{Subtask: smsapi.SSLConfig})
	for query, want := range map[string]struct {
		count int
		tasks []int
	}{
		"":                                     {5, []int{4, 3, 2, 1, 0}},
		"?limit=2":                             {5, []int{4, 3}},
		"?limit=2&offset=4":                    {5, []int{0}},
		"?offset=9":                            {5, nil},
		"?limit=0":                             {5, nil},
		"?name=task-1":                         {2, []int{3, 1}},
		"?name=task-1&limit=1":                 {2, []int{3}},
		"?name=task-1&state=READY":             {1, []int{1}},
		"?state=RUNNING":                       {1, []int{3}},
		"?state=MIGRATE_SUCCESS":               {0, nil},
		"?source_server_id=source-2":           {1, []int{2}},
		"?enterprise_project_id=e0":            {1, []int{0}},
		"?id=" + ids[4]:                        {1, []int{4}},
		"?name=%27+OR+1=1+--":                  {0, nil},
		"?name=task-_":                         {0, nil},
		"?id=" + ids[4] + "&name=task-1":       {0, nil},
		"?source_server_id=source-2&name=none": {0, nil},
	} {
		list := p.list(query)
		require.Equal(t, want.count, list.Count, query)
		require.NotNil(t, list.Tasks)
		var got []int
		for _, task := range list.Tasks {
			got = append(got, slices.Index(ids, task.ID))
		}
		require.Equal(t, want.tasks, got, query)
	}
}

// Many agents and readers at once: nothing is refused, nothing is lost.
func TestManyAtOnce(t *testing.T) {
	p := startPlane(t, t.TempDir())
	var group sync.WaitGroup
	for agent := range 8 {
		group.Go(func() {
			id := p.create(bytes.Replace(example(t, "create_task_request.json"), []byte("MigrationTask"), fmt.Appendf(nil, "task-%d", agent), 1))
			for percent := range 20 {
				p.progress(id, smsapi.Progress{Subtask: smsapi.SSLConfig, Percent: percent})
				if task := p.show(id); task.Subtasks[0].Progress != percent {
					t.Errorf("reported %d, shown %d", percent, task.Subtasks[0].Progress)
				}
			}
		})
	}
	group.Wait()
	require.Equal(t, 8, p.list("?state=RUNNING").Count)
}
