package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/ferry-migrate/ferry/transfer/codec"
	"github.com/ferry-migrate/ferry/transfer/ratelimit"
	"github.com/ferry-migrate/ferry/transfer/source"
	"github.com/ferry-migrate/ferry/transfer/target/configure"
	"github.com/ferry-migrate/ferry/transfer/wire"
)

// How a task names a `ferry target`. The API's own fields serve, so that any client can create such a task:
//
//	target_server.vm_id   the pairing code that `ferry target` printed: the target's key and, good once, the right to enrol;
//	                      empty when source and target know each other already. Any other id is that of a cloud server.
//	migration_ip          its address: IP, name, or either with :PORT. The option MIGRATE_DST_IP replaces it.
//	DYNAMIC_PORT          option: its port, if it is not in migration_ip and not the usual one. 22 counts as not given.
//	target_server.disks[].physical_volumes[].mount_point, volume_groups[].logical_volumes[].mount_point
//	                      what to migrate: directories of the source, mount points or not. One: its content becomes that of the
//	                      target's directory. Several: each under its own name there, as systemd names mounts: /var/log is var-log,
//	                      / is -.

// codePrefix begins a pairing code.
const codePrefix = "FERRY1"

// Session makes the subtasks of tasks and what they share while they run. Its fields are not changed.
type Session struct {
	State    string             // state directory
	Software string             // for the target's log
	Port     int                // of a target whose task names none
	Rate     ratelimit.Schedule // of a task without a limit of its own
	Streams  int
	Verify   source.Verify
	Interval time.Duration            // between sync passes without backlog
	Remedy   func(kind string) string // of a kind of loss that the target reports; may be nil
	Log      *slog.Logger
}

// A Work is one task made ready to run.
type Work struct {
	Subtasks []Subtask
	Options  Options
	Bucket   *ratelimit.Bucket // limits what goes over the wire; nil when nothing does
	Sent     func() int64      // bytes on the wire so far
	Cutover  func() error      // makes the next pass the last one
}

// Prepare makes a task ready. It touches neither network nor source. Errors are the operator's: the task asks for what cannot be.
func (s *Session) Prepare(t *Task) (*Work, error) {
	options, err := ParseOptions(t.Settings, s.Log)
	if err != nil {
		return nil, err
	}
	if !t.Spec.Type.Known() || !t.Spec.OSType.Known() {
		return nil, fault.Operator("FERRY-TASK-UNKNOWN", "use a later version of ferry", fmt.Errorf("type %q on %q is not known", t.Spec.Type, t.Spec.OSType))
	}
	target := t.Spec.TargetServer
	if target == nil {
		return nil, fault.Operator("FERRY-TASK-TARGET", "create the task with a target_server", errors.New("the task names no target"))
	}
	route := Route{
		Type: t.Spec.Type, OS: t.Spec.OSType, NewServer: target.VMID == "" && text(t.Spec.MigrationIP) == "",
		Receiver: isReceiver(&t.Spec, options), Again: t.Again, Continuous: t.Continuous && !t.Again,
	}
	bodies := map[smsapi.SubtaskName]func(last bool) Subtask{}
	w := &Work{Options: options, Cutover: func() error {
		return fault.Operator("FERRY-NOT-SYNCING", "it ends by itself", errors.New("this task does not sync"))
	}}
	if route.Receiver && route.names().migrate == smsapi.MigrateLinuxFile {
		if err := s.files(t, w, &route, bodies); err != nil {
			return nil, err
		}
	}
	sequence := route.Sequence()
	copies := slices.Index(sequence, route.names().configure)
	if copies < 0 {
		copies = len(sequence)
	}
	for i, name := range spelled(sequence, t.Spec.Subtasks) {
		body := bodies[sequence[i]]
		switch {
		case body == nil:
			w.Subtasks = append(w.Subtasks, missing{string(name)})
		case name != sequence[i]:
			w.Subtasks = append(w.Subtasks, renamed{body(i == copies-1), string(name)})
		default:
			w.Subtasks = append(w.Subtasks, body(i == copies-1))
		}
	}
	return w, nil
}

