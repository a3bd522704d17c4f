// Ferry moves a running server to another machine. One binary, one subcommand per role.
//
// Each subcommand lives in its own file and only turns flags into a configuration and makes one call. What they share is here:
// the root command, the exit codes and the one line an error becomes.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/spf13/cobra"
)

// Exit codes: scripts rely on them.
const (
	exitFailed      = 1   // it did not work; standard error says why
	exitUsage       = 2   // the command line makes no sense
	exitLosses      = 3   // done, but something could not be kept, under --strict
	exitDifferent   = 4   // verification found a difference
	exitInterrupted = 130 // stopped by a signal; running the same command again resumes
)

// An exitError is an error that decides the exit code.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// withExit gives err an exit code. A nil err stays nil.
func withExit(code int, err error) error {
	if err == nil {
		return nil
	}
	return &exitError{code: code, err: err}
}

// usagef returns an error that says what is wrong with the command line.
func usagef(format string, args ...any) error {
	return withExit(exitUsage, fmt.Errorf(format, args...))
}

// exitCode maps what a command returned to the code of the process.
func exitCode(err error) int {
	var e *exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		return e.code
	case fault.Cancelled(err):
		return exitInterrupted
	default:
		return exitFailed
	}
}

// errorLine renders err for a person, on one line: what failed, the stable code, what to try.
func errorLine(err error) string {
	line := "ferry: " + err.Error()
	if code := fault.CodeOf(err); code != "" {
		line += " (" + code + ")"
	}
	if remedy := fault.RemedyOf(err); remedy != "" {
		line += ": " + remedy
	}
	return strings.Join(strings.FieldsFunc(line, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

// rootCommand returns the whole command line.
func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "ferry",
		Short: "Move a running server to another machine",
		Example: "  ferry discover                                     # what is on this host\n" +
			"  ferry migrate /srv/data --to dir:/mnt/copy         # copy a directory, and read it back\n" +
			"  ferry target --into dir:/srv/data                  # on the new machine: receive, and print what to type on the old one",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(
		migrateCommand(),
		targetCommand(),
		verifyCommand(),
		controllerCommand(),
		agentCommand(),
		taskCommand(),
		sourceCommand(),
		discoverCommand(),
		checkCommand(),
		redisCommand(),
		debugCommand(),
		versionCommand(),
		freezerCommand(),
	)
	return root
}

// run executes the command line args. An error from before the command itself began is one of usage.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	began := false
	root := rootCommand()
	root.PersistentPreRun = func(*cobra.Command, []string) { began = true }
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if !began {
		return withExit(exitUsage, err)
	}
	return err
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, errorLine(err))
	}
	os.Exit(exitCode(err))
}
