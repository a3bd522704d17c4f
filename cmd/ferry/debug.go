package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ferry-migrate/ferry/agent"
	"github.com/ferry-migrate/ferry/agent/support"
	"github.com/ferry-migrate/ferry/collector"
	"github.com/ferry-migrate/ferry/internal/fault"
)

// debugFlags are those of ferry debug.
type debugFlags struct {
	agentFlags
	output  string
	json    bool
	seconds int
}

// debugCommand is what a support engineer uses.
func debugCommand() *cobra.Command {
	f := &debugFlags{}
	cmd := &cobra.Command{Use: "debug", Short: "For support: collect, read and explain what went wrong", Args: cobra.NoArgs,
		Example: "  ferry debug bundle\n  ferry debug explain ferry-bundle.tar.gz\n  ferry debug error FERRY-TARGET-FULL",
		RunE: func(*cobra.Command, []string) error {
			return usagef("say which: ferry debug bundle, state, explain, error or trace")
		},
	}
	where := func(c *cobra.Command) *cobra.Command {
		c.Flags().StringVar(&f.config, "config", "", "configuration file of the agent (default "+defaultConfig()+", if it exists)")
		c.Flags().StringVar(&f.state, "state", "", "state directory, above the configuration")
		return c
	}
	bundle := where(&cobra.Command{Use: "bundle", Short: "Write one archive of what is needed to find out what went wrong, without secrets", Args: cobra.NoArgs,
		Long: "Write one archive: inventory, configuration, state, logs, stacks of the running agent, the kernel's lines, versions. Secrets are blotted\n" +
			"out or left out; MANIFEST.json says what is inside and what is not. It works beside a running agent, a hung one, and without one.",
		Example: "  ferry debug bundle\n  ferry debug bundle --state /var/lib/ferry --output /tmp/case-17.tar.gz",
		RunE:    func(cmd *cobra.Command, _ []string) error { return f.bundle(cmd) }})
	bundle.Flags().StringVarP(&f.output, "output", "o", "", "file to write, - for standard output (default ferry-bundle-TIME.tar.gz here)")
	state := where(&cobra.Command{Use: "state", Short: "Show journals, manifests and records of a state directory", Args: cobra.NoArgs,
		Example: "  ferry debug state\n  ferry debug state --state /var/lib/ferry",
		RunE: func(cmd *cobra.Command, _ []string) error {
			at, err := f.places()
			if err != nil {
				return err
			}
			return support.Describe(cmd.OutOrStdout(), at.State)
		}})
	explain := &cobra.Command{Use: "explain BUNDLE", Short: "Name what a bundle shows signs of, with evidence and remedy", Args: cobra.ExactArgs(1),
		Example: "  ferry debug explain ferry-bundle-20261121-130000.tar.gz",
		RunE:    func(cmd *cobra.Command, args []string) error { return f.explain(cmd, args[0]) }}
	explain.Flags().BoolVar(&f.json, "json", false, "print JSON")
	trace := where(&cobra.Command{Use: "trace", Short: "Record what the running agent or migration does, for go tool trace", Args: cobra.NoArgs,
		Example: "  ferry debug trace --seconds 5 --output trace.out",
		RunE:    func(cmd *cobra.Command, _ []string) error { return f.trace(cmd) }})
	trace.Flags().IntVar(&f.seconds, "seconds", 5, "how long, 1 to 60")
	trace.Flags().StringVarP(&f.output, "output", "o", "ferry-trace.out", "file to write, - for standard output")
	cmd.AddCommand(bundle, state, explain, trace,
		&cobra.Command{Use: "error CODE", Short: "Say what a code means and what to try", Args: cobra.ExactArgs(1),
			Example: "  ferry debug error FERRY-TARGET-FULL",
			RunE:    func(cmd *cobra.Command, args []string) error { return printCode(cmd.OutOrStdout(), args[0]) }})
	return cmd
}

// printCode prints the page of a code.
func printCode(w io.Writer, code string) error {
	if c, ok := support.Lookup(code); ok {
		return c.Print(w)
	}
	remedy := "see docs/ERRORS.md"
	if near := support.Near(code); len(near) > 0 {
		remedy = "perhaps one of " + strings.Join(near, ", ")
	}
	return withExit(exitUsage, fault.Operator("FERRY-CODE-UNKNOWN", remedy, fmt.Errorf("no code %q", code)))
}

