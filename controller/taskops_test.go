package controller_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ferry-migrate/ferry/controller/store/storetest"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/stretchr/testify/require"
)

// createFor creates the documentation's task for a source, with edits of its JSON.
func (p *plane) createFor(source string, edits ...string) string {
	p.Helper()
	text := strings.Replace(string(example(p.T, "create_task_request.json")), `{ "id" : "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxx0001" }`, fmt.Sprintf(`{"id":%q}`, source), 1)
	for i := 0; i < len(edits); i += 2 {
		require.Contains(p, text, edits[i])
		text = strings.Replace(text, edits[i], edits[i+1], 1)
	}
	return p.create([]byte(text))
}

// onBoth runs a test on a controller with SQLite and on one with PostgreSQL.
func onBoth(t *testing.T, test func(t *testing.T, p *plane)) {
	t.Run("sqlite", func(t *testing.T) { test(t, startPlane(t, t.TempDir())) })
	t.Run("postgres", func(t *testing.T) { test(t, startPlaneOn(t, storetest.Postgres(t), t.TempDir())) })
}

// The life of a task as users order it and its agent obeys: every command is repeated until it is answered.
func TestLifeOfATask(t *testing.T) {
	onBoth(t, func(t *testing.T, p *plane) {
		source := p.register(registration(nil))
		require.Empty(t, p.poll(source).Name)
		id := p.createFor(source, `"use_public_ip"`, `"syncing":true,"use_public_ip"`)
		require.Equal(t, smsapi.TaskNotStarted, p.poll(source).Name)
		p.refused(400, "SMS.1038", "POST", "/v3/tasks/"+id+"/action", []byte(`{"operation":"stop"}`))

		p.order(id, smsapi.OpStart)
		require.Equal(t, smsapi.StateRunning, p.show(id).State)
		require.Equal(t, "initialize", p.show(id).SourceServer.State)
		for range 2 {
			require.Equal(t, smsapi.Command{Name: "START", Param: &smsapi.CommandParam{Task: id}}, p.poll(source))
		}
		p.refused(400, "SMS.6021", "POST", "/v3/sources/"+source+"/command_result", resultOf("STOP", "success"))
		p.refused(400, "SMS.6022", "POST", "/v3/sources/"+source+"/command_result", resultOf("START", "perhaps"))
		p.answer(source, "START", "success")
		p.answer(source, "START", "success") // the first answer was lost
		require.Empty(t, p.poll(source).Name)
		p.refused(400, "SMS.1039", "POST", "/v3/tasks/"+id+"/action", []byte(`{"operation":"start"}`))

		p.progress(id, smsapi.Progress{Subtask: smsapi.SSLConfig, Percent: 100})
		p.order(id, smsapi.OpStop)
		p.progress(id, smsapi.Progress{Subtask: smsapi.MigrateLinuxFile, Percent: 40})
		require.Equal(t, smsapi.StateAborting, p.show(id).State)
		require.Equal(t, "stopping", p.show(id).SourceServer.State)
		require.Equal(t, smsapi.CommandStop, p.poll(source).Name)
		p.answer(source, "STOP", "success")
		require.Equal(t, smsapi.StateAbort, p.show(id).State)
		require.Equal(t, "stopped", p.show(id).SourceServer.State)
		require.Equal(t, smsapi.TaskHasStopped, p.poll(source).Name)

		p.order(id, smsapi.OpStart)
		p.poll(source)
		p.answer(source, "START", "success")
		p.progress(id, smsapi.Progress{Subtask: smsapi.MigrateLinuxFile, Percent: 100, ProcessTrace: `{"phase":"copy"}`})
		require.Equal(t, smsapi.StateSyncing, p.show(id).State)
		p.order(id, smsapi.OpCutover)
		require.Equal(t, smsapi.CommandStart, p.poll(source).Name)
		require.Equal(t, "cutovering", p.show(id).SourceServer.MigrationCycle)
		p.answer(source, "START", "success")
		p.progress(id, smsapi.Progress{Subtask: smsapi.SyncLinuxFile, Percent: 100, ProcessTrace: `{"outcome":"done"}`})
		require.Equal(t, smsapi.StateMigrateSuccess, p.show(id).State)
		require.Equal(t, "finished", p.show(id).SourceServer.State)
		require.Equal(t, smsapi.TaskHasFinished, p.poll(source).Name)

		p.order(id, smsapi.OpRestart)
		require.Equal(t, smsapi.CommandSync, p.poll(source).Name)
		p.answer(source, "SYNC", "fail")
		require.Equal(t, smsapi.StateSyncFail, p.show(id).State)
		require.Contains(t, p.show(id).ErrorJSON, "could not SYNC")

		p.call("DELETE", "/v3/tasks/"+id, nil, nil)
		require.Equal(t, smsapi.StateDeleting, p.show(id).State)
		require.Equal(t, smsapi.CommandDelete, p.poll(source).Name)
		p.answer(source, "DELETE", "success")
		p.refused(404, smsapi.CodeNotFound, "GET", "/v3/tasks/"+id, nil)
		require.Empty(t, p.poll(source).Name)
	})
}

