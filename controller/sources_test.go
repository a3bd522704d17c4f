package controller_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/stretchr/testify/require"
)

// registration returns a body of POST /v3/sources that passes every check, with edits: a nil value removes a field.
func registration(edits map[string]any) []byte {
	body := map[string]any{
		"ip": "192.168.0.154", "name": "name-lin", "hostname": "host", "os_type": "LINUX", "os_version": "CENTOS_7_6_64BIT", "agent_version": "25.5.0",
		"firmware": "BIOS", "cpu_quantity": 4, "memory": 8192, "boot_loader": "GRUB", "has_rsync": true, "has_tc": true,
		"paravirtualization": false, "raw_devices": "", "btrfs_list": []any{},
		"networks": []any{map[string]any{"name": "eth0", "ip": "192.168.0.154", "mac": "fa:16:3e:00:00:01", "mtu": 1500}},
		"disks": []any{map[string]any{
			"name": "/dev/vda", "partition_style": "MBR", "device_use": "BOOT", "size": 42949672960, "used_size": 5346484224, "os_disk": true,
			"physical_volumes": []any{
				map[string]any{"name": "/dev/vda1", "device_use": "OS", "file_system": "ext4", "mount_point": "/", "size": 42947575808, "used_size": 5346484224, "uuid": "u"},
			},
		}},
		"volume_groups": []any{map[string]any{
			"name": "data", "components": "/dev/vdb", "size": 10 << 30, "free_size": 0, "logical_volumes": []any{
				map[string]any{"name": "lv", "file_system": "xfs", "inode_size": 1, "mount_point": "/data", "size": 10 << 30, "used_size": 1 << 30, "free_size": 9 << 30},
			},
		}},
	}
	maps.Copy(body, edits)
	maps.DeleteFunc(body, func(_ string, v any) bool { return v == nil })
	text, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	return text
}

// interface_ returns the networks of a source of its own.
func interface_(mac string) map[string]any {
	return map[string]any{"networks": []any{map[string]any{"mac": mac}}}
}

func (p *plane) register(body []byte) string {
	p.Helper()
	var answer smsapi.RegisteredSource
	p.call("POST", "/v3/sources", body, &answer)
	require.NotEmpty(p, answer.ID)
	return answer.ID
}

// call sends a request that must succeed and decodes the answer into out; a nil out expects an empty body.
func (p *plane) call(method, path string, body []byte, out any) {
	p.Helper()
	status, answer := p.do(method, path, body)
	require.Equal(p, 200, status, "%s %s: %s", method, path, answer)
	if out == nil {
		require.Empty(p, answer)
		return
	}
	require.NoError(p, json.Unmarshal(answer, out))
}

func (p *plane) source(id string) (s smsapi.Source) {
	p.Helper()
	p.call("GET", "/v3/sources/"+id, nil, &s)
	return s
}

func (p *plane) sources(query string) (list smsapi.SourceList) {
	p.Helper()
	p.call("GET", "/v3/sources?"+query, nil, &list)
	return list
}

func (p *plane) changeState(id, state, cycle string) {
	p.Helper()
	p.call("PUT", "/v3/sources/"+id+"/changestate", fmt.Appendf(nil, `{"copystate":%q,"migrationcycle":%q}`, state, cycle), nil)
}

// taskOf returns a body of CreateTask for a source.
func taskOf(t *testing.T, source string) []byte {
	return []byte(strings.Replace(string(example(t, "create_task_request.json")), "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxx0001", source, 1))
}

