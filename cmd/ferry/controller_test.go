package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/ferry-migrate/ferry/controller"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/stretchr/testify/require"
)

// A controller on all addresses serves TLS by its own authority; `ferry task` finds both beside its key, and users come and go while it
// runs.
func TestControllerOverTLS(t *testing.T) {
	dir := t.TempDir()
	store := "sqlite:" + filepath.Join(dir, "controller.db")
	ctx, stop := context.WithCancel(t.Context())
	output, written := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{"controller", "--store", store, "--listen", "0.0.0.0:0", "--name", "localhost", "--json"}, written, io.Discard)
	}()
	var listening listeningEvent
	require.NoError(t, json.NewDecoder(output).Decode(&listening))
	require.Regexp(t, "^https://", listening.URL)
	require.Equal(t, filepath.Join(dir, "ca.pem"), listening.CAFile)

	call := func(args ...string) (string, error) {
		var out bytes.Buffer
		err := run(t.Context(), args, &out, io.Discard)
		return out.String(), err
	}
	keyFile := filepath.Join(dir, "ann.json")
	out, err := call("controller", "user", "add", "ann", "--role", "reader", "--store", store, "--out", keyFile)
	require.NoError(t, err)
	require.Contains(t, out, keyFile)
	key, err := controller.ReadKey(keyFile)
	require.NoError(t, err)
	require.NotContains(t, out, key.SecretKey)
	info, err := os.Stat(keyFile)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())

	_, err = call("task", "list", "--state", dir)
	require.NoError(t, err, "by the record beside the key file")
	t.Setenv(envAccessKey, key.AccessKey)
	t.Setenv(envSecretKey, key.SecretKey)
	t.Setenv(envCAFile, listening.CAFile)
	_, err = call("task", "list", "--controller", listening.URL)
	require.NoError(t, err, "by the environment")

	out, err = call("controller", "user", "list", "--store", store, "--json")
	require.NoError(t, err)
	require.Contains(t, out, key.AccessKey)
	_, err = call("controller", "user", "remove", "ann", "--store", store)
	require.NoError(t, err)
	_, err = call("task", "list", "--controller", listening.URL)
	require.Equal(t, "FERRY-CONTROLLER-KEY", fault.CodeOf(err), "%v", err)

	backup := filepath.Join(dir, "backup.tar")
	_, err = call("controller", "backup", backup, "--store", store)
	require.NoError(t, err)
	_, err = call("controller", "restore", backup, "--store", store, "--overwrite")
	require.Equal(t, "FERRY-CONTROLLER-RUNNING", fault.CodeOf(err))
	stop()
	require.NoError(t, <-ended)
	_, err = call("controller", "restore", backup, "--store", store, "--overwrite")
	require.NoError(t, err)
}
