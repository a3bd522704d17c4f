package controller_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/stretchr/testify/require"
)

func TestSettings(t *testing.T) {
	p := startPlane(t, t.TempDir())
	id := p.createFor("nobody")
	path := "/v3/tasks/" + id + "/configuration-setting"
	settings := func(query string) (got smsapi.ShownSettings) {
		p.call("GET", path+query, nil, &got)
		return got
	}
	require.Equal(t, smsapi.ShownSettings{TaskID: id, MigrateType: "LINUX_MIGRATE_FILE", Configurations: []smsapi.Config{}}, settings(""))
	p.call("POST", path, []byte(`{"configurations":[{"config_key":"SYNC_EXCLUDE_PATH","config_value":"/a,/b"},{"config_key":"LINUX_CPU_LIMIT","config_value":"50"}]}`), nil)
	p.call("POST", path, []byte(`{"configurations":[{"config_key":"SYNC_EXCLUDE_DIR","config_value":"/c"}]}`), nil)
	require.Equal(t, []smsapi.Config{{Key: "LINUX_CPU_LIMIT", Value: "50"}, {Key: "SYNC_EXCLUDE_DIR", Value: "/c"}}, settings("").Configurations)
	require.Len(t, settings("?config_key=SYNC_EXCLUDE_PATH").Configurations, 1, "either spelling")
	require.Empty(t, settings("?config_key=LINUX_MEM_LIMIT").Configurations)
	require.Len(t, p.list("").Tasks[0].SpecialConfig, 2)
	p.call("POST", path, []byte(`{"configurations":[{"config_key":"LINUX_CPU_LIMIT","config_value":""}]}`), nil)
	require.Len(t, settings("").Configurations, 1)
	for _, bad := range []string{`{}`, `{"configurations":[{"config_key":"DANCE"}]}`, `{"configurations":[{"config_key":"LINUX_CPU_LIMIT","config_value":"101"}]}`} {
		p.refused(400, smsapi.CodeInvalid, "POST", path, []byte(bad))
	}
	p.refused(400, smsapi.CodeInvalid, "GET", path+"?config_key=DANCE", nil)
	p.refused(404, smsapi.CodeNotFound, "POST", "/v3/tasks/none/configuration-setting", []byte(`{"configurations":[]}`))
}

func TestNetworkCheck(t *testing.T) {
	p := startPlane(t, t.TempDir())
	id := p.createFor("nobody")
	path := "/v3/" + id + "/update-network-check-info"
	good := `{"domain_connectivity":true,"destination_connectivity":false,"network_delay":10000,"network_jitter":10000,"migration_speed":10000,
		"loss_percentage":100,"cpu_usage":100,"mem_usage":100,"evaluation_result":"medium"}`
	var answer smsapi.TaskID
	p.call("POST", path, []byte(good), &answer)
	require.Equal(t, id, answer.TaskID)
	require.InDelta(t, 100, p.show(id).NetworkCheckInfo.MemUsage, 0)
	require.Equal(t, "medium", p.list("").Tasks[0].NetworkCheckInfo.EvaluationResult)
	for _, edit := range [][2]string{
		{`10000,"network_j`, `10000.5,"network_j`}, {`"network_delay":10000,`, ``}, {`"loss_percentage":100`, `"loss_percentage":100.1`},
		{`"cpu_usage":100`, `"cpu_usage":-1`}, {`medium`, `short`}, {`medium`, `very long`}, {`"mem_usage":100,`, ``},
	} {
		require.Contains(t, good, edit[0])
		p.refused(400, smsapi.CodeInvalid, "POST", path, []byte(strings.Replace(good, edit[0], edit[1], 1)))
	}
	p.refused(404, smsapi.CodeNotFound, "POST", "/v3/none/update-network-check-info", []byte(good))
}

func TestConsistency(t *testing.T) {
	p := startPlane(t, t.TempDir())
	id, other := p.createFor("nobody"), p.createFor("nobody")
	path := "/v3/tasks/" + id + "/consistency-result"
	var list smsapi.ConsistencyList
	p.call("GET", path, nil, &list)
	require.Equal(t, smsapi.ConsistencyList{TaskID: id, Results: []string{}}, list)
	one := `{"dir_check":"=/data","num_total_files":2147483647,"num_different_files":0,"num_target_miss_files":1,"num_target_more_files":2}`
	p.call("POST", path, []byte(`{"consistency_result":[`+one+`]}`), nil)
	p.call("GET", path, nil, &list)
	require.Len(t, list.Results, 1)
	require.JSONEq(t, one, list.Results[0])
	for _, bad := range []string{
		`{}`, `{"consistency_result":[{"dir_check":"/"}]}`, strings.Replace(`{"consistency_result":[`+one+`]}`, `2147483647`, `2147483648`, 1),
		strings.Replace(`{"consistency_result":[`+one+`]}`, `:1,`, `:-1,`, 1),
	} {
		p.refused(400, smsapi.CodeInvalid, "POST", path, []byte(bad))
	}

	export := fmt.Appendf(nil, `{"task_info":[{"task_id":%q,"source_id":"s","source_name":"name, with comma"},{"task_id":%q}]}`, id, other)
	status, file := p.do("POST", "/v3/tasks/consistency-results/export", export)
	require.Equal(t, 200, status, string(file))
	require.Equal(t, "task_id,source_id,source_name,dir_check,num_total_files,num_different_files,num_target_miss_files,num_target_more_files\n"+
		id+",s,\"name, with comma\",'=/data,2147483647,0,1,2\n"+other+",,,,,,,\n", string(file))
	p.refused(404, smsapi.CodeNotFound, "POST", "/v3/tasks/consistency-results/export", []byte(`{"task_info":[{"task_id":"none"}]}`))
}

