package conformance

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A bound is one documented range of a field: values at its edge are taken, those beyond are refused.
type bound struct {
	operation, field string // the path to it in the request, as JSON
	good, bad        []any
	code             string // of the refusal; empty means FERRY.0400
}

type absentValue struct{}

// absent leaves a field out.
var absent absentValue

func text(n int) string { return strings.Repeat("x", n) }

func items(n int, item string) []any {
	var decoded any
	if err := json.Unmarshal([]byte(item), &decoded); err != nil {
		panic(err) // a typing error in the table
	}
	return slices.Repeat([]any{decoded}, n)
}

const (
	max63 = math.MaxInt64
	max31 = math.MaxInt32
)

// beyond63 is one more than fits.
var beyond63 = json.Number("9223372036854775808")

var bounds = []bound{
	{"CreateTask", "body.name", []any{text(1), text(255), "任务_1-a"}, []any{text(256), absent, nil, 7}, ""},
	{"CreateTask", "body.name", nil, []any{"a b", "a/b", "a.b"}, "SMS.7711"},
	{"CreateTask", "body.type", []any{"MIGRATE_FILE", "MIGRATE_BLOCK"}, []any{"MIGRATE", "", absent, "migrate_file"}, ""},
	{"CreateTask", "body.os_type", []any{"LINUX", "WINDOWS"}, []any{"PLAN9", absent}, ""},
	{"CreateTask", "body.priority", []any{0, 2, 65535, absent, nil}, []any{-1, 65536, "1", 1.5}, ""},
	{"CreateTask", "body.speed_limit", []any{0, 65535, absent}, []any{-1, 65536}, ""},
	{"CreateTask", "body.start_target_server", []any{true, false, absent, nil}, []any{"true", 1}, ""},
	{"CreateTask", "body.region_id", []any{"", text(255)}, []any{text(256), absent}, ""},
	{"CreateTask", "body.region_name", []any{"", text(255)}, []any{text(256), absent}, ""},
	{"CreateTask", "body.project_id", []any{"", text(255)}, []any{text(256), absent}, ""},
	{"CreateTask", "body.project_name", []any{"", text(255)}, []any{text(256), absent}, ""},
	{"CreateTask", "body.migration_ip", []any{"", text(255), absent}, []any{text(256), 1}, ""},
	{"CreateTask", "body.vm_template_id", []any{text(255), absent}, []any{text(256)}, ""},
	{"CreateTask", "body.source_server", nil, []any{absent, nil, map[string]any{}, "x"}, ""},
	{"CreateTask", "body.target_server", nil, []any{absent, nil, map[string]any{}}, ""},
	{"CreateTask", "body.target_server.name", []any{"", text(255)}, []any{text(256), absent}, ""},
	{"CreateTask", "body.target_server.vm_id", []any{"", text(255)}, []any{text(256), absent}, ""},
	{"CreateTask", "body.target_server.disks", []any{[]any{}}, []any{absent, map[string]any{}}, ""},
	{"CreateTask", "body.target_server.disks.0.size", []any{0, max63}, []any{-1, beyond63, absent}, ""},
	{"CreateTask", "body.target_server.disks.0.used_size", []any{0, max63}, []any{-1, absent}, ""},
	{"CreateTask", "body.target_server.disks.0.name", []any{text(255)}, []any{text(256), absent}, ""},
	{"CreateTask", "body.target_server.disks.0.device_use", []any{"BOOT", "OS", "NORMAL", absent}, []any{"SPARE"}, ""},
	{"CreateTask", "body.target_server.disks.0.physical_volumes.0.index", []any{0, max31, absent}, []any{-1, max31 + 1}, ""},
	{"CreateTask", "body.target_server.disks.0.physical_volumes.0.mount_point", []any{text(255), absent}, []any{text(256)}, ""},
	{"CreateTask", "body.target_server.disks.0.physical_volumes.0.uuid", []any{nil, text(255)}, []any{text(256)}, ""},
	{"CreateTask", "body.target_server.volume_groups", []any{[]any{}, absent, items(2, group)}, []any{"x"}, ""},
	{"CreateTask", "body.target_server.volume_groups.0.logical_volumes.0.block_size", []any{0, 1048576, absent}, []any{-1, 1048577}, ""},
	{"CreateTask", "body.target_server.volume_groups.0.logical_volumes.0.block_count", []any{0, 4294967296}, []any{-1, 4294967297}, ""},
	{"CreateTask", "body.target_server.volume_groups.0.logical_volumes.0.mount_point", []any{"", text(256)}, []any{text(257), absent}, ""},
	{"CreateTask", "body.target_server.volume_groups.0.logical_volumes.0.name", []any{"/" + text(1023)}, []any{"/" + text(1024)}, ""},
	{"CreateTask", "body.target_server.btrfs_list.0.sectorsize", []any{0, max31}, []any{-1, max31 + 1, absent}, ""},
	{"CreateTask", "body.target_server.btrfs_list.0.subvolumn.0.is_snapshot", []any{"true", ""}, []any{true, absent}, ""},

	{"ListTasks", "limit", []any{0, 1, 200, absent}, []any{-1, 201, "x"}, ""},
	{"ListTasks", "offset", []any{0, 65535, absent}, []any{-1, 65536}, ""},
	{"ListTasks", "state", []any{"READY", "MIGRATE_SUCCESS", "SYNC_F_ROLLBACK_SUCCESS"}, []any{"DANCING"}, ""},
	{"ListServers", "limit", []any{0, 200, absent}, []any{-1, 201}, ""},
	{"ListServers", "state", []any{"waiting", "finished"}, []any{"dancing"}, ""},
	{"ListServers", "migration_cycle", []any{"checking", "cutovered"}, []any{"dancing"}, ""},
	{"ListServers", "connected", []any{"true", "false", absent}, []any{"maybe"}, ""},
	{"ListErrorServers", "limit", []any{0, 100, absent}, []any{-1, 101}, ""},
	{"ListErrorServers", "offset", []any{0, 65535}, []any{-1, 65536}, ""},
	{"ListTemplates", "name", []any{text(255)}, []any{text(256)}, ""},

	{"UpdateTaskSpeed", "body.subtask_name", []any{
		"CREATE_CLOUD_SERVER", "SSL_CONFIG", "ATTACH_AGENT_IMAGE", "DETTACH_AGENT_IMAGE", "FORMAT_DISK_LINUX", "FORMAT_DISK_LINUX_FILE",
		"FORMAT_DISK_LINUX_BLOCK", "FORMAT_DISK_WINDOWS", "MIGRATE_LINUX_FILE", "MIGRATE_LINUX_BLOCK", "MIGRATE_WINDOWS_BLOCK", "CLONE_VM",
		"SYNC_LINUX_FILE", "SYNC_LINUX_BLOCK", "SYNC_WINDOWS_BLOCK", "CONFIGURE_LINUX", "CONFIGURE_LINUX_BLOCK", "CONFIGURE_LINUX_FILE",
		"CONFIGURE_WINDOWS",
	}, []any{"DETACH_AGENT_IMAGE", ""}, "SMS.6004"},
	{"UpdateTaskSpeed", "body.subtask_name", nil, []any{absent}, ""},
	{"UpdateTaskSpeed", "body.progress", []any{0, 99}, []any{-1, 101, absent}, ""},
	{"UpdateTaskSpeed", "body.replicatesize", []any{0, max63}, []any{-1, absent}, ""},
	{"UpdateTaskSpeed", "body.totalsize", []any{0, max63}, []any{-1, absent}, ""},
	{"UpdateTaskSpeed", "body.process_trace", []any{"", text(2048)}, []any{text(2049), absent}, ""},
	{"UpdateTaskSpeed", "body.migrate_speed", []any{0, 10000, 10001, absent}, []any{-1}, ""}, // a faster link than the documents know
	{"UpdateTaskSpeed", "body.compress_rate", []any{0, 10000, absent}, []any{-1, 10001}, ""},
	{"UpdateTaskSpeed", "body.remain_time", []any{0, max31, absent}, []any{-1, max31 + 1}, ""},

	{"RegisterServer", "body.name", []any{text(1), text(64)}, []any{"", text(65), absent}, ""},
	{"RegisterServer", "body.os_type", []any{"LINUX", "WINDOWS"}, []any{"PLAN9", absent}, ""},
	{"RegisterServer", "body.os_version", []any{text(255)}, []any{text(256), absent}, ""},
	{"RegisterServer", "body.agent_version", []any{"25.5.0"}, []any{absent}, ""},
	{"RegisterServer", "body.firmware", []any{"BIOS", "UEFI", absent}, []any{"COREBOOT"}, ""},
	{"RegisterServer", "body.networks", nil, []any{absent, []any{}}, ""},
	{"RegisterServer", "body.networks.0.mac", nil, []any{absent, ""}, ""},
	{"RegisterServer", "body.disks", []any{[]any{}, items(50, disk)}, []any{items(51, disk)}, ""},
	{"RegisterServer", "body.ip", nil, []any{absent, text(256)}, ""},
	{"UpdateDiskInfo", "body.disks", []any{[]any{}, items(50, disk), absent}, []any{items(51, disk)}, ""},
	{"UpdateDiskInfo", "body.volumegroups", []any{items(50, group)}, []any{items(51, group)}, ""},

	{"UpdateCommandResult", "body.result", nil, []any{"maybe"}, "SMS.6022"},
	{"UpdateCommandResult", "body.command_name", nil, []any{"DANCE"}, "SMS.6021"},
	{"UpdateCommandResult", "body.result_detail", nil, []any{absent, "x"}, ""},

	{"UpdateSpeed", "body.speed_limit.0.speed", []any{0, 1000, absent}, []any{-1}, ""},
	{"UpdateSpeed", "body.speed_limit.0.start", []any{"00:00"}, []any{"24:00", "0:00", "x", absent}, ""},
	{"UpdateSpeed", "body.speed_limit.0.end", []any{"23:59"}, []any{"23:60", absent}, ""},
	{"UpdateSpeed", "body.speed_limit", []any{[]any{}}, []any{absent}, ""},
	{"UploadSpecialConfigurationSetting", "body.configurations.0.config_key", []any{
		"MIGRATE_EXCLUDE_DIR", "SYNC_EXCLUDE_DIR", "ONLY_SYNC_DIR", "CONSISTENCY_DIR", "CONSISTENCY_DIR_ILLEGAL",
		"EXCLUDE_MIGRATE_PATH", "SYNC_EXCLUDE_PATH", "ONLY_SYNC_PATH", // the last three are older spellings
	}, []any{"DANCE", absent}, ""},
	{"UploadSpecialConfigurationSetting", "body.configurations.0.config_value", []any{"/" + text(1023)}, []any{"/" + text(1024)}, ""},
	{"UploadSpecialConfigurationSetting", "body.configurations", nil, []any{absent, items(51, `{"config_key":"CONSISTENCY_DIR","config_value":"/"}`)}, ""},
	{"UpdateNetworkCheckInfo", "body.network_delay", []any{0, 10000}, []any{-1, 10001, absent}, ""},
	{"UpdateNetworkCheckInfo", "body.network_jitter", []any{0, 10000}, []any{-1, 10001, absent}, ""},
	{"UpdateNetworkCheckInfo", "body.loss_percentage", []any{0, 100}, []any{-1, 101, absent}, ""},
	{"UpdateNetworkCheckInfo", "body.cpu_usage", []any{0, 100}, []any{-1, 101, absent}, ""},
	{"UpdateNetworkCheckInfo", "body.mem_usage", []any{0, 100}, []any{-1, 101, absent}, ""},
	{"UpdateNetworkCheckInfo", "body.evaluation_result", []any{text(6), text(8)}, []any{text(5), text(9), absent}, ""},
	{"UpdateConsistencyResult", "body.consistency_result.0.num_total_files", []any{0, max31}, []any{-1, absent}, ""},
	{"UpdateConsistencyResult", "body.consistency_result.0.dir_check", nil, []any{absent}, ""},
	{"CollectLog", "body.log_bucket", nil, []any{absent}, ""},

	{"CreateMigproject", "body.name", []any{text(1)}, []any{absent}, ""},
	{"CreateMigproject", "body.type", []any{"MIGRATE_FILE", "MIGRATE_BLOCK"}, []any{"X", absent}, ""},
	{"CreateMigproject", "body.region", []any{"r"}, []any{absent}, ""},
	{"CreateTemplate", "body.template", nil, []any{absent, nil}, ""},
	{"CreateTemplate", "body.template.name", []any{text(1)}, []any{absent}, ""},
	{"DeleteTasks", "body.ids", nil, []any{absent}, ""},
	{"DeleteServers", "body.ids", nil, []any{absent}, ""},
	{"DeleteTemplates", "body.ids", nil, []any{absent}, ""},
	{"UpdateTaskStatus", "body.operation", nil, []any{"dance", absent}, ""},
	{"UpdateCopyState", "body.copystate", nil, []any{"dancing", absent, "waiting"}, ""}, // not with replicating
	{"UpdateCopyState", "body.migrationcycle", nil, []any{"dancing", absent, "checking"}, ""},
}

