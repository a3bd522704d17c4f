package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// runWord is the argument that makes this program the runner inside a network namespace.
const runWord = "run-inside"

// pairArg stands for the pairing code in a client's arguments.
const pairArg = "--pair={pair}"

// job is one run: a server, then a client that is timed.
type job struct {
	Server     []string // empty: none
	Port       int      // the server is ready when it listens here
	Client     []string // in which pairArg becomes the code that the server printed
	ServerEnds bool     // the time runs until the server ended too
	Env        []string
	Files      map[string]string // written first: path and content
}

// figures are what a job cost.
type figures struct {
	Wall, CPU            float64 // seconds
	Wire                 int64   // bytes
	ClientRSS, ServerRSS int64   // bytes
}

// execute runs a job in a network namespace of its own.
func execute(j *job) (*figures, error) {
	spec, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("/proc/self/exe", runWord)
	cmd.Stdin = bytes.NewReader(spec)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", strings.Join(j.Client, " "), err)
	}
	f := &figures{}
	return f, json.Unmarshal(out, f)
}

// runInside is execute's other half.
func runInside(in io.Reader, out io.Writer) error {
	var j job
	if err := json.NewDecoder(in).Decode(&j); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("adopt orphans: %w", err)
	}
	if err := loopbackUp(); err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	f, err := j.run()
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(f)
}

func (j *job) run() (*figures, error) {
	for path, text := range j.Files {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	var server *started
	var err error
	if len(j.Server) > 0 {
		if server, err = launch(j.Server, j.Env); err != nil {
			return nil, err
		}
		if err := server.listening(j); err != nil {
			return nil, err
		}
	}
	before, err := received()
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	client, err := launch(j.Client, j.Env)
	if err != nil {
		return nil, err
	}
	if err := client.wait(); err != nil {
		return nil, fmt.Errorf("%w\nserver said: %s", err, server.said())
	}
	if j.ServerEnds {
		if err := server.wait(); err != nil {
			return nil, err
		}
	}
	f := &figures{Wall: time.Since(begin).Seconds(), ClientRSS: client.peak()}
	after, err := received()
	if err != nil {
		return nil, err
	}
	f.Wire = after - before
	if server != nil {
		f.ServerRSS = server.peak()
		server.stop()
	}
	return f, f.collect()
}

// collect waits for whatever is left and takes the CPU time of all that ran.
func (f *figures) collect() error {
	for {
		if _, err := unix.Wait4(-1, nil, 0, nil); errors.Is(err, unix.ECHILD) {
			break
		} else if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait: %w", err)
		}
	}
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_CHILDREN, &u); err != nil {
		return fmt.Errorf("rusage: %w", err)
	}
	f.CPU = float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
	return nil
}

// started is a program that runs, with all it starts.
type started struct {
	args   []string
	cmd    *exec.Cmd
	output lockedBuffer
	done   chan struct{}
	err    error

	mu    sync.Mutex
	peaks map[int]int64 // VmHWM of each process, bytes
}

func launch(args, env []string) (*started, error) {
	s := &started{args: args, done: make(chan struct{}), peaks: map[int]int64{}}
	s.cmd = exec.Command(args[0], args[1:]...)
	s.cmd.Env = append(os.Environ(), env...)
	s.cmd.Stdout, s.cmd.Stderr = &s.output, &s.output
	s.cmd.WaitDelay = 5 * time.Second // a grandchild may hold the pipe
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		s.err = s.cmd.Wait()
		if errors.Is(s.err, exec.ErrWaitDelay) {
			s.err = nil
		}
		close(s.done)
	}()
	go s.watch()
	return s, nil
}

// watch looks at the memory of the program and all below it until it ends.
func (s *started) watch() {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		s.look(s.cmd.Process.Pid)
		select {
		case <-tick.C:
		case <-s.done:
			return
		}
	}
}

func (s *started) look(pid int) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return
	}
	if _, rest, ok := strings.Cut(string(status), "VmHWM:"); ok {
		kib, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
		s.mu.Lock()
		s.peaks[pid] = max(s.peaks[pid], kib<<10)
		s.mu.Unlock()
	}
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, c := range strings.Fields(string(children)) {
		if id, err := strconv.Atoi(c); err == nil {
			s.look(id)
		}
	}
}

func (s *started) peak() (sum int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.peaks {
		sum += p
	}
	return sum
}

func (s *started) said() string {
	if s == nil {
		return ""
	}
	return s.output.String()
}

func (s *started) wait() error {
	<-s.done
	if s.err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(s.args, " "), s.err, s.said())
	}
	return nil
}

// stop ends a server, by force when it takes too long.
func (s *started) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(5 * time.Second):
		s.cmd.Process.Kill()
		<-s.done
	}
}

// listening returns once the server listens on j.Port, and puts the pairing code it printed into the client's arguments.
func (s *started) listening(j *job) error {
	for deadline := time.Now().Add(20 * time.Second); ; {
		select {
		case <-s.done:
			return fmt.Errorf("the server ended: %w", s.wait())
		case <-time.After(2 * time.Millisecond):
		}
		if listens(j.Port) && s.introduce(j) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s does not listen on %d: %s", strings.Join(s.args, " "), j.Port, s.said())
		}
	}
}

func (s *started) introduce(j *job) bool {
	for i, arg := range j.Client {
		if arg != pairArg {
			continue
		}
		var hello struct{ Event, Pair string }
		line, _, _ := strings.Cut(s.said(), "\n")
		if json.Unmarshal([]byte(line), &hello) != nil || hello.Event != "listening" {
			return false
		}
		j.Client[i] = "--pair=" + hello.Pair
	}
	return true
}

// listens reports whether something listens on a TCP port of this namespace (state 0A in /proc/net/tcp).
func listens(port int) bool {
	for _, table := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		data, _ := os.ReadFile(table)
		for line := range strings.Lines(string(data)) {
			f := strings.Fields(line)
			if len(f) > 3 && f[3] == "0A" && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) {
				return true
			}
		}
	}
	return false
}

// received is how many bytes loopback received in this namespace.
func received() (int64, error) {
	data, err := os.ReadFile("/proc/self/net/dev")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if name, rest, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "lo" {
			return strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
		}
	}
	return 0, errors.New("no loopback in /proc/net/dev")
}

// loopbackUp sets IFF_UP on lo: SIOCSIFFLAGS with a struct ifreq, name then flags (netdevice(7)).
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var req struct {
		name  [unix.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}
	copy(req.name[:], "lo")
	req.flags = unix.IFF_UP | unix.IFF_RUNNING
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&req))); errno != 0 {
		return errno
	}
	return nil
}

// lockedBuffer is a bytes.Buffer for two goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
