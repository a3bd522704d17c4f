package layout

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/target"
	"github.com/ferry-migrate/ferry/transfer/target/configure"
	"github.com/ferry-migrate/ferry/transfer/wire"
)

// Started says what was done to make a system start.
type Started struct {
	Family   string   `cbor:"family"`
	Loader   string   `cbor:"loader"`
	Changes  int      `cbor:"changes"`  // files and boot sectors
	Score    int      `cbor:"score"`    // 0 to 100: see configure.Rehearsal
	Warnings []string `cbor:"warnings"` // what a person should know, findings that are not OK among it
}

// SendStart has the target that dial reaches make what it received start (package configure). It comes after the last pass; the next session that brings
// files puts everything back first: nobody else may write between two passes. ok is false for a target that is not of disks: it holds files, and no system.
// Errors: those of configure.Run, from the target.
func SendStart(ctx context.Context, dial wire.DialFunc, software string) (done Started, ok bool, err error) {
	s, err := wire.Open(ctx, dial, wire.Hello{Features: []string{target.FeatureStart}, Software: software})
	if err != nil {
		return done, false, err
	}
	defer s.Close()
	if !s.Greeting.Can(target.FeatureStart) {
		return done, false, nil
	}
	return done, true, s.Greeting.Decode(&done)
}

// start handles such a session.
func (r *Receiver) start(ctx context.Context, in *wire.Incoming) {
	defer in.Close()
	done, err := r.configure(ctx)
	if err != nil {
		r.Log.Warn("the system was not made to start", "peer", in.Control.Remote(), "error", err, "code", fault.CodeOf(err))
		_ = in.Refuse(err) // the source may be gone
		return
	}
	r.Log.Info("the system is made to start", "family", done.Family, "loader", done.Loader, "changes", done.Changes, "score", done.Score, "warnings", done.Warnings)
	if err := in.Accept(wire.Hello{Features: []string{target.FeatureStart}, Software: r.Software, Body: done}); err != nil {
		r.Log.Warn("the source could not be told", "error", err)
		return
	}
	_, _ = in.Control.ReadMessage() // it ends when the source has read the answer and goes
	if r.Files.Done != nil {
		r.Files.Done("/")
	}
}

func (r *Receiver) configure(ctx context.Context) (done Started, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.runner == nil {
		return done, fault.Operator(CodeNone, "migrate the server's mount points first", errors.New("the target's disks are not laid out"))
	}
	r.asIs = false
	err = r.assembled(ctx, func(root string, facts configure.Facts) error {
		options := r.Start
		options.Log = r.Log
		report, err := configure.Run(ctx, root, facts, options)
		if err != nil {
			return err
		}
		checked, err := configure.Check(ctx, root, facts)
		done = Started{Family: string(report.Family), Loader: report.Loader, Changes: len(report.Changes), Score: checked.Score, Warnings: report.Warnings}
		for _, f := range checked.Findings {
			if f.Level != configure.OK {
				done.Warnings = append(done.Warnings, fmt.Sprintf("%s %s: %s; %s", f.Level, f.Check, f.Text, f.Remedy))
			}
		}
		return err
	})
	return done, err
}

// asReceived puts back what configure changed, once after each time; mu is held. A target that was started anew looks whether it did.
func (r *Receiver) asReceived() error {
	if r.asIs {
		return nil
	}
	err := r.assembled(context.Background(), func(root string, facts configure.Facts) error {
		return configure.Undo(context.Background(), root, facts)
	})
	r.asIs = err == nil
	return err
}

// assembled calls f with the system's filesystems mounted on each other, as it will see them. A plan without a root filesystem has no system.
func (r *Receiver) assembled(ctx context.Context, f func(root string, facts configure.Facts) error) (err error) {
	facts := r.runner.Plan.facts(firmware())
	root := filepath.Join(r.Dir, "root")
	tree := Tree(r.runner.Plan, root)
	if len(tree) == 0 || tree[0].Dir != root {
		return nil
	}
	defer func() { err = errors.Join(err, Unmount(root)) }()
	if err := r.runner.Mount(ctx, tree); err != nil {
		return err
	}
	return f(root, facts)
}

// firmware reports whether this machine was started by UEFI.
func firmware() (uefi bool) {
	_, err := os.Stat("/sys/firmware/efi")
	return err == nil
}

// biosBoot is the GPT type of the partition for GRUB's core image.
const biosBoot = "21686148-6449-6E6F-744E-656564454649"

// facts is what configure has to know of a fitted plan.
func (p *Plan) facts(uefi bool) configure.Facts {
	f := configure.Facts{UEFI: uefi}
	for _, at := range p.places() {
		f.Devices = append(f.Devices, at.device)
		if at.use.Type == LVM || at.use.Type == Btrfs && at.use.Trees == nil {
			continue
		}
		fs := configure.Filesystem{Device: mapper(at.device), UUID: at.use.UUID, Label: at.use.Label, Type: at.use.Type}
		if at.was != "" && at.was != at.device {
			fs.Was = []string{at.was}
		}
		if len(at.use.Mounts) == 0 {
			f.Filesystems = append(f.Filesystems, fs)
		}
		for _, m := range at.use.Mounts {
			fs.Mount, fs.Subvolume = m.Path, m.Subvolume
			f.Filesystems = append(f.Filesystems, fs)
		}
	}
	for i := range p.Disks {
		d := &p.Disks[i]
		f.Devices = append(f.Devices, d.Name)
		if boot, ok := d.boot(); ok {
			f.BootDisks = append(f.BootDisks, boot)
		}
	}
	return f
}

// mapper is what device-mapper calls a logical volume (lvm(8): hyphens are doubled); other devices keep their name.
func mapper(device string) string {
	group, volume, ok := strings.Cut(strings.TrimPrefix(device, "/dev/"), "/")
	if !ok {
		return device
	}
	return "/dev/mapper/" + strings.ReplaceAll(group, "-", "--") + "-" + strings.ReplaceAll(volume, "-", "--")
}

// boot is where a BIOS finds GRUB's core image: in its partition of a GPT, or between the table of an MBR and the first partition.
func (d *Disk) boot() (b configure.BootDisk, ok bool) {
	if d.Table == nil {
		return b, false
	}
	b = configure.BootDisk{Device: d.Name, GPT: d.Table.Style == GPT, CoreAt: d.Sector}
	for i, q := range d.Table.sorted() {
		switch {
		case b.GPT && strings.EqualFold(q.Type, biosBoot):
			b.CoreAt, b.Core = q.Start, q.Size
		case !b.GPT && i == 0:
			b.Core = q.Start - b.CoreAt
		}
	}
	return b, b.Core > 0
}
