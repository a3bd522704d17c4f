package support

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/internal/fault"
)

// secrets are what must never be in a bundle, and lines in which they stand.
var secrets = map[string]string{
	"s3cr3t-of-url":      "dial redis://user:s3cr3t-of-url@10.0.0.1:6379/0 failed",
	"ABCDEFGH234567":     "ferry migrate /srv --to host --pair FERRY1-ABCDEFGH234567",
	"sig-of-request":     "Authorization: SDK-HMAC-SHA256 Access=AK, Signature=sig-of-request",
	"token-in-a-header":  `"X-Auth-Token": "token-in-a-header"`,
	"password-of-config": "credentials.password: password-of-config",
	"json-secret-key":    `{"access_key":"x","secret_key":"json-secret-key","port":8900}`,
	"presigned-value":    "PUT https://bucket/object?X-Amz-Signature=presigned-value&x=1",
	"MIIEvQIBADANBgkqh":  "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqh\n-----END PRIVATE KEY-----",
	"passphrase-value":   "passphrase=passphrase-value level=info",
}

func TestRedact(t *testing.T) {
	for secret, line := range secrets {
		out, n := Redact([]byte(line))
		require.NotContains(t, string(out), secret)
		require.Positive(t, n, line)
	}
	const plain = "time=2026-11-21T13:00:00Z level=INFO msg=\"pass done\" files=12 bytes=4096 target=10.0.0.2:8900 url=http://127.0.0.1:8899/v3\n"
	out, n := Redact([]byte(plain))
	require.Zero(t, n)
	require.Equal(t, plain, string(out))
}

// stateDir composes a state directory with something of every kind in it.
func stateDir(t *testing.T) string {
	dir := t.TempDir()
	put := func(name, text string) {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	put("identity.key", "MIIEvQIBADANBgkqh")
	put("admin-key.json", `{"secret_key":"json-secret-key"}`)
	put("targets.json", `{"pair":"ABCDEFGH234567"}`)
	put("tasks/t1.json", `{"version":1,"state":"RUNNING","done":["SSL_CONFIG"],"spec":{"password":"password-of-config","id":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16]}}`)
	put("tasks/t2.json.damaged", "{")
	put("tasks/t3.json", "not json")
	put("sources/a/b/base", "no manifest")
	put("controller.db", "SQLite format 3")
	return dir
}

func TestDescribe(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, Describe(&out, stateDir(t)))
	for _, want := range []string{"tasks/t1.json", "state: RUNNING", "- : SSL_CONFIG", "0102030405060708090a0b0c0d0e0f10", "not JSON from byte", "cannot be read"} {
		require.Contains(t, strings.ReplaceAll(out.String(), "-: ", "- : "), want)
	}
	for secret := range secrets {
		require.NotContains(t, out.String(), secret)
	}
	require.Equal(t, "FERRY-STATE", fault.CodeOf(Describe(&out, filepath.Join(t.TempDir(), "none"))))
}

// unpack returns the files of a bundle and its manifest.
func unpack(t *testing.T, text []byte) (files map[string]string, m Manifest) {
	zip, err := gzip.NewReader(bytes.NewReader(text))
	require.NoError(t, err)
	archive := tar.NewReader(zip)
	files = map[string]string{}
	for {
		h, err := archive.Next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		content, err := io.ReadAll(archive)
		require.NoError(t, err)
		files[h.Name] = string(content)
	}
	require.NoError(t, json.Unmarshal([]byte(files[manifestName]), &m))
	return files, m
}

