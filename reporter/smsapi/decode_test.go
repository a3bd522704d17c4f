package smsapi_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/stretchr/testify/require"
)

// edited returns the example of CreateTask with one field changed. A path is dotted, a number an index; nil removes the field.
func edited(t *testing.T, file, path string, value any) []byte {
	t.Helper()
	var root any
	require.NoError(t, json.Unmarshal(example(t, file), &root))
	parts := strings.Split(path, ".")
	at := root
	for _, part := range parts[:len(parts)-1] {
		switch node := at.(type) {
		case map[string]any:
			at = node[part]
		case []any:
			at = node[0]
		}
	}
	last := parts[len(parts)-1]
	if value == nil {
		delete(at.(map[string]any), last)
	} else {
		at.(map[string]any)[last] = value
	}
	text, err := json.Marshal(root)
	require.NoError(t, err)
	return text
}

func TestDecodeCreateTaskRanges(t *testing.T) {
	const file = "create_task_request.json"
	long := strings.Repeat("名", 256)
	lv := func(field string, value any) []any {
		volume := map[string]any{
			"file_system": "xfs", "inode_size": 1, "mount_point": "/", "name": "root", "size": 1, "used_size": 1, "free_size": 0,
		}
		volume[field] = value
		return []any{map[string]any{"logical_volumes": []any{volume}}}
	}
	for _, c := range []struct {
		path  string
		value any
		want  string // "" is accepted
	}{
		{"name", nil, "name: required"},
		{"name", long, "name: longer than 255"},
		{"name", long[:255*3], ""},
		{"name", 7, "name: a JSON number"},
		{"type", nil, "type: required"},
		{"type", "MIGRATE_TAPE", `type: "MIGRATE_TAPE" is not`},
		{"type", "MIGRATE_BLOCK", ""},
		{"os_type", nil, "os_type: required"},
		{"os_type", "BEOS", "os_type"},
		{"region_name", nil, "region_name: required"},
		{"region_id", nil, "region_id: required"},
		{"project_name", nil, "project_name: required"},
		{"project_id", nil, "project_id: required"},
		{"priority", 65535, ""},
		{"priority", 65536, "priority: 65536 is out of range"},
		{"priority", -1, "priority: -1 is out of range"},
		{"priority", 1.5, "priority: a JSON number"},
		{"speed_limit", 65536, "speed_limit"},
		{"source_server", nil, "source_server: required"},
		{"source_server.id", nil, "source_server.id: required"},
		{"target_server.vm_id", nil, "target_server.vm_id: required"},
		{"target_server.vm_id", "", ""},
		{"target_server.disks", nil, "target_server.disks: required"},
		{"target_server.disks", []any{}, ""},
		{"target_server.disks", make([]any, 65536), "more than 65535"},
		{"target_server.disks", []any{nil}, "target_server.disks[0]: required"},
		{"target_server.disks.0.device_use", "FLOPPY", "target_server.disks[0].device_use"},
		{"target_server.disks.0.size", -1, "target_server.disks[0].size: -1 is out of range"},
		{"target_server.disks.0.size", json.Number("9223372036854775807"), ""},
		{"target_server.disks.0.size", json.Number("9223372036854775808"), "size"},
		{"target_server.disks.0.used_size", nil, "target_server.disks[0].used_size: required"},
		{"target_server.disks.0.physical_volumes.0.index", 2147483648, "index"},
		{"target_server.disks.0.physical_volumes.0.uuid", long, "uuid: longer than 255"},
		{"target_server.volume_groups", lv("mount_point", strings.Repeat("a", 256)), ""},
		{"target_server.volume_groups", lv("mount_point", strings.Repeat("a", 257)), "mount_point: longer than 256"},
		{"target_server.volume_groups", lv("name", strings.Repeat("a", 1024)), ""},
		{"target_server.volume_groups", lv("name", strings.Repeat("a", 1025)), "name: longer than 1024"},
		{"target_server.volume_groups", lv("block_size", 1048577), "block_size"},
		{"target_server.volume_groups", lv("block_count", 4294967296), ""},
		{"target_server.volume_groups", lv("block_count", 4294967297), "block_count"},
		{"target_server.volume_groups", []any{map[string]any{"logical_volumes": make([]any, 256)}}, "more than 255"},
		{"target_server.btrfs_list", []any{map[string]any{"name": "x"}}, "target_server.btrfs_list[0].label: required"},
		{"unknown", "field", ""},
	} {
		t.Run(fmt.Sprintf("%s=%.20v", c.path, c.value), func(t *testing.T) {
			var r smsapi.CreateTaskRequest
			err := smsapi.Decode(edited(t, file, c.path, c.value), &r)
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			var e *smsapi.Error
			require.ErrorAs(t, err, &e)
			require.Contains(t, e.Message, c.want)
			require.Equal(t, 400, e.Status)
			require.Equal(t, smsapi.CodeInvalid, e.Code)
		})
	}
}

func TestDecodeCreateTaskDefaults(t *testing.T) {
	text := edited(t, "create_task_request.json", "start_target_server", nil)
	text = []byte(strings.Replace(string(text), `"use_public_ip":true,`, `"syncing":null,`, 1))
	text = []byte(strings.Replace(string(text), `"device_use":"BOOT",`, ``, 1))
	var r smsapi.CreateTaskRequest
	require.NoError(t, smsapi.Decode(text, &r))
	require.True(t, r.StartTargetServer)
	require.True(t, r.UsePublicIP)
	require.False(t, r.Syncing)
	require.Equal(t, 1, r.Priority)
	require.Equal(t, smsapi.UseNormal, r.TargetServer.Disks[0].DeviceUse)

	require.NoError(t, smsapi.Decode(edited(t, "create_task_request.json", "start_target_server", false), &r))
	require.False(t, r.StartTargetServer)
}

