package agent_test

import (
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/agent"
	"github.com/ferry-migrate/ferry/collector"
	"github.com/ferry-migrate/ferry/collector/inventory"
	"github.com/ferry-migrate/ferry/e2e/lab"
	"github.com/ferry-migrate/ferry/transfer/target/layout"
)

// TestDiskPlanIsWhatWasFound: disks are made by others' tools and found; the plan of them is laid out on blank disks; what is found there is the same.
func TestDiskPlanIsWhatWasFound(t *testing.T) {
	lab.NeedRoot(t)
	lab.Need(t, "losetup", "sfdisk", "partx", "mkfs.ext4", "mkfs.xfs", "mkfs.btrfs", "mkfs.vfat", "mkswap")
	source, gone := disks(t, 700<<20, 200<<20)
	tool(t, "label: gpt\nsize=1M, type=21686148-6449-6E6F-744E-656564454649\nsize=40M, type=U, name=\"EFI system\"\nsize=400M, type=L, attrs=\"LegacyBIOSBootable\"\ntype=L\n", "sfdisk", "--quiet", source[0])
	tool(t, "label: dos\n,32M,L,*\n,,E\n,32M,S\n,64M,L\n", "sfdisk", "--quiet", source[1])
	for _, d := range source {
		tool(t, "", "partx", "--add", d)
	}
	tool(t, "", "mkfs.vfat", "-F", "16", "-n", "ESP", source[0]+"p2")
	tool(t, "", "mkfs.xfs", "-q", "-L", "data", "-i", "size=1024", source[0]+"p3")
	tool(t, "", "mkfs.btrfs", "-q", "-L", "pool", source[0]+"p4")
	tool(t, "", "mkfs.ext4", "-q", "-b", "1024", "-I", "128", "-O", "^64bit", "-L", "boot", source[1]+"p1")
	tool(t, "", "mkswap", "-L", "swap", source[1]+"p5")
	tool(t, "", "mkfs.ext3", "-q", source[1]+"p6")

	plan := found(t, source)
	require.Empty(t, plan.Left)
	gone() // no machine has two filesystems of one UUID
	target, _ := disks(t, 700<<20, 200<<20)
	var looked []layout.Target
	for _, d := range target {
		at, err := layout.Look(d)
		require.NoError(t, err)
		looked = append(looked, at)
	}
	fitted, err := layout.Fit(plan, looked, false)
	require.NoError(t, err)
	dir := t.TempDir()
	r := &layout.Runner{Plan: fitted, State: filepath.Join(dir, "state"), Dir: filepath.Join(dir, "run"), Log: slog.New(slog.DiscardHandler)}
	require.NoError(t, r.Run(t.Context()))
	require.NoError(t, r.Release(t.Context()))
	got := found(t, target)
	for i := range got.Disks {
		got.Disks[i].Name = plan.Disks[i].Name
	}
	require.Equal(t, plan, got)
}

// found is the plan of the disks given.
func found(t *testing.T, devices []string) *layout.Plan {
	t.Helper()
	s, err := collector.Images(t.Context(), devices)
	require.NoError(t, err)
	p, err := agent.DiskPlan(s)
	require.NoError(t, err)
	for i := range p.Disks { // how full they are differs by what the makers of today put there
		for j := range p.Disks[i].Table.Partitions {
			p.Disks[i].Table.Partitions[j].Least = 0
		}
	}
	return p
}

// disks are loop devices, blank, until gone is called or the test ends.
func disks(t *testing.T, sizes ...int64) (devices []string, gone func()) {
	t.Helper()
	for _, size := range sizes {
		image := filepath.Join(t.TempDir(), "disk")
		require.NoError(t, os.WriteFile(image, nil, 0o600))
		require.NoError(t, os.Truncate(image, size))
		devices = append(devices, tool(t, "", "losetup", "--find", "--show", image))
	}
	gone = sync.OnceFunc(func() {
		for _, d := range devices {
			_ = exec.Command("partx", "--delete", d).Run() // there may be none
			tool(t, "", "losetup", "--detach", d)
		}
	})
	t.Cleanup(gone)
	return devices, gone
}

func tool(t *testing.T, in string, argv ...string) string {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin = strings.NewReader(in)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%v: %s", argv, out)
	return strings.TrimSpace(string(out))
}

