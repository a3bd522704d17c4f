package layout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/block/device"
)

// TestMain runs the child of TestCrashes: a process that lays out and dies on the way.
func TestMain(m *testing.M) {
	if dir := os.Getenv("LAYOUT_CHILD"); dir != "" {
		text, err := os.ReadFile(filepath.Join(dir, "plan"))
		if err == nil {
			p := &Plan{}
			err = json.Unmarshal(text, p)
			r := &Runner{Plan: p, State: filepath.Join(dir, "state"), Dir: filepath.Join(dir, "run"), Log: slog.New(slog.DiscardHandler)}
			err = errors.Join(err, r.Run(context.Background()))
		}
		fmt.Println(err)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// one is a plan of one disk.
func one() *Plan {
	p := sample("unused")
	d := p.Disks[2]
	d.Name, d.Size, d.Use = "/dev/sda", 320*mib, nil
	d.Table = &Table{Style: GPT, ID: id(1), Partitions: []Partition{
		{Index: 1, Start: mib, Size: 32 * mib, Type: gptLinux, UUID: id(2), Use: &Use{Type: "ext4", UUID: id(3), Mounts: []Mount{{Path: "/"}}}},
		{Index: 3, Start: 40 * mib, Size: 200 * mib, Type: gptLinux, UUID: id(4), Use: &Use{
			Type: Btrfs, UUID: pool, Trees: &Trees{Subvolumes: []string{"@", "x/y"}, Default: "@"}, Mounts: []Mount{{Path: "/data", Subvolume: "@"}},
		}},
	}}
	return &Plan{Version: Version, Disks: []Disk{d}}
}

// TestCrashes ends the process after each action, before or after it is recorded. Run again, it goes on, and the disk is as it should be.
func TestCrashes(t *testing.T) {
	disks, _ := bench(t, 320*mib)
	p, err := Fit(one(), disks, false)
	require.NoError(t, err)
	count := len(Script(p, "/run"))
	for at := 1; at <= count; at++ {
		point := []string{"layout.ran", "layout.recorded"}[at%2]
		pool = freshID()
		p, err := Fit(one(), disks, false)
		require.NoError(t, err)
		say(t, "wipefs", "--all", disks[0].Path)
		blank(t, disks[0])
		r := runner(t, p)
		text, err := json.Marshal(p)
		require.NoError(t, err)
		dir := filepath.Dir(r.State)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "plan"), text, 0o600))
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), "LAYOUT_CHILD="+dir, fmt.Sprintf("FERRY_CRASH_AT=%s:%d", point, at), "GORACE=atexit_sleep_ms=0")
		out, err := child.CombinedOutput()
		require.Error(t, err, "it died: %s", out)

		did, was, err := laid(t, r)
		require.NoError(t, err, "%s:%d", point, at)
		require.Len(t, append(did, was...), count)
		if point == "layout.recorded" {
			require.GreaterOrEqual(t, len(was), at, "what is recorded is not done again: %v", did)
		}
		likePlan(t, p)
		require.NoError(t, r.Mount(t.Context(), Volumes(p, filepath.Join(r.Dir, "volumes"), filepath.Base)))
		require.NoError(t, r.Release(t.Context()))
	}
}

// blank zeroes the ends of a disk, as its maker delivers it, and lets the kernel forget its partitions.
func blank(t *testing.T, d Target) {
	t.Helper()
	_ = exec.Command("partx", "--delete", d.Path).Run() // there may be none
	f, err := os.OpenFile(d.Path, os.O_WRONLY, 0)
	require.NoError(t, err)
	defer f.Close()
	for _, at := range []int64{0, d.Size - mib} {
		_, err := f.WriteAt(make([]byte, mib), at)
		require.NoError(t, err)
	}
	require.NoError(t, f.Sync())
}

