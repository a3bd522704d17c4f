package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/ferry-migrate/ferry/agent"
	"github.com/ferry-migrate/ferry/agent/config"
	"github.com/ferry-migrate/ferry/collector"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/ferry-migrate/ferry/transfer/target"
)

// defaultConfig is read when it exists and nobody names another file.
const defaultConfig = "/etc/ferry/agent.yaml"

// agentFlags are those of ferry agent. Secrets are never among them.
type agentFlags struct {
	config, state, endpoint, region string
	check, debug, json              bool
}

// agentCommand runs the daemon of a source server and talks to it.
func agentCommand() *cobra.Command {
	f := &agentFlags{}
	cmd := &cobra.Command{Use: "agent", Short: "Run the agent of a source server, or talk to the one that runs", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usagef("say which: ferry agent run, status, pause, resume or log-level")
		},
	}
	fl := cmd.PersistentFlags()
	fl.StringVar(&f.config, "config", "", "configuration file (default "+defaultConfig+", if it exists)")
	fl.StringVar(&f.state, "state", "", "state directory, above the configuration")
	run := &cobra.Command{
		Use: "run", Short: "Register this server, wait for commands and carry them out, until stopped", Args: cobra.NoArgs,
		Long: "Register this server at a control plane, wait for commands and carry them out, until stopped. docs/AGENT.md describes the\n" +
			"configuration. Secrets come from files of mode 0600, systemd credentials or the environment, never from flags.",
		Example: "  ferry agent run --config /etc/ferry/agent.yaml\n  ferry agent run --check",
		RunE:    func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	run.Flags().StringVar(&f.endpoint, "endpoint", "", "URL of the service, above the configuration")
	run.Flags().StringVar(&f.region, "region", "", "region of the vendor's service, above the configuration")
	run.Flags().BoolVar(&f.check, "check", false, "check configuration and credentials, say what is wrong, and end")
	run.Flags().BoolVar(&f.debug, "debug", false, "log everything")
	status := &cobra.Command{
		Use: "status", Short: "Say what the agent on this machine is doing", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.with(func(c *agent.ControlClient) error { return f.status(cmd.Context(), c, cmd.OutOrStdout()) })
		},
	}
	status.Flags().BoolVar(&f.json, "json", false, "print JSON")
	cmd.AddCommand(run, status,
		&cobra.Command{Use: "pause", Short: "Stop the task that runs, and run nothing until resumed", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return f.with(func(c *agent.ControlClient) error { return c.Pause(cmd.Context()) })
			}},
		&cobra.Command{Use: "resume", Short: "Undo pause", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return f.with(func(c *agent.ControlClient) error { return c.Resume(cmd.Context()) })
			}},
		&cobra.Command{Use: "log-level LEVEL", Short: "Change what the agent logs until it ends: debug, info, warn or error", Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				return f.with(func(c *agent.ControlClient) error { return c.SetLogLevel(cmd.Context(), args[0]) })
			}})
	return cmd
}

// load reads the configuration.
func (f *agentFlags) load() (*config.Config, error) {
	path := f.config
	if _, err := os.Stat(defaultConfig); path == "" && err == nil {
		path = defaultConfig
	}
	flags := map[string]string{}
	for key, value := range map[string]string{"state": f.state, "endpoint": f.endpoint, "region": f.region} {
		if value != "" {
			flags[key] = value
		}
	}
	if f.debug {
		flags["log_level"] = "debug"
	}
	c, err := config.Load(path, os.Environ(), flags)
	return c, withExit(exitUsage, err)
}

func (f *agentFlags) run(cmd *cobra.Command) error {
	c, err := f.load()
	if err != nil {
		return err
	}
	options, err := c.Options(os.Getenv)
	if err != nil {
		return withExit(exitUsage, err)
	}
	if f.check {
		_, err := fmt.Fprintln(cmd.OutOrStdout(), "the configuration is good")
		return err
	}
	if _, err := makeStateDir(c.State); err != nil {
		return err
	}
	file, err := agent.OpenLogFile(c.Logs)
	if err != nil {
		return fault.Operator("FERRY-LOGS", "name a writable directory with logs", err)
	}
	defer file.Close() //nolint:errcheck // each record is written at once
	level := &slog.LevelVar{}
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(io.MultiWriter(cmd.ErrOrStderr(), file), &slog.HandlerOptions{Level: level}))
	return f.serve(cmd.Context(), c, options, log, level)
}

