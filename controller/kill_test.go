package controller_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ferry-migrate/ferry/controller"
	"github.com/ferry-migrate/ferry/controller/store/storetest"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/stretchr/testify/require"
)

// serveEnv, set to a store, makes the test program a controller that serves until it is killed. Its keys lie in the directory keysEnv.
const (
	serveEnv = "FERRY_TEST_SERVE"
	keysEnv  = "FERRY_TEST_KEYS"
)

// serve is the program that is killed.
func serve(address string) {
	server, err := controller.Start(context.Background(), controller.Config{
		Store: address, KeyFile: filepath.Join(os.Getenv(keysEnv), "admin-key.json"), Rate: 1e6,
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(server.URL())
	select {}
}

// A victim is a controller in a process of its own.
type victim struct {
	t    *testing.T
	cmd  *exec.Cmd
	url  string
	key  smsapi.Key
	http *http.Client
}

func startVictim(t *testing.T, address, keys string) *victim {
	t.Helper()
	v := &victim{t: t, cmd: exec.CommandContext(t.Context(), os.Args[0]), http: &http.Client{Transport: &http.Transport{}}}
	v.cmd.Env = append(os.Environ(), serveEnv+"="+address, keysEnv+"="+keys)
	v.cmd.Stderr = os.Stderr
	out, err := v.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, v.cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	v.url = strings.TrimSpace(line)
	v.key, err = controller.ReadKey(filepath.Join(keys, "admin-key.json"))
	require.NoError(t, err)
	return v
}

// kill ends the process as a power cut of its own would: nothing of it runs any more.
func (v *victim) kill() {
	v.cmd.Process.Kill()
	v.cmd.Wait()
	v.http.CloseIdleConnections()
}

// call sends a signed request and reports whether it was acknowledged.
func (v *victim) call(method, path string, body []byte, out any) bool {
	r, err := http.NewRequestWithContext(v.t.Context(), method, v.url+path, bytes.NewReader(body))
	if err != nil {
		return false
	}
	v.key.Sign(r, body, time.Now())
	response, err := v.http.Do(r)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	return err == nil && response.StatusCode == 200 && (out == nil || json.Unmarshal(answer, out) == nil)
}

// A controller that is killed under load, again and again: what it acknowledged is there when it is back.
func TestKill(t *testing.T) {
	for name, address := range map[string]func(dir string) string{
		"sqlite":   func(dir string) string { return "sqlite:" + filepath.Join(dir, "controller.db") },
		"postgres": func(string) string { return storetest.Postgres(t) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			where := address(dir)
			acknowledged := map[string]int{} // percent by task
			for range 2 {
				v := startVictim(t, where, dir)
				requireAcknowledged(t, v, acknowledged)
				load(v, example(t, "create_task_request.json"), acknowledged)
			}
			v := startVictim(t, where, dir)
			defer v.kill()
			requireAcknowledged(t, v, acknowledged)
			require.NotEmpty(t, acknowledged)
		})
	}
}

// load has agents create tasks, start them and report on them until the controller, killed after some of that, does not answer.
func load(v *victim, create []byte, acknowledged map[string]int) {
	var mu sync.Mutex
	calls := make(chan struct{}, 1000)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			var made smsapi.CreateTaskResponse
			for v.call("POST", "/v3/tasks", create, &made) {
				id := made.ID
				percent := -1 // -1: acknowledged, not started
				keep := func(n int) {
					mu.Lock()
					acknowledged[id] = n
					mu.Unlock()
					calls <- struct{}{}
				}
				keep(percent)
				if !v.call("POST", "/v3/tasks/"+id+"/action", []byte(`{"operation":"start"}`), nil) {
					return
				}
				for percent = range 5 {
					body := fmt.Appendf(nil, `{"subtask_name":"SSL_CONFIG","progress":%d,"replicatesize":1,"totalsize":2,"process_trace":""}`, percent)
					if !v.call("PUT", "/v3/tasks/"+id+"/progress", body, nil) {
						return
					}
					keep(percent)
				}
			}
		})
	}
	ended := make(chan struct{})
	go func() {
		group.Wait()
		close(ended)
	}()
	for range 25 {
		select {
		case <-calls:
		case <-ended: // it answers nobody: the next start says why
		}
	}
	v.kill()
	<-ended
}

func requireAcknowledged(t *testing.T, v *victim, acknowledged map[string]int) {
	t.Helper()
	for id, percent := range acknowledged {
		var task smsapi.Task
		require.True(t, v.call("GET", "/v3/tasks/"+id, nil, &task), id)
		require.GreaterOrEqual(t, task.Subtasks[0].Progress, max(percent, 0))
		if percent >= 0 {
			require.Equal(t, smsapi.StateRunning, task.State)
		}
	}
}
