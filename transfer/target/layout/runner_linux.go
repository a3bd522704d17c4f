package layout

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ferry-migrate/ferry/internal/command"
	"github.com/ferry-migrate/ferry/internal/crashpoint"
	"github.com/ferry-migrate/ferry/internal/durable"
	"github.com/ferry-migrate/ferry/internal/fault"
)

// Codes of a run that cannot go on.
const (
	CodeTool   = "FERRY-LAYOUT-TOOL"   // the target lacks a program
	CodeData   = "FERRY-LAYOUT-DATA"   // disks hold data that nobody agreed to replace
	CodeFailed = "FERRY-LAYOUT-FAILED" // an action failed
)

// Runner carries out a fitted plan.
type Runner struct {
	Plan      *Plan
	State     string // directory of the journal
	Dir       string // below which filesystems are mounted, by Run only for a moment
	Overwrite bool   // what the disks hold may be replaced
	Log       *slog.Logger
	Told      func(line string, done bool) // of each action, before it; done says that there was nothing to do. May be nil
}

// Run makes the disks what the plan says, and leaves volume groups active. It may be called again after any failure. Errors: FERRY-LAYOUT-…; what
// device.OpenTarget refuses.
func (r *Runner) Run(ctx context.Context) error {
	script := Script(r.Plan, r.Dir)
	if err := lacking(Tools(script)); err != nil {
		return err
	}
	if err := errors.Join(os.MkdirAll(r.State, 0o700), os.MkdirAll(filepath.Join(r.Dir, "top"), 0o700)); err != nil {
		return fmt.Errorf("layout: %w", err)
	}
	if err := r.writeGroups(); err != nil {
		return err
	}
	j, err := r.begin(ctx, script)
	if err != nil {
		return err
	}
	for i := range script {
		if err := r.step(ctx, &script[i], j, i); err != nil {
			return failed(&script[i], err)
		}
	}
	return nil
}

// failed is the error of an action.
func failed(a *Action, err error) error {
	line, _, _ := strings.Cut(a.String(), "\n")
	return fault.Operator(CodeFailed, "see to what it says and run again: what is done is kept", fmt.Errorf("%s: %w", line, err))
}

// Grow makes use of disks that are larger than the source's, which were copied block by block; the plan was fitted with grow. It may be called
// again. Errors: as those of Run.
func (r *Runner) Grow(ctx context.Context) error {
	script := GrowScript(r.Plan, r.Dir)
	if err := lacking(Tools(script)); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(r.Dir, "top"), 0o700); err != nil {
		return fmt.Errorf("layout: %w", err)
	}
	if _, err := r.claim(true); err != nil {
		return err
	}
	for i := range script {
		if err := r.do(ctx, &script[i]); err != nil {
			return failed(&script[i], err)
		}
	}
	return nil
}

// Resumed returns the fitted plan of the last run with a state directory, nil if there was none or the disks have other tables by now.
func Resumed(state string) (*Plan, error) {
	j, err := loadJournal(state)
	if j == nil || slices.ContainsFunc(j.Plan.Disks, func(d Disk) bool { return d.Table != nil && !tableHolds(&d) }) {
		return nil, err
	}
	return j.Plan, nil
}

// Release unmounts all that is mounted below Dir, and deactivates the plan's volume groups. It may be called at any time, again too.
func (r *Runner) Release(ctx context.Context) error {
	if err := Unmount(r.Dir); err != nil {
		return err
	}
	return r.undo(ctx, Script(r.Plan, r.Dir))
}

