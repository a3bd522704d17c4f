package agent

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ferry-migrate/ferry/reporter"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// bad are answers that no service should give.
var bad = []func(w http.ResponseWriter, r *http.Request){
	status(500, `{"error_code":"X","error_msg":"oops"}`), status(503, ""), status(502, "<html>bad gateway"), status(200, "<!DOCTYPE html><title>log in"),
	status(200, "{"), status(200, "[[[["), status(200, `"text"`), status(200, "\xff\xfe"), status(302, ""), status(404, "<html>nginx"), status(418, "null"),
	status(401, `{"code":401,"message":"no"}`), status(403, `{"error_code":"SMS.9004","error_msg":"no","details":[{"error_code":"a","error_msg":null}]}`),
	func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "0")
		w.WriteHeader(429)
	},
	func(w http.ResponseWriter, _ *http.Request) { // cut off in the middle
		w.Header().Set("Content-Length", "1000")
		io.WriteString(w, `{"command_name":"STO`)
	},
	func(w http.ResponseWriter, _ *http.Request) {
		if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
			conn.Close()
		}
	},
	func(w http.ResponseWriter, _ *http.Request) { // larger than anything is read
		block := bytes.Repeat([]byte(`{"a":`), 1<<18)
		for range 40 {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	},
}

// odd are answers to a poll that are JSON of the right shape, and ask for nothing or for nonsense.
var odd = []string{
	`{}`, `null`, `{"command_name":null,"command_param":null}`, `{"command_name":"","command_param":{"task_id":null}}`,
	`{"command_name":"TASK_NOT_STARTED"}`, `{"command_name":"DANCE","command_param":{"task_id":"task"}}`, `{"command_name":"START"}`,
	`{"command_name":"START","command_param":{"task_id":"../../../etc/passwd"}}`, `{"command_name":"DELETE","command_param":{"task_id":""}}`,
	`{"command_name":"STOP","command_param":{"task_id":"nobody"}}`, `{"command_name":"UPLOAD_LOG","command_param":{"bucket":"file:///etc"}}`,
	`{"command_name":"UPLOAD_LOG"}`, `{"command_name":"` + strings.Repeat("x", 1<<16) + `"}`, `{"future":{"deep":[1,2,{}]},"command_name":"SKIP"}`,
}

func status(code int, body string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		io.WriteString(w, body)
	}
}

// A hostile service registers whoever comes, answers each poll with the next of its bad and odd answers, then orders a task, and
// refuses every report once in some bad way.
type hostile struct {
	mu      sync.Mutex
	polls   int
	reports int
	refused map[string]bool // reports, by what they say
	told    []string
	ordered bool // START was answered
	done    chan struct{}
	slow    chan struct{} // when not nil polls hang until it is closed
}

func (h *hostile) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	h.mu.Lock()
	slow := h.slow
	answer := h.answer(r.Method, r.URL.Path, string(body))
	h.mu.Unlock()
	if slow != nil && strings.HasSuffix(r.URL.Path, "/command") {
		<-slow
	}
	answer(w, r)
}

// answer picks an answer. The caller holds mu.
func (h *hostile) answer(method, path, body string) func(http.ResponseWriter, *http.Request) {
	switch {
	case path == "/v3/sources":
		return status(200, `{"id":"source","future":1}`)
	case path == "/v3/privacy-agreements":
		return status(200, `{"flag":true}`)
	case path == "/v3/sources/source/command":
		h.polls++
		switch n := h.polls - 1; {
		case n < 2*len(bad) && n%2 == 0:
			return bad[n/2]
		case n%2 == 0 && (n-2*len(bad))/2 < len(odd):
			return status(200, odd[(n-2*len(bad))/2])
		case n > 2*len(bad)+2*len(odd) && !h.ordered:
			return status(200, `{"command_name":"START","command_param":{"task_id":"task"}}`)
		default:
			return status(200, "{}")
		}
	case path == "/v3/tasks/task":
		return status(200, `{"id":null,"type":"MIGRATE_FILE","os_type":"LINUX","state":"CUTOVER_READY","sub_tasks":null,"source_server":null,"target_server":null,"priority":null}`)
	case path == "/v3/tasks":
		return status(200, `{"count":null,"tasks":null}`)
	case strings.HasSuffix(path, "/speed-limit"):
		return status(200, `{"speed_limit":[{"start":"nonsense","end":null,"speed":-5}]}`)
	case strings.HasSuffix(path, "/configuration-setting"):
		return status(200, `{"configurations":[{"config_key":"UNHEARD_OF","config_value":"x"},{"config_key":null}]}`)
	case method == http.MethodPut || strings.HasSuffix(path, "/command_result"):
		return h.report(path, body)
	}
	return status(200, "")
}