// isReceiver reports whether a task is for a `ferry target`.
func isReceiver(t *smsapi.Task, o Options) bool {
	id := t.TargetServer.VMID
	return strings.HasPrefix(strings.ToUpper(id), codePrefix) || id == "" && cmp.Or(o.TargetIP, text(t.MigrationIP)) != ""
}

// files adds the bodies of a file-level task, and what they share, to w.
func (s *Session) files(t *Task, w *Work, route *Route, bodies map[smsapi.SubtaskName]func(bool) Subtask) error {
	dial, counters, err := s.dial(t, w)
	if err != nil {
		return err
	}
	roots, err := volumes(t.Spec.TargetServer)
	if err != nil {
		return err
	}
	route.Whole = slices.Contains(roots, "/")
	cutover := make(chan struct{})
	var once sync.Once
	if route.Continuous {
		w.Cutover = func() error {
			once.Do(func() { close(cutover) })
			return nil
		}
	}
	make := func(streams int, leaveOut, only []string) *Data {
		f := &Data{Counters: counters, Interval: s.Interval, Cutover: cutover, Ended: s.ended(t), Strict: true, Launch: route.Whole}
		chooser := codec.NewChooser()
		if w.Options.Uncompressed {
			chooser = codec.Fixed(codec.Off)
		}
		var configs []*source.Config
		for _, root := range roots {
			cfg := &source.Config{
				Root: root, Into: into(root, len(roots)), State: s.State, Software: s.Software, Dial: dial, Counters: counters,
				Streams: cmp.Or(streams, s.Streams), Compress: chooser, Delete: true, Verify: s.Verify, Log: s.Log,
				Own: Own(root, s.State), Remedy: s.Remedy, MoreToCome: f.MoreToCome,
			}
			configs = append(configs, cfg)
			f.Sources = append(f.Sources, Tree(cfg))
		}
		f.Before = func() error {
			for _, cfg := range configs {
				if err := leave(cfg, leaveOut, only); err != nil {
					return err
				}
			}
			return nil
		}
		return f
	}
	first := make(w.Options.Streams, w.Options.Exclude, nil)
	again := make(w.Options.SyncStreams, w.Options.SyncExclude, w.Options.SyncOnly)
	bodies[smsapi.SSLConfig] = func(bool) Subtask { return NewConnect(dial) }
	bodies[smsapi.FormatDiskLinuxFile] = func(bool) Subtask { return NewFormat(dial, s.Software, PlanHere) }
	bodies[smsapi.ConfigureLinuxFile] = func(bool) Subtask { return NewConfigure(dial, s.Software, s.Log) }
	bodies[smsapi.MigrateLinuxFile] = func(last bool) Subtask { return NewReplicate(first, false, last) }
	bodies[smsapi.SyncLinuxFile] = func(last bool) Subtask {
		if route.Continuous {
			return NewFollow(again)
		}
		return NewReplicate(again, true, last)
	}
	return nil
}

// Own lists what a copy of root leaves out because it is Ferry's own: the state directory, and what is remembered of how this system was once made to
// start, which is not to be put back on the next machine.
func Own(root, state string) []string {
	if root == "/" {
		return []string{state, "/" + configure.Home}
	}
	return []string{state}
}

// leave sets what a pass over cfg leaves out, and checks that its root is there.
func leave(cfg *source.Config, out, only []string) error {
	info, err := os.Stat(cfg.Root)
	if err == nil && !info.IsDir() {
		err = errors.New("not a directory")
	}
	if err != nil {
		return fault.Operator("FERRY-SOURCE-MISSING", "check the task's mount points; mount what is not", fmt.Errorf("source %s: %w", cfg.Root, err))
	}
	cfg.Excludes, err = excludes(cfg.Root, out, only)
	return err
}

