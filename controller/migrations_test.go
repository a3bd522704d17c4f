package controller_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/ferry-migrate/ferry/controller/iam"
	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/controller/store/storetest"
	"github.com/ferry-migrate/ferry/reporter/dcsapi"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/stretchr/testify/require"
)

const (
	inProject  = "/v2/254d2280acb74d36a8b839746bcd7352"
	machineA   = "00000000-0000-0000-0000-00000000000a"
	machineB   = "00000000-0000-0000-0000-00000000000b"
	configured = `{"migration_method":"incremental_migration","resume_mode":"auto","bandwidth_limit_mb":"100",
		"source_instance":{"addrs":"192.168.1.2:6379","password":"secret-1"},"target_instance":{"addrs":"10.0.0.7:6379","password":"secret-2"}}`
	online = `{"task_name":"n","migration_type":"online_migration","migration_method":"full_amount_migration",
		"source_instance":{"addrs":"a:1"},"target_instance":{"id":"b:2"}}`
	backup = `{"task_name":"n","migration_type":"backupfile_import","migration_method":"full_amount_migration",
		"backup_files":{"file_source":"self_build_obs","bucket_name":"bucket","files":[{"file_name":"a.rdb"},{"file_name":"https://host/b.rdb?sign=secret-3"}]},
		"target_instance":{"id":"x","ip":"10.0.0.7","port":"6379"}}`
)

// A desk is a plane with machines, as a user and as the machines see it.
type desk struct {
	*plane
	dir string
}

func newDesk(t *testing.T, address string) *desk {
	t.Helper()
	d := &desk{dir: t.TempDir()}
	if address == "" {
		address = "sqlite:" + filepath.Join(d.dir, "controller.db")
	}
	d.plane = startPlaneOn(t, address, d.dir)
	db, err := store.Open(t.Context(), address)
	require.NoError(t, err)
	defer db.Close()
	for _, id := range []string{machineA, machineB} {
		require.NoError(t, db.Change(t.Context(), func(tx *store.Tx) error {
			return addSource(tx, id, id, "10.0.0.1", "LINUX", "", "waiting", "checking")
		}))
	}
	return d
}

// ask calls an operation, which must succeed, and reads its answer.
func (d *desk) ask(into any, method, path, body string) {
	d.Helper()
	status, answer := d.do(method, inProject+path, []byte(body))
	require.Less(d, status, 300, string(answer))
	require.NotContains(d, string(answer), "secret")
	if into != nil {
		require.NoError(d, json.Unmarshal(answer, into), string(answer))
	}
}

// no calls an operation, which must be refused as the DCS API does.
func (d *desk) no(status int, method, path, body string) string {
	d.Helper()
	got, answer := d.do(method, inProject+path, []byte(body))
	require.Equal(d, status, got, string(answer))
	var fields map[string]any
	require.NoError(d, json.Unmarshal(answer, &fields))
	require.Len(d, fields, 3)
	require.Nil(d, fields["error_ext_msg"])
	require.NotEmpty(d, fields["error_code"])
	return fields["error_msg"].(string)
}

// work is a word of a machine.
func (d *desk) work(machine string, free int, reports ...dcsapi.WorkReport) []dcsapi.Order {
	d.Helper()
	body, err := json.Marshal(dcsapi.Work{Version: "1.2.3", IP: "10.0.0.1", Free: free, Reports: reports})
	require.NoError(d, err)
	status, answer := d.do("POST", inProject+"/migration-machines/"+machine+"/work", body)
	require.Equal(d, 200, status, string(answer))
	var orders dcsapi.Orders
	require.NoError(d, json.Unmarshal(answer, &orders))
	return orders.Tasks
}

func (d *desk) status(id string) dcsapi.Status {
	d.Helper()
	var m dcsapi.Migration
	d.ask(&m, "GET", "/migration-task/"+id, "")
	return m.Status
}

func (d *desk) create(body string) string {
	d.Helper()
	var created dcsapi.ChangedMigration
	d.ask(&created, "POST", "/migration-task", body)
	require.Equal(d, dcsapi.Migrating, created.Status)
	return created.ID
}

func said(id string, run int64, phase dcsapi.Phase) dcsapi.WorkReport {
	return dcsapi.WorkReport{ID: id, Run: run, Phase: phase}
}