func TestDecodeProgress(t *testing.T) {
	for _, c := range []struct {
		path  string
		value any
		want  string
		code  string
	}{
		{"subtask_name", nil, "required", smsapi.CodeInvalid},
		{"subtask_name", "DETACH_AGENT_IMAGE", "subtask_name", smsapi.CodeSubtaskName},
		{"subtask_name", "DETTACH_AGENT_IMAGE", "", ""},
		{"progress", nil, "required", smsapi.CodeInvalid},
		{"progress", 101, "out of range", smsapi.CodeInvalid},
		{"replicatesize", nil, "required", smsapi.CodeInvalid},
		{"totalsize", -1, "out of range", smsapi.CodeInvalid},
		{"process_trace", nil, "required", smsapi.CodeInvalid},
		{"process_trace", strings.Repeat("x", 2048), "", ""},
		{"process_trace", strings.Repeat("x", 2049), "longer", smsapi.CodeInvalid},
		{"migrate_speed", -0.5, "out of range", smsapi.CodeInvalid},
		{"compress_rate", 10000, "", ""},
		{"compress_rate", 10000.5, "out of range", smsapi.CodeInvalid},
		{"remain_time", 2147483647, "", ""},
		{"remain_time", 2147483648, "out of range", smsapi.CodeInvalid},
	} {
		t.Run(fmt.Sprintf("%s=%.20v", c.path, c.value), func(t *testing.T) {
			var p smsapi.Progress
			err := smsapi.Decode(edited(t, "progress_request.json", c.path, c.value), &p)
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			var e *smsapi.Error
			require.ErrorAs(t, err, &e)
			require.Contains(t, e.Message, c.want)
			require.Equal(t, c.code, e.Code)
		})
	}
	var p smsapi.Progress
	require.NoError(t, smsapi.Decode(edited(t, "progress_request.json", "migrate_speed", 123456.5), &p))
	require.InDelta(t, 10000, p.MigrateSpeed, 0)
}

func TestEverySubtaskNameIsKnown(t *testing.T) {
	names := []smsapi.SubtaskName{
		"CREATE_CLOUD_SERVER", "SSL_CONFIG", "ATTACH_AGENT_IMAGE", "DETTACH_AGENT_IMAGE", "FORMAT_DISK_LINUX",
		"FORMAT_DISK_LINUX_FILE", "FORMAT_DISK_LINUX_BLOCK", "FORMAT_DISK_WINDOWS", "MIGRATE_LINUX_FILE", "MIGRATE_LINUX_BLOCK",
		"MIGRATE_WINDOWS_BLOCK", "CLONE_VM", "SYNC_LINUX_FILE", "SYNC_LINUX_BLOCK", "SYNC_WINDOWS_BLOCK", "CONFIGURE_LINUX",
		"CONFIGURE_LINUX_BLOCK", "CONFIGURE_LINUX_FILE", "CONFIGURE_WINDOWS",
	}
	for _, name := range names {
		require.True(t, name.Known(), name)
	}
	require.False(t, smsapi.SubtaskName("").Known())
}

// A key of another case, or given twice, must not slip past the checks into the struct.
func TestDecodeChecksWhatItKeeps(t *testing.T) {
	const rest = `"progress":1,"replicatesize":1,"totalsize":1,"process_trace":""}`
	var p smsapi.Progress
	require.NoError(t, smsapi.Decode([]byte(`{"subtask_name":"SSL_CONFIG","Compress_Rate":-5,"REMAIN_TIME":-1,`+rest), &p))
	require.Zero(t, p.CompressRate)
	require.Nil(t, p.RemainTime)
	require.Error(t, smsapi.Decode([]byte(`{"Subtask_Name":"SSL_CONFIG",`+rest), &p))
	require.Error(t, smsapi.Decode([]byte(`{"subtask_name":"SSL_CONFIG","compress_rate":1,"compress_rate":-5,`+rest), &p))
}

func TestDecodeRefusesWhatIsNotAnObject(t *testing.T) {
	for _, body := range []string{"", "null", "[]", "1", `"x"`, "{", `{"subtask_name":`, "{}{}", strings.Repeat("[", 20000)} {
		require.Error(t, smsapi.Decode([]byte(body), &smsapi.Progress{}), "%.20q", body)
	}
}

func FuzzDecode(f *testing.F) {
	for _, name := range []string{"create_task_request.json", "progress_request.json"} {
		f.Add(example(&testing.T{}, name))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var r smsapi.CreateTaskRequest
		if smsapi.Decode(body, &r) == nil {
			again, err := json.Marshal(r)
			require.NoError(t, err)
			var same smsapi.CreateTaskRequest
			require.NoError(t, smsapi.Decode(again, &same), "accepted once, refused the second time: %s", again)
		}
		var p smsapi.Progress
		if smsapi.Decode(body, &p) == nil {
			require.True(t, p.Percent >= 0 && p.Percent <= 100 && p.MigrateSpeed <= smsapi.MaxSpeed && p.Subtask.Known())
		}
	})
}