// serve runs the daemon with all it needs.
func (f *agentFlags) serve(ctx context.Context, c *config.Config, options reporter.Options, log *slog.Logger, level *slog.LevelVar) error {
	lock, err := agent.LockState(c.State)
	if err != nil {
		return err
	}
	defer lock.Close()
	client, err := reporter.Open(options)
	if err != nil {
		return err
	}
	defer client.Close()
	verify, err := parseVerify(c.Verify)
	if err != nil {
		return err
	}
	session := &agent.Session{
		State: c.State, Software: software(), Port: c.TargetPort, Rate: c.Rate, Streams: max(2, min(4, runtime.NumCPU())), Verify: verify,
		Interval: 5 * time.Second, Remedy: target.RemedyOf, Log: log,
	}
	daemon, err := agent.NewDaemon(agent.DaemonConfig{
		Dir: c.State, Service: client, Prepare: session.Prepare, Log: log, Privacy: c.Privacy, Poll: c.Poll, Logs: c.Logs, Level: level,
		Bounds: agent.Bounds{CPU: c.CPU, Memory: c.Memory},
		Measure: func(ctx context.Context, t *agent.Task) (smsapi.NetworkCheck, error) {
			return measureWay(ctx, session, t)
		},
		Host: func(ctx context.Context) smsapi.RegisterSource {
			host := agent.RegisterSource(collector.Collect(ctx, collector.Options{}), cmp.Or(version, "0.0.0"))
			host.Name = cmp.Or(c.Name, host.Name)
			return host
		},
	})
	if err != nil {
		return err
	}
	defer daemon.Close()
	control, err := agent.ServeControl(c.State, daemon, log)
	if err != nil {
		log.Warn("there is no local control", "error", err)
	} else {
		defer control.Close()
	}
	log.Info("the agent runs", "version", versionLine(), "service", c.Endpoint, "state", c.State)
	return daemon.Run(ctx)
}

// measureWay measures the way to the target of a task.
func measureWay(ctx context.Context, s *agent.Session, t *agent.Task) (smsapi.NetworkCheck, error) {
	address, code, err := s.Target(t)
	if err != nil {
		return smsapi.NetworkCheck{}, err
	}
	path, err := newTargetPath(address, code, s.State)
	if err != nil {
		return smsapi.NetworkCheck{}, err
	}
	return agent.NetworkCheck(collector.Measure(ctx, address, path, nil)), ctx.Err()
}

// with calls do with a client of the agent that runs on this machine.
func (f *agentFlags) with(do func(*agent.ControlClient) error) error {
	dir := f.state
	if dir == "" {
		c, err := f.load()
		var file *fault.Error
		switch {
		case err == nil:
			dir = c.State
		case errors.As(err, &file) && f.config != "":
			return err
		}
	}
	dir, err := stateDir(dir)
	if err != nil {
		return err
	}
	return do(agent.DialControl(filepath.Clean(dir)))
}

// status prints what an agent is doing.
func (f *agentFlags) status(ctx context.Context, c *agent.ControlClient, out io.Writer) error {
	s, err := c.Agent(ctx)
	if err != nil {
		return err
	}
	if f.json {
		return printJSON(out, s)
	}
	fmt.Fprintf(out, "source:  %s\n", cmp.Or(s.Source, "not registered yet"))
	if s.Deleted {
		fmt.Fprintln(out, "         deleted at the service; start the agent anew to register it again")
	}
	if s.Trouble != "" {
		fmt.Fprintf(out, "service: %s\n", s.Trouble)
	}
	if s.Paused {
		fmt.Fprintln(out, "paused:  ferry agent resume lets it go on")
	}
	if s.Task == nil {
		fmt.Fprintf(out, "task:    none runs, %d wait\n", len(s.Queue))
		return nil
	}
	fmt.Fprintf(out, "task:    %s, %s %d %%, %.1f Mbit/s, %d wait\n", s.Task.Task, s.Task.Subtask, s.Task.Percent, smsapi.Mbps(s.Task.Rate), len(s.Queue)-1)
	if s.Task.Error != "" {
		fmt.Fprintf(out, "         last attempt: %s\n", s.Task.Error)
	}
	return nil
}