func TestRegisteredSourceIsShown(t *testing.T) {
	p := startPlane(t, t.TempDir())
	id := p.register(registration(nil))
	status, answer := p.do("GET", "/v3/sources/"+id, nil)
	require.Equal(t, 200, status)
	var got map[string]any
	require.NoError(t, json.Unmarshal(answer, &got))
	delete(got, "checks")
	now := p.clock.now().UnixMilli()
	shown, err := json.Marshal(got)
	require.NoError(t, err)
	require.JSONEq(t, fmt.Sprintf(`{
		"id": %q, "ip": "192.168.0.154", "name": "name-lin", "hostname": "host", "add_date": %d, "os_type": "LINUX",
		"os_version": "CENTOS_7_6_64BIT", "oem_system": false, "state": "waiting", "connected": true, "firmware": "BIOS", "cpu_quantity": 4,
		"memory": 8192, "migration_cycle": "checking", "state_action_time": %[2]d, "stage_action_time": %[2]d, "last_visit_time": %[2]d,
		"replicatesize": 0, "totalsize": 0, "agent_version": "25.5.0", "has_tc": true, "start_type": "MANUAL", "btrfs_list": [],
		"networks": [{"name": "eth0", "ip": "192.168.0.154", "mac": "fa:16:3e:00:00:01", "mtu": 1500, "netmask": "", "gateway": ""}],
		"disks": [{"id": "/dev/vda", "name": "/dev/vda", "partition_style": "MBR", "device_use": "BOOT", "size": 42949672960,
			"used_size": 5346484224, "os_disk": true, "need_migration": true, "physical_volumes": [{"id": "/dev/vda1", "name": "/dev/vda1",
				"device_use": "OS", "file_system": "ext4", "index": 0, "mount_point": "/", "size": 42947575808, "used_size": 5346484224,
				"uuid": "u", "need_migration": true}]}],
		"volume_groups": [{"id": "data", "name": "data", "components": "/dev/vdb", "size": 10737418240, "free_size": 0, "need_migration": true,
			"logical_volumes": [{"id": "lv", "name": "lv", "block_count": 0, "block_size": 0, "file_system": "xfs", "inode_size": 1,
				"mount_point": "/data", "size": 10737418240, "used_size": 1073741824, "free_size": 9663676416, "need_migration": true}]}],
		"init_target_server": {
			"disks": [{"name": "/dev/vda", "size": 42949672960, "device_use": "BOOT", "used_size": 5346484224, "physical_volumes": [
				{"name": "/dev/vda1", "device_use": "OS", "file_system": "ext4", "index": 0, "mount_point": "/", "size": 42947575808,
					"used_size": 5346484224, "uuid": "u"}]}],
			"volume_groups": [{"name": "data", "components": "/dev/vdb", "size": 10737418240, "free_size": 0,
				"logical_volumes": [{"name": "lv", "block_count": 0, "block_size": 0, "file_system": "xfs", "inode_size": 1,
					"mount_point": "/data", "size": 10737418240, "used_size": 1073741824, "free_size": 9663676416}]}]}
		}`, id, now), string(shown))

	listed := p.sources("")
	require.Equal(t, 1, listed.Count)
	require.Equal(t, int64(8192<<20), listed.Sources[0].Memory, "bytes in a list, MB elsewhere")
	for _, c := range listed.Sources[0].Checks {
		require.Equal(t, smsapi.CheckOK, c.Result, c.Name)
	}
}

