package conformance

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	dcs "github.com/huaweicloud/huaweicloud-sdk-go-v3/services/dcs/v2"
	"github.com/stretchr/testify/require"
)

const (
	from    = `"source_instance":{"addrs":"192.168.1.2:6379","password":"Secret-1"}`
	to      = `"target_instance":{"id":"t","name":"target","addrs":"192.168.1.3:6379","password":"Secret-2","proxy_multi_db":false,"db":"0"}`
	files   = `"backup_files":{"file_source":"self_build_obs","bucket_name":"bucket","files":[{"file_name":"dump.rdb","size":"100","update_at":"2023-05-15 09:11:25"}]}`
	machine = `{"body":{"name":"machine","description":"d","vpc_id":"v","subnet_id":"s","security_group_id":"g"}}`
)

// migrations are the operations of the DCS v2 API on migration tasks, in an order in which each works on what those before it made. A
// machine takes the tasks before the first that asks how far they are.
var migrations = []operation{
	{name: "CreateMigrationTask", method: "POST", path: "/v2/{project_id}/migration-task", request: `{"body":{"task_name":"import","description":"d",
		"migration_type":"backupfile_import","migration_method":"full_amount_migration","network_type":"vpc",` + files + `,` + to + `}}`,
		save: "id", as: "import", shows: []string{`"name":"import"`, `"status":"MIGRATING"`}},
	{name: "StopMigrationTaskSync", method: "POST", path: "/v2/{project_id}/migration-task/{task_id}/sync-stop", request: `{"task_id":"{import}"}`, status: 204},
	{name: "CreateOnlineMigrationTask", method: "POST", path: "/v2/{project_id}/migration/instance", request: machine, save: "instance_id", as: "task"},
	{name: "SetOnlineMigrationTask", method: "POST", path: "/v2/{project_id}/migration/{task_id}/task", request: `{"task_id":"{task}","body":{
		"migration_method":"incremental_migration","resume_mode":"auto","bandwidth_limit_mb":"10240",` + from + `,
		"target_instance":{"addrs":"192.168.1.3:6379","password":"Secret-2"}}}`, shows: []string{`"id":"{task}"`, `"name":"machine"`, `"status":"MIGRATING"`}},
	{name: "ListMigrationTask", method: "GET", path: "/v2/{project_id}/migration-tasks", request: `{"offset":0,"limit":10,"name":"machine"}`,
		shows: []string{`"count":1`, `"task_id":"{task}"`, `"data_source":"192.168.1.2:6379"`, `"target_instance_addrs":"192.168.1.3:6379"`}},
	{name: "ShowMigrationTask", method: "GET", path: "/v2/{project_id}/migration-task/{task_id}", request: `{"task_id":"{task}"}`,
		shows: []string{`"status":"INCRMIGEATING"`, `"migration_type":"online_migration"`, `"migration_method":"incremental_migration"`, `"resume_mode":"auto"`,
			`"tenant_vpc_id":"v"`, `"bandwidth_limit_mb":"10240"`, `"ip":"192.168.1.2"`, `"port":"6379"`, `"password":"******"`, `"ecs_tenant_private_ip":"192.168.1.9"`}},
	{name: "ShowMigrationTaskStats", method: "GET", path: "/v2/{project_id}/migration-task/{task_id}/stats", request: `{"task_id":"{task}"}`,
		shows: []string{`"full_migration_progress":"100"`, `"offset":"12345678901"`, `"source_dbsize":"7"`, `"target_dbsize":"8"`, `"target_input_kbps":"1.50"`,
			`"target_ops":"9"`, `"is_migrating":true`}},
	{name: "ListMigrationTaskLogs", method: "GET", path: "/v2/{project_id}/migration-task/{task_id}/logs", request: `{"task_id":"{task}","offset":0,"limit":10,"log_level":"ERROR"}`,
		shows: []string{`"log_num":1`, `"created_at":"2023-05-15T09:11:25.449Z"`, `"log_level":"ERROR"`, `"message":"cut"`, `"log_code":"FERRY-X"`}},
	{name: "UpdateMigrationTask", method: "PUT", path: "/v2/{project_id}/migration-task/{task_id}", request: `{"task_id":"{task}","body":{"resume_mode":"manual"}}`},
	{name: "StopMigrationTask", method: "POST", path: "/v2/{project_id}/migration-task/{task_id}/stop", request: `{"task_id":"{task}"}`,
		shows: []string{`"status":"TERMINATING"`, `"resume_mode":"manual"`}},
	{name: "BatchStopMigrationTasks", method: "POST", path: "/v2/{project_id}/migration-task/batch-stop", request: `{"body":{"migration_tasks":["{task}","none"]}}`,
		shows: []string{`"task_id":"{task}"`, `"result":"success"`, `"result":"failed"`, `"error_code":"FERRY.0404"`}},
	{name: "BatchRestartOnlineMigrationTasks", method: "POST", path: "/v2/{project_id}/migration-tasks/batch-restart", request: `{"body":{"migration_tasks":["{task}"]}}`,
		shows: []string{`"result":"success"`}},
	{name: "DeleteMigrationTask", method: "DELETE", path: "/v2/{project_id}/migration-tasks/delete", request: `{"body":{"task_id_list":["{import}"]}}`,
		shows: []string{`"task_id_list":["{import}"]`}},
}

