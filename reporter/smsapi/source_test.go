package smsapi_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"strings"
	"testing"

	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/stretchr/testify/require"
)

// registration returns a body of POST /v3/sources with what a source must say, and edits: a nil value removes a field.
func registration(edits map[string]any) []byte {
	body := map[string]any{
		"ip": "192.168.0.154", "name": "source", "os_type": "LINUX", "os_version": "CENTOS_7_6_64BIT", "agent_version": "25.5.0",
		"networks": []any{map[string]any{"mac": "fa:16:3e:00:00:01"}},
	}
	maps.Copy(body, edits)
	maps.DeleteFunc(body, func(_ string, v any) bool { return v == nil })
	text, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	return text
}

func TestDecodeRegisterSource(t *testing.T) {
	disks := func(n int) []any {
		list := make([]any, n)
		for i := range list {
			list[i] = map[string]any{"name": "/dev/vda"}
		}
		return list
	}
	for _, c := range []struct {
		field string
		value any
		want  string // "" is accepted
	}{
		{"name", nil, "name: required"},
		{"name", "", "name: shorter than 1"},
		{"name", strings.Repeat("名", 64), ""},
		{"name", strings.Repeat("名", 65), "name: longer than 64"},
		{"hostname", strings.Repeat("h", 64), ""},
		{"hostname", strings.Repeat("h", 65), "hostname: longer than 64"},
		{"id", "1cce5dab-df33-4abe-b2ac-e94fa05d6a01", ""},
		{"id", "2c0689c860ad4728a497c91ec0844384", ""},
		{"id", "../tasks", "id: only letters"},
		{"id", "a\nb", "id: only letters"},
		{"id", strings.Repeat("x", 256), "id: longer than 255"},
		{"ip", nil, "ip: required, or ipv6"},
		{"ip", "::1", "ip: not an IPv4"},
		{"ip", "192.168.0.256", "ip: not an IPv4"},
		{"ipv6", "fe80::1", ""},
		{"ipv6", "10.0.0.1", "ipv6: not an IPv6"},
		{"os_type", nil, "os_type: required"},
		{"os_type", "linux", "os_type"},
		{"os_version", nil, "os_version: required"},
		{"agent_version", nil, "agent_version: required"},
		{"firmware", "UEFI", ""},
		{"firmware", "EFI", "firmware"},
		{"boot_loader", "GRUB", ""},
		{"boot_loader", "LILO", "boot_loader"},
		{"platform", "default", ""},
		{"platform", "oracle", "platform"},
		{"migration_cycle", "checking", ""},
		{"migration_cycle", "dancing", "migration_cycle"},
		{"state", "waiting", ""},
		{"state", "dancing", "state"},
		{"start_type", "anything", ""},
		{"networks", nil, "networks: required"},
		{"networks", []any{}, "networks: fewer than 1"},
		{"networks", []any{map[string]any{}}, "networks[0].mac: required"},
		{"networks", []any{map[string]any{"mac": ""}}, "networks[0].mac: must not be empty"},
		{"disks", disks(50), ""},
		{"disks", disks(51), "disks: more than 50"},
		{"cpu_quantity", -1, "cpu_quantity: -1 is out of range"},
		{"memory", int64(1) << 62, ""},
		{"has_rsync", "yes", "has_rsync: a JSON string"},
	} {
		err := smsapi.Decode(registration(map[string]any{c.field: c.value}), &smsapi.RegisterSource{})
		if c.want == "" {
			require.NoError(t, err, "%s %v", c.field, c.value)
			continue
		}
		require.ErrorContains(t, err, c.want, "%s %v", c.field, c.value)
	}
	var r smsapi.RegisterSource
	require.NoError(t, smsapi.Decode(registration(nil), &r))
	require.Equal(t, "MANUAL", r.StartType, "the documented default")
	require.Nil(t, r.HasRsync, "absent is not false")
}

