package collector

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/collector/inventory"
)

// lab is a test with real loop devices, filesystems and mounts.
type lab struct{ testing.TB }

func newLab(t testing.TB, tools ...string) lab {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root for loop devices and mounts")
	}
	for _, name := range append(tools, "losetup") {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("needs %s, which is not installed", name)
		}
	}
	return lab{t}
}

func (l lab) run(args ...string) string {
	l.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	require.NoError(l, err, "%v: %s", args, out)
	return strings.TrimSpace(string(out))
}

func (l lab) image(size int64) string {
	name := filepath.Join(l.TempDir(), "image")
	require.NoError(l, os.WriteFile(name, nil, 0o600))
	require.NoError(l, os.Truncate(name, size))
	return name
}

// attach makes a loop device of an image, or of a part of it.
func (l lab) attach(image string, more ...string) string {
	dev := l.run(append([]string{"losetup", "--find", "--show", image}, more...)...)
	l.Cleanup(func() { l.run("losetup", "-d", dev) })
	return dev
}

func (l lab) mount(args ...string) string {
	dir := l.TempDir()
	l.run(append(append([]string{"mount"}, args...), dir)...)
	l.Cleanup(func() { l.run("umount", dir) })
	return dir
}

func (l lab) collect() *inventory.Server {
	return Collect(context.Background(), Options{})
}

func diskNamed(t testing.TB, s *inventory.Server, name string) *inventory.Disk {
	for i := range s.Disks {
		if s.Disks[i].Name == name {
			return &s.Disks[i]
		}
	}
	require.Fail(t, "not found", name)
	return nil
}

// TestMountedFilesystems compares what is mounted with findmnt, df and blkid.
func TestMountedFilesystems(t *testing.T) {
	l := newLab(t, "mkfs.ext4", "mkfs.xfs", "findmnt", "blkid", "df")
	for _, c := range []struct{ fs, mkfs string }{{"ext4", "mkfs.ext4 -q -F -L one"}, {"xfs", "mkfs.xfs -q -f -L two"}} {
		dev := l.attach(l.image(320 << 20))
		l.run(append(strings.Fields(c.mkfs), dev)...)
		dir := l.mount(dev)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), make([]byte, 10<<20), 0o600))
		bind := l.mount("--bind", dir)
		l.run("sync", "-f", dir)
		s := l.collect()
		k := diskNamed(t, s, dev)
		require.Equal(t, inventory.KindLoop, k.Kind)
		require.Equal(t, c.fs, k.Content.Type)
		require.Equal(t, l.run("blkid", "-o", "value", "-s", "UUID", dev), k.Content.UUID)
		require.Equal(t, "statfs", k.Content.Usage.Source)
		df := strings.Fields(l.run("df", "-B1", "--output=used", dir))
		used, err := strconv.ParseInt(df[len(df)-1], 10, 64)
		require.NoError(t, err)
		require.Equal(t, used, k.Content.Usage.Used)
		views := map[string]bool{}
		for _, m := range s.Mounts {
			if m.Source == dev {
				views[m.Path] = m.Bind
			}
		}
		require.Equal(t, map[string]bool{dir: false, bind: true}, views)
	}
}

