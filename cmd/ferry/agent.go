package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/ferry-migrate/ferry/agent"
	"github.com/ferry-migrate/ferry/agent/config"
	"github.com/ferry-migrate/ferry/agent/service"
	"github.com/ferry-migrate/ferry/collector"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/ferry-migrate/ferry/transfer/target"
)

// agentFlags are those of ferry agent. Secrets are never among them.
type agentFlags struct {
	config, state, endpoint, region string
	check, debug, service           bool
}

// agentCommand runs the daemon of a source server and talks to it.
func agentCommand() *cobra.Command {
	f := &agentFlags{}
	cmd := &cobra.Command{Use: "agent", Short: "Run the agent of a source server, or talk to the one that runs", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usagef("say which: ferry agent run, status, install, uninstall, start, stop, restart, pause, resume or log-level")
		},
	}
	fl := cmd.PersistentFlags()
	fl.StringVar(&f.config, "config", "", "configuration file (default "+defaultConfig()+", if it exists)")
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
	run.Flags().BoolVar(&f.service, "service", false, "a service manager starts it: tell it and log there")
	cmd.AddCommand(run, f.statusCommand())
	cmd.AddCommand(f.serviceCommands()...)
	cmd.AddCommand(
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
	if _, err := os.Stat(defaultConfig()); path == "" && err == nil {
		path = defaultConfig()
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

// run runs the agent, or checks what it would run with.
func (f *agentFlags) run(cmd *cobra.Command) error {
	work := func(ctx context.Context, ready func(func() string)) error {
		return f.work(ctx, cmd.ErrOrStderr(), ready)
	}
	switch {
	case f.check:
		c, _, err := f.loadAll()
		if err == nil {
			_, err = agent.CheckState(c.State)
		}
		if err == nil {
			_, err = c.Objects()
		}
		if err == nil {
			fmt.Fprintln(cmd.OutOrStdout(), "the configuration is good")
		}
		return err
	case f.service:
		return service.Run(cmd.Context(), work)
	}
	return work(cmd.Context(), func(func() string) {})
}

// loadAll reads the configuration and the secrets it names.
func (f *agentFlags) loadAll() (*config.Config, reporter.Options, error) {
	c, err := f.load()
	if err != nil {
		return nil, reporter.Options{}, err
	}
	options, err := c.Options(os.Getenv)
	return c, options, withExit(exitUsage, err)
}

// work is the agent's. It logs to a file, and to a terminal or the service manager.
func (f *agentFlags) work(ctx context.Context, terminal io.Writer, ready func(func() string)) error {
	level := &slog.LevelVar{}
	own := slog.Handler(slog.NewTextHandler(terminal, &slog.HandlerOptions{Level: level}))
	if f.service {
		own = service.LogHandler(level)
	}
	log := slog.New(own)
	c, options, err := f.begin(level)
	if err == nil {
		var file *agent.LogFile
		if file, err = agent.OpenLogFile(c.Logs); err == nil {
			defer file.Close() //nolint:errcheck // each record is written at once
			log = slog.New(slog.NewMultiHandler(own, slog.NewTextHandler(file, &slog.HandlerOptions{Level: level})))
			err = f.serve(ctx, c, options, log, level, ready)
		} else {
			err = fault.Operator("FERRY-LOGS", "name a writable directory with logs", err)
		}
	}
	if f.service && err != nil { // nobody reads what the command says at its end
		log.Error("the agent ended", "error", err, "code", fault.CodeOf(err), "remedy", fault.RemedyOf(err))
	}
	return err
}

// begin reads the configuration and makes ready what it names.
func (f *agentFlags) begin(level *slog.LevelVar) (*config.Config, reporter.Options, error) {
	if f.service && f.config != "" { // an MSI brings none
		if _, err := beginConfig(f.config); err != nil {
			return nil, reporter.Options{}, err
		}
	}
	c, options, err := f.loadAll()
	if err != nil {
		return nil, options, err
	}
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return nil, options, err
	}
	_, err = makeStateDir(c.State)
	return c, options, err
}

// serve runs the daemon with all it needs.
func (f *agentFlags) serve(ctx context.Context, c *config.Config, options reporter.Options, log *slog.Logger, level *slog.LevelVar,
	ready func(func() string)) error {
	if f.service {
		if err := errors.Join(service.Protect(c.State), service.Protect(c.Logs), service.Settle(f.config)); err != nil {
			log.Warn("the service is not all it should be", "error", err)
		}
	}
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
	ready(func() string { s := daemon.Agent(); return s.Line() })
	log.Info("the agent runs", "version", versionLine(), "service", c.Endpoint, "state", c.State)
	return runAgent(ctx, c, client, daemon, log)
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