// Keys in another case are no way around the rules, and no way to crash them.
func TestDecodeTakesNothingUnderAnotherCase(t *testing.T) {
	for _, body := range []string{
		`{"networks":[{"mac":"a"}],"Networks":[],` + string(registration(map[string]any{"networks": nil})[1:]),
		`{"networks":[{"mac":"a"}],"Networks":[{"mac":"a"},{}],` + string(registration(map[string]any{"networks": nil})[1:]),
	} {
		require.Error(t, smsapi.Decode([]byte(body), &smsapi.RegisterSource{}), body)
	}
	p := `{"subtask_name":"SSL_CONFIG","progress":1,"replicatesize":1,"totalsize":1,"process_trace":"","remain_time":5,"Remain_Time":null}`
	require.NoError(t, smsapi.Decode([]byte(p), &smsapi.Progress{}))
}

func TestCopyStatePairs(t *testing.T) {
	states := []string{
		"unavailable", "waiting", "init", "replicate", "syncing", "stopping", "stopped", "skipping", "deleting", "clearing", "cleared",
		"clearfailed", "premigready", "premiging", "premiged", "premigfailed", "cloning", "cutovering", "finished", "error", "", "dancing",
	}
	allowed := map[string]string{ // the table of the documents
		"checking": "unavailable waiting", "setting": "waiting premigready premiging premiged premigfailed",
		"replicating": "init replicate deleting stopping error stopped", "syncing": "syncing cloning deleting stopping error stopped",
		"cutovering": "cutovering deleting stopping error stopped", "cutovered": "finished deleting stopping error stopped",
		"no_ready": "", "ready_for_test": "", "testing": "", "tested": "", "": "", "dancing": "",
	}
	for cycle, list := range allowed {
		for _, state := range states {
			shown, c, err := smsapi.CopyState{State: strings.ToUpper(state), Cycle: strings.ToUpper(cycle)}.Pair()
			if state != "" && strings.Contains(" "+list+" ", " "+state+" ") {
				require.NoError(t, err)
				require.Equal(t, strings.Replace(state, "init", "initialize", 1), string(shown))
				require.Equal(t, cycle, string(c))
				continue
			}
			require.Error(t, err, "%s %s", cycle, state)
		}
	}
}

func TestSourceQuery(t *testing.T) {
	yes, no := true, false
	for query, want := range map[string]smsapi.SourceQuery{
		"":        {Limit: 200},
		"limit=0": {Limit: 200},
		"limit=1&offset=65535&connected=false&is_consistency_result_exist=true&state=initialize&migration_cycle=setting": {
			Limit: 1, Offset: 65535, Connected: &no, ConsistencyResult: &yes, State: smsapi.SourceInitialize, MigrationCycle: smsapi.CycleSetting,
		},
		"name=n&id=i&ip=1.2.3.4&ipv6=::1&migproject=p&enterprise_project_id=e&vm_id=v": {
			Limit: 200, Name: "n", ID: "i", IP: "1.2.3.4", IPv6: "::1", MigrationProject: "p", EnterpriseProjectID: "e", VMID: "v",
		},
	} {
		values, err := url.ParseQuery(query)
		require.NoError(t, err)
		got, err := smsapi.ParseSourceQuery(values)
		require.NoError(t, err)
		require.Equal(t, want, got)
		again, err := smsapi.ParseSourceQuery(got.Values())
		require.NoError(t, err)
		require.Equal(t, got, again)
	}
	for _, query := range []string{
		"limit=201", "limit=-1", "offset=65536", "state=init", "state=WAITING", "migration_cycle=testing", "connected=1",
		"is_consistency_result_exist=yes", "ip=" + strings.Repeat("1", 256),
	} {
		values, err := url.ParseQuery(query)
		require.NoError(t, err)
		_, err = smsapi.ParseSourceQuery(values)
		require.Error(t, err, query)
	}
	for query, ok := range map[string]bool{"": true, "limit=100&offset=65535": true, "limit=101": false, "offset=65536": false, "limit=x": false} {
		values, err := url.ParseQuery(query)
		require.NoError(t, err)
		_, err = smsapi.ParsePageQuery(values)
		require.Equal(t, ok, err == nil, query)
		_, err = smsapi.ParseTemplateQuery(values)
		require.Equal(t, ok, err == nil, query)
	}
}