// places says where configuration, state and logs are. A configuration that cannot be read does not keep a bundle from being made.
func (f *debugFlags) places() (at support.Contents, err error) {
	at.Config = f.config
	if at.Config == "" {
		if _, err := os.Stat(defaultConfig()); err == nil {
			at.Config = defaultConfig()
		}
	}
	if at.Config != "" || f.state == "" {
		if c, err := f.load(); err == nil {
			at.State, at.Logs = c.State, c.Logs
		}
	}
	if f.state != "" || at.State == "" {
		at.State, err = stateDir(f.state)
	}
	return at, err
}

// create opens the file to write; done closes it, and removes it after an error.
func create(path string, out io.Writer) (w io.Writer, done func(err error) error, err error) {
	if path == "-" {
		return out, func(err error) error { return err }, nil
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, nil, fault.Operator("FERRY-OUTPUT", "name a file that does not exist yet with --output", err)
	}
	return file, func(err error) error {
		if err = errors.Join(err, file.Close()); err != nil {
			os.Remove(path)
		}
		return err
	}, nil
}

func (f *debugFlags) bundle(cmd *cobra.Command) error {
	contents, err := f.places()
	if err != nil {
		return err
	}
	contents.Version = software()
	control := agent.DialControl(contents.State)
	contents.Sources = []support.Source{
		{Name: "inventory.json", Make: func(ctx context.Context) ([]byte, error) {
			return json.MarshalIndent(collector.Collect(ctx, collector.Options{Timeout: 20 * time.Second}), "", " ")
		}},
		{Name: "status.json", Make: func(ctx context.Context) ([]byte, error) {
			status, err := control.Status(ctx)
			if err != nil {
				return nil, err
			}
			return json.MarshalIndent(status, "", " ")
		}},
		{Name: "goroutines.txt", Make: func(ctx context.Context) ([]byte, error) { return control.Read(ctx, "/goroutines") }},
		{Name: "kernel.txt", Make: func(context.Context) ([]byte, error) { return kernelLog() }},
	}
	if f.output == "" {
		f.output = time.Now().Format("ferry-bundle-20060102-150405.tar.gz")
	}
	w, done, err := create(f.output, cmd.OutOrStdout())
	if err != nil {
		return err
	}
	m, err := support.WriteBundle(cmd.Context(), w, contents)
	if err = done(err); err != nil || f.output == "-" {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s: %d files, %d secrets blotted out, %d left out (MANIFEST.json says which)\n", f.output, len(m.Files), m.Redacted, len(m.Left))
	return nil
}

func (f *debugFlags) explain(cmd *cobra.Command, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return fault.Operator("FERRY-BUNDLE", "check the name of the bundle", err)
	}
	defer file.Close()
	found, err := support.Explain(cmd.Context(), file)
	if err != nil {
		return err
	}
	w := cmd.OutOrStdout()
	if f.json {
		return printJSON(w, found)
	}
	if len(found) == 0 {
		fmt.Fprintln(w, "no known failure shows in this bundle")
	}
	for i, x := range found {
		fmt.Fprintf(w, "%d. %s (%d lines)\n", i+1, strings.Join(append([]string{x.Name}, x.Codes...), " "), x.Times)
		if x.Cause != "" {
			fmt.Fprintf(w, "   cause    %s\n", x.Cause)
		}
		if x.Remedy != "" {
			fmt.Fprintf(w, "   remedy   %s\n", x.Remedy)
		}
		for _, e := range x.Evidence {
			fmt.Fprintf(w, "   %s:%d: %s\n", e.File, e.Line, e.Text)
		}
	}
	return nil
}

func (f *debugFlags) trace(cmd *cobra.Command) error {
	if f.seconds < 1 || f.seconds > 60 {
		return usagef("--seconds %d: give 1 to 60", f.seconds)
	}
	at, err := f.places()
	if err != nil {
		return err
	}
	text, err := agent.DialControl(at.State).Read(cmd.Context(), fmt.Sprintf("/debug/pprof/trace?seconds=%d", f.seconds))
	if err != nil {
		return err
	}
	w, done, err := create(f.output, cmd.OutOrStdout())
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return done(err)
}
