package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/ferry-migrate/ferry/agent"
	"github.com/ferry-migrate/ferry/agent/config"
	"github.com/ferry-migrate/ferry/agent/service"
	"github.com/ferry-migrate/ferry/internal/durable"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/packaging"
)

// serviceCommands make the agent a service of this machine.
func (f *agentFlags) serviceCommands() []*cobra.Command {
	purge := false
	managed := func(use, short string, do func(context.Context, *service.Manager) error) *cobra.Command {
		return &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			m, err := f.manager()
			if err != nil {
				return err
			}
			return do(cmd.Context(), m)
		}}
	}
	uninstall := managed("uninstall", "Stop the service and take it away; state and configuration stay", func(ctx context.Context, m *service.Manager) error {
		return f.uninstall(ctx, m, purge)
	})
	uninstall.Flags().BoolVar(&purge, "purge", false, "remove state and logs too: this machine is not known any more, tasks begin anew")
	return []*cobra.Command{
		{Use: "install", Short: "Make the agent a service that starts with this machine", Args: cobra.NoArgs,
			Long: "Make the agent a service that starts with this machine (systemd, OpenRC, upstart, SysV; Windows), with the limits of the group\n" +
				"service of the configuration. May be repeated. It does not start the service.",
			Example: "  ferry agent install && ferry agent start",
			RunE:    func(cmd *cobra.Command, _ []string) error { return f.install(cmd) }},
		uninstall,
		managed("start", "Start the service", func(_ context.Context, m *service.Manager) error { return m.Start() }),
		managed("stop", "Stop the service; a task that runs goes on after the next start", func(_ context.Context, m *service.Manager) error { return m.Stop() }),
		managed("restart", "Stop and start the service", func(_ context.Context, m *service.Manager) error { return errors.Join(m.Stop(), m.Start()) }),
	}
}

// manager returns the manager of the service that runs this program with this configuration.
func (f *agentFlags) manager() (*service.Manager, error) {
	setup, err := f.setup()
	if err != nil {
		return nil, err
	}
	return service.New(setup, slog.New(slog.DiscardHandler))
}

func (f *agentFlags) setup() (s service.Setup, err error) {
	s.Config = defaultConfig()
	if f.config != "" {
		if s.Config, err = filepath.Abs(f.config); err != nil {
			return s, err
		}
	}
	if s.Program, err = os.Executable(); err != nil {
		return s, fmt.Errorf("where is this program: %w", err)
	}
	s.Program, err = filepath.EvalSymlinks(s.Program)
	return s, err
}

// install installs the service, with a configuration to fill in if there is none.
func (f *agentFlags) install(cmd *cobra.Command) error {
	setup, err := f.setup()
	if err != nil {
		return err
	}
	fresh, err := beginConfig(setup.Config)
	if err != nil {
		return err
	}
	c, err := f.load()
	switch {
	case err == nil:
		setup.Limits = service.Limits{CPUWeight: c.CPUWeight, IOWeight: c.IOWeight, MemoryMax: c.MemoryMax}
	case !fresh && !untouched(setup.Config):
		return err
	}
	m, err := service.New(setup, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	if err := m.Install(cmd.Context()); err != nil {
		return err
	}
	next := "ferry agent start"
	if c == nil {
		next = "say where the service is in " + setup.Config + ", then " + next
	}
	fmt.Fprintf(cmd.OutOrStdout(), "installed (%s). Next: %s\n", m.Platform(), next)
	return nil
}

// beginConfig writes the first configuration unless there is one, and reports whether it did.
func beginConfig(path string) (bool, error) {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = durable.WriteFile(path, packaging.AgentConfig, 0o600)
	}
	return true, fault.Operator("FERRY-CONFIG", "run it as root (on Windows as administrator)", err)
}

// untouched reports whether nobody has filled in the configuration at path yet.
func untouched(path string) bool {
	text, err := os.ReadFile(path)
	return err == nil && string(text) == string(packaging.AgentConfig)
}

// uninstall takes the service away and, when asked, all that it wrote.
func (f *agentFlags) uninstall(ctx context.Context, m *service.Manager, purge bool) error {
	if err := m.Uninstall(ctx); err != nil || !purge {
		return err
	}
	c, err := f.load()
	if err != nil { // it may be gone already
		dir, err := stateDir(f.state)
		if err != nil {
			return err
		}
		c = &config.Config{State: dir, Logs: filepath.Join(dir, "logs")}
	}
	return agent.Purge(c.State, c.Logs)
}
