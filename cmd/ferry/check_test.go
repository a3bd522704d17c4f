package main

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/ferry-migrate/ferry/transfer/wire"
)

// listen is a target that enrols one source, and the code for that.
func listen(t *testing.T) (addr, code string) {
	id, err := wire.LoadIdentity(t.TempDir())
	require.NoError(t, err)
	peers, err := wire.OpenKnownPeers(filepath.Join(t.TempDir(), wire.SourcesFile))
	require.NoError(t, err)
	pair := wire.NewPairingCode(id.Fingerprint())
	target, err := wire.Listen("127.0.0.1:0", id, peers, pair, wire.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { target.Close() })
	return target.Addr().String(), pair.Text()
}

// checked runs ferry check --json.
func checked(t *testing.T, args ...string) checkReport {
	out, err := ferryRun(append([]string{"check", "--json"}, args...)...)
	var r checkReport
	require.NoError(t, json.Unmarshal([]byte(out), &r), "%s %v", out, err)
	require.Equal(t, r.OK, err == nil)
	if err != nil {
		require.Equal(t, exitFailed, exitCode(err))
	}
	return r
}

// TestCheckTarget measures the way to a target: without a code, with it, and later without it again.
func TestCheckTarget(t *testing.T) {
	addr, code := listen(t)
	state := filepath.Join(t.TempDir(), "state")
	r := checked(t, "--target", addr, "--state", state)
	require.True(t, r.Network.Target.OK, r.Network.Target.Error)
	require.Less(t, r.Network.Loss, 50.0)
	require.Positive(t, r.Network.Delay)
	require.Zero(t, r.Network.Bandwidth)
	require.Contains(t, r.Network.Unmeasured, "--pair")
	require.NoDirExists(t, state, "nothing is written unless there is a code")

	r = checked(t, "--target", addr, "--state", state, "--pair", code)
	require.Positive(t, r.Network.Bandwidth, r.Network.Unmeasured)
	require.Empty(t, r.Network.Unmeasured)
	out, err := ferryRun("check", "--sms", "--target", addr, "--state", state)
	require.NoError(t, err)
	var body smsapi.NetworkCheck
	require.NoError(t, smsapi.Decode([]byte(out), &body))
	require.True(t, body.DestinationConnectivity && body.DomainConnectivity)
	require.Positive(t, body.MigrationSpeed)

	_, wrong := listen(t)
	r = checked(t, "--target", addr, "--state", filepath.Join(t.TempDir(), "other"), "--pair", wrong)
	require.False(t, r.OK, "a code that does not fit is an error")
	require.True(t, r.Network.Target.OK)
	require.Contains(t, r.Network.Unmeasured, "another key")
}

// TestCheckOther has something else on the port, and nobody.
func TestCheckOther(t *testing.T) {
	other, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
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
	r := checked(t, "--target", other.Addr().String())
	require.False(t, r.Network.Target.OK)
	require.Contains(t, r.Network.Target.Error, "not a ferry target")
	require.False(t, r.OK)
	require.NoError(t, other.Close())
	r = checked(t, "--target", other.Addr().String(), "--domain", other.Addr().String())
	require.False(t, r.Network.Target.OK || r.Network.Domains[0].OK || r.OK)
	require.Equal(t, "poor", r.Network.Evaluation)
}

func TestCheckText(t *testing.T) {
	addr, _ := listen(t)
	out, _ := ferryRun("check", "--target", addr, "--state", t.TempDir())
	require.Contains(t, out, "FERRY-MEMORY")
	for _, line := range strings.Split(out, "\n") {
		if strings.Contains(strings.TrimSpace(line[min(len(line), 9):]), " ") { // a single word may be longer
			require.LessOrEqual(t, utf8.RuneCountInString(line), lineWidth, line)
		}
	}
}

func TestCheckUsage(t *testing.T) {
	for _, args := range [][]string{
		{"extra"}, {"--timeout", "-1s"}, {"--domain", "no-port"}, {"--sms"}, {"--sms", "--json", "--target", "x"}, {"--pair", "x"}, {"--target", "dir:/x"}, {"--target", "a b"},
	} {
		_, err := ferryRun(append([]string{"check"}, args...)...)
		require.Equal(t, exitUsage, exitCode(err), args)
	}
}

func TestWrap(t *testing.T) {
	long := strings.Repeat("x", 90)
	for in, want := range map[string]string{
		"short":                            "short\n",
		"  a " + long:                      "  a\n    " + long + "\n",
		long + " b":                        long + "\n    b\n",
		strings.Repeat("é", 78) + " a b c": strings.Repeat("é", 78) + " a\n    b c\n",
		"":                                 "\n",
	} {
		require.Equal(t, want, wrap(in, 4))
	}
}

// TestCheckRealTarget measures against ferry target as a person starts it: it gets nothing to keep, and goes on serving.
func TestCheckRealTarget(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	dir, into := t.TempDir(), filepath.Join(t.TempDir(), "not-there-yet")
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{"target", "--into", "dir:" + into, "--listen", "127.0.0.1:0", "--json", "--state", filepath.Join(dir, "target")}, w, io.Discard)
		w.Close()
	}()
	var said struct{ Addr, Pair string }
	require.NoError(t, json.NewDecoder(r).Decode(&said))
	go io.Copy(io.Discard, r)
	for _, pair := range [][]string{{"--pair", said.Pair}, nil} {
		c := checked(t, append([]string{"--target", said.Addr, "--state", filepath.Join(dir, "source")}, pair...)...)
		require.Positive(t, c.Network.Bandwidth, c.Network.Unmeasured)
	}
	require.NoDirExists(t, into, "a measurement writes nothing")
	stop()
	require.NoError(t, <-ended)
}
