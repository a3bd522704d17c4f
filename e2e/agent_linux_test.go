package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ferry-migrate/ferry/agent"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// fleet is a control plane and the agent of one source, as processes, beside a stage. Whatever it orders goes over the API, as any
// client's requests do.
type fleet struct {
	*stage
	controller *process
	store      string
	url        string
	key        smsapi.Key
	agent      *process
	config     string
	agentEnv   []string
	id         string // of the source
}

// newFleet starts a control plane, a target and an agent, and waits until the source is registered.
func newFleet(t testing.TB, size int64) *fleet {
	t.Helper()
	f := &fleet{stage: newStage(t, "ext4", size), config: filepath.Join(t.TempDir(), "agent.yaml")}
	f.serve()
	f.control()
	agentKey := filepath.Join(t.TempDir(), "agent-key.json") // an agent may do less than the admin
	if o := ferry(t, "controller", "user", "add", "agent", "--role", "agent", "--store", f.store, "--out", agentKey); o.exit != 0 {
		t.Fatal(o.message())
	}
	f.save(f.config, fmt.Sprintf("endpoint: %s\nstate: %s\npoll: 1s\naccept_privacy_statement: true\ncredentials:\n  key_file: %s\n", f.url, f.state, agentKey))
	f.runAgent()
	f.until("the source is registered", func() bool {
		var list struct {
			Servers []struct {
				ID string `json:"id"`
			} `json:"source_servers"`
		}
		f.call("GET", "/v3/sources", nil, &list)
		if len(list.Servers) == 1 {
			f.id = list.Servers[0].ID
		}
		return f.id != ""
	})
	return f
}

