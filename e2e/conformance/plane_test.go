package conformance

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMain builds ferry once, and gives the SDK a home of its own: it writes an id of the machine there.
func TestMain(m *testing.M) { os.Exit(run(m)) }

var binary string

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "conformance")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "ferry")
	build := exec.Command("go", "build", "-o", binary, "./cmd/ferry")
	build.Dir = filepath.Join("..", "..")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build ferry: %v\n%s", err, out)
		return 1
	}
	os.Setenv("HOME", dir)
	return m.Run()
}

// A plane is a running control plane.
type plane struct {
	URL     string `json:"url"`
	KeyFile string `json:"admin_key_file"`
	key     key
	store   string
}

// A key is the content of a key file.
type key struct {
	Access  string `json:"access_key"`
	Secret  string `json:"secret_key"`
	Domain  string `json:"domain_id"`
	Project string `json:"project_id"`
}

// start runs `ferry controller` until the test ends.
func start(t *testing.T) *plane {
	t.Helper()
	p := &plane{store: "sqlite:" + filepath.Join(t.TempDir(), "controller.db")}
	cmd := exec.Command(binary, "controller", "--json", "--listen", "127.0.0.1:0", "--store", p.store, "--rate", "-1")
	var log buffer
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		require.NoError(t, cmd.Process.Signal(os.Interrupt))
		require.NoError(t, cmd.Wait(), log.String())
		if t.Failed() {
			t.Log(log.String())
		}
	})
	line, err := bufio.NewReader(out).ReadBytes('\n')
	require.NoError(t, err, log.String())
	require.NoError(t, json.Unmarshal(line, p))
	p.key = readKey(t, p.KeyFile)
	return p
}

// user adds a user of the control plane, which runs on, and returns its key.
func (p *plane) user(t *testing.T, name, role, password string) key {
	t.Helper()
	out := filepath.Join(t.TempDir(), "key.json")
	args := []string{"controller", "user", "add", name, "--role", role, "--store", p.store, "--out", out}
	if password != "" {
		args = append(args, "--password-file", "-")
	}
	cmd := exec.Command(binary, args...)
	cmd.Stdin = bytes.NewBufferString(password + "\n")
	said, err := cmd.CombinedOutput()
	require.NoError(t, err, string(said))
	return readKey(t, out)
}

func readKey(t *testing.T, path string) (k key) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &k))
	return k
}

// buffer is a bytes.Buffer that a process writes to while a test reads.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