func TestAutoStart(t *testing.T) {
	p := startPlane(t, t.TempDir())
	source := p.register(registration(nil))
	id := p.createFor(source, `"use_public_ip"`, `"auto_start":true,"use_public_ip"`)
	require.Equal(t, smsapi.StateRunning, p.show(id).State)
	require.Equal(t, smsapi.CommandStart, p.poll(source).Name)
}

// A network check that was asked for comes before the start. An agent that does not know the command and never answers is told the next
// one after a while all the same.
func TestNetworkCheckFirst(t *testing.T) {
	p := startPlane(t, t.TempDir())
	source := p.register(registration(nil))
	id := p.createFor(source, `"use_public_ip"`, `"start_network_check":true,"use_public_ip"`)
	p.order(id, smsapi.OpStart)
	require.Equal(t, smsapi.CommandNetworkCheck, p.poll(source).Name)
	p.clock.add(15 * time.Minute)
	require.Equal(t, smsapi.CommandNetworkCheck, p.poll(source).Name)
	p.clock.add(time.Second)
	require.Equal(t, smsapi.CommandStart, p.poll(source).Name)
	p.clock.add(time.Hour)
	require.Equal(t, smsapi.CommandStart, p.poll(source).Name, "what every agent knows is repeated until it is answered")
	p.answer(source, "START", "success")
	require.Equal(t, smsapi.StateRunning, p.show(id).State)
	p.order(id, smsapi.OpStop)
	p.poll(source)
	p.answer(source, "STOP", "success")
	p.order(id, smsapi.OpStart)
	require.Equal(t, smsapi.CommandStart, p.poll(source).Name, "it is measured once")
}

func TestDelete(t *testing.T) {
	p := startPlane(t, t.TempDir())
	source := p.register(registration(nil))
	started := func() string {
		id := p.createFor(source)
		p.order(id, smsapi.OpStart)
		p.progress(id, smsapi.Progress{Subtask: smsapi.SSLConfig})
		return id
	}
	fresh, stranger, known := p.createFor(source), p.createFor("nobody"), started()
	p.refused(404, smsapi.CodeNotFound, "POST", "/v3/tasks/delete", fmt.Appendf(nil, `{"ids":[%q,"none"]}`, fresh))
	p.refused(400, smsapi.CodeInvalid, "POST", "/v3/tasks/delete", []byte(`{"ids":[]}`))
	p.refused(400, smsapi.CodeInvalid, "POST", "/v3/tasks/delete", []byte(`{}`))
	require.Equal(t, 3, p.list("").Count, "all or none")
	p.call("POST", "/v3/tasks/delete", fmt.Appendf(nil, `{"ids":[%q,%q,%q,%q]}`, fresh, stranger, known, known), nil)
	list := p.list("")
	require.Equal(t, 1, list.Count, "what no agent knows is gone at once")
	require.Equal(t, smsapi.StateDeleting, list.Tasks[0].State)
	p.refused(400, smsapi.CodeState, "POST", "/v3/tasks/"+known+"/action", []byte(`{"operation":"collect_log"}`))

	p.clock.add(2 * time.Minute) // the agent went away
	p.call("DELETE", "/v3/tasks/"+known, nil, nil)
	require.Zero(t, p.list("").Count)
}

