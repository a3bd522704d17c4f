package controller_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ferry-migrate/ferry/controller"
	"github.com/ferry-migrate/ferry/controller/store/storetest"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	if address := os.Getenv(serveEnv); address != "" {
		serve(address)
	}
	storetest.Main(m)
}

// A clock is the controller's; tests move it.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// A plane is a running controller with a client that signs.
type plane struct {
	*testing.T
	*controller.Server
	clock *clock
	http  *http.Client
}

func startPlane(t *testing.T, dir string) *plane {
	t.Helper()
	return startPlaneOn(t, "sqlite:"+filepath.Join(dir, "controller.db"), dir)
}

// startPlaneOn starts a controller on a store, with its keys in dir: those that share a store share them.
func startPlaneOn(t *testing.T, address, dir string) *plane {
	t.Helper()
	c := &clock{at: time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)}
	server, err := controller.Start(t.Context(), controller.Config{Store: address, KeyFile: filepath.Join(dir, "admin-key.json"), Now: c.now})
	require.NoError(t, err)
	p := &plane{T: t, Server: server, clock: c, http: &http.Client{Transport: &http.Transport{}}}
	t.Cleanup(func() {
		p.http.CloseIdleConnections()
		require.NoError(t, server.Close())
	})
	return p
}

// do sends a signed request and returns status and body.
func (p *plane) do(method, path string, body []byte) (int, []byte) {
	p.Helper()
	r, err := http.NewRequestWithContext(p.Context(), method, p.URL()+path, bytes.NewReader(body))
	require.NoError(p, err)
	r.Header.Set("Content-Type", "application/json")
	p.Key().Sign(r, body, p.clock.now())
	return p.send(r)
}

func (p *plane) send(r *http.Request) (int, []byte) {
	p.Helper()
	response, err := p.http.Do(r)
	require.NoError(p, err)
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	require.NoError(p, err)
	require.NotEmpty(p, response.Header.Get("X-Request-Id"))
	return response.StatusCode, answer
}

// refused asserts that a request is refused with an error body of the API.
func (p *plane) refused(status int, code, method, path string, body []byte) {
	p.Helper()
	got, answer := p.do(method, path, body)
	require.Equal(p, status, got, string(answer))
	var e smsapi.Error
	require.NoError(p, json.Unmarshal(answer, &e))
	require.Equal(p, code, e.Code, e.Message)
	require.NotEmpty(p, e.RequestID)
}

func (p *plane) create(body []byte) string {
	p.Helper()
	status, answer := p.do("POST", "/v3/tasks", body)
	require.Equal(p, 200, status, string(answer))
	var created smsapi.CreateTaskResponse
	require.NoError(p, json.Unmarshal(answer, &created))
	require.Len(p, created.ID, 36)
	return created.ID
}

func (p *plane) show(id string) (task smsapi.Task) {
	p.Helper()
	status, answer := p.do("GET", "/v3/tasks/"+id, nil)
	require.Equal(p, 200, status, string(answer))
	require.NoError(p, json.Unmarshal(answer, &task))
	return task
}

func (p *plane) list(query string) (list smsapi.TaskList) {
	p.Helper()
	status, answer := p.do("GET", "/v3/tasks"+query, nil)
	require.Equal(p, 200, status, string(answer))
	require.NoError(p, json.Unmarshal(answer, &list))
	return list
}

func (p *plane) progress(id string, progress smsapi.Progress) {
	p.Helper()
	body, err := json.Marshal(progress)
	require.NoError(p, err)
	status, answer := p.do("PUT", "/v3/tasks/"+id+"/progress", body)
	require.Equal(p, 200, status, string(answer))
	require.Empty(p, answer)
}

func example(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "reporter", "smsapi", "testdata", name))
	require.NoError(t, err)
	return text
}