// What the documents call mandatory for the environment check is accepted when absent, and makes the source unavailable.
func TestEnvironmentChecks(t *testing.T) {
	p := startPlane(t, t.TempDir())
	windows := map[string]any{
		"os_type": "WINDOWS", "driver_files": false, "system_services": false, "account_rights": true, "system_dir": `C:\Windows\System32`,
		"boot_loader": nil, "has_rsync": nil, "has_tc": nil, "paravirtualization": nil, "raw_devices": nil, "btrfs_list": nil, "volume_groups": nil,
	}
	for n, c := range []struct {
		base    map[string]any
		field   string
		value   any
		check   string
		result  string
		code    string
		refused bool
	}{
		{nil, "has_rsync", nil, "RSYNC", smsapi.CheckError, "SMS.6517", true},
		{nil, "has_rsync", false, "RSYNC", smsapi.CheckWarn, "SMS.6517", false},
		{nil, "has_tc", nil, "TC", smsapi.CheckError, "", true},
		{nil, "has_tc", false, "TC", smsapi.CheckWarn, "", false},
		{nil, "paravirtualization", nil, "PARAVIRTUALIZATION", smsapi.CheckError, "", true},
		{nil, "paravirtualization", true, "PARAVIRTUALIZATION", smsapi.CheckError, "", true},
		{nil, "raw_devices", nil, "RAW_DEVICES", smsapi.CheckError, "", true},
		{nil, "raw_devices", "/dev/raw1", "RAW_DEVICES", smsapi.CheckError, "", true},
		{nil, "boot_loader", nil, "BOOT_LOADER", smsapi.CheckError, "", true},
		{nil, "volume_groups", nil, "VOLUME_GROUPS", smsapi.CheckError, "", true},
		{nil, "volume_groups", []any{}, "VOLUME_GROUPS", smsapi.CheckOK, "", false},
		{nil, "btrfs_list", nil, "BTRFS", smsapi.CheckError, "", true},
		{nil, "disks", nil, "DISKS", smsapi.CheckError, "", true},
		{nil, "disks", []any{map[string]any{"name": "d", "os_disk": true, "physical_volumes": []any{map[string]any{}}}}, "PARTITION_STYLE", smsapi.CheckError, "", true},
		{nil, "disks", []any{map[string]any{"name": "d", "physical_volumes": []any{map[string]any{}}}}, "PARTITION_STYLE", smsapi.CheckWarn, "", false},
		{windows, "name", "w", "SYSTEM_DIR", smsapi.CheckOK, "", false},
		{windows, "driver_files", nil, "DRIVER_FILES", smsapi.CheckError, "SMS.6511", true},
		{windows, "driver_files", true, "DRIVER_FILES", smsapi.CheckError, "SMS.6511", true},
		{windows, "system_services", true, "SYSTEM_SERVICES", smsapi.CheckError, "", true},
		{windows, "account_rights", false, "ACCOUNT_RIGHTS", smsapi.CheckError, "", true},
		{windows, "system_dir", nil, "SYSTEM_DIR", smsapi.CheckError, "", true},
	} {
		edits := maps.Clone(c.base)
		if edits == nil {
			edits = map[string]any{}
		}
		maps.Copy(edits, interface_(fmt.Sprint("mac", n)))
		edits[c.field] = c.value
		s := p.source(p.register(registration(edits)))
		want := smsapi.SourceWaiting
		if c.refused {
			want = smsapi.SourceUnavailable
		}
		require.Equal(t, want, s.State, "%s=%v", c.field, c.value)
		require.Equal(t, smsapi.CycleChecking, s.MigrationCycle)
		for _, check := range s.Checks {
			if check.Name == c.check {
				require.Equal(t, []string{c.result, c.code}, []string{check.Result, check.ErrorCode}, "%s=%v", c.field, c.value)
				continue
			}
			require.NotEqual(t, smsapi.CheckError, check.Result, "%s=%v fails %s", c.field, c.value, check.Name)
		}
	}
}

func TestRegisteringAgainKeepsTheID(t *testing.T) {
	onBoth(t, func(t *testing.T, p *plane) {
		id := p.register(registration(nil))
		p.call("PUT", "/v3/sources/"+id, []byte(`{"name":"by hand"}`), nil)
		p.clock.add(time.Second)
		require.Equal(t, id, p.register(registration(map[string]any{"name": "again", "has_rsync": nil})), "known by its interface")
		s := p.source(id)
		require.Equal(t, "again", s.Name, "nothing is set up yet: what the agent says replaces even the name")
		require.Equal(t, smsapi.SourceUnavailable, s.State)
		require.Less(t, s.AddDate, s.StateActionTime)

		moved := interface_("another mac")
		moved["id"] = id
		require.Equal(t, id, p.register(registration(moved)), "known by its id")
		require.Equal(t, smsapi.SourceWaiting, p.source(id).State, "the checks are made again")

		p.create(taskOf(t, id))
		require.Equal(t, id, p.register(registration(map[string]any{"id": id, "name": "later"})))
		require.Equal(t, "name-lin", p.source(id).Name, "once the target is configured a restart of the agent replaces nothing")

		given := p.register(registration(map[string]any{"id": "1cce5dab-df33-4abe-b2ac-e94fa05d6a01", "networks": []any{map[string]any{"mac": "x"}}}))
		require.Equal(t, "1cce5dab-df33-4abe-b2ac-e94fa05d6a01", given, "an agent whose source was deleted is back under its id")

		var group sync.WaitGroup
		ids := make([]string, 8)
		for n := range ids {
			group.Go(func() { ids[n] = p.register(registration(interface_("same"))) })
		}
		group.Wait()
		for _, one := range ids {
			require.Equal(t, ids[0], one, "many at once are one source")
		}
	})
}