// Many users on two controllers of one PostgreSQL ask for the same thing at once: it happens once, and the agent is told once.
func TestManyAskAtOnce(t *testing.T) {
	address, dir := storetest.Postgres(t), t.TempDir()
	planes := []*plane{startPlaneOn(t, address, dir), startPlaneOn(t, address, dir)}
	source := planes[0].register(registration(nil))
	id := planes[0].createFor(source)
	for _, round := range []struct {
		operation, code string
		told            smsapi.CommandName
	}{{"start", "SMS.1039", "START"}, {"stop", "SMS.1038", "STOP"}} {
		var group sync.WaitGroup
		results := make(chan string, 8)
		for i := range cap(results) {
			group.Go(func() {
				status, answer := planes[i%2].do("POST", "/v3/tasks/"+id+"/action", fmt.Appendf(nil, `{"operation":%q}`, round.operation))
				var e smsapi.Error
				if status != 200 && json.Unmarshal(answer, &e) == nil {
					results <- e.Code
				} else {
					results <- ""
				}
			})
		}
		group.Wait()
		close(results)
		won := 0
		for code := range results {
			if code == "" {
				won++
			} else {
				require.Equal(t, round.code, code)
			}
		}
		require.Equal(t, 1, won, round.operation)
		require.Equal(t, round.told, planes[1].poll(source).Name, "one controller queues, the other tells")
		planes[0].answer(source, round.told, "success")
		require.NotEqual(t, round.told, planes[1].poll(source).Name)
	}
	require.Equal(t, smsapi.StateAbort, planes[1].show(id).State)
}

func TestSpeedLimits(t *testing.T) {
	p := startPlane(t, t.TempDir())
	id := p.createFor("nobody", `"use_public_ip"`, `"speed_limit":65535,"over_speed_threshold":10.5,"use_public_ip"`)
	path := "/v3/tasks/" + id + "/speed-limit"
	limits := func() (got smsapi.LimitWindows) {
		p.call("GET", path, nil, &got)
		return got
	}
	require.Equal(t, []smsapi.LimitWindow{{Start: "00:00", End: "00:00", Speed: 65535, Threshold: 10.5}}, limits().Windows)
	require.Equal(t, 65535, p.show(id).SpeedLimit)

	five := `{"start":"00:00","end":"06:00","speed":0},{"start":"06:00","end":"08:00","speed":1000},{"start":"08:00","end":"09:00","speed":1001},
		{"start":"09:00","end":"10:00"},{"start":"22:00","end":"00:00","speed":10000,"over_speed_threshold":0.5}`
	for _, bad := range []string{
		`{}`, `{"speed_limit":null}`, `{"speed_limit":[{"start":"00:00"}]}`, `{"speed_limit":[{"end":"00:00"}]}`,
		`{"speed_limit":[{"start":"24:00","end":"01:00"}]}`, `{"speed_limit":[{"start":"1:00","end":"02:00"}]}`, `{"speed_limit":[{"start":"01:60","end":"02:00"}]}`,
		`{"speed_limit":[{"start":"00:00","end":"01:00","speed":-1}]}`, `{"speed_limit":[{"start":"00:00","end":"01:00","speed":10001}]}`,
		`{"speed_limit":[{"start":"00:00","end":"01:00","over_speed_threshold":-1}]}`,
		`{"speed_limit":[{"start":"00:00","end":"02:00"},{"start":"01:59","end":"03:00"}]}`, `{"speed_limit":[{"start":"22:00","end":"02:00"},{"start":"01:00","end":"03:00"}]}`,
		`{"speed_limit":[` + five + `,{"start":"10:00","end":"11:00"}]}`,
	} {
		p.refused(400, smsapi.CodeInvalid, "POST", path, []byte(bad))
	}
	p.call("POST", path, []byte(`{"speed_limit":[`+five+`]}`), nil)
	got := limits().Windows
	require.Len(t, got, 5)
	require.Equal(t, []int{0, 1000, 1000, 0, 1000}, []int{got[0].Speed, got[1].Speed, got[2].Speed, got[3].Speed, got[4].Speed}, "no limit is above 1000 Mbit/s")
	require.Equal(t, 1000, p.show(id).SpeedLimit, "it is eight o'clock")
	p.call("POST", path, []byte(`{"speed_limit":[]}`), nil)
	require.NotNil(t, limits().Windows)
	require.Empty(t, limits().Windows)
	require.Zero(t, p.show(id).SpeedLimit)
	p.refused(404, smsapi.CodeNotFound, "GET", "/v3/tasks/none/speed-limit", nil)
}

