package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/ferry-migrate/ferry/collector"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/target"
	"github.com/ferry-migrate/ferry/transfer/target/configure"
	"github.com/ferry-migrate/ferry/transfer/target/layout"
)

// intoDisks is --into of a target of whole disks.
const intoDisks = "disks"

// disksDir is where a target of disks mounts what it receives.
const disksDir = "/run/ferry/target"

// diskFlags are what a person says about a target of whole disks.
type diskFlags struct {
	disks         []string
	plan, network string
	grow, dryRun  bool
}

func (f *diskFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringArrayVar(&f.disks, "disk", nil, "with --into disks: a disk to lay out, the first for the source's first; repeat (default all that nobody uses)")
	fl.StringVar(&f.plan, "plan", "", "with --into disks: file with the plan that ferry discover --layout printed on the source")
	fl.BoolVar(&f.grow, "grow", false, "with --into disks: give the last partition what a larger disk has more")
	fl.StringVar(&f.network, "network", "dhcp", "with --into disks: how the received system finds its network: dhcp, or keep what it had")
	fl.BoolVar(&f.dryRun, "dry-run", false, "with --plan: print what would be done to the disks, and end")
}

// receiver is what receives onto disks. With a plan they are laid out first.
func (f *diskFlags) receiver(cmd *cobra.Command, t *targetFlags, state string, log *slog.Logger, done func(string)) (*layout.Receiver, error) {
	r := &layout.Receiver{
		Grow: f.grow, Overwrite: t.overwrite, State: filepath.Join(state, "layout"), Dir: disksDir, Software: software(), Log: log,
		Files: &target.Receiver{State: filepath.Join(state, "target"), Software: software(), Overwrite: true, Log: log, Done: done},
	}
	switch f.network {
	case "dhcp":
		r.Start.Network = configure.NetworkDHCP
	case "keep":
	default:
		return nil, usagef("--network %q: give dhcp or keep", f.network)
	}
	if !t.json {
		r.Told = func(line string, done bool) { tell(cmd.ErrOrStderr(), line, done) }
	}
	var err error
	if r.Disks, err = f.targets(cmd); err != nil {
		return nil, err
	}
	if f.plan == "" {
		return r, r.Resume(cmd.Context())
	}
	p, err := readPlan(f.plan)
	if err != nil {
		return nil, err
	}
	return r, r.Lay(cmd.Context(), p)
}

// tell says what is done to the disks.
func tell(w io.Writer, line string, done bool) {
	if done {
		line = "# is done: " + line
	}
	fmt.Fprintln(w, line)
}

// script prints what would be done.
func (f *diskFlags) script(cmd *cobra.Command, asJSON bool) error {
	p, err := readPlan(f.plan)
	if err != nil {
		return err
	}
	disks, err := f.targets(cmd)
	if err != nil {
		return err
	}
	fitted, err := layout.Fit(p, disks, f.grow)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if asJSON {
		return json.NewEncoder(out).Encode(fitted)
	}
	for _, line := range p.Left {
		fmt.Fprintln(out, "# left out:", line)
	}
	for _, a := range layout.Script(fitted, disksDir) {
		fmt.Fprintln(out, a.String())
	}
	for _, m := range layout.Tree(fitted, filepath.Join(disksDir, "root")) {
		fmt.Fprintln(out, m.String())
	}
	return nil
}

// targets are the disks that may be laid out.
func (f *diskFlags) targets(cmd *cobra.Command) (out []layout.Target, err error) {
	names, chosen := f.disks, len(f.disks) > 0
	if !chosen {
		s := collector.Collect(cmd.Context(), collector.Options{})
		for _, d := range s.Disks {
			if d.Real() && !d.Removable && !d.ReadOnly {
				names = append(names, d.Name)
			}
		}
	}
	for _, name := range names {
		d, err := layout.Look(name)
		if err == nil && !chosen && !layout.Free(d) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	if len(out) == 0 {
		return nil, fault.Operator(layout.CodeSmall, "name the disks with --disk; ferry discover shows them", errors.New("this machine has no disk that nobody uses"))
	}
	return out, nil
}

func readPlan(name string) (*layout.Plan, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fault.Operator(layout.CodePlan, "name the file with the plan that ferry discover --layout printed on the source", fmt.Errorf("plan: %w", err))
	}
	return layout.Parse(text)
}