// refusedAlways are the operations that no task allows: no address can be moved from here.
var refusedAlways = []operation{
	{name: "ExchangeInstanceIp", method: "POST", path: "/v2/{project_id}/migration-task/{task_id}/exchange-ip",
		request: `{"task_id":"{task}","body":{"exchanged_ip":["192.168.1.2"],"is_exchange_domain":false}}`},
	{name: "RollbackExchangeInstanceIp", method: "POST", path: "/v2/{project_id}/migration-task/{task_id}/rollback-ip", request: `{"task_id":"{task}"}`},
}

// own is how a machine reports: an operation of Ferry's own, which the SDK does not have.
var own = operation{name: "WorkOnMigrationTasks", method: "POST", path: "/v2/{project_id}/migration-machines/{server_id}/work"}

// work is a word of a machine about the task.
func (s *session) work(t *testing.T, run int, phase string) {
	t.Helper()
	status, _, answer := s.raw(t, s.key, s.plane, own, s.fill(fmt.Sprintf(`{"server_id":"{source}","body":{"version":"1","ip":"192.168.1.9","free":10,"reports":[
		{"task_id":"{task}","run":%d,"phase":%q,"progress":{"percent":100,"offset":12345678901,"source_keys":7,"target_keys":8,"target_input":1536,"target_ops":9},
		"logs":[{"at":1684141885449000000,"level":"ERROR","message":"cut","code":"FERRY-X"}]}]}}`, run, phase)))
	require.Equal(t, http.StatusOK, status, answer)
}

// workBefore does for an operation what a machine has to have done before.
func (s *session) workBefore(t *testing.T, name string) {
	t.Helper()
	switch name {
	case "ShowMigrationTask":
		s.work(t, 0, "connect") // takes the task
		s.work(t, 1, "follow")
	case "BatchRestartOnlineMigrationTasks":
		s.work(t, 1, "done")
	}
}

// atDesk is a session for migrations with a machine.
func atDesk(t *testing.T, p *plane, run int) *session {
	t.Helper()
	servers := newSession(p, p.signing(t, p.key), run)
	servers.do(t, operations[slices.IndexFunc(operations, named("RegisterServer"))])
	s := newSession(p, p.redis(t, p.key), run)
	s.saved = servers.saved
	return s
}

// Every operation of the SDK on migration tasks is called by it, and is in the table.
func TestMigrations(t *testing.T) {
	s := atDesk(t, start(t), 21)
	for _, o := range migrations {
		s.workBefore(t, o.name)
		t.Run(o.name, func(t *testing.T) { s.do(t, o) })
	}
	for _, o := range refusedAlways {
		_, err := s.call(o.name, s.fill(o.request))
		e := refusal(t, err)
		require.Equal(t, http.StatusBadRequest, e.StatusCode)
		require.Contains(t, e.ErrorMessage, "sync-stop")
	}
	client := reflect.TypeFor[*dcs.DcsClient]()
	for i := range client.NumMethod() {
		name := client.Method(i).Name
		if about := strings.Contains(name, "Migration") || strings.Contains(name, "ExchangeInstanceIp"); about && !strings.HasSuffix(name, "Invoker") {
			require.True(t, slices.ContainsFunc(slices.Concat(migrations, refusedAlways), named(name)), name)
		}
	}
}

// The migrations are described as they are served, and refusals are as the DCS API has them.
func TestMigrationsDescribed(t *testing.T) {
	p := start(t)
	s, document := atDesk(t, p, 22), p.document(t)
	for _, o := range migrations {
		s.workBefore(t, o.name)
		s.documented(t, o, document)
	}
	for _, o := range refusedAlways {
		status, _, answer := s.raw(t, s.key, s.plane, o, s.fill(o.request))
		require.Equal(t, http.StatusBadRequest, status)
		var fields map[string]any
		require.NoError(t, json.Unmarshal([]byte(answer), &fields))
		described := document.Paths.Value(o.path).GetOperation(o.method).Responses.Default().Value.Content.Get("application/json").Schema.Value
		require.NoError(t, described.VisitJSON(fields), answer)
		require.Contains(t, answer, `"error_ext_msg":null`)
	}
}

// oneTask is a path that names a task.
var oneTask = regexp.MustCompile(`\{task_id\}`)

// What names a task that is not there is refused with 404; who may not call, with 403, and strangers with 401.
func TestMigrationsRefused(t *testing.T) {
	p := start(t)
	s := atDesk(t, p, 23)
	s.saved["task"], s.saved["import"] = "00000000-0000-0000-0000-000000000000", "00000000-0000-0000-0000-000000000000"
	wrong := p.key
	wrong.Secret = strings.Repeat("x", 40)
	callers := map[int]*client{
		http.StatusUnauthorized: p.redis(t, wrong),
		http.StatusForbidden:    p.redis(t, p.user(t, "agent", "agent", "")),
	}
	for _, o := range slices.Concat(migrations, refusedAlways) {
		for status, c := range callers {
			_, err := c.call(o.name, s.fill(o.request))
			require.Equal(t, status, refusal(t, err).StatusCode, o.name)
		}
		if oneTask.MatchString(o.path) || o.name == "DeleteMigrationTask" {
			_, err := s.call(o.name, s.fill(o.request))
			e := refusal(t, err)
			require.Equal(t, http.StatusNotFound, e.StatusCode, o.name)
			require.NotEmpty(t, e.ErrorCode)
		}
	}
}
