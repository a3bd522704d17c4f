package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ferry-migrate/ferry/agent"
	"github.com/ferry-migrate/ferry/controller"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter"
	"github.com/ferry-migrate/ferry/reporter/report"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/ferry-migrate/ferry/transfer"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// ferry runs a command line and returns what it printed and its exit code.
func ferry(t *testing.T, args ...string) (stdout string, code int, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	err = run(t.Context(), args, &out, &errs)
	return out.String(), exitCode(err), err
}

// served runs `ferry controller` on a state directory until stop is called, and returns its listening event.
func served(t *testing.T, state string) (event listeningEvent, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, []string{"controller", "--json", "--listen", "127.0.0.1:0", "--store", "sqlite:" + filepath.Join(state, databaseFile)}, in, io.Discard)
		in.CloseWithError(err)
		ended <- err
	}()
	line, err := bufio.NewReader(out).ReadBytes('\n')
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(line, &event))
	require.Equal(t, "listening", event.Event)
	return event, func() {
		cancel()
		require.NoError(t, <-ended)
	}
}

// A step is a subtask that waits until it is let go.
type step struct {
	name  string
	begun chan struct{} // closed when it runs
	end   chan error    // what it returns
}

func newStep(name smsapi.SubtaskName) *step {
	return &step{name: string(name), begun: make(chan struct{}), end: make(chan error, 1)}
}

func (s *step) Name() string { return s.name }
func (s *step) Progress() transfer.Progress {
	return transfer.Progress{Bytes: 41, BytesTotal: 100, Files: 3}
}

func (s *step) Run(ctx context.Context, _ *agent.Task) error {
	close(s.begun)
	select {
	case err := <-s.end:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// migrating runs a task with these subtasks on a controller, as `ferry migrate` does.
func migrating(t *testing.T, state string, event listeningEvent, name string, subtasks ...agent.Subtask) (id string, wait func() error) {
	t.Helper()
	key, err := controller.ReadKey(event.AdminKeyFile)
	require.NoError(t, err)
	client, err := reporter.NewClient(event.URL, key)
	require.NoError(t, err)
	log := slog.New(slog.DiscardHandler)
	reports, err := reporter.New(client, filepath.Join(state, "outbox"), log)
	require.NoError(t, err)
	id, err = agent.EnsureTask(t.Context(), client, state, smsapi.CreateTaskRequest{
		Name: name, Type: smsapi.MigrateFile, OSType: smsapi.Linux, SourceServer: smsapi.SourceServerID{ID: "here"},
		TargetServer: smsapi.NewTargetServer{Name: "there", Disks: []smsapi.NewTargetDisk{}}, Priority: 1,
	})
	require.NoError(t, err)
	runner := agent.New(agent.Config{
		Dir: state, Controller: client, Reporter: reports, Log: log,
		Plan: func(*agent.Task) ([]agent.Subtask, error) { return subtasks, nil },
	})
	ended := make(chan error, 1)
	go func() {
		defer client.Close()
		defer reports.Close()
		ended <- runner.Run(t.Context(), id)
	}()
	return id, func() error { return <-ended }
}

// One task from its creation to the history of a controller that is gone.
func TestTaskThroughItsLife(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	state := t.TempDir()
	event, stop := served(t, state)
	out, code, err := ferry(t, "task", "list", "--state", state)
	require.NoError(t, err)
	require.Zero(t, code)
	require.Contains(t, out, "ID")
	_, _, err = ferry(t, "task", "show", "--state", state)
	require.Equal(t, "FERRY-NO-TASK", fault.CodeOf(err))

	data := newStep(smsapi.MigrateLinuxFile)
	id, wait := migrating(t, state, event, "life", data)
	<-data.begun
	watched := make(chan string, 1)
	go func() {
		out, _, err := ferry(t, "task", "watch", "--state", state, "--json")
		if err != nil {
			out = err.Error()
		}
		watched <- out
	}()
	data.end <- nil
	require.NoError(t, wait())
	lines := strings.Split(strings.TrimSpace(<-watched), "\n")
	var last smsapi.Task
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &last))
	require.Equal(t, smsapi.StateMigrateSuccess, last.State)

	for _, when := range []string{"while the controller runs", "from its database"} {
		out, _, err = ferry(t, "task", "list", "--state", state)
		require.NoError(t, err, when)
		require.Regexp(t, id+` +life +MIGRATE_SUCCESS +MIGRATE_LINUX_FILE 100%`, out, when)
		out, _, err = ferry(t, "task", "show", id, "--state", state)
		require.NoError(t, err)
		require.Regexp(t, `state +MIGRATE_SUCCESS`, out)
		require.Regexp(t, `MIGRATE_LINUX_FILE +100%`, out)
		out, _, err = ferry(t, "task", "list", "--state", state, "--json")
		require.NoError(t, err)
		var listed smsapi.ListedTask
		require.NoError(t, json.Unmarshal([]byte(out), &listed), "one object per line, nothing else")
		require.Equal(t, id, listed.ID)
		out, _, err = ferry(t, "task", "list", "--state", state, "--task-state", "READY", "--json")
		require.NoError(t, err)
		require.Empty(t, out)
		if when == "while the controller runs" {
			t.Setenv(envAccessKey, "")
			_, _, err = ferry(t, "task", "list", "--controller", event.URL)
			require.Equal(t, "FERRY-CONTROLLER-KEY", fault.CodeOf(err))
			key, err := controller.ReadKey(event.AdminKeyFile)
			require.NoError(t, err)
			t.Setenv(envAccessKey, key.AccessKey)
			t.Setenv(envSecretKey, key.SecretKey)
			out, _, err = ferry(t, "task", "list", "--controller", event.URL, "--json")
			require.NoError(t, err)
			require.Contains(t, out, id)
			stop()
		}
	}
	_, code, err = ferry(t, "task", "show", "nobody", "--state", state)
	require.ErrorContains(t, err, "no task")
	require.Equal(t, exitFailed, code)
}

