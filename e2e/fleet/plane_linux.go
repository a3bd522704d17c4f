package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// A plane is a controller that runs as a process of its own.
type plane struct {
	URL     string `json:"url"`
	KeyFile string `json:"admin_key_file"`
	key     smsapi.Key
	cmd     *exec.Cmd
}

// startPlane starts controller i. Those after the first find the sealing key beside their own admin key, as an operator would copy it.
func startPlane(ctx context.Context, binary, dir, store string, i int) (*plane, error) {
	if store == "" {
		store = "sqlite:" + filepath.Join(dir, "controller.db")
	}
	p := &plane{cmd: exec.CommandContext(ctx, binary, "controller", "--json", "--listen", "127.0.0.1:0", "--rate", "-1",
		"--key-file", filepath.Join(dir, "admin-key.json"))}
	p.cmd.Env = append(os.Environ(), "FERRY_STORE="+store)
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(os.Interrupt) }
	log, err := os.Create(filepath.Join(dir, fmt.Sprintf("controller-%d.log", i)))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd.Stderr = log
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, p)
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(p.KeyFile)
	}
	if err == nil {
		err = json.Unmarshal(text, &p.key)
	}
	if err != nil {
		p.stop()
		said, _ := os.ReadFile(log.Name())
		return nil, fmt.Errorf("start the controller: %w\n%s", err, said)
	}
	return p, nil
}

// stop ends the controller and waits for it.
func (p *plane) stop() {
	_ = p.cmd.Process.Signal(os.Interrupt) // it may have ended
	_ = p.cmd.Wait()
}

// peak returns the most memory that was resident, bytes.
func (p *plane) peak() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(text) {
		if kib, ok := strings.CutPrefix(string(line), "VmHWM:"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(kib), "kB")), 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("no VmHWM of process %d", p.cmd.Process.Pid)
}

// processor returns the time that the controller has spent on processors so far.
func (p *plane) processor() time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	ticks := 0
	for _, field := range fields[11:13] { // utime, stime
		n, _ := strconv.Atoi(field)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
