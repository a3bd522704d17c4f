package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
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

	"github.com/ferry-migrate/ferry/e2e/lab"
)

// patience is how long a test waits for anything before it takes it for stuck.
var patience = 2 * time.Minute

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

// ferryBinary builds the binary under test once, as it is shipped: static, without the race detector. FERRY_BINARY names one
// that is already built.
func ferryBinary(t testing.TB) string {
	t.Helper()
	if given := os.Getenv("FERRY_BINARY"); given != "" {
		return given
	}
	binary.once.Do(func() {
		if binary.dir, binary.err = os.MkdirTemp("", "ferry-e2e-"); binary.err != nil {
			return
		}
		if binary.err = os.Chmod(binary.dir, 0o755); binary.err != nil { // other users run it too
			return
		}
		build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", binary.dir+"/ferry", "../cmd/ferry")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		binary.out, binary.err = build.CombinedOutput()
	})
	if binary.err != nil {
		t.Fatalf("build ferry: %v\n%s", binary.err, binary.out)
	}
	return binary.dir + "/ferry"
}

// event is one line of --json.
type event map[string]any

func (e event) name() string { s, _ := e["event"].(string); return s }

func (e event) text(field string) string { s, _ := e[field].(string); return s }

// number returns a number, -1 when the field is not there.
func (e event) number(field string) int64 {
	if f, ok := e[field].(float64); ok {
		return int64(f)
	}
	return -1
}

// process is a ferry that runs, or ran.
type process struct {
	t    testing.TB
	cmd  *exec.Cmd
	args []string
	done chan struct{} // closed when it ended and everything it said was read

	mu     sync.Mutex
	news   *sync.Cond
	events []event
	other  []string // lines of standard output that are not JSON objects
	stderr bytes.Buffer
	ended  bool
	peak   int64 // VmHWM, KiB
}

// start runs ferry with arguments. Strings of the form NAME=value in env are added to its environment. It is killed at the
// latest when the test ends.
func start(t testing.TB, env []string, args ...string) *process {
	t.Helper()
	return launch(t, nil, env, args...)
}

// startAs is start as another user.
func startAs(t testing.TB, uid uint32, args ...string) *process {
	t.Helper()
	return launch(t, &syscall.Credential{Uid: uid, Gid: uid}, nil, args...)
}

func launch(t testing.TB, user *syscall.Credential, env []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, args: args, done: make(chan struct{})}
	p.news = sync.NewCond(&p.mu)
	p.cmd = exec.Command(ferryBinary(t), args...)
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stderr = writer(func(b []byte) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.stderr.Write(b)
	})
	// A child that outlives its parent would hold the lab's filesystems.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Credential: user}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go p.follow(out)
	go p.weigh()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("ferry %s\n  exit %d\n  standard error: %.3000s\n  last events: %v", strings.Join(args, " "), p.cmd.ProcessState.ExitCode(), p.errors(), p.last(2))
		}
	})
	return p
}

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) { w(b); return len(b), nil }

// follow reads what the process says until it ends.
func (p *process) follow(out io.Reader) {
	defer close(p.done)
	s := bufio.NewScanner(out)
	s.Buffer(nil, 16<<20)
	for s.Scan() {
		var e event
		err := json.Unmarshal(s.Bytes(), &e)
		p.mu.Lock()
		if err != nil {
			p.other = append(p.other, s.Text())
		} else {
			p.events = append(p.events, e)
		}
		p.news.Broadcast()
		p.mu.Unlock()
		p.measure()
	}
	_ = p.cmd.Wait()
	p.mu.Lock()
	p.ended = true
	p.news.Broadcast()
	p.mu.Unlock()
}

// measure notes the peak of resident memory so far, and returns it in KiB; 0 when none was seen. What wait4 returns would count the memory of this test process too,
// which the child shared until it became ferry.
func (p *process) measure() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return p.peak
	}
	if _, rest, ok := strings.Cut(string(data), "VmHWM:"); ok {
		kib, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
		p.peak = max(p.peak, kib)
	}
	return p.peak
}

// weigh measures again and again until the process ends: a quick one may say nothing while it lives.
func (p *process) weigh() {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-p.done:
			return
		case <-tick.C:
			p.measure()
		}
	}
}

// await returns the first event for which accept is true; none when the process ends first, or takes too long and is killed.
func (p *process) await(accept func(event) bool) (event, bool) {
	stop := time.AfterFunc(patience, func() { p.cmd.Process.Kill() })
	defer stop.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := 0; ; i++ {
		for i >= len(p.events) && !p.ended {
			p.news.Wait()
		}
		if i >= len(p.events) {
			return nil, false
		}
		if accept(p.events[i]) {
			return p.events[i], true
		}
	}
}

// waitFor is await for an event that has to come.
func (p *process) waitFor(what string, accept func(event) bool) event {
	p.t.Helper()
	e, ok := p.await(accept)
	if !ok {
		p.t.Fatalf("ferry %s ended, or took over %v, before %s:\n%s", strings.Join(p.args, " "), patience, what, p.errors())
	}
	return e
}

func (p *process) waitEvent(name string) event {
	p.t.Helper()
	return p.waitFor("the event "+name, func(e event) bool { return e.name() == name })
}

// wait returns once the process ended.
func (p *process) wait() *outcome {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		_ = p.cmd.Process.Signal(syscall.SIGQUIT) // its goroutines tell where it hangs
		select {
		case <-p.done:
		case <-time.After(5 * time.Second):
			p.kill()
		}
		p.t.Fatalf("ferry %s took over %v:\n%s", strings.Join(p.args, " "), patience, ourGoroutines(p.errors()))
	}
	o := &outcome{exit: p.cmd.ProcessState.ExitCode(), stderr: p.errors(), peak: p.measure(), stray: p.other, events: p.events}
	for _, e := range p.events {
		if e.name() == "result" {
			o.result = e
		}
	}
	return o
}

// ourGoroutines leaves out of a trace the goroutines of the runtime.
func ourGoroutines(trace string) string {
	said, stacks, _ := strings.Cut(trace, "SIGQUIT: quit")
	for _, stack := range strings.Split(stacks, "\n\n") {
		if strings.Contains(stack, module+"/") {
			said += stack + "\n\n"
		}
	}
	return said
}

// kill ends the process as kill -9 does and returns when it is gone.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.done
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("signal %v: %v", s, err)
	}
}

func (p *process) errors() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stderr.String()
}

func (p *process) last(n int) []event {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.events[max(0, len(p.events)-n):]
}

// outcome is what a ferry that ended left.
type outcome struct {
	exit   int
	result event // nil without one
	events []event
	stderr string
	stray  []string
	peak   int64 // KiB
}

// message is the last line on standard error: the error.
func (o *outcome) message() string {
	lines := strings.Split(strings.TrimSpace(o.stderr), "\n")
	return lines[len(lines)-1]
}

// ferry runs a command to its end.
func ferry(t testing.TB, args ...string) *outcome {
	t.Helper()
	return start(t, nil, args...).wait()
}

// inLab skips what these tests need and this machine lacks.
func inLab(t testing.TB) {
	t.Helper()
	lab.NeedRoot(t)
	lab.Need(t, "rsync", "lsattr")
	if _, err := os.Stat(filepath.Join("..", "cmd", "ferry")); err != nil {
		t.Fatal(err)
	}
}