// The life of a migration over the API: a machine is asked for, configured, works, is stopped, restarted, deleted.
func TestLifeOfAMigration(t *testing.T) {
	for name, address := range map[string]func(testing.TB) string{"sqlite": func(testing.TB) string { return "" }, "postgres": storetest.Postgres} {
		t.Run(name, func(t *testing.T) { lifeOfAMigration(t, newDesk(t, address(t))) })
	}
}

func lifeOfAMigration(t *testing.T, d *desk) {
	var machine dcsapi.CreatedMachine
	d.ask(&machine, "POST", "/migration/instance", `{"name":"cache","vpc_id":"v","subnet_id":"s","security_group_id":"g"}`)
	id := machine.InstanceID
	require.Equal(t, dcsapi.ToConfigure, d.status(id))
	require.Empty(t, d.work(machineA, 5), "nothing to do before it is configured")
	d.no(400, "POST", "/migration-task/"+id+"/stop", "")

	var changed dcsapi.ChangedMigration
	d.ask(&changed, "POST", "/migration/"+id+"/task", configured)
	require.Equal(t, dcsapi.ChangedMigration{ID: id, Name: "cache", Status: dcsapi.Migrating}, changed)
	require.Empty(t, d.work(machineA, 0), "a machine that is busy")
	orders := d.work(machineA, 1)
	require.Equal(t, []dcsapi.Order{{
		ID: id, Name: "cache", Run: 1, Type: dcsapi.Online, Method: dcsapi.Follow, ResumeMode: dcsapi.Auto, BandwidthLimit: "100",
		Source: &dcsapi.Instance{Addrs: "192.168.1.2:6379", IP: "192.168.1.2", Port: "6379", Password: "secret-1"},
		Target: dcsapi.Instance{Addrs: "10.0.0.7:6379", IP: "10.0.0.7", Port: "6379", Password: "secret-2"},
	}}, orders)
	require.Empty(t, d.work(machineB, 5), "one machine has it")
	require.Equal(t, orders, d.work(machineA, 0), "told until it ended")

	for _, phase := range []struct {
		say  dcsapi.Phase
		want dcsapi.Status
	}{{dcsapi.PhaseConnect, dcsapi.Migrating}, {dcsapi.PhaseFull, dcsapi.FullMigrating}, {dcsapi.PhaseConnect, dcsapi.FullMigrating}, {dcsapi.PhaseFollow, dcsapi.Incremental}} {
		d.work(machineA, 0, said(id, 1, phase.say))
		d.work(machineB, 0, said(id, 1, dcsapi.PhaseFailed)) // not its own
		d.work(machineA, 0, said(id, 0, dcsapi.PhaseFailed)) // of an earlier run
		require.Equal(t, phase.want, d.status(id))
	}
	report := said(id, 1, dcsapi.PhaseFollow)
	report.Progress = dcsapi.WorkProgress{Percent: 100, Keys: 5, Offset: 1 << 40, LagMs: 3, SourceKeys: 7, TargetKeys: 8, TargetInput: 1536, TargetOps: 9}
	report.Logs = []dcsapi.WorkLog{{At: 1700000000123456789, Level: dcsapi.Error, Message: "cut", Code: "FERRY-X"}}
	d.work(machineA, 0, report)
	d.work(machineA, 0, report) // its answer was lost
	var stats map[string]any
	d.ask(&stats, "GET", "/migration-task/"+id+"/stats", "")
	requireShown(t, "stats", map[string]any{
		"full_migration_progress": "100", "offset": "1099511627776", "source_dbsize": "7", "target_dbsize": "8", "target_input_kbps": "1.50",
		"target_ops": "9", "is_migrating": true, "lag_ms": 3.0,
	}, stats)
	var logs dcsapi.MigrationLogs
	d.ask(&logs, "GET", "/migration-task/"+id+"/logs?log_level=ERROR", "")
	require.Equal(t, dcsapi.MigrationLogs{Count: 1, Logs: []dcsapi.MigrationLog{
		{CreatedAt: "2023-11-14T22:13:20.123Z", Level: dcsapi.Error, Message: "cut", Code: "FERRY-X", Keywords: []string{}},
	}}, logs)
	d.ask(&logs, "GET", "/migration-task/"+id+"/logs?limit=2", "")
	require.Equal(t, 4, logs.Count, "created, configured, taken, cut")

	d.ask(nil, "PUT", "/migration-task/"+id, `{"resume_mode":"manual"}`)
	require.Equal(t, dcsapi.Manual, d.work(machineA, 0)[0].ResumeMode)
	require.Contains(t, d.no(400, "POST", "/migration/"+id+"/task", configured), "INCRMIGEATING")
	require.Contains(t, d.no(400, "DELETE", "/migration-tasks/delete", `{"task_id_list":["`+id+`"]}`), "stop it first")
	require.Contains(t, d.no(400, "POST", "/migration-task/"+id+"/exchange-ip", `{"exchanged_ip":["10.0.0.7"],"is_exchange_domain":false}`), "sync-stop")
	d.no(400, "POST", "/migration-task/"+id+"/rollback-ip", "")

	var stopped dcsapi.Migration
	d.ask(&stopped, "POST", "/migration-task/"+id+"/stop", "")
	require.Equal(t, dcsapi.Terminating, stopped.Status)
	require.Equal(t, dcsapi.Masked, stopped.Source.Password)
	require.True(t, d.work(machineA, 0, said(id, 1, dcsapi.PhaseFollow))[0].Stop)
	require.Empty(t, d.work(machineA, 0, said(id, 1, dcsapi.PhaseDone)))
	require.Equal(t, dcsapi.Terminated, d.status(id))

	var results dcsapi.MigrationResults
	d.ask(&results, "POST", "/migration-tasks/batch-restart", `{"migration_tasks":["`+id+`","other"]}`)
	require.Equal(t, dcsapi.MigrationResult{ID: id, Result: "success"}, results.Tasks[0])
	require.Equal(t, "failed", results.Tasks[1].Result)
	require.NotEmpty(t, results.Tasks[1].Code)
	d.work(machineA, 0, said(id, 1, dcsapi.PhaseStopped)) // late
	require.Equal(t, dcsapi.Migrating, d.status(id))
	require.EqualValues(t, 2, d.work(machineA, 0)[0].Run)
	failed := said(id, 2, dcsapi.PhaseFailed)
	failed.Error, failed.Code = "no route", "FERRY-Y"
	d.work(machineA, 0, failed)
	require.Equal(t, dcsapi.MigrationFailed, d.status(id))
	var list dcsapi.MigrationList
	d.ask(&list, "GET", "/migration-tasks?name=CACH&limit=1", "")
	require.Equal(t, 1, list.Count)
	require.Equal(t, "no route", list.Tasks[0].ErrorMessage)
	require.Equal(t, "10.0.0.1", list.Tasks[0].MachineIP)
	require.Equal(t, "192.168.1.2:6379", list.Tasks[0].DataSource)

	d.ask(nil, "DELETE", "/migration-tasks/delete", `{"task_id_list":["`+id+`"]}`)
	d.no(404, "GET", "/migration-task/"+id, "")
}