// TestPartitionsAndLVM makes a disk with a GPT, LVM on one of its partitions and filesystems on inactive volumes, and compares with
// sfdisk, lvm and blkid. The host has no partitions and no device-mapper: what is not active must be found anyway.
func TestPartitionsAndLVM(t *testing.T) {
	l := newLab(t, "sfdisk", "lvm", "mkfs.ext4", "mkfs.xfs", "blkid")
	image := l.image(600 << 20)
	cmd := exec.Command("sfdisk", "-q", image)
	cmd.Stdin = strings.NewReader("label: gpt\n,1M,21686148-6449-6E6F-744E-656564454649\n,64M,L\n,,E6D6D379-F507-44C2-A23C-238F2A3DF928\n")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	part := func(start, size int64) string {
		return l.attach(image, "-o", fmt.Sprint(start), "--sizelimit", fmt.Sprint(size))
	}
	boot := part(2<<20, 64<<20)
	l.run("mkfs.ext4", "-q", "-F", "-L", "boot", boot)
	pvStart, pvSize := int64(66<<20), int64(600-66-1)<<20
	pv := part(pvStart, pvSize)
	config := fmt.Sprintf(`devices{use_devicesfile=0 filter=["a|^%s$|","r|.*|"]} global{event_activation=0 locking_dir=%q} backup{backup=0 archive=0}`, pv, t.TempDir())
	lvm := func(args ...string) string {
		cmd := exec.Command("lvm", append(args, "--driverloaded", "n", "--config", config)...)
		out, err := cmd.Output()
		require.NoError(t, err, "%v", args)
		return strings.TrimSpace(string(out))
	}
	lvm("pvcreate", "-q", pv)
	lvm("vgcreate", "lab-vg", pv)
	lvm("lvcreate", "-an", "-Zn", "-Wn", "-n", "hole", "-L", "8M", "lab-vg")
	lvm("lvcreate", "-an", "-Zn", "-Wn", "-n", "root", "-L", "320M", "lab-vg")
	lvm("lvcreate", "-an", "-Zn", "-Wn", "-n", "data", "-L", "32M", "lab-vg")
	lvm("lvremove", "-y", "lab-vg/hole")
	lvm("lvextend", "-L", "40M", "lab-vg/data")
	start, err := strconv.ParseInt(lvm("lvs", "--noheadings", "-o", "seg_start_pe", "lab-vg/root"), 10, 64)
	require.NoError(t, err)
	require.Zero(t, start)
	root := part(pvStart+1<<20+2*4<<20, 320<<20)
	l.run("mkfs.xfs", "-q", "-f", "-L", "root", root)
	l.run("sync")

	s, err := Images(context.Background(), []string{image})
	require.NoError(t, err)
	require.Empty(t, s.Missing)
	k := s.Disks[0]
	require.Equal(t, inventory.StyleGPT, k.Table.Style)
	require.Empty(t, k.Table.Problems)
	require.Equal(t, []string{"biosboot", "ext4", "LVM2_member"}, []string{k.Partitions[0].Content.Type, k.Partitions[1].Content.Type, k.Partitions[2].Content.Type})
	require.Equal(t, l.run("blkid", "-o", "value", "-s", "UUID", boot), k.Partitions[1].Content.UUID)
	vg := s.VolumeGroups[0]
	require.Equal(t, "lab-vg", vg.Name)
	require.Equal(t, image+"#3", vg.Physical[0].Device)
	require.Equal(t, lvm("vgs", "--noheadings", "--units", "b", "--nosuffix", "-o", "vg_free", "lab-vg"), fmt.Sprint(vg.Free))
	for _, lv := range vg.Logical {
		if lv.Name == "root" {
			require.Equal(t, "xfs", lv.Content.Type)
			require.Equal(t, l.run("blkid", "-o", "value", "-s", "UUID", root), lv.Content.UUID)
		}
	}
	live := l.collect() // the same from the running system, by loop devices
	found := false
	for _, g := range live.VolumeGroups {
		found = found || g.UUID == vg.UUID
	}
	require.True(t, found)
}

// TestPartitionNodes has partitions that the kernel knows. What was written through a partition is seen through it, whatever the page
// cache of the whole disk has kept since an earlier look.
func TestPartitionNodes(t *testing.T) {
	l := newLab(t, "sfdisk", "addpart", "delpart", "mkfs.ext4", "mkfs.xfs")
	image := l.image(400 << 20)
	cmd := exec.Command("sfdisk", "-q", image)
	cmd.Stdin = strings.NewReader("label: dos\n,20M,L\n,,E\n,330M,L\n")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	dev := l.attach(image)
	parts := diskNamed(t, l.collect(), dev).Partitions
	require.Len(t, parts, 3)
	for _, p := range parts {
		require.False(t, p.Active)
		if !p.Extended {
			l.run("addpart", dev, fmt.Sprint(p.Index), fmt.Sprint(p.Start/512), fmt.Sprint(p.Size/512))
			l.Cleanup(func() { l.run("delpart", dev, fmt.Sprint(p.Index)) })
		}
	}
	one, five := dev+"p1", dev+"p5"
	l.run("mkfs.ext4", "-q", "-F", one)
	l.run("mkfs.ext4", "-q", "-F", five)
	dir := l.mount(one) // keeps the whole disk open, and so its cache
	look := func() map[string]string {
		k := diskNamed(t, l.collect(), dev)
		types := map[string]string{}
		for _, p := range k.Partitions {
			require.Equal(t, !p.Extended, p.Active, p.Name)
			if p.Content != nil {
				types[p.Name] = p.Content.Type
			}
		}
		require.True(t, k.Partitions[2].Logical)
		return types
	}
	require.Equal(t, map[string]string{one: "ext4", five: "ext4"}, look())
	l.run("mkfs.xfs", "-q", "-f", five)
	require.Equal(t, map[string]string{one: "ext4", five: "xfs"}, look())
	s := l.collect()
	for _, m := range s.Mounts {
		if m.Path == dir {
			require.Equal(t, one, m.Source)
			require.Equal(t, m.Usage, diskNamed(t, s, dev).Partitions[0].Content.Usage)
		}
	}
}

