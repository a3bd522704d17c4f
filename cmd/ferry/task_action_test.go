package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ferry-migrate/ferry/controller"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/stretchr/testify/require"
)

// somewhere is a source that an agent has registered.
func somewhere() smsapi.RegisterSource {
	yes, no, none := true, false, ""
	return smsapi.RegisterSource{
		IP: "192.0.2.1", Name: "web 1", Hostname: "web1", OSType: smsapi.Linux, OSVersion: "DEBIAN_12_11_64BIT", Firmware: "UEFI", CPUQuantity: 4, Memory: 8192,
		AgentVersion: "1.0.0", BootLoader: "GRUB", HasRsync: &no, HasTC: &yes, Paravirtualization: &no, RawDevices: &none,
		Networks: []smsapi.SourceNetwork{{Name: "eth0", IP: "192.0.2.1", MAC: "fa:16:3e:00:00:01"}}, BtrfsList: []smsapi.BtrfsFileSystem{},
		Disks: []smsapi.SourceDisk{{Name: "/dev/vda", PartitionStyle: "GPT", DeviceUse: "OS", Size: 40 << 30, UsedSize: 4 << 30, OSDisk: true,
			PhysicalVolumes: []smsapi.SourcePartition{{Name: "/dev/vda1", FileSystem: "ext4", MountPoint: "/", Size: 40 << 30, UsedSize: 4 << 30}}}},
		VolumeGroups: []smsapi.VolumeGroup{{Name: "data", Components: "/dev/vdb", Size: 10 << 30, LogicalVolumes: []smsapi.LogicalVolume{
			{Name: "srv", FileSystem: "xfs", MountPoint: "/srv", Size: 10 << 30, UsedSize: 1 << 30},
		}}},
	}
}

// fleet is a running controller with a source.
type fleet struct {
	*testing.T
	state, source string
	client        *reporter.Client
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{T: t, state: t.TempDir()}
	event, stop := served(t, f.state)
	t.Cleanup(stop)
	key, err := controller.ReadKey(event.AdminKeyFile)
	require.NoError(t, err)
	f.client, err = reporter.NewClient(event.URL, key)
	require.NoError(t, err)
	t.Cleanup(f.client.Close)
	f.source, err = f.client.RegisterSource(t.Context(), somewhere())
	require.NoError(t, err)
	return f
}

// ok runs a command line that must succeed and returns what it printed.
func (f *fleet) ok(args ...string) string {
	f.Helper()
	out, code, err := ferry(f.T, append(args, "--state", f.state)...)
	require.NoError(f, err, "%v", args)
	require.Zero(f, code)
	return strings.TrimSpace(out)
}

// told answers the next command of the source, as its agent does, and returns it.
func (f *fleet) told() smsapi.CommandName {
	f.Helper()
	command, err := f.client.Command(f.Context(), f.source)
	require.NoError(f, err)
	require.NoError(f, f.client.CommandResult(f.Context(), f.source, smsapi.CommandResult{Name: command.Name, Result: smsapi.ResultSuccess, Detail: []byte("{}")}))
	return command.Name
}

func (f *fleet) reports(task string, subtask smsapi.SubtaskName, percent int) {
	f.Helper()
	require.NoError(f, f.client.PutProgress(f.Context(), task, smsapi.Progress{Subtask: subtask, Percent: percent}))
}

func TestSourceCommands(t *testing.T) {
	f := newFleet(t)
	require.Regexp(t, f.source+` +web 1 +192.0.2.1 +DEBIAN_12_11_64BIT +checking/waiting +yes +-`, f.ok("source", "list"))
	require.NotContains(t, f.ok("source", "list", "--connected", "false"), f.source)
	require.Contains(t, f.ok("source", "list", "--name", "web 1", "--ip", "192.0.2.1", "--source-state", "waiting"), f.source)
	var listed smsapi.ListedSourceServer
	require.NoError(t, json.Unmarshal([]byte(f.ok("source", "list", "--json")), &listed), "one object per line, nothing else")
	require.Equal(t, f.source, listed.ID)

	out := f.ok("source", "show", f.source)
	for _, want := range []string{
		`name +web 1`, `system +DEBIAN_12_11_64BIT UEFI, 4 processors, 8.* memory`, `connected: yes`, `/dev/vda +4\d.* GPT`, `/dev/vda1 .* ext4 +/`,
		`srv .* xfs +/srv`, `RSYNC +WARN +rsync is not installed +SMS.6517`,
	} {
		require.Regexp(t, want, out)
	}
	var shown smsapi.Source
	require.NoError(t, json.Unmarshal([]byte(f.ok("source", "show", f.source, "--json")), &shown))
	require.Equal(t, "/dev/vda1", shown.Disks[0].Partitions[0].Name)

	_, code, err := ferry(t, "source", "show", "nobody", "--state", f.state)
	require.ErrorContains(t, err, "no source")
	require.Equal(t, exitFailed, code)
	for _, args := range [][]string{{"source"}, {"source", "show"}, {"source", "list", "extra"}, {"source", "list", "--connected", "perhaps"}} {
		_, code, err := ferry(t, append(args, "--state", f.state)...)
		require.Equal(t, exitUsage, code, "%v: %v", args, err)
	}
}