func (f *fleet) save(path, text string) {
	f.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// control starts the control plane.
func (f *fleet) control() {
	f.t.Helper()
	f.store = "sqlite:" + filepath.Join(f.t.TempDir(), "controller.db")
	f.controller = start(f.t, nil, "controller", "--listen", "127.0.0.1:0", "--store", f.store, "--json")
	e := f.controller.waitEvent("listening")
	f.url = e.text("url")
	text, err := os.ReadFile(e.text("admin_key_file"))
	if err == nil {
		err = json.Unmarshal(text, &f.key)
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fleet) runAgent() {
	f.t.Helper()
	f.agent = start(f.t, f.agentEnv, "agent", "run", "--config", f.config)
}

// request sends a signed request and returns status and body.
func (f *fleet) request(method, path string, in any) (int, []byte) {
	f.t.Helper()
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			f.t.Fatal(err)
		}
	}
	r, err := http.NewRequestWithContext(f.t.Context(), method, f.url+path, bytes.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	f.key.Sign(r, body, time.Now())
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		f.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return response.StatusCode, answer
}

// call sends a request that has to succeed.
func (f *fleet) call(method, path string, in, out any) {
	f.t.Helper()
	code, answer := f.request(method, path, in)
	if code/100 != 2 {
		f.t.Fatalf("%s %s: %d %s", method, path, code, answer)
	}
	if out == nil {
		return
	}
	if err := json.Unmarshal(answer, out); err != nil {
		f.t.Fatalf("%s %s: %v: %.300s", method, path, err, answer)
	}
}

// task creates a task that migrates the stage's source to its target.
func (f *fleet) task(syncing bool, limit int) string {
	f.t.Helper()
	host, port, err := net.SplitHostPort(f.addr)
	if err != nil {
		f.t.Fatal(err)
	}
	var created smsapi.CreateTaskResponse
	f.call("POST", "/v3/tasks", smsapi.CreateTaskRequest{
		Name: "task", Type: smsapi.MigrateFile, OSType: smsapi.Linux, SourceServer: smsapi.SourceServerID{ID: f.id}, MigrationIP: host,
		TargetServer: smsapi.NewTargetServer{Name: "target", VMID: f.pair, VolumeGroups: []smsapi.VolumeGroup{}, Disks: []smsapi.NewTargetDisk{{
			Name: "disk 0", DeviceUse: smsapi.UseNormal, Size: 1 << 30, UsedSize: 1 << 20, PhysicalVolumes: []smsapi.NewPhysicalVolume{{Size: 1 << 30, UsedSize: 1 << 20, MountPoint: f.source}},
		}}},
		RegionName: "r", RegionID: "r", ProjectName: "p", ProjectID: "p", Priority: 1, Syncing: syncing, ExistServer: true, SpeedLimit: limit,
	}, &created)
	f.call("POST", "/v3/tasks/"+created.ID+"/configuration-setting", smsapi.Configurations{Configurations: []smsapi.Config{{Key: "DYNAMIC_PORT", Value: port}}}, nil)
	return created.ID
}

// act asks for an operation.
func (f *fleet) act(task string, operation smsapi.Operation) {
	f.t.Helper()
	f.call("POST", "/v3/tasks/"+task+"/action", smsapi.TaskAction{Operation: operation}, nil)
}

func (f *fleet) show(task string) (shown smsapi.Task) {
	f.t.Helper()
	f.call("GET", "/v3/tasks/"+task, nil, &shown)
	return shown
}

// reaches waits until a task is in a state. One that fails instead is an error.
func (f *fleet) reaches(task string, state smsapi.TaskState) {
	f.t.Helper()
	f.until(fmt.Sprintf("task in %s", state), func() bool {
		shown := f.show(task)
		if shown.State != state && (shown.State == smsapi.StateMigrateFail || shown.State == smsapi.StateSyncFail) {
			f.t.Fatalf("the task failed: %s\n%s", shown.ErrorJSON, f.agent.errors())
		}
		return shown.State == state
	})
}

// copied waits until a task has sent some bytes.
func (f *fleet) copied(task string, atLeast int64) {
	f.t.Helper()
	f.until(fmt.Sprintf("%d bytes sent", atLeast), func() bool {
		bytes, runs := f.agentStatus()
		if !runs && f.show(task).State == smsapi.StateMigrateSuccess {
			f.t.Fatalf("the task was done before %d bytes were seen to be sent", atLeast)
		}
		return bytes >= atLeast
	})
}

// agentStatus returns the bytes that the running subtask has done, and whether one runs.
func (f *fleet) agentStatus() (int64, bool) {
	s, err := agent.DialControl(f.state).Agent(f.t.Context())
	if err != nil || s.Task == nil {
		return 0, false
	}
	return s.Task.Bytes, true
}

// until polls what can only be polled: the API has no events.
func (f *fleet) until(what string, holds func() bool) {
	f.t.Helper()
	deadline := time.Now().Add(patience)
	for !holds() {
		if time.Now().After(deadline) {
			f.t.Fatalf("%s: not within %v\nagent: %s\ncontroller: %s", what, patience, f.agent.errors(), f.controller.errors())
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// TestAgent drives a whole task over the API: created, started, stopped, started again, the agent killed and started, synced until the
// launch, synced once more after the end, deleted. Source and target are judged by rsync and our own dump.
func TestAgent(t *testing.T) {
	f := newFleet(t, 256<<20)
	for i := range 16 {
		write(t, f.path(fmt.Sprint("f", i)), 2<<20, byte(i))
	}
	task := f.task(true, 50) // Mbit/s: 32 MiB take 5 s
	if shown := f.show(task); shown.State != smsapi.StateReady {
		t.Fatalf("a new task is %s", shown.State)
	}
	f.act(task, smsapi.OpNetworkCheck)
	f.until("the way to the target is measured", func() bool {
		check := f.show(task).NetworkCheckInfo
		return check != nil && check.DestinationConnectivity && check.MigrationSpeed > 0
	})
	f.act(task, smsapi.OpStart)
	f.copied(task, 4<<20)
	began := time.Now()
	f.act(task, smsapi.OpStop)
	f.reaches(task, smsapi.StateAbort)
	t.Logf("stopped %v after the call, with a poll every second", time.Since(began).Round(100*time.Millisecond))
	f.until("the agent is idle", func() bool {
		_, runs := f.agentStatus()
		return !runs
	})
	f.act(task, smsapi.OpStart)
	f.copied(task, 8<<20)
	f.agent.kill()
	f.runAgent() // it goes on by itself
	f.copied(task, 12<<20)
	f.call("POST", "/v3/tasks/"+task+"/speed-limit", smsapi.LimitWindows{Windows: []smsapi.LimitWindow{}}, nil)
	f.reaches(task, smsapi.StateSyncing)
	write(t, f.path("f0"), 1<<20, 77)
	write(t, f.path("new"), 1<<20, 78)
	f.act(task, smsapi.OpTest)
	f.reaches(task, smsapi.StateMigrateSuccess)
	f.judge()

	write(t, f.path("later"), 1<<20, 79)
	if err := os.Remove(f.path("f1")); err != nil {
		t.Fatal(err)
	}
	f.act(task, smsapi.OpRestart)
	f.reaches(task, smsapi.StateSyncSuccess)
	f.judge()

	f.call("DELETE", "/v3/tasks/"+task, nil, nil)
	f.until("the task is gone", func() bool {
		code, _ := f.request("GET", "/v3/tasks/"+task, nil)
		return code == http.StatusNotFound
	})
	f.until("the agent forgot the task", func() bool {
		left, err := os.ReadDir(filepath.Join(f.state, "tasks"))
		return err == nil && len(left) == 0
	})
	f.call("POST", "/v3/tasks/"+f.task(false, 1)+"/action", smsapi.TaskAction{Operation: smsapi.OpCollectLog}, nil)
	f.until("the logs are there", func() bool { return strings.Contains(f.controller.errors(), "command=UPLOAD_LOG result=success") })
	f.call("DELETE", "/v3/sources/"+f.id, nil, nil)
	f.until("the agent knows that its source was deleted", func() bool {
		s, err := agent.DialControl(f.state).Agent(t.Context())
		return err == nil && s.Deleted
	})
	if o := ferry(t, "agent", "status", "--config", f.config); !strings.Contains(strings.Join(o.stray, "\n"), "deleted at the service") {
		t.Errorf("ferry agent status says %q", o.stray)
	}
	f.agent.signal(syscall.SIGTERM)
	if o := f.agent.wait(); o.exit != 0 {
		t.Errorf("the agent ended with %d: %s", o.exit, o.message())
	}
}

// TestAgentKilled kills the agent ten times during one task: what it copied is whole, and the controller hears that it is done.
func TestAgentKilled(t *testing.T) { killAgent(t, 10) }

// TestSoakAgentKilled does it fifty times.
func TestSoakAgentKilled(t *testing.T) {
	if os.Getenv("FERRY_SOAK") == "" {
		t.Skip("takes some minutes; make soak runs it")
	}
	killAgent(t, 50)
}

func killAgent(t *testing.T, times int) {
	f := newFleet(t, 512<<20)
	for i := range 2 * times {
		write(t, f.path(fmt.Sprint("f", i)), 2<<20, byte(i))
	}
	task := f.task(false, 80)
	f.act(task, smsapi.OpStart)
	for kill := range times {
		f.copied(task, int64(kill+1)<<20)
		f.agent.kill()
		f.runAgent()
	}
	f.reaches(task, smsapi.StateMigrateSuccess)
	f.judge()
	for _, s := range f.show(task).Subtasks {
		if s.Progress != 100 {
			t.Errorf("subtask %s ended at %d %%", s.Name, s.Progress)
		}
	}
}
