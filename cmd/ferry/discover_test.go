package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/collector/inventory"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/ferry-migrate/ferry/transfer/wire"
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
	for _, args := range [][]string{{"--json", "--sms"}, {"--image", "x", "--sms"}, {"--image", "x", "--watch"}, {"extra"}} {
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

// TestCheckTarget measures the way to a listener that speaks Ferry's protocol, to one that does not, and to nobody.
func TestCheckTarget(t *testing.T) {
	id, err := wire.LoadIdentity(t.TempDir())
	require.NoError(t, err)
	peers, err := wire.OpenKnownPeers(filepath.Join(t.TempDir(), "peers"))
	require.NoError(t, err)
	target, err := wire.Listen("127.0.0.1:0", id, peers, wire.NewPairingCode(id.Fingerprint()), wire.Options{})
	require.NoError(t, err)
	defer target.Close()
	other, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer other.Close()
	go func() {
		for {
			c, err := other.Accept()
			if err != nil {
				return
			}
			c.Write([]byte("SSH-2.0-OpenSSH_9.2\r\n"))
			c.Close()
		}
	}()
	check := func(addr string) checkReport {
		out, err := ferryRun("check", "--json", "--target", addr)
		var r checkReport
		require.NoError(t, json.Unmarshal([]byte(out), &r))
		require.Equal(t, r.OK, err == nil)
		if err != nil {
			require.Equal(t, exitFailed, exitCode(err))
		}
		return r
	}
	r := check(target.Addr().String())
	require.True(t, r.Network.Target.OK, r.Network.Target.Error)
	require.Zero(t, r.Network.Loss)
	require.Positive(t, r.Network.Delay)
	r = check(other.Addr().String())
	require.False(t, r.Network.Target.OK)
	require.Contains(t, r.Network.Target.Error, "not a ferry target")
	require.False(t, r.OK)

	out, _ := ferryRun("check")
	require.Contains(t, out, "FERRY-MEMORY")
	_, err = ferryRun("check", "--domain", "no-port")
	require.Equal(t, exitUsage, exitCode(err))
}