// TestMountedBtrfs compares subvolumes, profiles and mount paths with what btrfs says, and with the same after unmounting.
func TestMountedBtrfs(t *testing.T) {
	l := newLab(t, "mkfs.btrfs", "btrfs")
	a, b := l.attach(l.image(256<<20)), l.attach(l.image(256<<20))
	l.run("mkfs.btrfs", "-q", "-f", "-L", "pool", "-m", "raid1", "-d", "single", a, b)
	dir := t.TempDir()
	l.run("mount", "-o", "device="+b, a, dir)
	mounted := true
	defer func() {
		if mounted {
			l.run("umount", dir)
		}
	}()
	for _, name := range []string{"@", "@home"} {
		l.run("btrfs", "-q", "subvolume", "create", filepath.Join(dir, name))
	}
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "@", "a b", "c"), 0o755))
	l.run("btrfs", "-q", "subvolume", "create", filepath.Join(dir, "@", "a b", "c", "deep"))
	l.run("btrfs", "-q", "subvolume", "snapshot", "-r", filepath.Join(dir, "@"), filepath.Join(dir, "snap"))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "@", "data"), make([]byte, 5<<20), 0o600))
	l.run("btrfs", "filesystem", "sync", dir)
	sub := l.mount("-o", "subvol=@home,device="+b, a)
	find := func(s *inventory.Server) inventory.Btrfs {
		id := l.run("blkid", "-o", "value", "-s", "UUID", a)
		for _, fs := range s.Btrfs {
			if fs.UUID == id {
				return fs
			}
		}
		require.Fail(t, "filesystem not found")
		return inventory.Btrfs{}
	}
	live := find(l.collect())
	require.Empty(t, live.Problems)
	require.ElementsMatch(t, []string{dir, sub}, live.MountPaths)
	var paths, listed []string
	for _, v := range live.Subvolumes {
		paths = append(paths, fmt.Sprintf("%d %s", v.ID, v.Path))
		if v.Path == "@home" {
			require.Equal(t, []string{sub}, v.MountPaths)
		}
		require.Equal(t, v.Path == "snap", v.Snapshot && v.ReadOnly)
	}
	for _, line := range strings.Split(l.run("btrfs", "subvolume", "list", dir), "\n") {
		f := strings.SplitN(line, " ", 9)
		listed = append(listed, f[1]+" "+f[8])
	}
	require.Equal(t, listed, paths)
	show := l.run("btrfs", "filesystem", "show", "--raw", dir)
	for _, d := range live.Devices {
		require.Regexp(t, fmt.Sprintf(`devid\s+%d size %d used %d path %s`, d.ID, d.Size, d.Used, d.Name), show)
	}
	for _, f := range Preflight(l.collect()) {
		require.False(t, f.Code == "FERRY-UNMOUNTED" && (f.Subject == a || f.Subject == b), "both devices are mounted")
	}
	df := l.run("btrfs", "filesystem", "df", "-b", dir)
	for _, p := range live.Profiles {
		name := strings.ToUpper(p.Kind[:1]) + p.Kind[1:]
		require.Contains(t, df, fmt.Sprintf("%s, %s: total=%d", name, p.Profile, p.Size), df)
	}
	l.run("umount", sub)
	l.run("mount", "-o", "subvol=@home,device="+b, a, sub) // for the cleanup of the lab
	defer func() {
		l.run("umount", dir)
		mounted = false
		l.run("umount", sub)
		cold := find(l.collect())
		l.run("mount", "-o", "device="+b, a, sub)
		require.Equal(t, live.NodeSize, cold.NodeSize)
		require.Equal(t, live.SectorSize, cold.SectorSize)
		require.Len(t, cold.Subvolumes, len(live.Subvolumes))
		for i := range cold.Subvolumes {
			require.Equal(t, live.Subvolumes[i].Path, cold.Subvolumes[i].Path)
			require.Equal(t, live.Subvolumes[i].UUID, cold.Subvolumes[i].UUID)
		}
	}()
}

// TestLikeLsblk compares the disks of this machine with lsblk, which reads the same kernel by other ways.
func TestLikeLsblk(t *testing.T) {
	if _, err := exec.LookPath("lsblk"); err != nil {
		t.Skip("needs lsblk, which is not installed")
	}
	out, err := exec.Command("lsblk", "-J", "-b", "-d", "-o", "NAME,MAJ:MIN,SIZE,RO,RM,ROTA,LOG-SEC,PHY-SEC").Output()
	require.NoError(t, err)
	var want struct {
		Blockdevices []struct {
			Name, Number string
			Size         int64
			RO, RM, ROTA bool
			Log          int64 `json:"log-sec"`
			Phy          int64 `json:"phy-sec"`
		}
	}
	require.NoError(t, json.Unmarshal([]byte(strings.ReplaceAll(string(out), "maj:min", "number")), &want))
	by := map[string]inventory.Disk{}
	for _, k := range listDevices("/").disks {
		by[k.Name] = k
	}
	for _, w := range want.Blockdevices {
		k, ok := by["/dev/"+w.Name]
		if !ok || strings.HasPrefix(w.Name, "loop") { // those of other tests come and go
			continue
		}
		require.Equal(t, []any{w.Number, w.Size, w.RO, w.RM, w.ROTA, w.Log, w.Phy}, []any{k.Number, k.Size, k.ReadOnly, k.Removable, k.Rotational, k.LogicalSector, k.PhysicalSector}, w.Name)
	}
	require.NotEmpty(t, by)
}
