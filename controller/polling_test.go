package controller_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/stretchr/testify/require"
)

func (p *plane) poll(source string) (c smsapi.Command) {
	p.Helper()
	p.call("GET", "/v3/sources/"+source+"/command", nil, &c)
	return c
}

func (p *plane) answer(source string, name smsapi.CommandName, result string) {
	p.Helper()
	p.call("POST", "/v3/sources/"+source+"/command_result", resultOf(name, result), nil)
}

func resultOf(name smsapi.CommandName, result string) []byte {
	return fmt.Appendf(nil, `{"command_name":%q,"result":%q,"result_detail":{"key1":"value1","key2":"value2"}}`, name, result)
}

func (p *plane) order(task string, op smsapi.Operation) {
	p.Helper()
	p.call("POST", "/v3/tasks/"+task+"/action", fmt.Appendf(nil, `{"operation":%q}`, op), nil)
}

// A source through a migration that is stopped, goes on, launches, syncs again and is deleted: what its agent is told, and where that
// puts the source.
func TestSourceFollowsItsTask(t *testing.T) {
	onBoth(t, func(t *testing.T, p *plane) {
		id := p.register(registration(nil))
		at := func(state smsapi.SourceState, cycle smsapi.MigrationCycle) {
			t.Helper()
			s := p.source(id)
			require.Equal(t, [2]string{string(state), string(cycle)}, [2]string{string(s.State), string(s.MigrationCycle)})
		}
		require.Equal(t, smsapi.Command{}, p.poll(id), "there is nothing to do")
		task := p.create([]byte(string(taskOf(t, id))[:len(taskOf(t, id))-2] + `,"syncing":true}`))
		at("waiting", "setting")
		require.Equal(t, smsapi.Command{Name: smsapi.TaskNotStarted, Param: &smsapi.CommandParam{Task: task}}, p.poll(id))

		p.order(task, smsapi.OpStart)
		at("initialize", "replicating")
		start := smsapi.Command{Name: smsapi.CommandStart, Param: &smsapi.CommandParam{Task: task}}
		require.Equal(t, start, p.poll(id))
		require.Equal(t, start, p.poll(id), "told until it is answered")
		p.refused(400, smsapi.CodeCommand, "POST", "/v3/sources/"+id+"/command_result", resultOf("STOP", "success"))
		p.refused(400, smsapi.CodeResult, "POST", "/v3/sources/"+id+"/command_result", resultOf("START", "perhaps"))
		p.answer(id, smsapi.CommandStart, "success")
		p.answer(id, smsapi.CommandStart, "success") // the answer to the first may have been lost
		require.Equal(t, smsapi.Command{}, p.poll(id))
		p.changeState(id, "replicate", "replicating")
		p.progress(task, smsapi.Progress{Subtask: smsapi.SSLConfig, Percent: 100})
		p.progress(task, smsapi.Progress{Subtask: smsapi.MigrateLinuxFile, Percent: 50, ReplicatedSize: 5, TotalSize: 10})
		at("replicate", "replicating")
		require.Equal(t, []int64{5, 10}, []int64{p.source(id).ReplicatedSize, p.source(id).TotalSize})
		require.Equal(t, "MIGRATE_LINUX_FILE 50%", p.source(id).CurrentTask.SubtaskInfo)

		p.order(task, smsapi.OpStop)
		at("stopping", "replicating")
		require.Equal(t, smsapi.CommandStop, p.poll(id).Name)
		p.answer(id, smsapi.CommandStop, "success")
		at("stopped", "replicating")
		require.Equal(t, smsapi.TaskHasStopped, p.poll(id).Name)
		p.order(task, smsapi.OpStart)
		at("initialize", "replicating")
		p.poll(id)
		p.answer(id, smsapi.CommandStart, "success")
		p.progress(task, smsapi.Progress{Subtask: smsapi.MigrateLinuxFile, Percent: 100})
		at("syncing", "syncing")

		p.order(task, smsapi.OpCutover)
		at("cutovering", "cutovering")
		require.Equal(t, "cutovering", p.show(task).SourceServer.MigrationCycle, "by this the agent knows that it is to launch")
		p.poll(id)
		p.answer(id, smsapi.CommandStart, "success")
		p.progress(task, smsapi.Progress{Subtask: smsapi.SyncLinuxFile, Percent: 100})
		at("finished", "cutovered")
		require.Equal(t, smsapi.TaskHasFinished, p.poll(id).Name)

		p.order(task, smsapi.OpRestart)
		at("syncing", "syncing")
		require.Equal(t, smsapi.CommandSync, p.poll(id).Name)
		p.answer(id, smsapi.CommandSync, "fail")
		at("error", "syncing")
		var failures smsapi.MigrationErrors
		p.call("GET", "/v3/errors", nil, &failures)
		require.Equal(t, 1, failures.Count)
		require.Equal(t, []string{id, "name-lin", "host", "192.168.0.154", "192.168.0.1"}, []string{
			failures.Errors[0].SourceID, failures.Errors[0].Name, failures.Errors[0].HostName, failures.Errors[0].SourceIP, failures.Errors[0].TargetIP,
		})
		require.NotEmpty(t, failures.Errors[0].ErrorJSON)

		p.call("DELETE", "/v3/tasks/"+task, nil, nil)
		at("deleting", "syncing")
		require.Equal(t, smsapi.CommandDelete, p.poll(id).Name)
		p.answer(id, smsapi.CommandDelete, "success")
		at("waiting", "checking")
		require.Equal(t, smsapi.Command{}, p.poll(id))
	})
}

func TestPollingIsAHeartbeat(t *testing.T) {
	p := startPlane(t, t.TempDir())
	id := p.register(registration(nil))
	for range 6 {
		p.clock.add(30 * time.Second)
		p.poll(id)
		require.True(t, p.source(id).Connected)
	}
	require.Equal(t, p.source(id).AddDate, p.source(id).LastVisitTime, "it never went away")
	p.clock.add(time.Hour)
	require.False(t, p.source(id).Connected)
	p.refused(400, smsapi.CodeCommand, "POST", "/v3/sources/"+id+"/command_result", resultOf("STOP", "success"))
	require.True(t, p.source(id).Connected, "a wrong answer is a sign of life too")
	p.refused(404, smsapi.CodeNotFound, "GET", "/v3/sources/none/command", nil)
	p.refused(404, smsapi.CodeNotFound, "POST", "/v3/sources/none/command_result", resultOf("STOP", "success"))
}
