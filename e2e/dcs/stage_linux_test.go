package dcs

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/stretchr/testify/require"
)

// patience is how long a test waits for anything before it takes it for stuck.
const patience = time.Minute

// build makes the binary under test. FERRY_BINARY names one that is already built.
var build = sync.OnceValues(func() (string, error) {
	if given := os.Getenv("FERRY_BINARY"); given != "" {
		return given, nil
	}
	path := filepath.Join(scratch, "ferry")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", path, "../../cmd/ferry")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("build ferry: %w\n%s", err, out)
	}
	return path, err
})

var scratch string // of TestMain

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "ferry-dcs-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(scratch)
	os.Exit(code)
}

// stage is a control plane and a machine, as processes.
type stage struct {
	*testing.T
	dir, url, config string
	key              smsapi.Key
	plane, machine   *exec.Cmd
	log              bytes.Buffer // of both, one after the other where they are restarted
	mu               sync.Mutex
}

// Write takes what the processes say on standard error.
func (s *stage) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(b)
}

// said is what the processes said so far.
func (s *stage) said() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

// start starts ferry; it is killed at the latest when the test ends.
func (s *stage) start(out io.Writer, args ...string) *exec.Cmd {
	s.Helper()
	ferry, err := build()
	require.NoError(s, err)
	cmd := exec.Command(ferry, args...)
	cmd.Stdout, cmd.Stderr = out, s
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(s, cmd.Start())
	s.Cleanup(func() { kill(cmd) })
	return cmd
}

// kill kills a process that may have ended.
func kill(cmd *exec.Cmd) {
	if cmd.ProcessState == nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

func newStage(t *testing.T) *stage {
	s := &stage{T: t, dir: t.TempDir()}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.said())
		}
	})
	s.control("127.0.0.1:0")
	key := filepath.Join(s.dir, "machine-key.json")
	add := s.start(io.Discard, "controller", "user", "add", "machine", "--role", "machine", "--store", s.store(), "--out", key)
	require.NoError(t, add.Wait())
	s.config = filepath.Join(s.dir, "agent.yaml")
	text := fmt.Sprintf("endpoint: %s\nstate: %s\npoll: 1s\naccept_privacy_statement: true\ncredentials:\n  key_file: %s\nredis: true\n",
		s.url, filepath.Join(s.dir, "state"), key)
	require.NoError(t, os.WriteFile(s.config, []byte(text), 0o600))
	s.work()
	return s
}

func (s *stage) store() string { return "sqlite:" + filepath.Join(s.dir, "controller.db") }

// control starts the control plane.
func (s *stage) control(listen string) {
	s.Helper()
	out, in, err := os.Pipe()
	require.NoError(s, err)
	s.plane = s.start(in, "controller", "--listen", listen, "--store", s.store(), "--json")
	in.Close()
	s.Cleanup(func() { out.Close() })
	line, err := bufio.NewReader(out).ReadBytes('\n')
	require.NoError(s, err)
	var said struct {
		URL     string `json:"url"`
		KeyFile string `json:"admin_key_file"`
	}
	require.NoError(s, json.Unmarshal(line, &said))
	s.url = said.URL
	text, err := os.ReadFile(said.KeyFile)
	require.NoError(s, err)
	require.NoError(s, json.Unmarshal(text, &s.key))
}

// work starts the machine.
func (s *stage) work() { s.machine = s.start(io.Discard, "agent", "run", "--config", s.config) }

// ask sends a signed request, which must succeed, and returns its answer and status.
func (s *stage) ask(method, path, body string) (answer map[string]any, status int) {
	s.Helper()
	r, err := http.NewRequestWithContext(s.Context(), method, s.url+"/v2/ferry"+path, bytes.NewBufferString(body))
	require.NoError(s, err)
	r.Header.Set("Content-Type", "application/json")
	s.key.Sign(r, []byte(body), time.Now())
	response, err := http.DefaultClient.Do(r)
	require.NoError(s, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(s, err)
	require.Less(s, response.StatusCode, 300, string(text))
	if len(text) > 0 {
		require.NoError(s, json.Unmarshal(text, &answer), string(text))
	}
	return answer, response.StatusCode
}

// until waits until a task's field has a value.
func (s *stage) until(path, field string, is func(value any) bool) any {
	s.Helper()
	late := time.Now().Add(patience)
	for {
		answer, _ := s.ask("GET", path, "")
		if is(answer[field]) {
			return answer[field]
		}
		require.True(s, time.Now().Before(late), "%s of %s stays %v", field, path, answer[field])
		time.Sleep(50 * time.Millisecond) // the API has no way to wait
	}
}

// status waits until a task has a status.
func (s *stage) status(id, want string) {
	s.Helper()
	s.until("/migration-task/"+id, "status", func(v any) bool { return v == want })
}