// Logs that a user asks for travel from the agent into the controller's database, and from there to the user.
func TestLogs(t *testing.T) {
	onBoth(t, func(t *testing.T, p *plane) {
		source := p.register(registration(nil))
		id := p.createFor(source)
		path := "/v3/tasks/" + id + "/log"
		require.Equal(t, smsapi.LogInit, p.list("").Tasks[0].LogCollectStatus)
		p.refused(404, smsapi.CodeNotFound, "GET", path+"/content", nil)
		p.refused(400, smsapi.CodeState, "PUT", path+"/content", []byte("nobody asked"))
		p.refused(400, smsapi.CodeInvalid, "POST", path, []byte(`{}`))
		p.refused(400, smsapi.CodeInvalid, "POST", path, []byte(`{"log_bucket":""}`))

		p.call("POST", path, []byte(`{"log_bucket":"https://storage/key?secret","log_expire":60}`), nil)
		require.Equal(t, smsapi.LogUploading, p.list("").Tasks[0].LogCollectStatus)
		require.Equal(t, &smsapi.CommandParam{Task: id, Bucket: "https://storage/key?secret"}, p.poll(source).Param)
		current := p.sources("").Sources[0].CurrentTask
		require.Equal(t, "https://storage/key", current.LogBucket, "what signs the URL is for the agent only")
		require.Equal(t, int64(60), current.LogExpire)
		p.refused(400, smsapi.CodeState, "PUT", path+"/content", []byte("not here"))
		p.answer(source, "UPLOAD_LOG", "fail")
		require.Equal(t, smsapi.LogFailed, p.list("").Tasks[0].LogCollectStatus)

		p.order(id, smsapi.OpCollectLog)
		require.Equal(t, &smsapi.CommandParam{Task: id, Bucket: smsapi.OwnBucket, Object: path + "/content"}, p.poll(source).Param)
		logs := bytes.Repeat([]byte("log\x00"), smsapi.MaxLogs/4)
		p.refused(413, smsapi.CodeTooLarge, "PUT", path+"/content", append(logs, 'x'))
		for range 2 { // the answer to the first one was lost
			p.call("PUT", path+"/content", logs, nil)
		}
		p.answer(source, "UPLOAD_LOG", "success")
		require.Equal(t, smsapi.LogUploaded, p.list("?id=" + id).Tasks[0].LogCollectStatus)
		status, got := p.do("GET", path+"/content", nil)
		require.Equal(t, 200, status)
		require.True(t, bytes.Equal(logs, got))
		require.Equal(t, path+"/content", p.sources("").Sources[0].CurrentTask.LogShareURL)
		p.refused(400, smsapi.CodeState, "PUT", path+"/content", []byte("nobody asks any more"))
	})
}

// Sources are found by what their tasks have come to.
func TestSourcesByTheirTasks(t *testing.T) {
	onBoth(t, func(t *testing.T, p *plane) {
		verified, plain := p.register(registration(nil)), p.register(registration(interface_("fa:16:3e:00:00:02")))
		task := p.createFor(verified)
		p.call("POST", "/v3/tasks/"+task+"/consistency-result", []byte(`{"consistency_result":[{"dir_check":"/","num_total_files":1,
			"num_different_files":0,"num_target_miss_files":0,"num_target_more_files":0}]}`), nil)
		p.call("PUT", "/v3/tasks/"+p.createFor(plain), []byte(`{"target_server":{"vm_id":"made"}}`), &smsapi.UpdateTaskResponse{})
		found := func(query string) string {
			list := p.sources(query)
			require.Equal(t, 1, list.Count, query)
			return list.Sources[0].ID
		}
		require.Equal(t, verified, found("is_consistency_result_exist=true"))
		require.Equal(t, plain, found("is_consistency_result_exist=false"))
		require.Equal(t, plain, found("vm_id=made"))
		require.Equal(t, verified, found("vm_id=xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxx0001"))
		require.True(t, p.sources("id=" + verified).Sources[0].ConsistencyResultExist)
	})
}
