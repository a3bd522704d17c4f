package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// An agent is one source with a connection of its own.
type agent struct {
	plane        *plane
	number       int
	source, task string

	mu     sync.Mutex // its calls come one by one
	conn   net.Conn
	answer *bufio.Reader
	done   int64
}

const answerTimeout = 30 * time.Second

// enrol registers the source, and starts a task for it.
func (a *agent) enrol(ctx context.Context, withTask bool) error {
	mac := fmt.Sprintf("02:00:%02x:%02x:%02x:%02x", a.number>>24&255, a.number>>16&255, a.number>>8&255, a.number&255)
	var registered struct{ ID string }
	err := a.do(ctx, "POST", "/v3/sources", map[string]any{
		"name": fmt.Sprintf("source-%d", a.number), "ip": "192.0.2.1", "os_type": "LINUX", "os_version": "DEBIAN_12_64BIT", "agent_version": "25.5.0",
		"networks": []any{map[string]any{"name": "eth0", "ip": "192.0.2.1", "mac": mac, "mtu": 1500}},
		"disks":    []any{}, "btrfs_list": []any{}, "volume_groups": []any{}, "has_rsync": true, "has_tc": true, "paravirtualization": false,
		"raw_devices": "", "boot_loader": "GRUB", "firmware": "BIOS", "cpu_quantity": 2, "memory": 4096,
	}, &registered)
	if err != nil || !withTask {
		a.source = registered.ID
		return err
	}
	a.source = registered.ID
	var created struct{ ID string }
	err = a.do(ctx, "POST", "/v3/tasks", map[string]any{
		"name": fmt.Sprintf("task-%d", a.number), "type": "MIGRATE_FILE", "os_type": "LINUX", "region_name": "r", "region_id": "r", "project_name": "p",
		"project_id": "p", "source_server": map[string]any{"id": a.source}, "auto_start": true,
		"target_server": map[string]any{"name": "t", "vm_id": "", "disks": []any{}, "volume_groups": []any{}},
	}, &created)
	a.task = created.ID
	if err == nil {
		err = a.call("poll")
	}
	if err == nil {
		err = a.do(ctx, "POST", "/v3/sources/"+a.source+"/command_result",
			map[string]any{"command_name": "START", "result": "success", "result_detail": map[string]any{}}, nil)
	}
	return err
}

// call does what an agent does all the time.
func (a *agent) call(operation string) error {
	if operation == "poll" {
		return a.do(context.Background(), "GET", "/v3/sources/"+a.source+"/command", nil, nil)
	}
	a.done++
	return a.do(context.Background(), "PUT", "/v3/tasks/"+a.task+"/progress", smsapi.Progress{
		Subtask: smsapi.MigrateLinuxFile, Percent: int(a.done % 100), ReplicatedSize: a.done << 20, TotalSize: 1 << 40, MigrateSpeed: 100,
	}, nil)
}

// do sends one signed request over the agent's connection, and reads the answer into out.
func (a *agent) do(ctx context.Context, method, path string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, a.plane.URL+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	a.plane.key.Sign(request, body, time.Now())
	a.mu.Lock()
	defer a.mu.Unlock()
	text, status, err := a.exchange(request)
	if err != nil {
		a.drop()
		return err
	}
	if status != http.StatusOK {
		return fmt.Errorf("%s %s: %d %s", method, path, status, text)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}

func (a *agent) exchange(request *http.Request) (text []byte, status int, err error) {
	if a.conn == nil {
		if a.conn, err = (&net.Dialer{Timeout: answerTimeout}).DialContext(request.Context(), "tcp", request.URL.Host); err != nil {
			return nil, 0, err
		}
		a.answer = bufio.NewReaderSize(a.conn, 512)
	}
	if err := errors.Join(a.conn.SetDeadline(time.Now().Add(answerTimeout)), request.Write(a.conn)); err != nil {
		return nil, 0, err
	}
	response, err := http.ReadResponse(a.answer, request)
	if err != nil {
		return nil, 0, err
	}
	defer response.Body.Close()
	text, err = io.ReadAll(response.Body)
	return text, response.StatusCode, err
}

func (a *agent) drop() {
	if a.conn != nil {
		a.conn.Close()
		a.conn = nil
	}
}