func TestConfigOptions(t *testing.T) {
	require.Equal(t, smsapi.ConfigSyncOnly, smsapi.ConfigKey("ONLY_SYNC_PATH").Canonical())
	for option, values := range map[string]struct{ takes, refuses []string }{
		"MIGRATE_EXCLUDE_DIR":             {[]string{"", "/a", "/a, /b", `C:\a`, strings.TrimSuffix(strings.Repeat("/a,", 30), ",")}, []string{"a", "/a,", strings.TrimSuffix(strings.Repeat("/a,", 31), ","), "C:a"}},
		"EXCLUDE_MIGRATE_PATH":            {[]string{"/a"}, []string{"a"}},
		"SYNC_EXCLUDE_PATH":               {[]string{"/a"}, []string{"a"}},
		"SYNC_EXCLUDE_DIR":                {[]string{"/a"}, []string{"a"}},
		"ONLY_SYNC_DIR":                   {[]string{"/a"}, []string{"a"}},
		"ONLY_SYNC_PATH":                  {[]string{"/a"}, []string{"a"}},
		"CONSISTENCY_DIR":                 {[]string{"/a"}, []string{"a"}},
		"CONSISTENCY_DIR_ILLEGAL":         {[]string{"/a"}, []string{"a"}},
		"LINUX_BLOCK_COMPRESS_THREAD_NUM": {[]string{"auto", "0", "3"}, []string{"4", "-1", "Auto "}},
		"LINUX_BLOCK_CACHE_SIZE":          {[]string{"1", "8"}, []string{"0", "9"}},
		"LINUX_CPU_LIMIT":                 {[]string{"1", "100"}, []string{"0", "101", "50%"}},
		"LINUX_MEM_LIMIT":                 {[]string{"200", "1000"}, []string{"199", "1001"}},
		"LINUX_IO_LIMIT":                  {[]string{"10", "1000"}, []string{"9", "1001"}},
		"MIGRATE_DST_IP":                  {[]string{"10.0.0.1", "::1"}, []string{"host"}},
		"NUM_PROCESS_MIGRATE":             {[]string{"1", "4"}, []string{"0", "5"}},
		"NUM_PROCESS_SYNC":                {[]string{"1", "4"}, []string{"0", "5"}},
		"CONSISTENCY_RECHECK":             {[]string{"true", "False"}, []string{"1"}},
		"CONSISTENCY_MODE":                {[]string{"anything"}, nil},
		"DYNAMIC_PORT":                    {[]string{"22", "65535"}, []string{"0", "65536"}},
		"INSTALL_PWD_AGENT":               {[]string{"true"}, []string{"maybe"}},
		"DANCE":                           {nil, []string{"", "1"}},
	} {
		body := func(value string) []byte {
			return fmt.Appendf(nil, `{"configurations":[{"config_key":%q,"config_value":%q}]}`, option, value)
		}
		for _, value := range values.takes {
			require.NoError(t, smsapi.Decode(body(value), &smsapi.Configurations{}), "%s %s", option, value)
		}
		for _, value := range values.refuses {
			require.Error(t, smsapi.Decode(body(value), &smsapi.Configurations{}), "%s %s", option, value)
		}
	}
	many := func(n int) string {
		return `{"configurations":[` + strings.TrimSuffix(strings.Repeat(`{"config_key":"DYNAMIC_PORT","config_value":"22"},`, n), ",") + `]}`
	}
	require.NoError(t, smsapi.Decode([]byte(many(50)), &smsapi.Configurations{}))
	require.Error(t, smsapi.Decode([]byte(many(51)), &smsapi.Configurations{}))
	require.Error(t, smsapi.Decode([]byte(`{}`), &smsapi.Configurations{}))
	require.Equal(t, "LINUX_MIGRATE_FILE", smsapi.MigrateType(smsapi.Linux, smsapi.MigrateFile))
}

