package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/ferry-migrate/ferry/collector"
)

// checkFlags are those of ferry check.
type checkFlags struct {
	target  string
	domains []string
	json    bool
	timeout time.Duration
}

// checkReport is what ferry check --json prints.
type checkReport struct {
	Findings []collector.Finding `json:"findings"`
	Volumes  []collector.Advice  `json:"volumes"`
	Network  *collector.Network  `json:"network,omitempty"`
	OK       bool                `json:"ok"` // no finding is an error, and the target can be reached
}

var errCheck = errors.New("the check found errors: see the table")

// checkCommand says what would stop or weaken a migration of this host.
func checkCommand() *cobra.Command {
	var f checkFlags
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Say what would stop or weaken a migration, each with a remedy",
		Long: "Say what would stop or weaken a migration of this host, and what to do about it. Nothing is changed.\n" +
			"Exit code 0: nothing stops it; 1: something does. Run as root (Administrator) to see everything.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.complete(); err != nil {
				return err
			}
			report := f.report(cmd.Context())
			if err := cmd.Context().Err(); err != nil {
				return err
			}
			show := report.write
			if f.json {
				show = func(w io.Writer) error { return printJSON(w, report) }
			}
			if err := show(cmd.OutOrStdout()); err != nil {
				return err
			}
			if !report.OK {
				return withExit(exitFailed, errCheck)
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.target, "target", "", "also measure the way to this target, HOST or HOST:PORT")
	flags.StringArrayVar(&f.domains, "domain", nil, "also try to reach this HOST:PORT, for example that of a control plane; repeatable")
	flags.BoolVar(&f.json, "json", false, "print JSON")
	flags.DurationVar(&f.timeout, "timeout", 20*time.Second, "longest time to look at the host")
	return cmd
}

// complete gives the target a port, and refuses nonsense.
func (f *checkFlags) complete() error {
	if f.target != "" {
		if _, _, err := net.SplitHostPort(f.target); err != nil {
			f.target = net.JoinHostPort(strings.Trim(f.target, "[]"), defaultPort)
		}
	}
	for _, d := range f.domains {
		if _, _, err := net.SplitHostPort(d); err != nil {
			return usagef("--domain %s: say HOST:PORT", d)
		}
	}
	return nil
}

func (f *checkFlags) report(ctx context.Context) checkReport {
	s := collector.Collect(ctx, collector.Options{Timeout: f.timeout, Thorough: true})
	r := checkReport{Findings: collector.Preflight(s), Volumes: collector.Advise(s), OK: true}
	for _, x := range r.Findings {
		r.OK = r.OK && x.Level != collector.LevelError
	}
	if f.target != "" || len(f.domains) > 0 {
		n := collector.Measure(ctx, f.target, targetPath(f.target), f.domains)
		r.Network = &n
		r.OK = r.OK && (f.target == "" || n.Target.OK)
	}
	return r
}

func (r checkReport) write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, x := range r.Findings {
		subject := x.Subject
		if subject != "" {
			subject += " "
		}
		fmt.Fprintf(t, "%s\t%s\t%s%s\n", x.Level, x.Code, subject, x.Reason)
		if x.Remedy != "" {
			fmt.Fprintf(t, "\t\t→ %s\n", x.Remedy)
		}
	}
	if len(r.Volumes) > 0 {
		fmt.Fprintf(t, "\nvolume\tcontent\tbetter at\n")
	}
	for _, v := range r.Volumes {
		fmt.Fprintf(t, "%s\t%s\t%s level: %s\n", strings.TrimSpace(v.Volume+" "+v.Mount), v.Type, v.Level, v.Reason)
	}
	if n := r.Network; n != nil {
		fmt.Fprintf(t, "\nnetwork\t%s\t%s\n", n.Evaluation, strings.Join(n.Reasons, "; "))
		if n.Target.OK {
			fmt.Fprintf(t, "%s\treached\tdelay %.2f ms, jitter %.2f ms, loss %.0f %%%s\n", n.Target.Address, n.Delay, n.Jitter, n.Loss, bandwidth(n.Bandwidth))
		}
		for _, d := range n.Domains {
			if d.OK {
				fmt.Fprintf(t, "%s\treached\t\n", d.Address)
			}
		}
	}
	return t.Flush()
}

func bandwidth(bytesPerSecond int64) string {
	if bytesPerSecond == 0 {
		return ""
	}
	return fmt.Sprintf(", bandwidth %d Mbit/s", bytesPerSecond*8/1_000_000)
}