// undo ends what script left in the running system, also half of it.
func (r *Runner) undo(ctx context.Context, script []Action) (err error) {
	for i := range script {
		if a := &script[i]; a.Undo != nil && slices.ContainsFunc(a.Proof.Nodes, exists) {
			err = errors.Join(err, r.run(ctx, a.Undo))
		}
	}
	return err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// begin returns the journal that goes on from where an earlier run was cut, or a new one, once the disks may be written.
func (r *Runner) begin(ctx context.Context, script []Action) (*journal, error) {
	j, err := loadJournal(r.State)
	if err != nil {
		return nil, err
	}
	ours := j != nil && j.Plan.same(r.Plan) && j.Done <= len(script)
	if ours {
		if err := r.Release(ctx); err != nil { // of a run that was killed
			return nil, err
		}
	}
	disks, err := r.claim(true) // in use is refused, always
	if err != nil {
		return nil, err
	}
	if ours && slices.Equal(j.Disks, disks) && r.stillOurs(j, script) {
		return j, nil
	}
	j = &journal{Version: Version, Plan: r.Plan, Disks: disks, file: journalFile(r.State)}
	if _, err := r.claim(r.Overwrite); err != nil {
		if !r.holdsAll(ctx, script) {
			return nil, r.wouldLose(ctx, err)
		}
		j.Done = len(script)
	}
	return j, j.save()
}

// stillOurs reports whether the tables that the journal says were written are there: else somebody put other disks in their place.
func (r *Runner) stillOurs(j *journal, script []Action) bool {
	for i := range script[:min(j.Done, len(script))] {
		if a := &script[i]; a.Argv == nil && !tableHolds(a.Disk) {
			return false
		}
	}
	return true
}

// holdsAll reports whether the disks hold the whole plan already. Groups are activated for it, and are not any more if the answer is no.
func (r *Runner) holdsAll(ctx context.Context, script []Action) bool {
	for i := range script {
		a := &script[i]
		if a.In != nil || a.Proof.empty() && a.Argv != nil {
			continue // subvolumes are seen to afterwards, each by itself
		}
		if a.State && !r.holds(ctx, a) {
			_ = r.run(ctx, a.Argv) // judged by what it leads to
		}
		if !r.holds(ctx, a) {
			_ = r.undo(ctx, script) // what is in use is refused the next time
			return false
		}
	}
	return true
}

// wouldLose adds to an error what the disks hold.
func (r *Runner) wouldLose(ctx context.Context, err error) error {
	if fault.CodeOf(err) == "" {
		return err
	}
	var what []string
	for _, d := range r.Plan.Disks {
		for _, device := range append([]string{d.Name}, knownPartitions(d.Name)...) {
			out, err := command.Run(ctx, r.Log, "wipefs", "--noheadings", "--output", "DEVICE,TYPE,LABEL,UUID", device)
			for line := range strings.Lines(out) {
				if words := strings.Fields(line); err == nil && len(words) > 1 {
					what = append(what, device+": "+strings.Join(words[1:], " "))
				}
			}
		}
	}
	return fault.Operator(CodeData, "give empty disks, or --overwrite to lose what is on these", fmt.Errorf("%w; it would be lost: %s", err, strings.Join(slices.Compact(what), "; ")))
}

// writeGroups writes the descriptions of volume groups that LVM will read.
func (r *Runner) writeGroups() error {
	for i := range r.Plan.Groups {
		g := &r.Plan.Groups[i]
		if err := durable.WriteFile(groupFile(r.Dir, g), []byte(r.Plan.metadata(g)), 0o600); err != nil {
			return fmt.Errorf("describe volume group: %w", err)
		}
	}
	return nil
}

// step does one action, unless it is done, and records it.
func (r *Runner) step(ctx context.Context, a *Action, j *journal, i int) error {
	recorded := i < j.Done
	if recorded && a.bare() {
		r.report(a, true)
		return nil
	}
	if recorded || a.State || a.Once {
		done, err := r.isDone(ctx, a)
		if done || err != nil {
			r.report(a, done)
			return j.done(i, err)
		}
	}
	if err := r.do(ctx, a); err != nil {
		return err
	}
	crashpoint.Hit("layout.ran")
	err := j.done(i, nil)
	crashpoint.Hit("layout.recorded")
	return err
}

// isDone reports whether an action that has a proof is done.
func (r *Runner) isDone(ctx context.Context, a *Action) (done bool, err error) {
	err = r.within(ctx, a, func() error {
		done = !a.bare() && r.holds(ctx, a)
		return nil
	})
	return done, err
}

// do does an action and looks at what came of it.
func (r *Runner) do(ctx context.Context, a *Action) error {
	r.report(a, false)
	return r.within(ctx, a, func() (err error) {
		if a.Argv == nil {
			err = r.writeTable(ctx, a.Disk, a.KeepBoot)
		} else {
			err = r.start(ctx, a)
		}
		if err == nil && !a.bare() && !r.holds(ctx, a) {
			err = fmt.Errorf("it ended well, and its result is not there: %s", typed(a.Proof.Argv))
		}
		return err
	})
}

// start runs the command of an action.
func (r *Runner) start(ctx context.Context, a *Action) error {
	if a.Wipe != nil {
		if err := r.run(ctx, a.Wipe); err != nil {
			return err
		}
	}
	err := r.run(ctx, a.Argv)
	var exit interface{ ExitCode() int }
	if a.Fine != 0 && errors.As(err, &exit) && exit.ExitCode() == a.Fine {
		return nil
	}
	return err
}

// within calls f while the filesystem of an action is mounted.
func (r *Runner) within(ctx context.Context, a *Action, f func() error) (err error) {
	if a.In == nil {
		return f()
	}
	if err := r.run(ctx, a.In.argv()); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, Unmount(a.In.Dir)) }()
	return f()
}