// A rate above the limit by more than its threshold, three reports in a row, pauses the task.
func TestOverSpeed(t *testing.T) {
	p := startPlane(t, t.TempDir())
	source := p.register(registration(nil))
	id := p.createFor(source)
	p.call("POST", "/v3/tasks/"+id+"/speed-limit", []byte(`{"speed_limit":[{"start":"08:00","end":"09:00","speed":10,"over_speed_threshold":10}]}`), nil)
	report := func(speed float64, clock string) smsapi.TaskState {
		p.progress(id, smsapi.Progress{Subtask: smsapi.MigrateLinuxFile, Percent: 5, MigrateSpeed: speed, AgentTime: clock})
		return p.show(id).State
	}
	for _, speed := range []float64{50, 50, 11, 50, 50} { // 11 is not more than 10 percent above
		require.Equal(t, smsapi.StateRunning, report(speed, ""))
	}
	require.Equal(t, smsapi.StateRunning, report(50, "2026-11-21 12:00:00"), "there is no limit at the agent's noon")
	require.Equal(t, smsapi.StateRunning, report(50, ""))
	require.Equal(t, smsapi.StateRunning, report(50, "08:30"))
	require.Equal(t, smsapi.StateAborting, report(11.1, "nonsense"))
	require.Contains(t, p.show(id).ErrorJSON, "SMS.9007")
	require.Equal(t, smsapi.CommandStop, p.poll(source).Name)
}

