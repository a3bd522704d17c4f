package dcs

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ferry-migrate/ferry/e2e/redis"
	"github.com/stretchr/testify/require"
)

func same(t *testing.T, from, to *redis.Server) {
	t.Helper()
	require.Equal(t, from.Do("DEBUG DIGEST"), to.Do("DEBUG DIGEST"))
}

// writer counts in a server, and in a list, until it is ended.
type writer struct {
	stop, done chan struct{}
	n          int
}

func write(s *redis.Server) *writer {
	w := &writer{stop: make(chan struct{}), done: make(chan struct{})}
	c := s.Dial()
	go func() {
		defer close(w.done)
		for {
			select {
			case <-w.stop:
				return
			default:
			}
			w.n++
			for _, args := range [][]string{{"INCR", "counter"}, {"RPUSH", "log", strconv.Itoa(w.n)}, {"SET", fmt.Sprint("key:", w.n%5000), strconv.Itoa(w.n), "PX", "3600000"}} {
				if _, err := c.Do(args...); err != nil {
					return
				}
			}
		}
	}()
	return w
}

func (w *writer) end() int {
	close(w.stop)
	<-w.done
	return w.n
}

// A task is configured and followed under writes, while its machine and the control plane are killed, and stopped in the end: one full
// copy, nothing lost, nothing twice. Started again it goes on where it was.
func TestFollowed(t *testing.T) {
	t.Parallel()
	from, to := redis.Start(t, "--requirepass", "source-secret"), redis.Start(t, "--requirepass", "target-secret")
	s := newStage(t)
	created, _ := s.ask("POST", "/migration/instance", `{"name":"cache","vpc_id":"v","subnet_id":"s","security_group_id":"g"}`)
	id, _ := created["instance_id"].(string)
	s.ask("POST", "/migration/"+id+"/task", fmt.Sprintf(`{"migration_method":"incremental_migration","resume_mode":"auto","bandwidth_limit_mb":"1000",
		"source_instance":{"addrs":%q,"password":"source-secret"},"target_instance":{"addrs":%q,"password":"target-secret"}}`, from.Addr, to.Addr))
	s.status(id, "INCRMIGEATING")
	w := write(from)
	moving := func() {
		before := to.Do("GET counter")
		late := time.Now().Add(patience)
		for to.Do("GET counter") == before {
			require.True(t, time.Now().Before(late), "nothing moves")
			time.Sleep(20 * time.Millisecond) // Redis has no way to wait for a value
		}
	}
	moving()
	kill(s.machine)
	s.work()
	moving()
	listen := strings.TrimPrefix(s.url, "http://")
	kill(s.plane)
	moving()
	s.control(listen)
	s.until("/migration-task/"+id+"/stats", "target_ops", func(v any) bool { return v != "0" })
	stats, _ := s.ask("GET", "/migration-task/"+id+"/stats", "")
	require.Equal(t, true, stats["is_migrating"])
	require.Equal(t, "100", stats["full_migration_progress"])

	n := w.end()
	began := time.Now()
	_, status := s.ask("POST", "/migration-task/"+id+"/sync-stop", "")
	t.Logf("stopped within %v", time.Since(began))
	require.Equal(t, http.StatusNoContent, status)
	task, _ := s.ask("GET", "/migration-task/"+id, "")
	require.Equal(t, "TERMINATED", task["status"])
	same(t, from, to)
	require.Equal(t, fmt.Sprint(n, " ", n), to.Do("GET counter")+" "+to.Do("LLEN log"))

	from.Do("SET after 1")
	s.ask("POST", "/migration-tasks/batch-restart", `{"migration_tasks":["`+id+`"]}`)
	s.status(id, "INCRMIGEATING")
	s.ask("POST", "/migration-task/"+id+"/stop", "")
	s.status(id, "TERMINATED")
	same(t, from, to)
	require.Contains(t, from.Do("INFO stats"), "sync_full:1\r", "it was copied once")
	logs, _ := s.ask("GET", "/migration-task/"+id+"/logs?limit=1000", "")
	require.Contains(t, fmt.Sprint(logs), "follows the source")
	said := s.said() + fmt.Sprint(logs, task)
	require.NotContains(t, said, "source-secret")
	require.NotContains(t, said, "target-secret")
}

// A full copy ends by itself, also when its machine is killed in the middle; so does an import of a file from an HTTP server. What cannot work says why.
func TestCopiedAndImported(t *testing.T) {
	t.Parallel()
	from, to := redis.Start(t), redis.Start(t)
	from.Do("DEBUG POPULATE 20000 key 64")
	from.Do("SAVE")
	s := newStage(t)
	create := func(body string) string {
		answer, _ := s.ask("POST", "/migration-task", body)
		id, _ := answer["id"].(string)
		return id
	}
	machine, _ := s.ask("POST", "/migration/instance", `{"name":"once","vpc_id":"v","subnet_id":"s","security_group_id":"g"}`)
	id, _ := machine["instance_id"].(string)
	s.ask("POST", "/migration/"+id+"/task", fmt.Sprintf(`{"migration_method":"full_amount_migration","resume_mode":"auto","bandwidth_limit_mb":"1",
		"source_instance":{"addrs":%q},"target_instance":{"addrs":%q}}`, from.Addr, to.Addr))
	s.until("/migration-task/"+id, "status", func(v any) bool { return v != "MIGRATING" })
	kill(s.machine)
	s.work()
	s.status(id, "SUCCESS")
	same(t, from, to)
	stats, _ := s.ask("GET", "/migration-task/"+id+"/stats", "")
	require.Equal(t, "100 20000 20000", fmt.Sprint(stats["full_migration_progress"], " ", stats["source_dbsize"], " ", stats["target_dbsize"]))
	task, _ := s.ask("GET", "/migration-task/"+id, "")
	require.Equal(t, "127.0.0.1", task["ecs_tenant_private_ip"])

	to.Do("FLUSHALL")
	files := httptest.NewServer(http.FileServer(http.Dir(from.Dir)))
	defer files.Close()
	backup := `{"task_name":"files","migration_type":"backupfile_import","migration_method":"full_amount_migration","backup_files":
		{"file_source":"self_build_obs","bucket_name":%q,"files":[{"file_name":%q}]},"target_instance":{"id":%q}}`
	s.status(create(fmt.Sprintf(backup, files.URL, "dump.rdb", to.Addr)), "SUCCESS")
	same(t, from, to)
	to.Do("FLUSHALL")
	id = create(fmt.Sprintf(backup, "bucket", "dump.rdb", to.Addr))
	s.status(id, "FAILED")
	list, _ := s.ask("GET", "/migration-tasks?limit=1", "")
	require.Contains(t, fmt.Sprint(list), "no object store is configured")
}
