package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"github.com/ferry-migrate/ferry/agent"
	"github.com/ferry-migrate/ferry/collector"
	"github.com/ferry-migrate/ferry/collector/inventory"
	"github.com/ferry-migrate/ferry/internal/fault"
)

// discoverFlags are those of ferry discover.
type discoverFlags struct {
	json, sms, layout, thorough, watch bool
	images                             []string
	timeout                            time.Duration
}

// discoverCommand tells what is on this host, or in image files.
func discoverCommand() *cobra.Command {
	var f discoverFlags
	cmd := &cobra.Command{
		Use:   "discover",
		Short: "Tell what is on this host: disks, volumes, filesystems, network, system",
		Long: "Tell what is on this host, without changing anything. Run as root (Administrator) to see the content of disks;\n" +
			"what could not be seen is listed. --json is the inventory as docs/inventory.schema.json describes it.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.timeout <= 0 {
				return usagef("--timeout %s: give a positive time", f.timeout)
			}
			if f.json && f.sms || f.layout && (f.json || f.sms || f.watch) {
				return usagef("--json, --sms and --layout are outputs of their own: choose one")
			}
			if len(f.images) > 0 && (f.sms || f.watch) {
				return usagef("--image describes files, not a server: --sms and --watch do not apply")
			}
			return f.run(cmd.Context(), cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.json, "json", false, "print the inventory as JSON")
	flags.BoolVar(&f.sms, "sms", false, "print the body of POST /v3/sources")
	flags.BoolVar(&f.layout, "layout", false, "print the plan of the disks that ferry target --into disks --plan takes")
	flags.StringArrayVar(&f.images, "image", nil, "look into an image file instead; repeat for several disks of one server")
	flags.BoolVar(&f.thorough, "thorough", false, "also look for drivers inside the initramfs, which takes longer")
	flags.BoolVar(&f.watch, "watch", false, "go on and print each change of disks, volumes and mounts, until stopped")
	flags.DurationVar(&f.timeout, "timeout", 20*time.Second, "longest time for each part")
	return cmd
}

func (f *discoverFlags) run(ctx context.Context, w io.Writer) error {
	options := collector.Options{Timeout: f.timeout, Thorough: f.thorough}
	if f.watch {
		return f.follow(ctx, options, w)
	}
	s, err := f.collect(ctx, options)
	if err != nil {
		return err
	}
	switch {
	case f.json:
		return printJSON(w, s)
	case f.sms:
		return printJSON(w, agent.RegisterSource(s, cmp.Or(version, "0.0.0")))
	case f.layout:
		p, err := agent.DiskPlan(s)
		if err != nil {
			return err
		}
		return printJSON(w, p)
	default:
		return collector.WriteTree(w, s)
	}
}

func (f *discoverFlags) collect(ctx context.Context, options collector.Options) (*inventory.Server, error) {
	if len(f.images) == 0 {
		return collector.Collect(ctx, options), ctx.Err()
	}
	s, err := collector.Images(ctx, f.images)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = fault.Operator("FERRY-IMAGE-MISSING", "check the name of the image file", err)
	case errors.Is(err, fs.ErrPermission):
		err = fault.Operator("FERRY-PERMISSION", "run as root, or with the right to read the image file", err)
	}
	return s, err
}

// follow prints the inventory, then a line for each change.
func (f *discoverFlags) follow(ctx context.Context, options collector.Options, w io.Writer) error {
	changes := collector.Watch(ctx, collector.WatchOptions{Options: options})
	for change := range changes {
		var err error
		switch {
		case f.json:
			err = json.NewEncoder(w).Encode(change)
		case f.sms:
			err = json.NewEncoder(w).Encode(agent.SourceDisks(change.Now))
		default:
			err = collector.WriteChange(w, change)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// printJSON prints one value as indented JSON.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
