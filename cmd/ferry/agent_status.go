package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/ferry-migrate/ferry/agent"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// statusCommand says what the agent does. Its exit code says whether that is well.
func (f *agentFlags) statusCommand() *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use: "status", Short: "Say what the agent on this machine is doing; exit 1 when it does not do its work", Args: cobra.NoArgs,
		Example: "  ferry agent status\n  ferry agent status --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.with(func(c *agent.ControlClient) error { return f.status(cmd.Context(), c, cmd.OutOrStdout(), asJSON) })
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
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
func (f *agentFlags) status(ctx context.Context, c *agent.ControlClient, out io.Writer, asJSON bool) error {
	s, err := c.Agent(ctx)
	if err != nil {
		if m, absent := f.manager(); absent == nil {
			err = fault.Operator("FERRY-NOT-RUNNING", "ferry agent start, after ferry agent install; or name its state directory with --state",
				fmt.Errorf("the service is %s (%s): %w", m.State(), m.Platform(), err))
		}
		return err
	}
	if asJSON {
		return errors.Join(printJSON(out, s), s.Health(time.Now()))
	}
	printStatus(out, &s)
	return s.Health(time.Now())
}

func printStatus(out io.Writer, s *agent.AgentStatus) {
	fmt.Fprintf(out, "pid:     %d\n", s.PID)
	fmt.Fprintf(out, "source:  %s\n", cmp.Or(s.Source, "not registered yet"))
	if s.Deleted {
		fmt.Fprintln(out, "         deleted at the service; start the agent anew to register it again")
	}
	contact := "never"
	if !s.Contact.IsZero() {
		contact = time.Since(s.Contact).Round(time.Second).String() + " ago"
	}
	fmt.Fprintf(out, "contact: %s\n", contact)
	if s.Trouble != "" {
		fmt.Fprintf(out, "service: %s\n", s.Trouble)
	}
	if s.Paused {
		fmt.Fprintln(out, "paused:  ferry agent resume lets it go on")
	}
	if s.Task == nil {
		fmt.Fprintf(out, "task:    none runs, %d wait\n", len(s.Queue))
		return
	}
	fmt.Fprintf(out, "task:    %s, %s %d %%, %.1f Mbit/s, %d wait\n", s.Task.Task, s.Task.Subtask, s.Task.Percent, smsapi.Mbps(s.Task.Rate), len(s.Queue)-1)
	if s.Task.Error != "" {
		fmt.Fprintf(out, "         last attempt: %s\n", s.Task.Error)
	}
}
