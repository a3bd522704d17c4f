package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ferry-migrate/ferry/agent"
	"github.com/ferry-migrate/ferry/collector"
)

// checkFlags are those of ferry check.
type checkFlags struct {
	target, pair, state string
	domains             []string
	json, sms           bool
	timeout             time.Duration
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
			"Exit code 0: nothing stops it; 1: something does. Run as root (Administrator) to see everything.\n\n" +
			"With --target the way to a `ferry target` is measured too: delay, jitter, loss, and, once source and target know each\n" +
			"other, bandwidth: for that at most 64 MiB are sent for at most 5 seconds, which the target does not keep.",
		Example: "  ferry check\n  ferry check --target 192.0.2.7 --pair CODE",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.complete(); err != nil {
				return err
			}
			report, err := f.report(cmd.Context())
			if err != nil {
				return err
			}
			if err := f.print(cmd.OutOrStdout(), report); err != nil {
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
	flags.StringVar(&f.pair, "pair", "", "pairing code that the target printed: CODE, @FILE or -; FERRY_PAIR too. It is then used: a migration needs none")
	flags.StringVar(&f.state, "state", "", "state directory (default /var/lib/ferry, or the user's)")
	flags.BoolVar(&f.json, "json", false, "print JSON")
	flags.BoolVar(&f.sms, "sms", false, "print the body of POST /v3/{task_id}/update-network-check-info; needs --target")
	flags.DurationVar(&f.timeout, "timeout", 20*time.Second, "longest time to look at the host")
	return cmd
}

// complete gives the target a port, and refuses nonsense.
func (f *checkFlags) complete() error {
	if f.sms && (f.json || f.target == "") {
		return usagef("--sms prints what was measured on the way to a --target, instead of --json")
	}
	if f.timeout <= 0 {
		return usagef("--timeout %s: give a positive time", f.timeout)
	}
	if f.pair != "" && f.target == "" {
		return usagef("--pair belongs to a --target")
	}
	if f.target != "" {
		e, err := parseTarget(f.target)
		if err != nil || e.host == "" {
			return usagef("--target %s: give HOST or HOST:PORT", f.target)
		}
		f.target = e.host
	}
	for _, d := range f.domains {
		if _, _, err := net.SplitHostPort(d); err != nil {
			return usagef("--domain %s: give HOST:PORT", d)
		}
	}
	if f.target == "" {
		return nil
	}
	var err error
	f.pair, err = pairingCode(f.pair)
	return err
}

// report looks at the host and, when there is something to reach, at the network.
func (f *checkFlags) report(ctx context.Context) (r checkReport, err error) {
	r = checkReport{Findings: []collector.Finding{}, Volumes: []collector.Advice{}, OK: true}
	if !f.sms {
		s := collector.Collect(ctx, collector.Options{Timeout: f.timeout, Thorough: true})
		r.Findings, r.Volumes = collector.Preflight(s), collector.Advise(s)
	}
	for _, x := range r.Findings {
		r.OK = r.OK && x.Level != collector.LevelError
	}
	if f.target == "" && len(f.domains) == 0 {
		return r, ctx.Err()
	}
	path, err := newTargetPath(f.target, f.pair, f.state)
	if err != nil {
		return r, err
	}
	n := collector.Measure(ctx, f.target, path, f.domains)
	r.Network = &n
	for _, d := range n.Domains {
		r.OK = r.OK && d.OK
	}
	if f.target != "" {
		r.OK = r.OK && n.Target.OK && (f.pair == "" || n.Unmeasured == "")
	}
	return r, ctx.Err()
}

func (f *checkFlags) print(w io.Writer, r checkReport) error {
	switch {
	case f.sms:
		return printJSON(w, agent.NetworkCheck(*r.Network))
	case f.json:
		return printJSON(w, r)
	default:
		_, err := io.WriteString(w, r.text())
		return err
	}
}

// text is the report for a person, no line longer than a terminal is wide unless a single word is.
func (r checkReport) text() string {
	var b strings.Builder
	for _, x := range r.Findings {
		b.WriteString(wrap(fmt.Sprintf("%-6s %s  %s", x.Level, x.Code, strings.TrimSpace(x.Subject+" "+x.Reason)), 7))
		if x.Remedy != "" {
			b.WriteString(wrap("       → "+x.Remedy, 9))
		}
	}
	if len(r.Volumes) > 0 {
		b.WriteString("\nWhich kind of migration suits which volume\n")
	}
	for _, v := range r.Volumes {
		b.WriteString(wrap(fmt.Sprintf("%-6s %s (%s): %s", v.Level, strings.TrimSpace(v.Volume+" "+v.Mount), v.Type, v.Reason), 7))
	}
	if r.Network != nil {
		b.WriteString("\n" + networkText(r.Network))
	}
	return b.String()
}

func networkText(n *collector.Network) string {
	text := "The network is " + n.Evaluation
	if len(n.Reasons) > 0 {
		text += ": " + strings.Join(n.Reasons, "; ")
	}
	text = wrap(text, 2)
	switch {
	case n.Target.OK:
		facts := fmt.Sprintf("  %s answers: delay %.2f ms, jitter %.2f ms, loss %.1f %%", n.Target.Address, n.Delay, n.Jitter, n.Loss)
		if n.Bandwidth > 0 {
			facts += fmt.Sprintf(", bandwidth %d Mbit/s", n.Bandwidth*8/1_000_000)
		} else {
			facts += "; the bandwidth was not measured: " + n.Unmeasured
		}
		text += wrap(facts, 2)
	case n.Target.Address != "":
		text += wrap("       → start `ferry target` there, and let TCP to "+n.Target.Address+" through all firewalls", 9)
	}
	for _, d := range n.Domains {
		if d.OK {
			text += wrap("  "+d.Address+" answers", 2)
		}
	}
	return text
}