// A task from the command line: made, started, limited, stopped, launched, synced again, deleted. The agent hears of each.
func TestTaskCommands(t *testing.T) {
	f := newFleet(t)
	id := f.ok("task", "create", "--source", f.source, "--to", "192.0.2.7:8901", "--pair", "FERRY1CODE", "--sync", "--limit", "200Mbit",
		"--priority", "high", "--no-launch", "--volume", "/srv")
	require.Len(t, id, 36)
	task, err := f.client.Task(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, smsapi.StateReady, task.State)
	require.Equal(t, []any{"web-1", smsapi.MigrateFile, 200, 2, false, "192.0.2.7:8901", "FERRY1CODE", "/srv"}, []any{
		task.Name, task.Type, task.SpeedLimit, task.Priority, task.StartTargetServer, *task.MigrationIP, task.TargetServer.VMID,
		task.TargetServer.VolumeGroups[0].LogicalVolumes[0].MountPoint,
	})
	require.Empty(t, task.TargetServer.Disks[0].PhysicalVolumes, "only what was asked for moves")

	require.Empty(t, f.ok("task", "start", id))
	require.Equal(t, smsapi.CommandStart, f.told())
	f.reports(id, smsapi.SSLConfig, 100)
	f.reports(id, smsapi.MigrateLinuxFile, 10)
	f.ok("task", "limit", id, "08:00-18:00=100Mbit, 18:00-24:00=25MiB")
	windows, err := f.client.SpeedLimits(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, []smsapi.LimitWindow{{Start: "08:00", End: "18:00", Speed: 100}, {Start: "18:00", End: "00:00", Speed: 210}}, windows)
	f.ok("task", "limit", id, "0")
	windows, err = f.client.SpeedLimits(t.Context(), id)
	require.NoError(t, err)
	require.Empty(t, windows)

	require.JSONEq(t, `{"id":"`+id+`","operation":"stop"}`, f.ok("task", "stop", id, "--json"))
	require.Equal(t, smsapi.CommandStop, f.told())
	_, code, err := ferry(t, "task", "stop", id, "--state", f.state)
	require.Error(t, err, "a task that has stopped cannot stop")
	require.Equal(t, exitFailed, code)
	f.ok("task", "start", id)
	require.Equal(t, smsapi.CommandStart, f.told())
	f.reports(id, smsapi.MigrateLinuxFile, 100)
	f.ok("task", "clone", id, "--template", "t")
	f.told()
	f.reports(id, smsapi.CloneVM, 100)
	f.ok("task", "cutover", id)
	f.told()
	f.reports(id, smsapi.SyncLinuxFile, 100)
	f.ok("task", "sync", id)
	require.Equal(t, smsapi.CommandSync, f.told())
	f.ok("task", "delete", id)
	require.Equal(t, smsapi.CommandDelete, f.told())
	_, err = f.client.Task(t.Context(), id)
	require.Error(t, err)

	id = f.ok("task", "create", "--source", f.source, "--to", "192.0.2.7", "--start", "--name", "now")
	require.Equal(t, smsapi.CommandStart, f.told())
	body, err := json.Marshal(smsapi.CreateTaskRequest{
		Name: "body", Type: smsapi.MigrateBlock, OSType: smsapi.Linux, SourceServer: smsapi.SourceServerID{ID: f.source},
		TargetServer: smsapi.NewTargetServer{Name: "t", Disks: []smsapi.NewTargetDisk{}},
	})
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "body.json")
	require.NoError(t, os.WriteFile(file, body, 0o600))
	f.ok("task", "stop", id)
	f.told()
	require.Contains(t, f.ok("task", "create", "--body", file, "--json"), `"operation":"create"`)
}

func TestTaskCommandRefusals(t *testing.T) {
	f := newFleet(t)
	for _, c := range []struct {
		args string
		code int
		want string // code of the error, or a part of it
	}{
		{"task create", exitUsage, "--source"},
		{"task create --source x", exitUsage, "--to"},
		{"task create --source x --to h --type tape", exitUsage, "file or block"},
		{"task create --source x --to h --priority urgent", exitUsage, "low, standard or high"},
		{"task create --body /nonexistent", exitUsage, "--body"},
		{"task create --source x --to h", exitFailed, "no source"},
		{"task create --source x --to h --limit 2000Mbit", exitFailed, "FERRY-LIMIT"},
		{"task create --source " + f.source + " --to h --volume /nowhere", exitFailed, "FERRY-NO-VOLUME"},
		{"task start", exitUsage, "arg"},
		{"task start nobody", exitFailed, "no task"},
		{"task delete", exitUsage, "arg"},
		{"task delete nobody", exitFailed, "no task"},
		{"task limit nobody 10Mbit", exitFailed, "no task"},
		{"task limit nobody nonsense", exitFailed, "FERRY-LIMIT-SYNTAX"},
		{"task stop", exitFailed, "FERRY-NOT-RUNNING"},
		{"task stop nobody", exitFailed, "no task"},
	} {
		_, code, err := ferry(t, append(strings.Fields(c.args), "--state", f.state)...)
		require.Error(t, err, c.args)
		require.Equal(t, c.code, code, c.args)
		require.Contains(t, errorLine(err), c.want, c.args)
	}
	_, _, err := ferry(t, "task", "start", "x", "--state", t.TempDir())
	require.Equal(t, "FERRY-NO-CONTROLLER", fault.CodeOf(err))
	state := t.TempDir()
	require.NoError(t, controllerRecord{URL: "http://127.0.0.1:1", AdminKeyFile: filepath.Join(f.state, "admin-key.json")}.write(state))
	_, _, err = ferry(t, "task", "start", "x", "--state", state)
	require.Equal(t, "FERRY-NO-CONTROLLER", fault.CodeOf(err), "one that is gone carries nothing out")
	_, code, err := ferry(t, "task", "stop", "--controller", "http://127.0.0.1:1", "--state", state)
	require.Error(t, err)
	require.Equal(t, exitUsage, code)
}