func TestUpdateBodies(t *testing.T) {
	for body, want := range map[string]string{
		`{}`:           "",
		`{"name":"n"}`: "",
		`{"name":""}`:  "name: shorter",
		`{"name":"` + strings.Repeat("n", 65) + `"}`:                                      "name: longer",
		`{"disks":[{"id":"/dev/vda","need_migration":false}]}`:                            "",
		`{"disks":[{"need_migration":false}]}`:                                            "disks[0].id: required",
		`{"disks":[{"id":"a","adjust_size":-1}]}`:                                         "disks[0].adjust_size",
		`{"disks":[{"id":"a","physical_volumes":[{"id":"b","adjust_size":5},{}]}]}`:       "disks[0].physical_volumes[1].id: required",
		`{"volume_groups":[{"id":"a","logical_volumes":[{"id":"b","adjust_size":"x"}]}]}`: "a JSON string does not fit",
	} {
		err := smsapi.Decode([]byte(body), &smsapi.UpdateSource{})
		if want == "" {
			require.NoError(t, err, body)
		} else {
			require.ErrorContains(t, err, want, body)
		}
	}
	var u smsapi.UpdateSource
	require.NoError(t, smsapi.Decode([]byte(`{"disks":[{"id":"a","need_migration":true,"adjust_size":7}]}`), &u))
	require.Equal(t, "a", u.Disks[0].ID, "fields of an embedded struct are kept")
	require.Equal(t, int64(7), *u.Disks[0].AdjustSize)

	for body, ok := range map[string]bool{
		`{"ids":["a"]}`: true, `{"ids":[]}`: false, `{}`: false, `{"ids":[null]}`: false, `{"ids":[5]}`: false,
		`{"ids":["` + strings.Repeat("x", 256) + `"]}`: false,
	} {
		require.Equal(t, ok, smsapi.Decode([]byte(body), &smsapi.IDs{}) == nil, body)
	}
}

func TestProjectsAndTemplates(t *testing.T) {
	var p smsapi.MigrationProject
	require.NoError(t, smsapi.Decode([]byte(`{"name":"项目_1","region":"cn-north-4","type":"MIGRATE_FILE"}`), &p))
	require.Equal(t, smsapi.MigrationProject{
		Name: "项目_1", Region: "cn-north-4", Type: smsapi.MigrateFile, StartTargetServer: true, UsePublicIP: true,
	}, p)
	var u smsapi.UpdateMigrationProject
	require.NoError(t, smsapi.Decode([]byte(`{"syncing":true,"use_public_ip":false,"type":"MIGRATE_BLOCK"}`), &u))
	u.Apply(&p)
	require.True(t, p.Syncing && !p.UsePublicIP && p.StartTargetServer && p.Type == smsapi.MigrateBlock && p.Name == "项目_1")
	for _, body := range []string{
		`{"region":"r","type":"MIGRATE_FILE"}`, `{"name":"n","type":"MIGRATE_FILE"}`, `{"name":"n","region":"r"}`,
		`{"name":"a b","region":"r","type":"MIGRATE_FILE"}`, `{"name":"n","region":"r","type":"TAPE"}`,
		`{"name":"n","region":"r","type":"MIGRATE_FILE","speed_limit":65536}`,
	} {
		require.Error(t, smsapi.Decode([]byte(body), &smsapi.MigrationProject{}), body)
	}
	for _, body := range []string{`{"name":""}`, `{"name":"a b"}`, `{"type":"TAPE"}`, `{"speed_limit":-1}`} {
		require.Error(t, smsapi.Decode([]byte(body), &smsapi.UpdateMigrationProject{}), body)
	}

	var b smsapi.TemplateBody
	require.NoError(t, smsapi.Decode([]byte(`{"template":{"name":"t","is_template":false,"vpc":{"id":"autoCreate"},"target_password":"secret",
		"nics":[{"id":"autoCreate","name":"n","cidr":"192.168.0.1/24"}],"publicip":{"bandwidth_size":5},
		"disk":[{"index":0,"name":"d","disktype":"SAS","size":40}]}}`), &b))
	shown := b.Template.Shown("id")
	require.Equal(t, "false", shown.IsTemplate)
	require.Equal(t, "192.168.0.0/16", shown.VPC.CIDR)
	require.Equal(t, "5_bgp", shown.PublicIP.Type)
	require.Empty(t, shown.TargetPassword, "it has an operation of its own")
	for _, body := range []string{
		`{}`, `{"template":{}}`, `{"template":{"name":"a b"}}`, `{"template":{"name":"t","nics":[{"id":"i","name":"n"}]}}`,
		`{"template":{"name":"t","publicip":{}}}`, `{"template":{"name":"t","disk":[{"index":-1,"name":"d","disktype":"s","size":1}]}}`,
	} {
		require.Error(t, smsapi.Decode([]byte(body), &smsapi.TemplateBody{}), body)
	}
}