func TestBounds(t *testing.T) {
	p := start(t)
	s := newSession(p, p.signing(t, p.key), 8)
	for _, o := range operations[:slices.IndexFunc(operations, named("DeleteTask"))] {
		s.do(t, o)
	}
	s.saved["idle2"], s.saved["spare2"], s.saved["template2"] = "x", "x", "x"
	n := 0
	for _, b := range bounds {
		o := operations[slices.IndexFunc(operations, named(b.operation))]
		t.Run(b.operation+"/"+b.field, func(t *testing.T) {
			for _, value := range b.good {
				n++
				s.saved["mac"] = fmt.Sprintf("00:16:3e:01:%02x:%02x", n>>8, n&255)
				status, _, answer := s.raw(t, p.key, p, o, with(t, s.fill(strings.Replace(o.request, `"{source}"},"target`, `"`+strconv.Itoa(n)+`"},"target`, 1)), b.field, value))
				require.Equal(t, http.StatusOK, status, "%.60v: %s", value, answer)
			}
			for _, value := range b.bad {
				status, code, answer := s.raw(t, p.key, p, o, with(t, s.fill(o.request), b.field, value))
				require.Equal(t, http.StatusBadRequest, status, "%.60v: %s", value, answer)
				want := b.code
				if want == "" {
					want = "FERRY.0400"
				}
				require.Equal(t, want, code, "%.60v: %s", value, answer)
			}
		})
	}
}

func named(name string) func(operation) bool {
	return func(o operation) bool { return o.name == name }
}

// with returns a request with one field changed.
func with(t *testing.T, request, field string, value any) string {
	t.Helper()
	var root any
	decoder := json.NewDecoder(strings.NewReader(request))
	decoder.UseNumber()
	require.NoError(t, decoder.Decode(&root))
	at := root
	steps := strings.Split(field, ".")
	for _, step := range steps[:len(steps)-1] {
		if list, ok := at.([]any); ok {
			i, err := strconv.Atoi(step)
			require.NoError(t, err)
			at = list[i]
			continue
		}
		at = at.(map[string]any)[step]
	}
	last := steps[len(steps)-1]
	if _, gone := value.(absentValue); gone {
		delete(at.(map[string]any), last)
	} else {
		at.(map[string]any)[last] = value
	}
	changed, err := json.Marshal(root)
	require.NoError(t, err)
	return string(changed)
}