// TestDiskPlanSaysWhatStaysBehind: of a machine with storage of every kind, what is no part of the plan is named.
func TestDiskPlanSaysWhatStaysBehind(t *testing.T) {
	gib := int64(1 << 30)
	lvid := func(n string) string { return "Ferry0-0000-0000-0000-0000-0000-00000" + n }
	filesystem := func(uuid string) *inventory.Content {
		return &inventory.Content{Type: "ext4", Class: inventory.ClassFilesystem, UUID: uuid, BlockSize: 4096, Usage: &inventory.Usage{Used: gib}}
	}
	s := &inventory.Server{
		Disks: []inventory.Disk{
			{Name: "/dev/sda", Kind: inventory.KindDisk, Number: "8:0", Size: 20 * gib, LogicalSector: 512, Content: &inventory.Content{Type: "LVM2_member", Class: inventory.ClassMember}},
			{Name: "/dev/sdb", Kind: inventory.KindDisk, Size: 4 * gib, LogicalSector: 512, Content: &inventory.Content{Type: "crypto_LUKS", Class: inventory.ClassMember, UUID: "x"}},
			{Name: "/dev/sdc", Kind: inventory.KindDisk, Size: 4 * gib, LogicalSector: 512},
			{Name: "/dev/md0", Kind: inventory.KindRAID, Size: gib, LogicalSector: 512, Content: filesystem("x")},
		},
		VolumeGroups: []inventory.VolumeGroup{{
			Name: "vg0", UUID: lvid("0"), ExtentSize: 4 << 20, Physical: []inventory.PhysicalVolume{{UUID: lvid("1"), Device: "/dev/sda", Start: 1 << 20, Extents: 5119}},
			Logical: []inventory.LogicalVolume{
				{Name: "root", UUID: lvid("2"), Device: "/dev/mapper/vg0-root", Number: "253:0", Size: 8 * gib, Kind: "linear", Content: filesystem("00000000-0000-4000-8000-000000000001")},
				{Name: "snap", UUID: lvid("3"), Kind: "snapshot", Origin: "root", Size: gib},
				{Name: "pool", UUID: lvid("4"), Kind: "thin-pool", Size: gib},
				{Name: "thin", UUID: lvid("5"), Kind: "thin", Pool: "pool", Size: 4 * gib},
				{Name: "over", UUID: lvid("6"), Kind: "thin", Pool: "pool", Size: 100 * gib},
				{Name: "pool_tmeta", UUID: lvid("7"), Kind: "linear", Internal: true, Size: gib},
			},
		}},
		Mounts: []inventory.Mount{{Number: "253:0", Root: "/", Path: "/"}, {Number: "253:0", Root: "/srv", Path: "/mnt", Bind: true}},
	}
	p, err := agent.DiskPlan(s)
	require.NoError(t, err)
	require.Len(t, p.Disks, 1)
	var names []string
	for _, v := range p.Groups[0].Volumes {
		names = append(names, v.Name)
	}
	require.Equal(t, []string{"root", "thin"}, names)
	root := p.Groups[0].Volumes[0]
	require.Equal(t, []layout.Mount{{Path: "/"}}, root.Use.Mounts)
	require.Equal(t, 2*gib, root.Least, "what is used and one GiB")
	for _, what := range []string{"/dev/sdb holds crypto_LUKS", "/dev/sdc holds nothing", "/dev/md0 (raid)", "vg0/snap is a snapshot", "vg0/pool is a pool", "vg0/thin is thin", "vg0/over has"} {
		require.Contains(t, strings.Join(p.Left, "\n"), what)
	}
}

// TestDiskPlanKeepsTheSnapshotASystemRunsFrom, as some distributions have it; other snapshots stay behind.
func TestDiskPlanKeepsTheSnapshotASystemRunsFrom(t *testing.T) {
	id := "00000000-0000-4000-8000-000000000001"
	s := &inventory.Server{
		Disks: []inventory.Disk{{Name: "/dev/sda", Kind: inventory.KindDisk, Size: 1 << 30, LogicalSector: 512, Content: &inventory.Content{Type: "btrfs", Class: inventory.ClassFilesystem, UUID: id}}},
		Btrfs: []inventory.Btrfs{{
			UUID: id, Devices: []inventory.BtrfsDevice{{ID: 1, Name: "/dev/sda"}}, DefaultSubvolume: 258, NodeSize: 16384, SectorSize: 4096,
			Profiles: []inventory.BtrfsProfile{{Kind: "data", Profile: "single"}, {Kind: "metadata", Profile: "DUP"}},
			Subvolumes: []inventory.Subvolume{
				{ID: 256, Path: "@"}, {ID: 258, Path: "@/.snapshots/1/snapshot", Snapshot: true}, {ID: 259, Path: "@/.snapshots/2/snapshot", Snapshot: true},
			},
		}},
		Mounts: []inventory.Mount{{Source: "/dev/sda", Type: "btrfs", Root: "/@/.snapshots/1/snapshot", Path: "/"}, {Source: "/dev/sda", Type: "btrfs", Root: "/@/not/one", Path: "/mnt"}},
	}
	p, err := agent.DiskPlan(s)
	require.NoError(t, err)
	u := p.Disks[0].Use
	require.Equal(t, &layout.Trees{Node: 16384, Data: "single", Metadata: "dup", Subvolumes: []string{"@", "@/.snapshots/1/snapshot"}, Default: "@/.snapshots/1/snapshot"}, u.Trees)
	require.Equal(t, []layout.Mount{{Path: "/", Subvolume: "@/.snapshots/1/snapshot"}}, u.Mounts)
	require.Len(t, p.Left, 1)
}