func TestEveryRequestIsSigned(t *testing.T) {
	p := startPlane(t, t.TempDir())
	body := example(t, "create_task_request.json")
	request := func(method, path string, sign func(r *http.Request)) int {
		r, err := http.NewRequestWithContext(t.Context(), method, p.URL()+path, bytes.NewReader(body))
		require.NoError(t, err)
		sign(r)
		status, answer := p.send(r)
		if status == http.StatusUnauthorized {
			var e smsapi.Error
			require.NoError(t, json.Unmarshal(answer, &e))
			require.Equal(t, "APIGW.0301", e.Code)
			require.NotEmpty(t, e.Message)
			require.NotContains(t, string(answer), p.Key().SecretKey)
		}
		return status
	}
	now := p.clock.now()
	for name, sign := range map[string]func(*http.Request){
		"not at all":      func(*http.Request) {},
		"a token":         func(r *http.Request) { r.Header.Set("X-Auth-Token", "x") },
		"another key":     func(r *http.Request) { smsapi.Key{AccessKey: "x", SecretKey: "y"}.Sign(r, body, now) },
		"another secret":  func(r *http.Request) { smsapi.Key{AccessKey: p.Key().AccessKey, SecretKey: "y"}.Sign(r, body, now) },
		"another body":    func(r *http.Request) { p.Key().Sign(r, []byte("{}"), now) },
		"an hour ago":     func(r *http.Request) { p.Key().Sign(r, body, now.Add(-time.Hour)) },
		"in half an hour": func(r *http.Request) { p.Key().Sign(r, body, now.Add(time.Hour/2)) },
	} {
		for _, route := range []string{"POST /v3/tasks", "PUT /v3/tasks/x/progress"} {
			method, path, _ := strings.Cut(route, " ")
			require.Equal(t, http.StatusUnauthorized, request(method, path, sign), "%s signed with %s", route, name)
		}
	}
	require.Equal(t, http.StatusOK, request("POST", "/v3/tasks", func(r *http.Request) { p.Key().Sign(r, body, now.Add(14*time.Minute)) }))

	// What has no body, and what is not served, asks for a signature too.
	body = nil
	for _, path := range []string{"/v3/tasks", "/v3/tasks/x", "/v3/nothing"} {
		require.Equal(t, http.StatusUnauthorized, request("GET", path, func(*http.Request) {}), path)
	}
	require.Equal(t, 1, p.list("").Count, "nothing else was created")
}

func TestRefusals(t *testing.T) {
	p := startPlane(t, t.TempDir())
	id := p.create(example(t, "create_task_request.json"))
	p.refused(400, smsapi.CodeInvalid, "POST", "/v3/tasks", []byte(`{"name":`))
	p.refused(400, smsapi.CodeInvalid, "POST", "/v3/tasks", nil)
	p.refused(400, smsapi.CodeInvalid, "POST", "/v3/tasks", []byte(`{}`))
	p.refused(400, smsapi.CodeTaskName, "POST", "/v3/tasks",
		bytes.Replace(example(t, "create_task_request.json"), []byte("MigrationTask"), []byte("Migration Task"), 1))
	p.refused(413, smsapi.CodeTooLarge, "POST", "/v3/tasks", bytes.Repeat([]byte(" "), 8<<20+1))
	p.refused(413, smsapi.CodeTooLarge, "PUT", "/v3/tasks/"+id+"/progress", bytes.Repeat([]byte(" "), 64<<10+1))
	p.refused(404, smsapi.CodeNotFound, "GET", "/v3/tasks/nobody", nil)
	p.refused(404, smsapi.CodeNotFound, "PUT", "/v3/tasks/nobody/progress", example(t, "progress_request.json"))
	p.refused(400, smsapi.CodeSubtaskName, "PUT", "/v3/tasks/"+id+"/progress",
		bytes.Replace(example(t, "progress_request.json"), []byte("ATTACH"), []byte("DETACH"), 1))
	p.refused(404, smsapi.CodeNotFound, "DELETE", "/v3/tasks/nobody", nil)
	p.refused(404, smsapi.CodeNotFound, "GET", "/v3/dances", nil)
	p.refused(400, smsapi.CodeInvalid, "GET", "/v3/tasks?limit=201", nil)
	p.refused(400, smsapi.CodeInvalid, "GET", "/v3/tasks?state=DANCING", nil)
	require.Equal(t, 1, p.list("").Count)
}

func TestStateOutlivesTheServer(t *testing.T) {
	dir := t.TempDir()
	var id, key string
	t.Run("first", func(t *testing.T) {
		p := startPlane(t, dir)
		id, key = p.create(example(t, "create_task_request.json")), p.Key().AccessKey
		p.progress(id, smsapi.Progress{Subtask: smsapi.SSLConfig, Percent: 40})
	})
	p := startPlane(t, dir)
	require.Equal(t, key, p.Key().AccessKey)
	require.Equal(t, smsapi.StateRunning, p.show(id).State)
	require.Equal(t, 40, p.show(id).Subtasks[0].Progress)
	for _, name := range []string{"admin-key.json", "controller.db"} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), name)
	}
}