// report takes a report the second time only. A permanent refusal would be the end of it, so those are left out.
func (h *hostile) report(path, body string) func(http.ResponseWriter, *http.Request) {
	key := path + body
	if !h.refused[key] {
		h.refused[key] = true
		h.reports++
		return []func(http.ResponseWriter, *http.Request){bad[0], bad[3], bad[11], bad[13], bad[15]}[h.reports%5]
	}
	h.told = append(h.told, path[strings.LastIndex(path, "/")+1:])
	h.ordered = h.ordered || strings.Contains(body, `"START"`) && strings.Contains(body, "success")
	if strings.Contains(body, "outcome") && strings.Contains(body, "done") {
		close(h.done)
	}
	return status(200, "OK")
}

// The agent gets through everything a hostile service does, runs the task that it orders in the end, and tells how it went.
func TestHostileService(t *testing.T) {
	h := &hostile{refused: map[string]bool{}, done: make(chan struct{})}
	server := httptest.NewServer(h)
	defer server.Close()
	client, err := reporter.NewClient(server.URL, smsapi.Key{AccessKey: "AK", SecretKey: "SK"})
	require.NoError(t, err)
	defer client.Close()
	dir := t.TempDir()
	var ran []string
	d, err := NewDaemon(DaemonConfig{
		Dir: dir, Service: client, Log: quiet, Privacy: true, Poll: 10 * time.Millisecond, Logs: dir,
		Host: func(context.Context) smsapi.RegisterSource { return smsapi.RegisterSource{Name: "host"} },
		Prepare: func(t *Task) (*Work, error) {
			ran = append(ran, t.ID) // by the worker alone
			return &Work{Subtasks: []Subtask{&fakeSubtask{name: ssl}}}, nil
		},
	})
	require.NoError(t, err)
	defer d.Close()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	stopped := make(chan error, 1)
	go func() { stopped <- d.Run(ctx) }()
	select {
	case <-h.done:
	case err := <-stopped:
		t.Fatalf("the agent ended: %v", err)
	case <-time.After(2 * time.Minute):
		t.Fatalf("after %d polls the agent did not tell that the task is done: %v", h.polls, h.told)
	}
	// A service that hangs does not hold up the end.
	h.mu.Lock()
	h.slow = make(chan struct{})
	slow := h.slow
	h.mu.Unlock()
	defer close(slow)
	stop()
	select {
	case err := <-stopped:
		require.NoError(t, err)
	case <-time.After(time.Minute):
		t.Fatal("the agent does not end")
	}
	require.NotEmpty(t, ran)
	for _, task := range ran {
		require.Equal(t, "task", task)
	}
	require.Equal(t, Done, journalState(dir, "task"))
	left, err := filepath.Glob(filepath.Join(dir, "tasks", "*"))
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Join(dir, "tasks", "task.json")}, left)
}

// Whatever is commanded in whatever order, the queue holds each task once, its file says the same, and STOP and DELETE leave nothing behind.
func TestQueueAgainstAModel(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		path := filepath.Join(t.TempDir(), "queue.json")
		q, err := openQueue(path, quiet)
		require.NoError(t, err)
		var model []string
		for range rapid.IntRange(1, 30).Draw(r, "commands") {
			task := fmt.Sprint("task", rapid.IntRange(0, 4).Draw(r, "task"))
			at := -1
			for i, m := range model {
				if m == task {
					at = i
				}
			}
			switch rapid.IntRange(0, 3).Draw(r, "command") {
			case 0:
				require.NoError(t, q.add(order{Task: task}))
				if at < 0 {
					model = append(model, task)
				}
			case 1:
				require.NoError(t, q.remove(task))
				if at >= 0 {
					model = append(model[:at:at], model[at+1:]...)
				}
			case 2:
				require.NoError(t, q.begin(task))
			case 3:
				q, err = openQueue(path, quiet)
				require.NoError(t, err)
			}
			file, _ := q.state()
			var now []string
			for _, o := range file.Orders {
				now = append(now, o.Task)
			}
			require.Equal(t, append([]string{}, model...), append([]string{}, now...))
		}
	})
}