// dial returns how to reach the task's target, and adds limit and count to w.
func (s *Session) dial(t *Task, w *Work) (wire.DialFunc, *wire.Counters, error) {
	limit, err := schedule(t.Windows, t.Spec.SpeedLimit)
	if err != nil {
		return nil, nil, err
	}
	if len(t.Windows) == 0 && t.Spec.SpeedLimit == 0 {
		limit = s.Rate
	}
	address, err := s.address(text(t.Spec.MigrationIP), w.Options)
	if err != nil {
		return nil, nil, err
	}
	counters := &wire.Counters{}
	w.Bucket, w.Sent = ratelimit.NewBucket(limit), counters.Total
	dial, err := s.dialer(address, t.Spec.TargetServer.VMID, wire.Options{Limiter: w.Bucket, Counters: counters})
	return dial, counters, err
}

// dialer returns how to reach the target at an address, which code enrols this source at if it is not known there.
func (s *Session) dialer(address, code string, opt wire.Options) (wire.DialFunc, error) {
	id, err := wire.LoadIdentity(s.State)
	if err != nil {
		return nil, err
	}
	peers, err := wire.OpenKnownPeers(filepath.Join(s.State, wire.TargetsFile))
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (*wire.Conn, error) { return wire.Dial(ctx, address, id, peers, code, opt) }, nil
}

// address returns HOST:PORT of a target.
func (s *Session) address(ip string, o Options) (string, error) {
	host, port, err := net.SplitHostPort(ip)
	if err != nil {
		host, port = strings.Trim(ip, "[]"), ""
	}
	host = cmp.Or(o.TargetIP, host)
	if o.Port > 0 {
		port = strconv.Itoa(o.Port)
	}
	if host == "" {
		return "", fault.Operator("FERRY-TASK-TARGET", "create the task with the target's address in migration_ip", errors.New("the task names no address"))
	}
	return net.JoinHostPort(host, cmp.Or(port, strconv.Itoa(s.Port))), nil
}

// ended returns what is told of each pass: losses and differences go to the log, which support reads.
func (s *Session) ended(t *Task) func(Pass, bool) {
	return func(p Pass, last bool) {
		s.Log.Info("pass ended", "task", t.ID, "pass", p.Pass, "last", last, "files", p.Files, "bytes", p.Bytes, "sent", p.BytesSent,
			"seconds", p.Seconds, "changed", p.Changed, "verified", p.Verified, "differences", p.Differences)
		for _, l := range p.Losses {
			s.Log.Warn("something could not be kept", "task", t.ID, "kind", l.Kind, "count", l.Count, "sample", l.Sample, "remedy", l.Remedy)
		}
	}
}

// volumes returns the directories that a task names as mount points, sorted.
func volumes(t *smsapi.TargetServer) (roots []string, err error) {
	add := func(mount string) {
		if mount == "" || strings.Trim(strings.ToLower(mount), "[]") == "swap" {
			return
		}
		if !filepath.IsAbs(mount) {
			err = errors.Join(err, fmt.Errorf("mount point %.80q is no absolute path", mount))
			return
		}
		roots = append(roots, filepath.Clean(mount))
	}
	for _, d := range t.Disks {
		for _, p := range d.PhysicalVolumes {
			add(text(p.MountPoint))
		}
	}
	for _, g := range t.VolumeGroups {
		for _, v := range g.LogicalVolumes {
			add(v.MountPoint)
		}
	}
	if err == nil && len(roots) == 0 {
		err = errors.New("the task names no mount point")
	}
	if err != nil {
		return nil, fault.Operator("FERRY-TASK-VOLUMES", "name what to migrate in target_server: mount_point of physical_volumes and logical_volumes", err)
	}
	slices.Sort(roots)
	roots = slices.Compact(roots)
	names := map[string]string{}
	for _, root := range roots {
		name := into(root, len(roots))
		if other, dup := names[name]; dup {
			return nil, fault.Operator("FERRY-TASK-VOLUMES", "migrate them with two tasks", fmt.Errorf("%s and %s would both become %s", other, root, name))
		}
		names[name] = root
	}
	return roots, nil
}

// into is the name of a root in the target's directory: none if it is the only one.
func into(root string, of int) string {
	if of == 1 {
		return ""
	}
	if root == "/" {
		return "-"
	}
	return strings.ReplaceAll(strings.Trim(root, "/"), "/", "-")
}

// text is what a pointer to a text says, "" for none.
func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
