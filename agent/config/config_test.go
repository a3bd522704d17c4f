package config

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/stretchr/testify/require"
)

func write(t *testing.T, name, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), mode))
	return path
}

func TestLoadLayers(t *testing.T) {
	path := write(t, "agent.yaml", `
# a comment
endpoint: https://controller.example:8899/
poll: 20s
credentials:
  key_file: /etc/ferry/key.json
limits:
  cpu: 50
  memory: 512MiB
  rate: "08:00-18:00=100Mbit,18:00-08:00=0"
name:
`, 0o600)
	c, err := Load(path, []string{"FERRY_POLL=30s", "FERRY_LIMITS_CPU=25", "FERRY_UNRELATED=x", "PATH=/bin"}, map[string]string{"poll": "40s", "log_level": "debug"})
	require.NoError(t, err)
	require.Equal(t, "https://controller.example:8899", c.Endpoint)
	require.Equal(t, c.Endpoint, c.IAM, "our own controller answers for both")
	require.Equal(t, 40*time.Second, c.Poll, "a flag is above the environment")
	require.Equal(t, 25, c.CPU, "the environment is above the file")
	require.Equal(t, int64(512<<20), c.Memory)
	require.Equal(t, "debug", c.LogLevel)
	require.Equal(t, int64(12_500_000), c.Rate.At(time.Date(2026, 1, 1, 12, 0, 0, 0, time.Local)))
	require.Equal(t, filepath.Join(c.State, "logs"), c.Logs)
	require.Equal(t, "full", c.Verify)
	require.Equal(t, 8900, c.TargetPort)

	c, err = Load("", nil, map[string]string{"region": "ru-moscow-1"})
	require.NoError(t, err)
	require.Equal(t, "https://sms-api.ru-moscow-1.myhuaweicloud.com", c.Endpoint)
	require.Equal(t, "https://iam.ru-moscow-1.myhuaweicloud.com", c.IAM)
}

// Somebody who made seven mistakes reads of seven, each with its place.
func TestLoadTellsAllProblems(t *testing.T) {
	path := write(t, "agent.yaml", `endpoint: ftp://nowhere
poll: 1ms
polls: 5s
limits:
  cpu: 200
  disks: 7
state: relative
state: /twice
secret_key: hunter2
credentials: [a]
name: {a: b}
`, 0o600)
	_, err := Load(path, []string{"FERRY_VERIFY=maybe"}, map[string]string{"log_level": "loud"})
	require.Equal(t, "FERRY-CONFIG", fault.CodeOf(err))
	for _, want := range []string{
		"agent.yaml line 1: endpoint: give https", "agent.yaml line 2: poll: give 1s to 5m", "agent.yaml line 3: unknown key polls",
		"agent.yaml line 5: limits.cpu: give 0 to 100", "agent.yaml line 6: unknown key limits.disks", "agent.yaml line 8: state is given twice",
		"agent.yaml line 9: unknown key secret_key: secrets are not kept here", "agent.yaml line 10: the file.credentials is not a mapping",
		"agent.yaml line 11: name takes one value", "FERRY_VERIFY: verify: give none, quick, full", "--log_level: log_level: give debug",
	} {
		require.ErrorContains(t, err, want)
	}
	require.NotContains(t, err.Error(), "hunter2")
}

func TestLoadOddFiles(t *testing.T) {
	for text, want := range map[string]string{
		"":                    "say where the service is",
		"# nothing":           "say where the service is",
		"null":                "not a mapping",
		"- a":                 "not a mapping",
		"a: [":                "line 1",
		"endpoint: \"\\x00\"": "endpoint",
		"endpoint: https://x\nregion: cn-north-4": "line 2: region: endpoint is given too",
		"endpoint: https://u:p@x":                 "without a password",
		"region: ../x":                            "give a region",
		"endpoint: https://x\nproxy: x":           "proxy: give http",
		"endpoint: https://x\ncredentials: {key_file: /a, token_file: /b}": "give one of key_file",
	} {
		_, err := Load(write(t, "agent.yaml", text, 0o600), nil, nil)
		require.ErrorContains(t, err, want, "%q", text)
	}
	_, err := Load("/nonexistent/agent.yaml", nil, nil)
	require.Equal(t, "FERRY-CONFIG", fault.CodeOf(err))
	_, err = Load(write(t, "agent.yaml", strings.Repeat("#\n", maxFile), 0o600), nil, nil)
	require.ErrorContains(t, err, "larger than")
	c, err := Load(write(t, "agent.yaml", "endpoint: https://x\nlimits:\n", 0o600), nil, nil)
	require.NoError(t, err, "an empty group is fine")
	require.Zero(t, c.CPU)
}

