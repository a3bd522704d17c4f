package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/collector/inventory"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// ferryRun runs the command line and returns standard output.
func ferryRun(args ...string) (string, error) {
	var out, errs bytes.Buffer
	err := run(context.Background(), args, &out, &errs)
	return out.String(), err
}

func TestDiscoverJSON(t *testing.T) {
	out, err := ferryRun("discover", "--json")
	require.NoError(t, err)
	d := json.NewDecoder(bytes.NewReader([]byte(out)))
	d.DisallowUnknownFields()
	var s inventory.Server
	require.NoError(t, d.Decode(&s))
	require.Equal(t, inventory.SchemaVersion, s.Schema)
	require.NotEmpty(t, s.Host.Hostname)
	require.Positive(t, s.Memory.Total)
}

func TestDiscoverSMS(t *testing.T) {
	out, err := ferryRun("discover", "--sms")
	require.NoError(t, err)
	var body smsapi.RegisterSource
	require.NoError(t, smsapi.Decode([]byte(out), &body))
	require.NotEmpty(t, body.OSVersion)
	require.NotEmpty(t, body.AgentVersion)
}

func TestDiscoverUsage(t *testing.T) {
	for _, args := range [][]string{{"--json", "--sms"}, {"--image", "x", "--sms"}, {"--image", "x", "--watch"}, {"extra"}, {"--timeout", "0s"}} {
		_, err := ferryRun(append([]string{"discover"}, args...)...)
		require.Equal(t, exitUsage, exitCode(err), args)
	}
	_, err := ferryRun("discover", "--image", filepath.Join(t.TempDir(), "none"))
	require.Equal(t, exitFailed, exitCode(err))
	require.Equal(t, "FERRY-IMAGE-MISSING", fault.CodeOf(err))
	require.NotEmpty(t, fault.RemedyOf(err))
}

func TestDiscoverBlankImage(t *testing.T) {
	name := filepath.Join(t.TempDir(), "blank")
	require.NoError(t, os.WriteFile(name, make([]byte, 1<<20), 0o600))
	out, err := ferryRun("discover", "--image", name)
	require.NoError(t, err)
	require.Contains(t, out, name)
	require.Contains(t, out, "1 MiB")
}
