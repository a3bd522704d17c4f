package block

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var binary struct {
	once sync.Once
	dir  string
	err  error
	out  []byte
}

func TestMain(m *testing.M) {
	code := m.Run()
	if binary.dir != "" {
		os.RemoveAll(binary.dir)
	}
	os.Exit(code)
}

// ferry builds the binary under test once, as it is shipped. FERRY_BINARY names one that is already built.
func ferry(t testing.TB) string {
	t.Helper()
	if given := os.Getenv("FERRY_BINARY"); given != "" {
		return given
	}
	binary.once.Do(func() {
		if binary.dir, binary.err = os.MkdirTemp("", "ferry-e2e-"); binary.err != nil {
			return
		}
		build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", binary.dir+"/ferry", "../../cmd/ferry")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		binary.out, binary.err = build.CombinedOutput()
	})
	require.NoError(t, binary.err, "build ferry: %s", binary.out)
	return binary.dir + "/ferry"
}

// result is the last line of --json.
type result struct {
	OK          bool     `json:"ok"`
	Pass        string   `json:"pass"`
	Bytes       int64    `json:"bytes"`
	BytesRead   int64    `json:"bytes_read"`
	BytesSent   int64    `json:"bytes_sent"`
	BytesSaved  int64    `json:"bytes_saved"`
	Verified    string   `json:"verified"`
	Differences int64    `json:"differences"`
	Code        string   `json:"code"`
	Error       string   `json:"error"`
	Consistent  string   `json:"consistent"`
	Losses      []string `json:"-"`

	exit   int
	stderr string
}

// process is a ferry migrate or verify that runs.
type process struct {
	cmd    *exec.Cmd
	stderr bytes.Buffer

	mu     sync.Mutex
	news   *sync.Cond
	stdout bytes.Buffer
}

// Write takes what ferry prints.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.news.Broadcast()
	return p.stdout.Write(b)
}

// weigh returns what the process needed of memory at most, KiB, once it has ended.
func (p *process) weigh() (peak func() int64) {
	done := make(chan int64, 1)
	go func() {
		most := int64(0)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			b, err := os.ReadFile("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/status")
			_, after, found := strings.Cut(string(b), "VmHWM:")
			if err != nil || !found {
				break // it has ended
			}
			n, _ := strconv.ParseInt(strings.Fields(after)[0], 10, 64)
			most = max(most, n)
		}
		done <- most
	}()
	return func() int64 { return <-done }
}

// passes waits until ferry has told of n passes.
func (p *process) passes(t testing.TB, n int) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for strings.Count(p.stdout.String(), `{"event":"pass"`) < n {
		require.NoError(t, p.cmd.Process.Signal(syscall.Signal(0)), "ferry ended")
		p.news.Wait()
	}
}

// begin starts ferry with --json; env are NAME=value.
func begin(t testing.TB, env []string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(ferry(t), append(args, "--json")...)}
	p.cmd.Env = append(os.Environ(), env...)
	p.news = sync.NewCond(&p.mu)
	p.cmd.Stdout, p.cmd.Stderr = p, &p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, p.cmd.Start())
	return p
}

// wait returns what ferry came to; a killed one has no result.
func (p *process) wait(t testing.TB) result {
	t.Helper()
	_ = p.cmd.Wait() // the exit code says it
	var r result
	for _, line := range strings.Split(p.stdout.String(), "\n") {
		var e struct {
			Event string `json:"event"`
		}
		if json.Unmarshal([]byte(line), &e) == nil && e.Event == "result" {
			require.NoError(t, json.Unmarshal([]byte(line), &r))
		}
	}
	r.exit, r.stderr = p.cmd.ProcessState.ExitCode(), p.stderr.String()
	return r
}

// run runs ferry to its end.
func run(t testing.TB, args ...string) result {
	t.Helper()
	return begin(t, nil, args...).wait(t)
}

// good runs ferry, which has to succeed.
func good(t testing.TB, args ...string) result {
	t.Helper()
	r := run(t, args...)
	require.Zero(t, r.exit, "ferry %s: %s", strings.Join(args, " "), r.stderr)
	return r
}

// server is a ferry target.
type server struct {
	cmd        *exec.Cmd
	addr, pair string
	args, env  []string
}

// serve starts a ferry target, which is killed at the latest when the test ends.
func serve(t testing.TB, env []string, args ...string) *server {
	t.Helper()
	s := &server{args: args, env: env}
	s.start(t, "127.0.0.1:0")
	t.Cleanup(s.kill)
	return s
}

func (s *server) start(t testing.TB, listen string) {
	t.Helper()
	s.cmd = exec.Command(ferry(t), append([]string{"target", "--json", "--listen", listen}, s.args...)...)
	s.cmd.Env = append(os.Environ(), s.env...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := s.cmd.StdoutPipe()
	require.NoError(t, err)
	s.cmd.Stderr = io.Discard
	require.NoError(t, s.cmd.Start())
	line, err := bufio.NewReader(out).ReadBytes('\n')
	require.NoError(t, err)
	var said struct{ Addr, Pair string }
	require.NoError(t, json.Unmarshal(line, &said))
	s.addr, s.pair = said.Addr, said.Pair
}

func (s *server) kill() {
	_ = s.cmd.Process.Kill() // it may have ended
	_ = s.cmd.Wait()
}

// tool runs a foreign program, which has to succeed.
func tool(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	require.NoError(t, err, "%s: %s", strings.Join(args, " "), out)
	return strings.TrimSpace(string(out))
}

// state makes a state directory.
func state(t testing.TB) string { return filepath.Join(t.TempDir(), "state") }