func TestUpdateTask(t *testing.T) {
	p := startPlane(t, t.TempDir())
	id := p.createFor("nobody")
	path := "/v3/tasks/" + id
	var answer smsapi.UpdateTaskResponse
	p.call("PUT", path, []byte(`{"name":"other","type":"MIGRATE_BLOCK","region_id":"r","region_name":"rn","exist_server":true,"migration_ip":"10.0.0.1",
		"use_ipv6":false,"use_public_ip":false,"speed_limit":65535,"project_name":"pn","project_id":"pi","enterprise_project":"ep","image_disk_id":"image",
		"vm_template_id":"vt","target_disk_ids":"disk-a disk-b","snapshot_ids":"a;b","cutovered_snapshot_ids":"c"}`), &answer)
	require.Equal(t, id, answer.ID)
	task := p.show(id)
	require.Equal(t, "other MIGRATE_BLOCK r rn 10.0.0.1 pn pi ep vt a;b", strings.Join([]string{
		task.Name, string(task.Type), task.RegionID, task.RegionName, *task.MigrationIP, task.ProjectName, task.ProjectID, task.EnterpriseProjectID,
		*task.VMTemplateID, task.TargetSnapshotID,
	}, " "))
	require.Equal(t, 65535, task.SpeedLimit)
	require.Equal(t, "disk-a", task.TargetServer.Disks[0].DiskID)
	require.Equal(t, "image", *task.TargetServer.ImageDiskID)
	require.Equal(t, "c", *task.TargetServer.CutoveredSnapshotIDs)
	require.Equal(t, smsapi.MigrateLinuxBlock, task.Subtasks[1].Name)
	require.Equal(t, 1, p.list("?name=other&enterprise_project_id=ep").Count, "it is found by what it is now")

	p.call("PUT", path, []byte(`{"clone_server":{"vm_id":"v","name":"n","clone_state":"FINISHED"},"target_server":{"vm_id":"vm","name":"made","ip":"10.0.0.2",
		"os_version":"UBUNTU_24_4_SERVER_64BIT","firmware":"UEFI","btrfs_list":[],"disks":[{"id":7,"name":"/dev/vdb","disk_id":"d","size":10,"used_size":5,
		"partition_style":"GPT","relation_name":"/dev/vdc","physical_volumes":[{"id":8,"name":"/dev/vdb1","size":9,"free_size":4,"used_size":5}]}]}}`), &answer)
	target := p.show(id).TargetServer
	require.Equal(t, "vm made 10.0.0.2", strings.Join([]string{target.VMID, target.Name, *target.IP}, " "))
	require.Equal(t, int64(7), target.Disks[0].ID)
	require.Equal(t, smsapi.UseNormal, target.Disks[0].DeviceUse)
	require.Equal(t, int64(4), target.Disks[0].PhysicalVolumes[0].FreeSize)
	require.Equal(t, "FINISHED", p.show(id).CloneServer.CloneState)
	require.Equal(t, "other", p.show(id).Name, "what was not sent stays")

	for body, code := range map[string]string{
		`{"name":""}`: smsapi.CodeInvalid, `{"name":"a b"}`: smsapi.CodeTaskName, `{"type":"MIGRATE_SOUL"}`: smsapi.CodeInvalid,
		`{"speed_limit":65536}`: smsapi.CodeInvalid, `{"speed_limit":-1}`: smsapi.CodeInvalid,
		`{"target_disk_ids":"` + strings.Repeat("x", 256) + `"}`:             smsapi.CodeInvalid,
		`{"region_id":"` + strings.Repeat("x", 256) + `"}`:                   smsapi.CodeInvalid,
		`{"clone_server":{"clone_state":"DANCING"}}`:                         smsapi.CodeInvalid,
		`{"target_server":{"disks":[{"partition_style":"APM"}]}}`:            smsapi.CodeInvalid,
		`{"target_server":{"firmware":"COREBOOT"}}`:                          smsapi.CodeInvalid,
		`{"clone_server":{"error_msg":"` + strings.Repeat("x", 1025) + `"}}`: smsapi.CodeInvalid,
	} {
		p.refused(400, code, "PUT", path, []byte(body))
	}
	p.call("PUT", path, []byte(`{"target_disk_ids":"`+strings.Repeat("x", 255)+`","region_id":"`+strings.Repeat("ж", 255)+`"}`), &answer)
	p.progress(id, smsapi.Progress{Subtask: smsapi.SSLConfig})
	p.refused(400, smsapi.CodeState, "PUT", path, []byte(`{"type":"MIGRATE_FILE"}`))
	p.call("PUT", path, []byte(`{"type":"MIGRATE_BLOCK"}`), &answer)
	p.refused(404, smsapi.CodeNotFound, "PUT", "/v3/tasks/none", []byte(`{}`))
}

func TestActionRefusals(t *testing.T) {
	p := startPlane(t, t.TempDir())
	id := p.createFor("nobody")
	for _, bad := range []string{``, `{}`, `{"operation":"dance"}`, `{"operation":"START"}`, `{"operation":"start","template_id":"` + strings.Repeat("x", 256) + `"}`} {
		p.refused(400, smsapi.CodeInvalid, "POST", "/v3/tasks/"+id+"/action", []byte(bad))
	}
	p.refused(404, smsapi.CodeNotFound, "POST", "/v3/tasks/none/action", []byte(`{"operation":"start"}`))
	p.call("POST", "/v3/tasks/"+id+"/action", []byte(`{"operation":"start","param":{"a":"b"},"switch_hce":true,"vpc":{"id":"x"},"unknown":1}`), nil)
}
