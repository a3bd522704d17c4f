package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/ferry-migrate/ferry/reporter"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

const childEnv = "FERRY_TEST_RUNNER" // state directory and controller of the child

func TestMain(m *testing.M) {
	if args := os.Getenv(childEnv); args != "" {
		if err := child(args); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// child runs one task with the real reporter and journal, as `ferry migrate` does.
func child(args string) error {
	dir, url, _ := strings.Cut(args, "|")
	client, err := reporter.NewClient(url, smsapi.Key{AccessKey: "AK", SecretKey: "SK"})
	if err != nil {
		return err
	}
	reports, err := reporter.New(client, filepath.Join(dir, "outbox.json"), quiet)
	if err != nil {
		return err
	}
	defer reports.Close()
	r := New(Config{
		Dir: dir, Controller: client, Reporter: reports, Log: quiet,
		Plan: func(*Task) ([]Subtask, error) {
			return []Subtask{&fakeSubtask{name: ssl}, &fakeSubtask{name: migrate}}, nil
		},
	})
	return r.Run(context.Background(), "task")
}

// Killed after any write and any delivery, a task that is run again ends, and the controller hears of every start and end in order.
func TestKilledAtEveryPoint(t *testing.T) {
	if testing.Short() {
		t.Skip("starts many processes")
	}
	points := map[string]int{}
	for _, name := range crashRun(t, "", t.TempDir()).trace {
		points[name]++
	}
	require.Contains(t, points, "agent.journal")
	require.Contains(t, points, "reporter.outbox")
	require.Contains(t, points, "reporter.sent")
	for name, times := range points {
		for hit := 1; hit <= times; hit++ {
			at := fmt.Sprintf("%s:%d", name, hit)
			t.Run(at, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				heard := append(crashRun(t, at, dir).heard, crashRun(t, "", dir).heard...)
				require.NotEmpty(t, heard)
				require.Equal(t, migrate+" 100 done", heard[len(heard)-1])
				require.Contains(t, heard, ssl+" 100 ")
				require.Less(t, indexOf(heard, ssl+" 100 "), indexOf(heard, migrate+" 0 "), "%v", heard)
				require.Less(t, indexOf(heard, migrate+" 0 "), indexOf(heard, migrate+" 100 done"), "%v", heard)
			})
		}
	}
}

func indexOf(all []string, one string) int {
	for i, s := range all {
		if s == one {
			return i
		}
	}
	return -1
}

// A crashed is what a child did: the points it reached and what the controller heard from it.
type crashed struct{ trace, heard []string }

// crashRun runs a child that dies at a point, or ends well if at is empty.
func crashRun(t *testing.T, at, dir string) (c crashed) {
	t.Helper()
	var mu sync.Mutex
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			fmt.Fprint(w, `{"id":"task"}`)
			return
		}
		var p smsapi.Progress
		if err := json.NewDecoder(r.Body).Decode(&p); err != nil {
			t.Error(err)
		}
		trace, _ := smsapi.ParseTrace(p.ProcessTrace)
		mu.Lock()
		defer mu.Unlock()
		c.heard = append(c.heard, fmt.Sprintf("%s %d %s", p.Subtask, p.Percent, trace.Outcome))
	}))
	defer server.Close()
	trace := filepath.Join(t.TempDir(), "trace")
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir+"|"+server.URL, "FERRY_CRASH_AT="+at, "FERRY_CRASH_TRACE="+trace, "GORACE=atexit_sleep_ms=0")
	out, err := cmd.CombinedOutput()
	if at == "" {
		require.NoError(t, err, string(out))
	} else {
		require.Error(t, err, "it did not die at %s", at)
	}
	text, err := os.ReadFile(trace)
	require.NoError(t, err)
	c.trace = strings.Fields(string(text))
	mu.Lock()
	defer mu.Unlock()
	return c
}