func TestTaskThatFails(t *testing.T) {
	state := t.TempDir()
	event, stop := served(t, state)
	defer stop()
	data := newStep(smsapi.MigrateLinuxFile)
	_, wait := migrating(t, state, event, "fails", data)
	data.end <- fault.Operator("FERRY-TARGET-FULL", "free some space", errors.New("no space left"))
	require.Error(t, wait())
	out, code, err := ferry(t, "task", "watch", "--state", state)
	require.Equal(t, exitFailed, code)
	require.ErrorContains(t, err, "no space left: free some space (FERRY-TARGET-FULL)")
	require.Contains(t, out, "MIGRATE_FAIL")
	out, _, err = ferry(t, "task", "show", "--state", state)
	require.NoError(t, err)
	require.Regexp(t, `error +subtask MIGRATE_LINUX_FILE: no space left: free some space \(FERRY-TARGET-FULL\)`, out)
	require.Regexp(t, `MIGRATE_LINUX_FILE +41% .* 3 files, subtask MIGRATE_LINUX_FILE: no space left`, out)
}

// remote is what `ferry task` steers.
type remote struct{ told []string }

func (r *remote) Status() report.Report { return report.Report{Task: "this"} }
func (r *remote) Cutover() error        { r.told = append(r.told, "cutover"); return nil }
func (r *remote) Stop() error           { r.told = append(r.told, "stop"); return nil }
func (r *remote) SetLimit(limit string) error {
	if limit == "nonsense" {
		return fault.Operator("FERRY-LIMIT", "say 25MiB", errors.New("bad limit"))
	}
	r.told = append(r.told, "limit "+limit)
	return nil
}

func TestTaskSteersTheRunningOne(t *testing.T) {
	state := t.TempDir()
	_, _, err := ferry(t, "task", "cutover", "--state", state)
	require.Equal(t, "FERRY-NOT-RUNNING", fault.CodeOf(err))
	r := &remote{}
	control, err := agent.ServeControl(state, r, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer control.Close()
	for _, args := range [][]string{{"cutover"}, {"cutover", "this"}, {"limit", "25MiB"}, {"limit", "this", "0"}, {"stop"}} {
		_, code, err := ferry(t, append([]string{"task", "--state", state}, args...)...)
		require.NoError(t, err)
		require.Zero(t, code)
	}
	require.Equal(t, []string{"cutover", "cutover", "limit 25MiB", "limit 0", "stop"}, r.told)
	_, _, err = ferry(t, "task", "limit", "nonsense", "--state", state)
	require.Equal(t, "FERRY-LIMIT", fault.CodeOf(err))
	_, _, err = ferry(t, "task", "stop", "another", "--state", state)
	require.Equal(t, "FERRY-NOT-RUNNING", fault.CodeOf(err))
}

func TestTaskUsage(t *testing.T) {
	for _, args := range [][]string{
		{"bogus"}, {"task"}, {"task", "bogus"}, {"task", "limit"}, {"task", "show", "a", "b"}, {"task", "list", "--bogus"},
		{"task", "list", "--limit", "x"}, {"controller", "extra"}, {"version", "extra"},
	} {
		_, code, err := ferry(t, args...)
		require.Error(t, err)
		require.Equal(t, exitUsage, code, "%v: %v", args, err)
	}
	state := filepath.Join(t.TempDir(), "missing")
	_, code, err := ferry(t, "task", "list", "--state", state)
	require.Equal(t, exitFailed, code)
	require.Equal(t, "FERRY-NO-CONTROLLER", fault.CodeOf(err))
	require.NoDirExists(t, state, "looking makes nothing")
	require.NoError(t, os.Mkdir(state, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(state, controllerFile), []byte("{"), 0o600))
	_, _, err = ferry(t, "task", "list", "--state", state)
	require.Equal(t, "FERRY-STATE-DAMAGED", fault.CodeOf(err))
}

func TestExitCodes(t *testing.T) {
	require.Zero(t, exitCode(nil))
	require.Equal(t, 1, exitCode(errors.New("x")))
	require.Equal(t, 2, exitCode(usagef("x")))
	require.Equal(t, 3, exitCode(withExit(exitLosses, errors.New("x"))))
	require.Equal(t, 4, exitCode(withExit(exitDifferent, errors.New("x"))))
	require.Equal(t, 130, exitCode(agent.ErrStopped))
	require.NoError(t, withExit(2, nil))
	line := errorLine(fault.Operator("FERRY-X", "do y", errors.New("a\nb  c")))
	require.Equal(t, "ferry: a; b  c (FERRY-X): do y", line)
	out, _, err := ferry(t, "version")
	require.NoError(t, err)
	require.Regexp(t, `^ferry \S+ commit \S+ built \S+ go1\S+ \w+/\w+\n$`, out)
}