func TestKeyFileFormat(t *testing.T) {
	dir := t.TempDir()
	p := startPlane(t, dir)
	text, err := os.ReadFile(filepath.Join(dir, "admin-key.json"))
	require.NoError(t, err)
	var fields map[string]string
	require.NoError(t, json.Unmarshal(text, &fields))
	require.Len(t, fields["access_key"], 20)
	require.Len(t, fields["secret_key"], 40)
	require.Contains(t, fields, "domain_id")
	require.Contains(t, fields, "project_id")
	key, err := controller.ReadKey(p.KeyFile())
	require.NoError(t, err)
	require.Equal(t, p.Key(), key)
}

func TestStartRefusals(t *testing.T) {
	dir := t.TempDir()
	start := func(c controller.Config) string {
		_, err := controller.Start(t.Context(), c)
		require.Error(t, err)
		return fault.CodeOf(err)
	}
	require.Equal(t, "FERRY-STORE", start(controller.Config{Store: "mysql://x"}))
	require.Equal(t, "FERRY-STORE", start(controller.Config{Store: "sqlite:"}))
	file := filepath.Join(dir, "db")
	require.NoError(t, os.WriteFile(file, bytes.Repeat([]byte("no database "), 1000), 0o600))
	require.Equal(t, "FERRY-DATABASE", start(controller.Config{Store: "sqlite:" + file}))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "key"), []byte("{}"), 0o600))
	require.Equal(t, "FERRY-KEY-FILE", start(controller.Config{Store: "sqlite:" + filepath.Join(dir, "new"), KeyFile: filepath.Join(dir, "key")}))

	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	free := filepath.Join(dir, "free.db")
	require.Equal(t, "FERRY-LISTEN", start(controller.Config{Store: "sqlite:" + free, Listen: taken.Addr().String()}))
}

func TestCloseLetsRequestsFinish(t *testing.T) {
	dir := t.TempDir()
	var log bytes.Buffer
	server, err := controller.Start(t.Context(), controller.Config{
		Store: "sqlite:" + filepath.Join(dir, "a #1?.db"), Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(dir, "a #1?.db"), "the name of a database is a name, not options")
	conn, err := net.Dial("tcp", strings.TrimPrefix(server.URL(), "http://"))
	require.NoError(t, err)
	defer conn.Close()
	body := example(t, "create_task_request.json")
	r, err := http.NewRequestWithContext(t.Context(), "POST", server.URL()+"/v3/tasks", bytes.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("Expect", "100-continue") // the answer to it says that the request is under way
	server.Key().Sign(r, body, time.Now())
	var raw bytes.Buffer
	require.NoError(t, r.Write(&raw))
	head := raw.Next(raw.Len() - len(body))
	_, err = conn.Write(head)
	require.NoError(t, err)
	line, err := bufio.NewReader(conn).ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, "100 Continue")
	closed := make(chan error)
	go func() { closed <- server.Close() }()
	require.Eventually(t, func() bool {
		other, err := net.Dial("tcp", conn.RemoteAddr().String())
		if err == nil {
			other.Close()
		}
		return err != nil
	}, 10*time.Second, time.Millisecond, "it takes no further connection")
	_, err = conn.Write(raw.Bytes())
	require.NoError(t, err)
	require.NoError(t, <-closed)
	require.Contains(t, log.String(), "task created")
}

// BenchmarkStart is what every `ferry migrate` pays for its control plane: at most 80 ms on a new database, 40 ms on one that exists.
func BenchmarkStart(b *testing.B) {
	start := func(b *testing.B, dir string) {
		server, err := controller.Start(b.Context(), controller.Config{Store: "sqlite:" + filepath.Join(dir, "controller.db")})
		require.NoError(b, err)
		b.StopTimer()
		require.NoError(b, server.Close())
		b.StartTimer()
	}
	b.Run("new", func(b *testing.B) {
		for b.Loop() {
			start(b, b.TempDir())
		}
	})
	b.Run("existing", func(b *testing.B) {
		dir := b.TempDir()
		start(b, dir)
		for b.Loop() {
			start(b, dir)
		}
	})
}
