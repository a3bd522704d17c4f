package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/spf13/cobra"
)

// createFlags describe a new task.
type createFlags struct {
	source, to, pair, vm, template, name, kind, limit, priority string
	region, project, body                                       string
	volumes                                                     []string
	sync, leaveOff, start, verify                               bool
}

func taskCreateCommand(f *taskFlags) *cobra.Command {
	var n createFlags
	cmd := &cobra.Command{
		Use: "create", Short: "Create a task for a source, and print its id", Args: cobra.NoArgs,
		Example: "  ferry task create --source SOURCE --to 192.0.2.7 --pair CODE --sync --start\n" +
			"  ferry task create --body task.json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.live(cmd.Context(), func(c *reporter.Client) error {
				request, err := n.request(cmd.Context(), c, cmd.InOrStdin())
				if err != nil {
					return err
				}
				id, err := c.CreateTask(cmd.Context(), request)
				if err != nil {
					return err
				}
				if n.start {
					if err := c.Act(cmd.Context(), id, smsapi.TaskAction{Operation: smsapi.OpStart}); err != nil {
						return err
					}
				}
				if f.json {
					return f.done(cmd.OutOrStdout(), id, "create")
				}
				_, err = fmt.Fprintln(cmd.OutOrStdout(), id)
				return err
			})
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&n.source, "source", "", "id of the source; see `ferry source list`")
	fl.StringVar(&n.to, "to", "", "address of the target, HOST[:PORT]")
	fl.StringVar(&n.pair, "pair", "", "pairing code that `ferry target` printed: CODE, @FILE or -; FERRY_PAIR too")
	fl.StringVar(&n.vm, "vm", "", "id of the target's virtual machine, if a cloud has it")
	fl.StringVar(&n.template, "template", "", "id of the template that the target is made from")
	fl.StringVar(&n.name, "name", "", "name of the task (default that of the source)")
	fl.StringVar(&n.kind, "type", "file", "file or block")
	fl.StringArrayVar(&n.volumes, "volume", nil, "mount point to migrate, repeatable (default all of the source)")
	fl.BoolVar(&n.sync, "sync", false, "keep syncing until the cutover")
	fl.StringVar(&n.limit, "limit", "0", "limit, for example 200Mbit; 0 for none")
	fl.StringVar(&n.priority, "priority", "standard", "low, standard or high")
	fl.BoolVar(&n.leaveOff, "no-launch", false, "do not start the target when done")
	fl.BoolVar(&n.verify, "verify", false, "compare source and target afterwards")
	fl.BoolVar(&n.start, "start", false, "begin at once")
	fl.StringVar(&n.region, "region", "", "region of the target (default the controller's main one)")
	fl.StringVar(&n.project, "project", "", "id of the target's project (default the region's)")
	fl.StringVar(&n.body, "body", "", "file with the body of POST /v3/tasks, - for standard input, in place of all flags but --start")
	return cmd
}

// taskTypes and priorities are the words of the command line for those of the API.
var (
	taskTypes  = map[string]smsapi.TaskType{"file": smsapi.MigrateFile, "block": smsapi.MigrateBlock}
	priorities = map[string]int{"low": 0, "standard": 1, "high": 2}
)

