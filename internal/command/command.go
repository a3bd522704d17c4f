// Package command runs other programs, the only place that does: every run is logged with its arguments, its exit code and
// the end of its output, ends with its context, and leaves no process of its group behind. It gets this process's environment
// without Ferry's own settings: some are secrets.
package command

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// keepOutput is how much of the output is kept, bytes: the end of it.
const keepOutput = 8 << 10

// Error is a command that failed.
type Error struct {
	Argv   []string
	Output string // the end of standard output and error
	Err    error
}

// Error names the program and shows the last line it said.
func (e *Error) Error() string {
	last := strings.TrimSpace(e.Output)
	if i := strings.LastIndexByte(last, '\n'); i >= 0 {
		last = last[i+1:]
	}
	if last == "" {
		return fmt.Sprintf("%s: %v", e.Argv[0], e.Err)
	}
	return fmt.Sprintf("%s: %v: %s", e.Argv[0], e.Err, last)
}

// Unwrap returns why it failed: an *exec.ExitError, or that it could not be started.
func (e *Error) Unwrap() error { return e.Err }

// Run runs argv to its end and returns the end of its output. A failure is an *Error.
func Run(ctx context.Context, log *slog.Logger, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	out := &tail{}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = slices.DeleteFunc(os.Environ(), ours)
	cmd.WaitDelay = time.Second // a grandchild may hold the pipes
	group(cmd)
	began := time.Now()
	err := cmd.Run()
	log.Info("command ended", "argv", argv, "exit", cmd.ProcessState.ExitCode(), "took", time.Since(began), "output", out.String())
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return out.String(), &Error{Argv: argv, Output: out.String(), Err: err}
	}
	return out.String(), nil
}

// ours reports whether an environment variable, NAME=value, is a setting of Ferry's: a pairing code, a key, the address of a database.
func ours(variable string) bool {
	return strings.HasPrefix(variable, "FERRY_") || strings.HasPrefix(variable, "CLOUD_SDK_")
}

// tail keeps the end of what is written to it.
type tail struct{ buf bytes.Buffer }

func (t *tail) Write(p []byte) (int, error) {
	t.buf.Write(p)
	if over := t.buf.Len() - keepOutput; over > 0 {
		t.buf.Next(over)
	}
	return len(p), nil
}

func (t *tail) String() string { return t.buf.String() }