// How migrations of the other kinds end, and what becomes of those whose machine is deleted.
func TestMigrationsEnd(t *testing.T) {
	d := newDesk(t, "")
	full, files, idle := d.create(online), d.create(backup), d.create(online)
	require.Len(t, d.work(machineA, 2), 2)
	files1 := d.work(machineA, 0)[1]
	require.Equal(t, []string{"s3://bucket/a.rdb", "https://host/b.rdb?sign=secret-3"}, files1.Files)
	require.Equal(t, "10.0.0.7:6379", files1.Target.Addrs)
	d.work(machineA, 0, said(full, 0, dcsapi.PhaseFollow), said(files, 0, dcsapi.PhaseFull))
	require.Equal(t, dcsapi.FullMigrating, d.status(full))
	require.Equal(t, dcsapi.Migrating, d.status(files))
	d.work(machineA, 0, said(full, 0, dcsapi.PhaseDone), said(files, 0, dcsapi.PhaseFailed))
	require.Equal(t, dcsapi.Succeeded, d.status(full))
	require.Equal(t, dcsapi.Failed, d.status(files))
	d.no(400, "POST", "/migration/"+files+"/task", configured)

	var results dcsapi.MigrationResults
	d.ask(&results, "POST", "/migration-task/batch-stop", `{"migration_tasks":["`+idle+`","`+full+`"]}`)
	require.Equal(t, "success", results.Tasks[0].Result)
	require.Equal(t, "failed", results.Tasks[1].Result)
	require.Equal(t, dcsapi.Terminated, d.status(idle), "no machine had it")

	runs, stops := d.create(online), d.create(online)
	d.work(machineA, 2, said(runs, 0, dcsapi.PhaseFull))
	d.ask(nil, "POST", "/migration-task/"+stops+"/stop", "")
	status, answer := d.do("DELETE", "/v3/sources/"+machineA, nil)
	require.Equal(t, 200, status, string(answer))
	for id, want := range map[string]dcsapi.Status{full: dcsapi.Released, files: dcsapi.Released, stops: dcsapi.Released, runs: dcsapi.Migrating, idle: dcsapi.Terminated} {
		require.Equal(t, want, d.status(id))
	}
	d.no(404, "POST", "/migration-machines/"+machineA+"/work", `{"free":1}`)
	require.EqualValues(t, 1, d.work(machineB, 1)[0].Run, "another machine has it now")
	d.no(400, "PUT", "/migration-task/"+full, `{"resume_mode":"manual"}`)
}