// TestDisksThatAreRefused: one that holds data, unless it may be lost; one that is in use, always. Neither is written, nor any other disk of the plan.
func TestDisksThatAreRefused(t *testing.T) {
	disks, _ := bench(t, 320*mib, 64*mib)
	p := one()
	p.Disks = append(p.Disks, Disk{Name: "/dev/sdb", Size: 64 * mib, Sector: 512, Use: &Use{Type: "ext2", UUID: id(20)}})
	p, err := Fit(p, disks, false)
	require.NoError(t, err)
	say(t, "mkfs.ext4", "-q", "-L", "precious", disks[1].Path)
	before := say(t, "sha256sum", disks[0].Path, disks[1].Path)
	r := runner(t, p)
	_, _, err = laid(t, r)
	require.Equal(t, CodeData, fault.CodeOf(err))
	require.Contains(t, err.Error(), disks[1].Path+": ext4 precious")
	require.Equal(t, before, say(t, "sha256sum", disks[0].Path, disks[1].Path))

	r.Overwrite = true
	in := filepath.Join(t.TempDir(), "in")
	require.NoError(t, os.Mkdir(in, 0o755))
	say(t, "mount", disks[1].Path, in)
	_, _, err = laid(t, r)
	say(t, "umount", in)
	require.Equal(t, device.CodeTargetMounted, fault.CodeOf(err), "%v", err)
	require.Empty(t, say(t, "wipefs", disks[0].Path), "nothing is done to the first when the second is refused")

	_, _, err = laid(t, r)
	require.NoError(t, err)
	likePlan(t, p)

	// Another disk in the place of one that was laid out is looked at like any other.
	r.Overwrite = false
	blank(t, disks[0])
	say(t, "mkfs.ext4", "-q", "-L", "other", disks[0].Path)
	_, _, err = laid(t, r)
	require.Equal(t, CodeData, fault.CodeOf(err))
	require.Contains(t, err.Error(), "other")
}

// TestGrown: disks that were copied block by block onto larger ones are made use of; the boot code of an MBR stays.
func TestGrown(t *testing.T) {
	disks, group := bench(t, 1<<30, 400<<20, 200<<20, 200<<20)
	p, err := Fit(sample(group), disks, false)
	require.NoError(t, err)
	r := runner(t, p)
	_, _, err = laid(t, r)
	require.NoError(t, err)
	require.NoError(t, r.Release(t.Context()))
	f, err := os.OpenFile(disks[1].Path, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("boot code"), 0)
	require.NoError(t, errors.Join(err, f.Close()))
	for i := range disks {
		image := say(t, "losetup", "--noheadings", "--output", "BACK-FILE", disks[i].Path)
		disks[i].Size += 200 * mib
		require.NoError(t, os.Truncate(image, disks[i].Size))
		say(t, "losetup", "--set-capacity", disks[i].Path)
	}
	require.NoError(t, os.WriteFile(filepath.Join(os.Getenv("LVM_SYSTEM_DIR"), "bin", "pvresize"), []byte("#!/bin/sh\nexec lvm pvresize --driverloaded n \"$@\"\n"), 0o755))

	r.Plan, err = Fit(sample(group), disks, true)
	require.NoError(t, err)
	require.NoError(t, r.Grow(t.Context()))
	require.NoError(t, r.Grow(t.Context()), "again")
	say(t, "vgchange", "--activate", "y", "--devices", disks[0].Path+"p4", group)
	likePlan(t, r.Plan)
	head := make([]byte, 9)
	f, err = os.Open(disks[1].Path)
	require.NoError(t, err)
	_, err = f.ReadAt(head, 0)
	require.NoError(t, errors.Join(err, f.Close()))
	require.Equal(t, "boot code", string(head))
	require.Regexp(t, fmt.Sprintf(`Block count:\s+%d\n`, r.Plan.Disks[1].Table.Partitions[3].Size/1024), say(t, "dumpe2fs", "-h", disks[1].Path+"p6"))
	pv := r.Plan.Disks[0].Table.Partitions[3]
	require.Equal(t, fmt.Sprint(down(pv.Size-mib, 4*mib)),
		say(t, "lvm", "pvs", "--driverloaded", "n", "--devices", disks[0].Path+"p4", "--noheadings", "--units", "b", "--nosuffix", "-o", "pv_size"))
	require.Contains(t, say(t, "btrfs", "inspect-internal", "dump-super", disks[2].Path), fmt.Sprint("dev_item.total_bytes\t", disks[2].Size))
}

// TestToolsAreLookedForFirst: nothing is written on a machine that lacks one.
func TestToolsAreLookedForFirst(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	r := &Runner{Plan: one(), State: t.TempDir(), Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)}
	err := r.Run(t.Context())
	require.Equal(t, CodeTool, fault.CodeOf(err))
	require.Contains(t, err.Error(), "mkfs.btrfs")
	for _, name := range Tools(append(Script(sample("vg0"), "/x"), GrowScript(sample("vg0"), "/x")...)) {
		require.Contains(t, programs, name)
	}
	require.NotContains(t, strings.Join(programs, " "), "sh ")
}
