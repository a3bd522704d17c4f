package packages

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// windows is a Windows of wine's.
type windows struct {
	t      *testing.T
	prefix string
}

const wine = "/usr/lib/wine/wine64"

// newWindows makes one, with the library that Go wants and wine 8 lacks.
func newWindows(t *testing.T) windows {
	t.Helper()
	if _, err := os.Stat(wine); err != nil {
		t.Skip("wine64 is not installed")
	}
	w := windows{t, t.TempDir()}
	t.Cleanup(func() { // its services and registry end with the server
		w.server("-k")
		w.server("-w")
	})
	w.run("wineboot", "-i")
	w.server("-w") // its service manager is not all there before it started once
	tool(t, "x86_64-w64-mingw32-gcc", "-shared", "-nostdlib", "-e", "DllMain", "-o", w.path("windows/system32/bcryptprimitives.dll"), "testdata/bcryptprimitives.c", "-ladvapi32")
	return w
}

func (w windows) server(arg string) {
	cmd := exec.Command("/usr/lib/wine/wineserver64", arg)
	cmd.Env = append(os.Environ(), "WINEPREFIX="+w.prefix)
	cmd.Run() // it may have ended
}

func (w windows) path(name string) string { return filepath.Join(w.prefix, "drive_c", name) }

// try runs a program and returns what it said.
func (w windows) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(w.t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, wine, args...)
	cmd.Env = append(os.Environ(), "WINEPREFIX="+w.prefix, "WINEDEBUG=-all")
	said, err := os.CreateTemp(w.t.TempDir(), "said") // no pipe: a service that is started keeps it, and dies when it is closed
	if err != nil {
		return "", err
	}
	defer said.Close()
	cmd.Stdout, cmd.Stderr = said, said
	failed := cmd.Run()
	out, err := os.ReadFile(said.Name())
	return strings.ReplaceAll(string(out), "\r", ""), errors.Join(failed, err)
}

func (w windows) run(args ...string) string {
	w.t.Helper()
	out, err := w.try(args...)
	if err != nil {
		w.t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return out
}

// until polls: a service manager has no event for it.
func (w windows) until(state string) {
	w.t.Helper()
	said := ""
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		if said = w.run("sc", "query", "ferry"); strings.Contains(said, state) {
			return
		}
	}
	w.t.Fatalf("not %s within two minutes: %s", state, said)
}

// TestMSI installs the MSI, sees the service begin a configuration and say why it ended, fills that in, starts, asks and stops the
// service, and removes it. Then the program does the same by itself.
func TestMSI(t *testing.T) {
	dir := dist(t)
	w := newWindows(t)
	const ferry = `C:\Program Files\Ferry\ferry.exe`
	msi := only(t, filepath.Join(dir, "*_windows_amd64.msi"))
	require.Contains(t, tool(t, "msiinfo", "export", msi, "Upgrade"), "WIX_DOWNGRADE_DETECTED")
	require.Contains(t, tool(t, "osslsigncode", "verify", "-CAfile", filepath.Join(filepath.Dir(dir), "authenticode.pem"), "-in", msi), "Signature verification: ok")

	tool(t, "cp", msi, w.path("ferry.msi"))
	w.run("msiexec", "/i", `C:\ferry.msi`, "/qn")
	w.until("STOPPED")
	config := w.path("ProgramData/Ferry/agent.yaml")
	require.FileExists(t, config)
	out, err := w.try(ferry, "agent", "status")
	require.Error(t, err)
	require.Contains(t, out, "FERRY-NOT-RUNNING")
	require.Contains(t, w.run("reg", "query", `HKLM\SYSTEM\CurrentControlSet\Services\EventLog\Application\ferry`), "EventCreate.exe")

	// A service that nobody answers runs all the same, and is not well.
	require.NoError(t, os.WriteFile(config, []byte("endpoint: http://127.0.0.1:9\naccept_privacy_statement: true\ncredentials: { key_file: 'C:\\ProgramData\\Ferry\\key.json' }\n"), 0o600))
	key := w.path("ProgramData/Ferry/key.json")
	require.NoError(t, os.WriteFile(key, []byte(`{"access_key":"AK","secret_key":"a secret"}`), 0o600))
	w.run(ferry, "agent", "run", "--check")
	sealed, err := os.ReadFile(key)
	require.NoError(t, err)
	require.NotContains(t, string(sealed), "a secret", "DPAPI sealed it")
	lifeOfService(w, ferry)
	require.Contains(t, w.run("reg", "query", `HKLM\SYSTEM\CurrentControlSet\Services\ferry`), `"C:\Program Files\Ferry\ferry.exe" agent run --service`, "in quotes")

	w.run("msiexec", "/x", `C:\ferry.msi`, "/qn")
	_, err = w.try("sc", "query", "ferry")
	require.Error(t, err, "no service any more")
	require.NoFileExists(t, w.path("Program Files/Ferry/ferry.exe"))
	require.FileExists(t, config, "the configuration stays")

	zip := only(t, filepath.Join(dir, "*_windows_amd64.zip"))
	tool(t, "python3", "-m", "zipfile", "-e", zip, w.path(""))
	w.run("reg", "add", `HKLM\SYSTEM\CurrentControlSet\Services\EventLog\Application`, "/f") // every Windows has it, wine does not
	const own = `C:\ferry\ferry.exe`
	require.Contains(t, w.run(own, "agent", "install"), "installed (windows-service)")
	w.run(own, "agent", "install")
	lifeOfService(w, own)
	w.run(own, "agent", "uninstall")
	w.run(own, "agent", "uninstall")
	_, err = w.try("sc", "query", "ferry")
	require.Error(t, err)
	require.DirExists(t, w.path("ProgramData/Ferry"), "what it knows stays")
}

// lifeOfService starts, asks and stops the service with a program, each twice.
func lifeOfService(w windows, ferry string) {
	w.t.Helper()
	w.run(ferry, "agent", "start")
	w.run(ferry, "agent", "start")
	w.until("RUNNING")
	require.Eventually(w.t, func() bool {
		out, _ := w.try(ferry, "agent", "status") // it has no contact, so it is not well
		return strings.Contains(out, "pid:") && strings.Contains(out, "FERRY-NO-CONTACT")
	}, 2*time.Minute, 200*time.Millisecond)
	w.run(ferry, "agent", "stop")
	w.run(ferry, "agent", "stop")
	w.until("STOPPED")
}

// The tests of what only Windows does, under wine.
func TestOnlyOnWindows(t *testing.T) {
	dist(t)
	w := newWindows(t)
	program := w.path("agent.test.exe")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", program, "../../agent")
	build.Env = append(os.Environ(), "GOOS=windows", "GOARCH=amd64", "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, w.run(program, "-test.v", "-test.run", "^TestControlNeedsTheSecret$"), "PASS: TestControlNeedsTheSecret")
}
