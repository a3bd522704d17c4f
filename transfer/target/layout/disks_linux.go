package layout

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/collector/blockdev"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/block/device"
)

// Look returns the disk of a name as a target. It only looks.
func Look(path string) (Target, error) {
	real, err := filepath.EvalSymlinks(path) // partitions are named after the kernel's name
	if err != nil {
		return Target{}, fault.Operator(device.CodeTargetMissing, "check the name of the disk; ferry discover shows them", fmt.Errorf("disk: %w", err))
	}
	d, err := blockdev.Open(real)
	if err != nil {
		return Target{}, fault.Operator(device.CodeTargetKind, "give a disk, and run as root", fmt.Errorf("disk %s: %w", path, err))
	}
	defer d.Close()
	info := d.Info()
	if info.Image {
		return Target{}, fault.Operator(device.CodeTargetKind, "give a disk; losetup makes one of a file", fmt.Errorf("%s is a file", path))
	}
	return Target{Path: real, Size: info.Size, Sector: info.LogicalSector}, nil
}

// claim asks for every disk of the plan whether it may be written, and returns what tells each from others.
func (r *Runner) claim(overwrite bool) (disks []string, err error) {
	for _, d := range r.Plan.Disks {
		t, err := device.OpenTarget(d.Name, device.TargetOptions{Size: d.Size, Overwrite: overwrite})
		if err != nil {
			return nil, err
		}
		disks = append(disks, t.Identity().String())
		if err := t.Close(); err != nil {
			return nil, fmt.Errorf("close %s: %w", d.Name, err)
		}
	}
	return disks, nil
}

// writeTable writes the table of a disk and tells the kernel.
func (r *Runner) writeTable(ctx context.Context, d *Disk, keepBoot bool) error {
	t, err := device.OpenTarget(d.Name, device.TargetOptions{Size: d.Size, Overwrite: true})
	if err != nil {
		return err
	}
	err = put(t, d.writes(), keepBoot)
	if err = errors.Join(err, t.Close()); err != nil {
		return err
	}
	return r.tell(ctx, d)
}

// put writes the pieces of a table in their order, each durable before the next.
func put(t *device.Target, pieces []write, keepBoot bool) error {
	if !keepBoot {
		pieces = append([]write{{0, make([]byte, 440)}}, pieces...)
	}
	for _, w := range pieces {
		if _, err := t.WriteAt(w.data, w.at); err != nil {
			return err
		}
		if err := t.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// Mount mounts filesystems, in the order given, and makes the directories for it. What is mounted stays when one fails: Unmount ends it.
func (r *Runner) Mount(ctx context.Context, list []Mountpoint) error {
	for i := range list {
		m := &list[i]
		if err := os.MkdirAll(m.Dir, 0o755); err != nil {
			return fmt.Errorf("mount: %w", err)
		}
		if mounted, err := mountinfo.Mounted(m.Dir); err != nil || mounted {
			if err != nil {
				return fmt.Errorf("mount: %w", err)
			}
			continue
		}
		if err := r.run(ctx, m.argv()); err != nil {
			return fault.Operator(CodeFailed, "see to what it says and run again", fmt.Errorf("mount %s: %w", m.Dir, err))
		}
	}
	return nil
}

// Unmount unmounts dir and everything below, the last that was mounted first.
func Unmount(dir string) error {
	list, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return fmt.Errorf("unmount: %w", err)
	}
	slices.Reverse(list)
	slices.SortStableFunc(list, func(a, b *mountinfo.Info) int { return strings.Compare(b.Mountpoint, a.Mountpoint) }) // what lies inside first
	for _, m := range list {
		if err := unix.Unmount(m.Mountpoint, 0); err != nil {
			return fault.Operator("FERRY-LAYOUT-BUSY", "end what uses it (fuser -m shows it), then run again", fmt.Errorf("unmount %s: %w", m.Mountpoint, err))
		}
	}
	return nil
}

// Free reports whether nothing uses a disk.
func Free(d Target) bool {
	t, err := device.OpenTarget(d.Path, device.TargetOptions{Overwrite: true})
	return err == nil && t.Close() == nil
}