// Machines that ask at once, of two control planes, never get the same task.
func TestMachinesAskAtOnce(t *testing.T) {
	address := storetest.Postgres(t)
	one := newDesk(t, address)
	two := &desk{plane: startPlaneOn(t, address, one.dir), dir: one.dir}
	for range 12 {
		one.create(online)
	}
	var mu sync.Mutex
	has := map[string]string{}
	var group sync.WaitGroup
	for machine, d := range map[string]*desk{machineA: one, machineB: two} {
		group.Go(func() {
			for range 12 {
				orders := d.work(machine, 1)
				mu.Lock()
				for _, order := range orders {
					if other := has[order.ID]; other != "" && other != machine {
						t.Errorf("%s was told to both", order.ID)
					}
					has[order.ID] = machine
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	require.Len(t, has, 12)
}

// sync-stop answers when the machine has stopped, not before.
func TestStopIsWaitedFor(t *testing.T) {
	d := newDesk(t, "")
	id := d.create(online)
	d.work(machineA, 1)
	answered := make(chan int, 1)
	go func() {
		status, _ := d.do("POST", inProject+"/migration-task/"+id+"/sync-stop", nil)
		answered <- status
	}()
	for d.status(id) != dcsapi.Terminating {
		require.Empty(t, answered)
	}
	require.Empty(t, answered)
	d.work(machineA, 1, said(id, 0, dcsapi.PhaseStopped))
	require.Equal(t, 204, <-answered)
}

// What a request may not say.
func TestMigrationRefusals(t *testing.T) {
	d := newDesk(t, "")
	for body, field := range map[string]string{
		`{`: "JSON",
		strings.Replace(online, `"task_name":"n",`, "", 1):                                  "task_name",
		strings.Replace(online, "online_migration", "other", 1):                             "migration_type",
		strings.Replace(online, "full_amount_migration", "other", 1):                        "migration_method",
		strings.Replace(online, `"source_instance":{"addrs":"a:1"},`, "", 1):                "source_instance",
		strings.Replace(online, `"id":"b:2"`, `"id":"b"`, 1):                                "target_instance.addrs",
		strings.Replace(online, `"a:1"`, `"a:1,b"`, 1):                                      "source_instance.addrs",
		strings.Replace(online, `"a:1"`, `"redis://:secret@a"`, 1):                          "password",
		strings.Replace(online, `"addrs":"a:1"`, `"addrs":"a:1","db":"256"`, 1):             "source_instance.db",
		strings.Replace(backup, "full_amount", "incremental", 1):                            "migration_method",
		strings.Replace(backup, "self_build_obs", "backup_record", 1):                       "file_source",
		strings.Replace(backup, `"bucket_name":"bucket",`, "", 1):                           "files[0].file_name",
		strings.Replace(online, `"task_name":"n"`, `"task_name":"n","network_type":"x"`, 1): "network_type",
	} {
		require.Contains(t, d.no(400, "POST", "/migration-task", body), field, body)
	}
	for _, limit := range []string{"0", "10241", "1.5", "x"} {
		require.Contains(t, d.no(400, "POST", "/migration/x/task", strings.Replace(configured, `"100"`, `"`+limit+`"`, 1)), "bandwidth_limit_mb")
	}
	for _, query := range []string{"limit=x", "limit=1001", "offset=-1", "name=" + strings.Repeat("n", 256)} {
		d.no(400, "GET", "/migration-tasks?"+query, "")
	}
	d.no(400, "GET", "/migration-task/x/logs?log_level=DEBUG", "")
	for _, path := range []string{"", "/stats", "/logs"} {
		d.no(404, "GET", "/migration-task/x"+path, "")
	}
	for _, path := range []string{"/stop", "/sync-stop", "/rollback-ip"} {
		d.no(404, "POST", "/migration-task/x"+path, "")
	}
	d.no(404, "POST", "/migration/x/task", configured)
	d.no(404, "PUT", "/migration-task/x", `{"resume_mode":"auto"}`)
	d.no(404, "DELETE", "/migration-tasks/delete", `{"task_id_list":["x"]}`)
}

// No password is in the database, nor in a copy of it, in clear.
func TestMigrationPasswordsAreSealed(t *testing.T) {
	d := newDesk(t, "")
	id := d.create(strings.Replace(online, `"a:1"`, `"a:1","password":"secret-1"`, 1))
	require.Equal(t, "secret-1", d.work(machineA, 1)[0].Source.Password)
	files, err := filepath.Glob(filepath.Join(d.dir, "controller.db*"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NotContains(t, string(text), "secret-1")
	}
	d.ask(nil, "GET", "/migration-task/"+id, "")
}

// Machines work; agents that are none, and users, may not; a machine keeps to itself.
func TestMigrationRoles(t *testing.T) {
	d := newDesk(t, "")
	id := d.create(online)
	machine, other := d.user(d.dir, "m", iam.Machine), d.user(d.dir, "o", iam.Machine)
	agent, reader := d.user(d.dir, "a", iam.Agent), d.user(d.dir, "r", iam.Reader)
	status, answer := d.as(machine, "POST", "/v3/sources", registration(nil))
	require.Equal(t, 200, status, string(answer))
	work := inProject + "/migration-machines/" + parsed(t, answer)["id"].(string) + "/work"
	task := inProject + "/migration-task/" + id
	for _, c := range []struct {
		by           smsapi.Key
		method, path string
		want         int
	}{
		{machine, "POST", work, 200}, {other, "POST", work, 403}, {agent, "POST", work, 403}, {reader, "POST", work, 403},
		{machine, "GET", task, 403}, {reader, "GET", task, 200}, {reader, "POST", task + "/stop", 403},
	} {
		body := map[string]string{"POST": `{"free":1}`}[c.method]
		status, answer := d.as(c.by, c.method, c.path, []byte(body))
		require.Equal(t, c.want, status, "%s %s: %s", c.method, c.path, answer)
	}
}

// The documentation's answer of ShowMigrationTask comes out of stored state, field by field, but for the passwords.
func TestShowMigrationExample(t *testing.T) {
	d := newDesk(t, "")
	text, err := os.ReadFile(filepath.Join("..", "reporter", "dcsapi", "testdata", "show_migration_response.json"))
	require.NoError(t, err)
	var m dcsapi.Migration
	require.NoError(t, json.Unmarshal(text, &m))
	m.Source.Password, m.Target.Password = dcsapi.Masked, dcsapi.Masked
	created, updated := at(1571755470000), at(1571767200000) // 2019/10/22 14:44:30 and 18:00:00
	stored(t, d.dir, func(tx *store.Tx) error {
		return tx.AddMigration(&store.Migration{ID: m.ID, Status: m.Status, Created: *created, Updated: updated, Plan: store.Plan{
			Name: m.Name, Type: m.Type, Network: m.Network, Source: m.Source, Target: m.Target,
		}})
	})
	// The example's URI has a stray space behind the project.
	status, answer := d.do("GET", fmt.Sprintf("%s%%20/migration-task/%s", inProject, m.ID), nil)
	require.Equal(t, 200, status)
	require.JSONEq(t, strings.ReplaceAll(string(text), "DCStest123", dcsapi.Masked), string(answer))
}
