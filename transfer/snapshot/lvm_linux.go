package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/internal/command"
	"github.com/ferry-migrate/ferry/internal/fault"
)

// A thick snapshot has room for a part of its origin to change. It is lost when more does.
const (
	lvmShare = 5        // the part: one fifth
	lvmLeast = 64 << 20 // bytes; less free is too little
)

type lvm struct {
	dir string
	log *slog.Logger
}

// LVM returns what makes LVM snapshots and mounts them read-only below dir, where their notes lie too. A snapshot of a thin volume is thin,
// any other takes up to a fifth of its origin out of the volume group's free extents.
func LVM(dir string, log *slog.Logger) Snapshotter { return &lvm{dir, log} }

type lvmSnapshot struct {
	*note
	by   *lvm
	path string
	thin bool
}

// volume is what lvs says of a logical volume.
type volume struct {
	group, name string
	size, free  int64 // bytes; free is of the group
	thin        bool
}

// Snapshot makes a snapshot of the logical volume that root lies on; the kernel freezes its filesystem for that instant.
func (l *lvm) Snapshot(ctx context.Context, root string) (_ Snapshot, err error) {
	mount, err := mountPoint(root)
	if err != nil {
		return nil, err
	}
	v, err := l.volume(ctx, mount.Source)
	if err != nil {
		return nil, err
	}
	if !v.thin && v.free < lvmLeast {
		return nil, fault.Operator(CodeNoSnapshot, "give the volume group more room, or use --snapshot freeze",
			fmt.Errorf("volume group %s has %d bytes free for a snapshot of %s", v.group, v.free, v.name))
	}
	rel, err := filepath.Rel(mount.Mountpoint, root)
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", root, err)
	}
	n, err := newNote(l.dir, "lvm", v.group)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.remove(context.WithoutCancel(ctx), l.dir, l.log))
		}
	}()
	argv := []string{"lvcreate", "--yes", "--snapshot", "--name", n.name()}
	if v.thin {
		argv = append(argv, "--setactivationskip", "n")
	} else {
		argv = append(argv, "--size", fmt.Sprintf("%db", min(v.free, max(lvmLeast, v.size/lvmShare))))
	}
	if _, err := command.Run(ctx, l.log, append(argv, v.group+"/"+v.name)...); err != nil {
		return nil, fmt.Errorf("snapshot of %s: %w", root, err)
	}
	if err := mountCopy("/dev/"+v.group+"/"+n.name(), n.Path, mount.FSType); err != nil {
		return nil, err
	}
	return &lvmSnapshot{note: n, by: l, path: filepath.Join(n.Path, mount.Root, rel), thin: v.thin}, nil
}

// mountCopy mounts a copy of a filesystem that is mounted already.
func mountCopy(device, dir, fstype string) error {
	options := ""
	if fstype == "xfs" {
		options = "nouuid"
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("mount snapshot: %w", err)
	}
	if err := unix.Mount(device, dir, fstype, unix.MS_RDONLY|unix.MS_NOATIME, options); err != nil {
		return fmt.Errorf("mount snapshot %s: %w", device, err)
	}
	return nil
}

// mountPoint returns the mount that path is reached through.
func mountPoint(path string) (*mountinfo.Info, error) {
	table, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, fmt.Errorf("mounts: %w", err)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	defer f.Close()
	m, err := mountOf(f, table)
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", path, err)
	}
	return m, nil
}

// volume asks lvs for the logical volume of a device.
func (l *lvm) volume(ctx context.Context, device string) (*volume, error) {
	no := func(err error) error {
		return fault.Operator(CodeNoSnapshot, "use --snapshot freeze, or btrfs where it lies on Btrfs", fmt.Errorf("%s is no LVM volume to make a snapshot of: %w", device, err))
	}
	if !filepath.IsAbs(device) {
		return nil, no(errors.New("no device"))
	}
	rows, err := l.lvs(ctx, "vg_name,lv_name,lv_size,vg_free,segtype", device)
	if err != nil {
		return nil, no(err)
	}
	if len(rows) == 0 || slices.Contains(rows[0][:2], "") {
		return nil, no(errors.New("lvs does not know it"))
	}
	r := rows[0] // of several segments, the first
	size, err1 := strconv.ParseInt(r[2], 10, 64)
	free, err2 := strconv.ParseInt(r[3], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return nil, no(err)
	}
	return &volume{group: r[0], name: r[1], size: size, free: free, thin: r[4] == "thin"}, nil
}

// lvs returns the fields of what an argument names, line by line. What else the program says, warnings, has not that form.
func (l *lvm) lvs(ctx context.Context, fields string, argument ...string) (rows [][]string, err error) {
	argv := []string{"lvs", "--noheadings", "--units", "b", "--nosuffix", "--separator", "|", "--options", fields}
	out, err := command.Run(ctx, l.log, append(argv, argument...)...)
	for line := range strings.Lines(out) {
		if f := strings.Split(strings.TrimSpace(line), "|"); len(f) == strings.Count(fields, ",")+1 {
			rows = append(rows, f)
		}
	}
	return rows, err
}

// Dir is where root is read.
func (s *lvmSnapshot) Dir() string { return s.path }

// Intact asks whether the snapshot ran out of room.
func (s *lvmSnapshot) Intact(ctx context.Context) error {
	if s.thin {
		return nil
	}
	rows, err := s.by.lvs(ctx, "lv_name,lv_snapshot_invalid", s.At+"/"+s.name())
	if err == nil && (len(rows) != 1 || rows[0][1] != "") {
		err = fault.Operator("FERRY-SNAPSHOT-FULL", "give the volume group more room, or cut over when less is written",
			fmt.Errorf("more was written to the source than the snapshot %s/%s could keep", s.At, s.name()))
	}
	return err
}

// Release unmounts and removes the snapshot.
func (s *lvmSnapshot) Release(ctx context.Context) error { return s.remove(ctx, s.by.dir, s.by.log) }

// removeLVM unmounts and removes the snapshot, as far as it exists.
func (n *note) removeLVM(ctx context.Context, log *slog.Logger) error {
	if err := unix.Unmount(n.Path, 0); err != nil && err != unix.EINVAL && err != unix.ENOENT { // EINVAL: it is not mounted
		return fmt.Errorf("unmount %s: %w", n.Path, err)
	}
	if err := os.Remove(n.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	l := &lvm{log: log}
	rows, err := l.lvs(ctx, "vg_name,lv_name")
	if err != nil || !slices.ContainsFunc(rows, func(r []string) bool { return r[0] == n.At && r[1] == n.name() }) {
		return err
	}
	_, err = command.Run(ctx, log, "lvremove", "--yes", n.At+"/"+n.name())
	return err
}
