package controller_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ferry-migrate/ferry/controller"
	"github.com/ferry-migrate/ferry/controller/iam"
	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/controller/store/storetest"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/stretchr/testify/require"
)

// Two controllers of one PostgreSQL know the same users, tokens and tasks, and clients trust both by one authority. A third without
// the sealing key of the first does not start.
func TestControllersShareADatabase(t *testing.T) {
	address := storetest.Postgres(t)
	dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()}
	begin := func(dir string) (*controller.Server, error) {
		return controller.Start(t.Context(), controller.Config{Store: address, KeyFile: filepath.Join(dir, "key.json"), TLS: true})
	}
	planes := make([]*plane, 2)
	for i := range planes {
		server, err := begin(dirs[i])
		require.NoError(t, err)
		planes[i] = &plane{T: t, Server: server, clock: &clock{at: time.Now()}, http: &http.Client{Transport: &http.Transport{}}}
		planes[i].trust(filepath.Join(dirs[0], "ca.pem"))
		t.Cleanup(func() {
			planes[i].http.CloseIdleConnections()
			require.NoError(t, server.Close())
		})
		if i == 0 {
			_, err := begin(dirs[2])
			require.Equal(t, "FERRY-SEALING-KEY", fault.CodeOf(err), "%v", err)
			sealing, err := os.ReadFile(filepath.Join(dirs[0], "sealing.key"))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(dirs[1], "sealing.key"), sealing, 0o600))
		}
	}
	require.NotEqual(t, planes[0].Key(), planes[1].Key())
	task := planes[0].create(example(t, "create_task_request.json"))
	require.Equal(t, task, planes[1].show(task).ID)

	db, err := store.Open(t.Context(), address)
	require.NoError(t, err)
	defer db.Close()
	users, err := controller.OpenIdentities(t.Context(), db, filepath.Join(dirs[0], "key.json"), time.Now)
	require.NoError(t, err)
	key, err := users.Add(t.Context(), "ann", iam.Reader, "")
	require.NoError(t, err)
	response, _ := planes[0].open("POST", "/v3/auth/tokens", fmt.Sprintf(
		`{"auth":{"identity":{"methods":["hw_ak_sk"],"hw_ak_sk":{"access":{"key":%q},"secret":{"key":%q}}}}}`, key.AccessKey, key.SecretKey))
	require.Equal(t, http.StatusCreated, response.StatusCode)
	use := func() int {
		r, err := http.NewRequestWithContext(t.Context(), "GET", planes[1].URL()+"/v3/tasks", nil)
		require.NoError(t, err)
		r.Header.Set("X-Auth-Token", response.Header.Get("X-Subject-Token"))
		status, _ := planes[1].send(r)
		return status
	}
	require.Equal(t, 200, use(), "the token of one is good for the other")
	require.NoError(t, users.Remove(t.Context(), "ann"))
	require.Equal(t, http.StatusUnauthorized, use(), "and gone at once")
}