func TestSourceRefusals(t *testing.T) {
	p := startPlane(t, t.TempDir())
	id := p.register(registration(nil))
	for _, c := range []struct{ method, path, body string }{
		{"GET", "/v3/sources/none", ""},
		{"PUT", "/v3/sources/none", `{"name":"n"}`},
		{"DELETE", "/v3/sources/none", ""},
		{"PUT", "/v3/sources/none/diskinfo", `{}`},
		{"PUT", "/v3/sources/none/changestate", `{"copystate":"waiting","migrationcycle":"setting"}`},
		{"POST", "/v3/sources/delete", `{"ids":["` + id + `","none"]}`},
		{"PUT", "/v3/sources/" + id, `{"migprojectid":"none"}`},
	} {
		p.refused(404, smsapi.CodeNotFound, c.method, c.path, []byte(c.body))
	}
	p.source(id) // deleting is all or nothing
	for _, c := range []struct{ method, path, body string }{
		{"POST", "/v3/sources", `{}`},
		{"GET", "/v3/sources?limit=201", ""},
		{"GET", "/v3/errors?limit=101", ""},
		{"PUT", "/v3/sources/" + id, `{"name":""}`},
		{"PUT", "/v3/sources/" + id, `{"disks":[{"id":"/dev/vdz","need_migration":false}]}`},
		{"PUT", "/v3/sources/" + id, `{"disks":[{"id":"/dev/vda","physical_volumes":[{"id":"/dev/vdz1"}]}]}`},
		{"PUT", "/v3/sources/" + id, `{"disks":[{"id":"/dev/vda","adjust_size":6420226047}]}`}, // a byte below used + 1 GiB
		{"PUT", "/v3/sources/" + id + "/diskinfo", `{"disks":"all"}`},
		{"PUT", "/v3/sources/" + id + "/changestate", `{"copystate":"waiting"}`},
		{"POST", "/v3/sources/delete", `{"ids":[]}`},
	} {
		p.refused(400, smsapi.CodeInvalid, c.method, c.path, []byte(c.body))
	}
}

func TestChoicesShapeTheRecommendedTarget(t *testing.T) {
	p := startPlane(t, t.TempDir())
	id := p.register(registration(nil))
	p.call("PUT", "/v3/sources/"+id, []byte(`{"disks":[{"id":"/dev/vda","adjust_size":6420226048,"physical_volumes":[{"id":"/dev/vda1","need_migration":false}]}],
		"volume_groups":[{"id":"data","logical_volumes":[{"id":"lv","adjust_size":2147483648}]}]}`), nil)
	target := p.source(id).InitTargetServer
	require.Equal(t, int64(6420226048), target.Disks[0].Size)
	require.Empty(t, target.Disks[0].PhysicalVolumes)
	require.Equal(t, int64(2<<30), target.VolumeGroups[0].LogicalVolumes[0].Size)
	p.call("PUT", "/v3/sources/"+id, []byte(`{"disks":[{"id":"/dev/vda","need_migration":false}],"volume_groups":[{"id":"data","need_migration":false}]}`), nil)
	target = p.source(id).InitTargetServer
	require.Empty(t, target.Disks)
	require.Empty(t, target.VolumeGroups)

	p.create(taskOf(t, id))
	p.call("PUT", "/v3/sources/"+id, []byte(`{"disks":[{"id":"/dev/vda","need_migration":true}]}`), nil)
	require.False(t, p.source(id).Disks[0].NeedMigration, "once the target is configured it has no effect")
}

func TestDiskInfoReplacesEverythingWhileNothingIsConfigured(t *testing.T) {
	p := startPlane(t, t.TempDir())
	id := p.register(registration(nil))
	body := `{"disks":[{"name":"/dev/vdb","partition_style":"GPT","size":5}],"volumegroups":[],"btrfs_list":[]}`
	p.call("PUT", "/v3/sources/"+id+"/diskinfo", []byte(body), nil)
	s := p.source(id)
	require.Equal(t, "/dev/vdb", s.Disks[0].Name)
	require.Empty(t, s.VolumeGroups)
	require.Equal(t, smsapi.SourceWaiting, s.State)
	p.changeState(id, "waiting", "setting")
	p.call("PUT", "/v3/sources/"+id+"/diskinfo", []byte(strings.Replace(body, "vdb", "vdc", 1)), nil)
	s = p.source(id)
	require.Equal(t, "/dev/vdc", s.Disks[0].Name)
	require.Equal(t, smsapi.CycleSetting, s.MigrationCycle)
	p.call("PUT", "/v3/sources/"+id+"/diskinfo", []byte(`{}`), nil)
	require.Equal(t, smsapi.SourceUnavailable, p.source(id).State, "a source without disks cannot be migrated")

	p.call("PUT", "/v3/sources/"+id+"/diskinfo", []byte(body), nil)
	p.create(taskOf(t, id))
	p.call("PUT", "/v3/sources/"+id+"/diskinfo", []byte(strings.Replace(body, "vdb", "vdd", 1)), nil)
	require.Equal(t, "/dev/vdb", p.source(id).Disks[0].Name, "accepted and ignored")
}

