package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/ferry-migrate/ferry/reporter"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/spf13/cobra"
)

// sourceCommand reads sources from a controller.
func sourceCommand() *cobra.Command {
	f := &taskFlags{}
	cmd := &cobra.Command{Use: "source", Short: "See the sources that agents have registered", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
		return usagef("say which: ferry source list or show")
	}}
	f.register(cmd)
	cmd.AddCommand(sourceListCommand(f), sourceShowCommand(f))
	return cmd
}

func sourceListCommand(f *taskFlags) *cobra.Command {
	var query smsapi.SourceQuery
	var connected string
	cmd := &cobra.Command{
		Use: "list", Short: "List sources, newest first", Args: cobra.NoArgs,
		Example: "  ferry source list --connected false\n  ferry source list --source-state error --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if connected != "" {
				yes := connected == "true"
				if !yes && connected != "false" {
					return usagef("--connected is true or false, not %q", connected)
				}
				query.Connected = &yes
			}
			return f.with(cmd.Context(), func(c *reporter.Client) error {
				list, err := c.Sources(cmd.Context(), query)
				if err != nil {
					return err
				}
				return f.printSources(cmd.OutOrStdout(), list.Sources)
			})
		},
	}
	cmd.Flags().StringVar((*string)(&query.State), "source-state", "", "only sources in this state, for example waiting")
	cmd.Flags().StringVar(&query.Name, "name", "", "only sources with this name")
	cmd.Flags().StringVar(&query.IP, "ip", "", "only sources with this IPv4 address")
	cmd.Flags().StringVar(&query.MigrationProject, "project", "", "only sources in the migration project with this id")
	cmd.Flags().StringVar(&connected, "connected", "", "only sources whose agent was heard of lately (true) or was not (false)")
	cmd.Flags().IntVar(&query.Limit, "limit", smsapi.DefaultSourceLimit, "at most so many, up to 200")
	cmd.Flags().IntVar(&query.Offset, "offset", 0, "skip so many")
	return cmd
}

func sourceShowCommand(f *taskFlags) *cobra.Command {
	return &cobra.Command{
		Use: "show SOURCE", Short: "Show a source, its disks and what was found wrong with it", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.with(cmd.Context(), func(c *reporter.Client) error {
				source, err := c.Source(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return f.printSource(cmd.OutOrStdout(), source)
			})
		},
	}
}

// printSources writes sources as a table, or as JSON lines.
func (f *taskFlags) printSources(out io.Writer, sources []smsapi.ListedSourceServer) error {
	if f.json {
		encoder := json.NewEncoder(out)
		for _, s := range sources {
			if err := encoder.Encode(s); err != nil {
				return err
			}
		}
		return nil
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tNAME\tADDRESS\tSYSTEM\tSTATE\tCONNECTED\tTASK")
	for _, s := range sources {
		task := "-"
		if s.CurrentTask != nil {
			task = fmt.Sprintf("%s %s", s.CurrentTask.Name, s.CurrentTask.State)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", s.ID, s.Name, cmp.Or(s.IP, s.IPv6), s.OSVersion, stage(s.SourceStatus), yesNo(s.Connected), task)
	}
	return table.Flush()
}

// printSource writes one source in full.
func (f *taskFlags) printSource(out io.Writer, s smsapi.Source) error {
	if f.json {
		return json.NewEncoder(out).Encode(s)
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "source\t%s\nname\t%s\nhost\t%s\naddress\t%s\n", s.ID, s.Name, cmp.Or(s.Hostname, "-"), cmp.Or(s.IP, s.IPv6))
	fmt.Fprintf(table, "system\t%s %s, %d processors, %s memory\n", s.OSVersion, s.Firmware, s.CPUQuantity, formatBytes(s.Memory<<20))
	fmt.Fprintf(table, "agent\t%s, connected: %s since %s\n", s.AgentVersion, yesNo(s.Connected), local(&s.LastVisitTime))
	fmt.Fprintf(table, "state\t%s since %s\nregistered\t%s\n", stage(s.SourceStatus), local(&s.StateActionTime), local(&s.AddDate))
	if t := s.CurrentTask; t != nil {
		fmt.Fprintf(table, "task\t%s %s %s %s\n", t.ID, t.Name, t.State, t.SubtaskInfo)
	}
	fmt.Fprintln(table, "\nDISK OR VOLUME\tSIZE\tUSED\tFILESYSTEM\tMOUNT POINT")
	for _, d := range s.Disks {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t-\n", d.Name, formatBytes(d.Size), formatBytes(d.UsedSize), cmp.Or(d.PartitionStyle, "-"))
		for _, p := range d.Partitions {
			fmt.Fprintf(table, "  %s\t%s\t%s\t%s\t%s\n", p.Name, formatBytes(p.Size), formatBytes(p.UsedSize), cmp.Or(p.FileSystem, "-"), cmp.Or(p.MountPoint, "-"))
		}
	}
	for _, g := range s.VolumeGroups {
		fmt.Fprintf(table, "%s\t%s\t%s\tLVM\t-\n", g.Name, formatBytes(g.Size), formatBytes(g.Size-g.FreeSize))
		for _, v := range g.LogicalVolumes {
			fmt.Fprintf(table, "  %s\t%s\t%s\t%s\t%s\n", v.Name, formatBytes(v.Size), formatBytes(v.UsedSize), cmp.Or(v.FileSystem, "-"), cmp.Or(v.MountPoint, "-"))
		}
	}
	wrong := slices.DeleteFunc(s.Checks, func(c smsapi.EnvironmentCheck) bool { return c.Result == smsapi.CheckOK })
	if len(wrong) > 0 {
		fmt.Fprintln(table, "\nCHECK\tRESULT\tWHY")
	}
	for _, c := range wrong {
		fmt.Fprintf(table, "%s\t%s\t%s\n", c.Name, c.Result, strings.TrimSpace(c.ErrorOrWarn+" "+strings.Join(c.Params, ", ")+" "+c.ErrorCode))
	}
	return table.Flush()
}

// stage says where a source is in its migration.
func stage(s smsapi.SourceStatus) string { return fmt.Sprintf("%s/%s", s.MigrationCycle, s.State) }

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