func FuzzDecodeSource(f *testing.F) {
	f.Add(registration(nil))
	f.Add([]byte(`{"disks":[{"id":"a","physical_volumes":[{"id":"b","adjust_size":5}]}],"ids":["a"],"template":{"name":"t","vpc":{}}}`))
	f.Add([]byte(`{"copystate":"WAITING","migrationcycle":"cutovered","command_name":"START","result":"fail","result_detail":{}}`))
	f.Add([]byte(`{"configurations":[{"config_key":"ONLY_SYNC_PATH","config_value":"/a,/b"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, into := range []any{
			&smsapi.RegisterSource{}, &smsapi.UpdateDiskInfo{}, &smsapi.UpdateSource{}, &smsapi.CopyState{}, &smsapi.CommandResult{},
			&smsapi.IDs{}, &smsapi.MigrationProject{}, &smsapi.UpdateMigrationProject{}, &smsapi.TemplateBody{}, &smsapi.Configurations{},
		} {
			if smsapi.Decode(body, into) != nil {
				continue
			}
			again, err := json.Marshal(into)
			require.NoError(t, err)
			require.NoError(t, smsapi.Decode(again, into), "accepted once, refused the second time: %s", again)
		}
	})
}

// The documents' example answers about the service survive the types.
func TestServiceExamples(t *testing.T) {
	for text, into := range map[string]any{
		`{"config":{"mainRegion":"ap-southeast-1","disktype":"SATA"},"regions":[{"region_name":"cn-north-1","project_name":"cn-north-1"},
			{"region_name":"cn-north-4","project_name":"cn-north-4"}]}`: &smsapi.ServiceConfig{},
		`{"flag":true}`: &smsapi.PrivacyAgreement{},
		`{"versions":[{"id":"v3","links":[{"href":"https://sms/v3","rel":"self"}],"status":"SUPPORTED","updated":"2018-09-30T00:00:00Z"}]}`: &smsapi.Versions{},
	} {
		require.NoError(t, json.Unmarshal([]byte(text), into))
		again, err := json.Marshal(into)
		require.NoError(t, err)
		require.JSONEq(t, text, string(again))
	}
	var old smsapi.CopyState
	require.NoError(t, smsapi.Decode([]byte(`{"copystate":"WAITING","migrationcycle":"cutovered"}`), &old))
	_, _, err := old.Pair()
	require.Error(t, err, "the example of old documents breaks the table of new ones")
}
