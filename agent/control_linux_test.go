package agent

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter/report"
	"github.com/stretchr/testify/require"
)

// fakeControls remembers what it was told.
type fakeControls struct {
	mu   sync.Mutex
	told []string
	err  error
}

func (f *fakeControls) tell(what string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told = append(f.told, what)
	return f.err
}

func (f *fakeControls) Status() report.Report {
	return report.Report{Task: "task", Subtask: migrate, Percent: 41, Remaining: time.Minute}
}
func (f *fakeControls) SetLimit(limit string) error { return f.tell("limit " + limit) }
func (f *fakeControls) Cutover() error              { return f.tell("cutover") }
func (f *fakeControls) Stop() error                 { return f.tell("stop") }

func TestControl(t *testing.T) {
	// Deeper than a socket address can say.
	dir := filepath.Join(t.TempDir(), strings.Repeat("deep", 40))
	require.NoError(t, os.Mkdir(dir, 0o755))
	ctx := t.Context()
	client := DialControl(dir)
	_, err := client.Status(ctx)
	require.Equal(t, "FERRY-NOT-RUNNING", fault.CodeOf(err))

	controls := &fakeControls{}
	server, err := ServeControl(dir, controls, quiet)
	require.NoError(t, err)
	info, err := os.Stat(ControlPath(dir))
	require.NoError(t, err)
	require.Equal(t, os.ModeSocket|0o600, info.Mode())
	status, err := client.Status(ctx)
	require.NoError(t, err)
	require.Equal(t, controls.Status(), status)
	require.NoError(t, client.SetLimit(ctx, "25MiB"))
	require.NoError(t, client.Cutover(ctx))
	require.NoError(t, client.Stop(ctx))
	require.Equal(t, []string{"limit 25MiB", "cutover", "stop"}, controls.told)

	controls.err = errors.New("not syncing")
	require.EqualError(t, client.Cutover(ctx), "not syncing")
	controls.err = fault.Operator("FERRY-LIMIT", "say 25MiB", errors.New("bad limit"))
	err = client.SetLimit(ctx, "x")
	require.Equal(t, "FERRY-LIMIT", fault.CodeOf(err))
	require.Equal(t, "say 25MiB", fault.RemedyOf(err))

	// A second server takes the place of a first that died: its socket is still there.
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1, "nothing but the socket")
	successor, err := ServeControl(dir, &fakeControls{}, quiet)
	require.NoError(t, err)
	_, err = client.Status(ctx)
	require.NoError(t, err)
	require.NoError(t, server.Close())
	require.NoError(t, successor.Close())
	left, err = os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestControlRoutes(t *testing.T) {
	dir := t.TempDir()
	controls := &fakeControls{}
	server, err := ServeControl(dir, controls, quiet)
	require.NoError(t, err)
	defer server.Close()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialControl(ctx, ControlPath(dir))
		},
	}}
	get := func(method, path, body string) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), method, "http://control"+path, strings.NewReader(body))
		require.NoError(t, err)
		response, err := client.Do(r)
		require.NoError(t, err)
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		return response.StatusCode, string(text)
	}
	status, text := get("GET", "/goroutines", "")
	require.Equal(t, 200, status)
	require.Contains(t, text, "goroutine ")
	status, text = get("GET", "/debug/pprof/heap?debug=1", "")
	require.Equal(t, 200, status)
	require.Contains(t, text, "heap profile")
	status, _ = get("GET", "/debug/pprof/cmdline", "")
	require.Equal(t, 404, status, "a pairing code may be on the command line")
	status, _ = get("GET", "/cutover", "")
	require.Equal(t, 405, status)
	for _, body := range []string{"", "{", `{"limit":7}`, strings.Repeat(" ", maxControlBody+1)} {
		status, _ = get("POST", "/limit", body)
		require.Equal(t, 400, status, "%.10q", body)
	}
	require.Empty(t, controls.told)
}