func (r *Runner) report(a *Action, done bool) {
	if r.Told != nil {
		r.Told(a.String(), done)
	}
}

func (p *Proof) empty() bool { return p.Argv == nil && p.Nodes == nil }

// bare reports whether nothing shows that the action is done.
func (a *Action) bare() bool { return a.Argv != nil && a.Proof.empty() }

// holds reports whether the action is done.
func (r *Runner) holds(ctx context.Context, a *Action) bool {
	if a.Argv == nil {
		return tableHolds(a.Disk)
	}
	if slices.ContainsFunc(a.Proof.Nodes, func(n string) bool { return !exists(n) }) {
		return false
	}
	if a.Proof.Argv == nil {
		return true
	}
	out, err := r.output(ctx, a.Proof.Argv)
	lines := strings.Split(strings.ToLower(out), "\n")
	return err == nil && !slices.ContainsFunc(a.Proof.Says, func(want string) bool {
		return !slices.ContainsFunc(lines, func(line string) bool { return strings.HasSuffix(strings.TrimSpace(line), strings.ToLower(want)) })
	})
}

func (r *Runner) run(ctx context.Context, argv []string) error {
	_, err := r.output(ctx, argv)
	return err
}

// programs are all that a run may start.
var programs = []string{"blkid", "btrfs", "e2fsck", "mkdir", "mkfs.btrfs", "mkfs.ext2", "mkfs.ext3", "mkfs.ext4", "mkfs.vfat", "mkfs.xfs", "mkswap", "mount", "pvcreate",
	"pvresize", "resize2fs", "udevadm", "vgcfgrestore", "vgchange", "vgs", "wipefs", "xfs_growfs"}

func (r *Runner) output(ctx context.Context, argv []string) (string, error) {
	if !slices.Contains(programs, argv[0]) {
		return "", fmt.Errorf("layout: program %q", argv[0])
	}
	return command.Run(ctx, r.Log, argv...)
}

// lacking refuses a target without the programs that are needed.
func lacking(tools []string) error {
	var missing []string
	for _, name := range tools {
		if !slices.ContainsFunc(filepath.SplitList(os.Getenv("PATH")), func(dir string) bool {
			st, err := os.Stat(filepath.Join(dir, name))
			return err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0
		}) {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fault.Operator(CodeTool, "install them (util-linux, e2fsprogs, xfsprogs, btrfs-progs, dosfstools, lvm2), or start Ferry's agent image",
		fmt.Errorf("this machine lacks %s: %w", strings.Join(missing, ", "), fs.ErrNotExist))
}