// request returns the body of a new task: the one in a file, or one made of the flags and of what the source says of itself.
func (n *createFlags) request(ctx context.Context, c *reporter.Client, in io.Reader) (r smsapi.CreateTaskRequest, err error) {
	if n.body != "" {
		return readRequest(n.body, in)
	}
	how, known := taskTypes[n.kind]
	priority, known2 := priorities[n.priority]
	switch {
	case n.source == "":
		return r, usagef("name the source with --source, or give a body with --body")
	case n.to == "" && n.template == "":
		return r, usagef("name the target with --to, or a template with --template")
	case !known:
		return r, usagef("--type is file or block, not %q", n.kind)
	case !known2:
		return r, usagef("--priority is low, standard or high, not %q", n.priority)
	}
	limit, err := mbit(n.limit)
	if err != nil {
		return r, err
	}
	pair, err := pairingCode(n.pair)
	if err != nil {
		return r, err
	}
	source, err := c.Source(ctx, n.source)
	if err != nil {
		return r, err
	}
	target, err := n.target(source)
	if err != nil {
		return r, err
	}
	target.VMID = cmp.Or(n.vm, pair)
	r = smsapi.CreateTaskRequest{
		Name: smsapi.TaskName(cmp.Or(n.name, source.Name)), Type: how, OSType: source.OSType, StartTargetServer: !n.leaveOff,
		SourceServer: smsapi.SourceServerID{ID: source.ID}, TargetServer: target, MigrationIP: n.to, Priority: priority, VMTemplateID: n.template,
		UsePublicIP: true, Syncing: n.sync, ExistServer: n.template == "", SpeedLimit: limit, NeedConsistencyCheck: n.verify,
	}
	return r, n.place(ctx, c, &r)
}

// readRequest reads a body as it is sent.
func readRequest(name string, in io.Reader) (r smsapi.CreateTaskRequest, err error) {
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return r, usagef("--body: %v", err)
		}
		defer file.Close()
		in = file
	}
	text, err := io.ReadAll(io.LimitReader(in, 8<<20))
	if err != nil {
		return r, fmt.Errorf("--body: %w", err)
	}
	if err := smsapi.Decode(text, &r); err != nil {
		return r, usagef("--body: %v", err)
	}
	return r, nil
}

// target returns what the controller recommends for a source, with the volumes that were asked for.
func (n *createFlags) target(source smsapi.Source) (smsapi.NewTargetServer, error) {
	target := smsapi.NewTargetServer{Name: source.Name, Disks: []smsapi.NewTargetDisk{}, VolumeGroups: []smsapi.VolumeGroup{}, BtrfsList: source.BtrfsList}
	missing := slices.Clone(n.volumes)
	wanted := func(mount string) bool {
		missing = slices.DeleteFunc(missing, func(m string) bool { return m == mount })
		return len(n.volumes) == 0 || slices.Contains(n.volumes, mount)
	}
	if source.InitTargetServer == nil {
		source.InitTargetServer = &smsapi.InitTargetServer{}
	}
	for _, d := range source.InitTargetServer.Disks {
		disk := smsapi.NewTargetDisk{DeviceUse: d.DeviceUse, Name: d.Name, PhysicalVolumes: []smsapi.NewPhysicalVolume{}, Size: d.Size, UsedSize: d.UsedSize}
		for _, p := range d.PhysicalVolumes {
			if wanted(p.MountPoint) {
				disk.PhysicalVolumes = append(disk.PhysicalVolumes, p)
			}
		}
		target.Disks = append(target.Disks, disk)
	}
	for _, g := range source.InitTargetServer.VolumeGroups {
		volumes := g.LogicalVolumes
		g.LogicalVolumes = []smsapi.LogicalVolume{}
		for _, v := range volumes {
			if wanted(v.MountPoint) {
				g.LogicalVolumes = append(g.LogicalVolumes, v)
			}
		}
		target.VolumeGroups = append(target.VolumeGroups, g)
	}
	if len(missing) > 0 {
		return target, fault.Operator("FERRY-NO-VOLUME", "see `ferry source show "+source.ID+"`", fmt.Errorf("the source has nothing mounted at %s", missing[0]))
	}
	return target, nil
}

// place sets region and project, the service's main ones unless flags name others.
func (n *createFlags) place(ctx context.Context, c *reporter.Client, r *smsapi.CreateTaskRequest) error {
	regions, err := c.Regions(ctx)
	if err != nil {
		return err
	}
	main := map[string]string{}
	if len(regions) > 0 {
		main = regions[0]
	}
	r.RegionID = cmp.Or(n.region, main["region_name"])
	r.RegionName, r.ProjectName = r.RegionID, cmp.Or(n.region, main["project_name"])
	r.ProjectID = cmp.Or(n.project, r.ProjectName)
	return nil
}