// environment returns a getenv.
func environment(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func TestSecrets(t *testing.T) {
	key := write(t, "key.json", `{"access_key":"AK","secret_key":"SK-secret","domain_id":"d","project_id":"p"}`, 0o600)
	token := write(t, "token", "tok-secret\n", 0o600)
	password := write(t, "password", "pass-secret\r\n", 0o600)
	units := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(units, "ferry-token"), []byte("unit-token"), 0o440))
	base := Config{Endpoint: "https://x", IAM: "https://iam", User: "u", Domain: "d"}
	for name, c := range map[string]struct {
		change func(*Config)
		env    []string
		want   reporter.Auth
	}{
		"key file": {func(c *Config) { c.KeyFile = key }, []string{"FERRY_TOKEN", "no"},
			&reporter.KeyAuth{Key: smsapi.Key{AccessKey: "AK", SecretKey: "SK-secret", DomainID: "d", ProjectID: "p"}, IAM: "https://iam"}},
		"domain above": {func(c *Config) { c.KeyFile, c.DomainID = key, "other" }, nil,
			&reporter.KeyAuth{Key: smsapi.Key{AccessKey: "AK", SecretKey: "SK-secret", DomainID: "other", ProjectID: "p"}, IAM: "https://iam"}},
		"token file":    {func(c *Config) { c.TokenFile = token }, nil, reporter.TokenAuth("tok-secret")},
		"password file": {func(c *Config) { c.PasswordFile = password }, nil, &reporter.PasswordAuth{IAM: "https://iam", User: "u", Domain: "d", Password: "pass-secret"}},
		"systemd":       {func(*Config) {}, []string{"CREDENTIALS_DIRECTORY", units, "CLOUD_SDK_AK", "a", "CLOUD_SDK_SK", "b"}, reporter.TokenAuth("unit-token")},
		"environment": {func(*Config) {}, []string{"CLOUD_SDK_AK", "a", "CLOUD_SDK_SK", "b", "CLOUD_SDK_SECURITY_TOKEN", "st"},
			&reporter.KeyAuth{Key: smsapi.Key{AccessKey: "a", SecretKey: "b"}, SecurityToken: "st", IAM: "https://iam"}},
		"environment token":    {func(*Config) {}, []string{"FERRY_TOKEN", "t"}, reporter.TokenAuth("t")},
		"environment password": {func(*Config) {}, []string{"FERRY_PASSWORD", "p"}, &reporter.PasswordAuth{IAM: "https://iam", User: "u", Domain: "d", Password: "p"}},
	} {
		cfg := base
		c.change(&cfg)
		o, err := cfg.Options(environment(c.env...))
		require.NoError(t, err, name)
		require.Equal(t, c.want, o.Auth, name)
		for _, format := range []string{"%v", "%+v", "%#v"} {
			require.NotContains(t, fmt.Sprintf(format, cfg), "secret", name)
		}
	}
}

func TestSecretsRefused(t *testing.T) {
	base := Config{Endpoint: "https://x"}
	for name, c := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"none":       {func(*Config) {}, "no credentials"},
		"absent":     {func(c *Config) { c.KeyFile = "/nonexistent" }, "no such file"},
		"no json":    {func(c *Config) { c.KeyFile = write(t, "k", "AK:SK-secret", 0o600) }, "it is not {"},
		"no secret":  {func(c *Config) { c.KeyFile = write(t, "k", `{"access_key":"a"}`, 0o600) }, "it is not {"},
		"no token":   {func(c *Config) { c.TokenFile = write(t, "k", "a secret", 0o600) }, "not a token"},
		"no user":    {func(c *Config) { c.PasswordFile = write(t, "k", "secret", 0o600) }, "needs credentials.user"},
		"large":      {func(c *Config) { c.TokenFile = write(t, "k", strings.Repeat("x", 1<<20), 0o600) }, "at most 64 KiB"},
		"directory":  {func(c *Config) { c.TokenFile = t.TempDir() }, "it is not a file"},
		"readable":   {func(c *Config) { c.KeyFile = write(t, "k", `{"access_key":"a","secret_key":"b"}`, 0o640) }, "others may read it"},
		"everybody":  {func(c *Config) { c.TokenFile = write(t, "k", "t", 0o604) }, "chmod 0600"},
		"bad CA":     {func(c *Config) { c.TokenFile, c.CAFile = write(t, "k", "t", 0o600), write(t, "ca", "x", 0o600) }, "no certificates"},
		"missing CA": {func(c *Config) { c.TokenFile, c.CAFile = write(t, "k", "t", 0o600), "/nonexistent" }, "no certificates"},
	} {
		if runtime.GOOS == "windows" && (name == "readable" || name == "everybody") {
			continue
		}
		cfg := base
		c.change(&cfg)
		_, err := cfg.Options(environment())
		require.ErrorContains(t, err, c.want, name)
		require.NotEmpty(t, fault.CodeOf(err), name)
		require.NotContains(t, err.Error(), "secret_key\":\"", name)
		require.NotContains(t, err.Error(), "SK-secret", name)
	}
}

// The options make a client that works, with a proxy that is asked for the service.
func TestOptionsProxy(t *testing.T) {
	c := Config{Endpoint: "http://service.example", Proxy: "http://127.0.0.1:1", TokenFile: write(t, "k", "t", 0o600)}
	o, err := c.Options(environment())
	require.NoError(t, err)
	client, err := reporter.Open(o)
	require.NoError(t, err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err = client.ServiceConfig(ctx)
	require.ErrorContains(t, err, "proxyconnect", "the name is not resolved here")
}

func TestTableIsInTheDocumentation(t *testing.T) {
	text, err := os.ReadFile("../../docs/AGENT.md")
	require.NoError(t, err)
	require.Contains(t, string(text), Table(), "docs/AGENT.md: replace the table of keys by this one")
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("endpoint: https://x\nlimits: {cpu: 1}\n"))
	f.Add([]byte("a: &a [*a]\n? {}\n: x\n<<: {b: c}"))
	f.Fuzz(func(_ *testing.T, text []byte) {
		parse("x", text)
	})
}