func TestBundle(t *testing.T) {
	logs := t.TempDir()
	var log strings.Builder
	for _, line := range secrets {
		fmt.Fprintf(&log, "level=WARN %s\n", line)
	}
	log.WriteString("level=ERROR msg=\"subtask failed\" error=\"write: no space left on device\" code=FERRY-TARGET-FULL\n")
	require.NoError(t, os.WriteFile(filepath.Join(logs, "agent.log"), []byte(log.String()), 0o600))
	config := filepath.Join(t.TempDir(), "agent.yaml")
	require.NoError(t, os.WriteFile(config, []byte("endpoint: https://sms\ncredentials:\n  password: password-of-config\n"), 0o600))
	var out bytes.Buffer
	m, err := WriteBundle(t.Context(), &out, Contents{
		State: stateDir(t), Logs: logs, Config: config, Version: "1.2.3",
		Sources: []Source{
			{"status.json", func(context.Context) ([]byte, error) { return nil, errors.New("the agent is not running") }},
			{"inventory.json", func(context.Context) ([]byte, error) { return []byte(`{"name":"web-1"}`), nil }},
		},
	})
	require.NoError(t, err)
	files, read := unpack(t, out.Bytes())
	require.Equal(t, *m, read)
	require.Contains(t, files, "logs/agent.log")
	require.Contains(t, files, "state/tasks/t1.json")
	require.Contains(t, files, "state/tasks/t2.json.damaged")
	require.Contains(t, files["config/agent.yaml"], "https://sms")
	left := fmt.Sprint(m.Left)
	for _, name := range []string{"state/identity.key", "state/admin-key.json", "state/targets.json", "state/controller.db", "status.json the agent is not running"} {
		require.Contains(t, left, name)
	}
	for name, text := range files {
		for secret := range secrets {
			require.NotContains(t, text, secret, name)
		}
	}

	found, err := Explain(t.Context(), &out)
	require.NoError(t, err)
	names := map[string]Finding{}
	for _, f := range found {
		names[f.Name] = f
	}
	require.Contains(t, names, "source-full")
	require.Contains(t, names, "FERRY-TARGET-FULL")
	require.NotEmpty(t, names["FERRY-TARGET-FULL"].Remedy)
	require.Equal(t, "logs/agent.log", names["source-full"].Evidence[0].File)
	require.NotContains(t, names, "grub")
}

// TestBundleBounds fills the logs with what cannot be packed: the bundle stays small, and whole.
func TestBundleBounds(t *testing.T) {
	logs := t.TempDir()
	random := rand.NewChaCha8([32]byte{1})
	raw := make([]byte, 4<<20)
	for i := range 6 {
		_, _ = random.Read(raw)
		raw[len(raw)-1] = '\n'
		name := filepath.Join(logs, fmt.Sprintf("agent.log.%d", i))
		require.NoError(t, os.WriteFile(name, raw, 0o600))
		old := time.Now().Add(-time.Duration(i) * time.Hour)
		require.NoError(t, os.Chtimes(name, old, old))
	}
	var out bytes.Buffer
	m, err := WriteBundle(t.Context(), &out, Contents{Logs: logs})
	require.NoError(t, err)
	require.LessOrEqual(t, out.Len(), MaxBundle)
	files, _ := unpack(t, out.Bytes())
	require.Contains(t, files, "logs/agent.log.0", "the newest")
	require.NotContains(t, files, "logs/agent.log.5", "the oldest")
	require.NotEmpty(t, m.Left)
}

func TestExplainRefuses(t *testing.T) {
	_, err := Explain(t.Context(), strings.NewReader("no archive"))
	require.Equal(t, "FERRY-BUNDLE", fault.CodeOf(err))
}

func TestFailures(t *testing.T) {
	require.GreaterOrEqual(t, len(Failures), 40)
	names := map[string]bool{}
	for _, f := range Failures {
		require.False(t, names[f.Name], f.Name)
		names[f.Name] = true
		require.NotEmpty(t, f.Cause)
		require.NotEmpty(t, f.Remedy)
		require.NotEmpty(t, f.Signs)
		for _, sign := range f.Signs {
			require.Equal(t, strings.ToLower(sign), sign)
		}
	}
}

func FuzzExplain(f *testing.F) {
	var out bytes.Buffer
	if _, err := WriteBundle(context.Background(), &out, Contents{Sources: []Source{
		{"a.txt", func(context.Context) ([]byte, error) { return []byte("FERRY-TARGET-FULL\nno such host\n"), nil }},
	}}); err != nil {
		f.Fatal(err)
	}
	f.Add(out.Bytes())
	f.Add([]byte{0x1f, 0x8b})
	f.Fuzz(func(t *testing.T, bundle []byte) {
		found, err := Explain(context.Background(), bytes.NewReader(bundle))
		if err == nil && len(found) > len(Failures)+len(Codes()) {
			t.Fatal(len(found))
		}
	})
}