func TestConnectedByHeartbeat(t *testing.T) {
	p := startPlane(t, t.TempDir())
	id := p.register(registration(nil))
	began := p.clock.now()
	p.clock.add(59 * time.Second)
	require.True(t, p.source(id).Connected)
	p.clock.add(time.Second)
	s := p.source(id)
	require.False(t, s.Connected)
	require.Equal(t, began.Add(time.Minute).UnixMilli(), s.LastVisitTime, "when it became so")
	require.Equal(t, 0, p.sources("connected=true").Count)
	require.Equal(t, 1, p.sources("connected=false").Count)
	p.clock.add(time.Hour)
	p.changeState(id, "waiting", "setting")
	s = p.source(id)
	require.True(t, s.Connected)
	require.Equal(t, p.clock.now().UnixMilli(), s.LastVisitTime)
	require.Equal(t, 1, p.sources("connected=true").Count)
}

func TestSourcesArePagedAndFiltered(t *testing.T) {
	p := startPlane(t, t.TempDir())
	var ids []string
	for n := range 5 {
		edits := interface_(fmt.Sprint(n))
		edits["name"], edits["ip"] = fmt.Sprint("source-", n), fmt.Sprint("10.0.0.", n)
		ids = append(ids, p.register(registration(edits)))
	}
	page := p.sources("limit=2&offset=1")
	require.Equal(t, 5, page.Count)
	require.Equal(t, []string{ids[3], ids[2]}, []string{page.Sources[0].ID, page.Sources[1].ID}, "newest first")
	require.Len(t, p.sources("limit=0").Sources, 5, "0 asks for the default")
	require.Empty(t, p.sources("offset=5").Sources)
	for query, want := range map[string]string{
		"name=source-1": ids[1], "id=" + ids[2]: ids[2], "ip=10.0.0.3&ipv6=" + url.QueryEscape("::9"): ids[3],
	} {
		list := p.sources(query)
		require.Equal(t, 1, list.Count, query)
		require.Equal(t, want, list.Sources[0].ID, query)
	}
	p.changeState(ids[0], "premigready", "setting")
	require.Equal(t, 1, p.sources("state=premigready").Count)
	require.Equal(t, 4, p.sources("state=waiting&migration_cycle=checking").Count)
	p.refused(400, smsapi.CodeInvalid, "GET", "/v3/sources?state=dancing", nil)
}

func TestOverviewErrorsAndDeletes(t *testing.T) {
	p := startPlane(t, t.TempDir())
	var ids []string
	for n := range 4 {
		edits := interface_(fmt.Sprint(n))
		if n == 3 {
			edits["has_rsync"] = nil
		}
		ids = append(ids, p.register(registration(edits)))
	}
	task := p.create(taskOf(t, ids[0]))
	p.create(taskOf(t, ids[1]))
	var o smsapi.SourceOverview
	p.call("GET", "/v3/sources/overview", nil, &o)
	require.Equal(t, smsapi.SourceOverview{Waiting: 2, Unconfigured: 1, Unavailable: 1}, o)
	require.Equal(t, task, p.source(ids[0]).CurrentTask.ID)
	require.Equal(t, "MigrationTask", p.sources("id=" + ids[0]).Sources[0].CurrentTask.Name)

	var failures smsapi.MigrationErrors
	p.call("GET", "/v3/errors", nil, &failures)
	require.Equal(t, smsapi.MigrationErrors{Errors: []smsapi.MigrationError{}}, failures)

	p.call("DELETE", "/v3/sources/"+ids[0], nil, nil)
	p.refused(404, smsapi.CodeNotFound, "GET", "/v3/sources/"+ids[0], nil)
	p.refused(404, smsapi.CodeNotFound, "GET", "/v3/tasks/"+task, nil)
	p.refused(404, smsapi.CodeNotFound, "PUT", "/v3/sources/"+ids[0]+"/changestate", []byte(`{"copystate":"waiting","migrationcycle":"setting"}`))
	p.call("POST", "/v3/sources/delete", fmt.Appendf(nil, `{"ids":[%q,%q,%[1]q]}`, ids[1], ids[2]), nil)
	require.Equal(t, 1, p.sources("").Count)
}
