package layout

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/e2e/lab"
)

// activate stands in for vgchange, which needs device-mapper: linear volumes of one segment are reached by loop devices at their offset.
const activate = `#!/bin/bash
set -e
how= name=${!#} devices=
while [ $# -gt 1 ]; do case $1 in --activate) how=$2;; --devices) devices=$2;; esac; shift; done
if [ $how = n ]; then
	for l in /dev/$name/*; do losetup -d $(readlink $l) && rm $l; done
	rmdir /dev/$name
	exit
fi
mkdir -p /dev/$name
lvm pvs --driverloaded n --devices $devices --noheadings --units b --nosuffix --separator , --segments -o vg_name,pv_name,pe_start,vg_extent_size,lv_name,pvseg_start,pvseg_size 2>/dev/null |
while IFS=, read -r vg pv start extent lv first count; do
	if [ "${vg// }" = $name ] && [ -n "$lv" ]; then
		ln -sf $(losetup --find --show -o $((start + first * extent)) --sizelimit $((count * extent)) $pv) /dev/$name/$lv
	fi
done
`

// bench gives a test disks, the tools of LVM without a driver, and a name for its volume group.
func bench(t *testing.T, sizes ...int64) (disks []Target, group string) {
	t.Helper()
	lab.NeedRoot(t)
	lab.Need(t, "losetup", "sfdisk", "sgdisk", "blkid", "dumpe2fs", "xfs_info", "mkfs.btrfs", "mkfs.vfat", "lvm", "partx")
	pool = freshID()
	dir := t.TempDir()
	tools := filepath.Join(dir, "bin")
	require.NoError(t, os.Mkdir(tools, 0o755))
	for _, name := range []string{"pvcreate", "vgcfgrestore", "vgs"} {
		text := fmt.Sprintf("#!/bin/sh\nexec lvm %s --driverloaded n \"$@\"\n", name)
		require.NoError(t, os.WriteFile(filepath.Join(tools, name), []byte(text), 0o755))
	}
	require.NoError(t, os.WriteFile(filepath.Join(tools, "vgchange"), []byte(activate), 0o755))
	t.Setenv("PATH", tools+":"+os.Getenv("PATH"))
	t.Setenv("LVM_SYSTEM_DIR", dir)
	t.Setenv("LVM_SUPPRESS_FD_WARNINGS", "1")
	conf := "activation { udev_sync=0 udev_rules=0 }\nbackup { backup=0 archive=0 }\nglobal { locking_type=1 }\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "lvm.conf"), []byte(conf), 0o600))
	for i, size := range sizes {
		disks = append(disks, loop(t, filepath.Join(dir, fmt.Sprint("disk", i)), size))
	}
	return disks, fmt.Sprintf("ferrytest%d", os.Getpid())
}

// loop makes a disk of an empty file.
func loop(t *testing.T, image string, size int64) Target {
	t.Helper()
	require.NoError(t, os.WriteFile(image, nil, 0o600))
	require.NoError(t, os.Truncate(image, size))
	device := say(t, "losetup", "--find", "--show", image)
	t.Cleanup(func() {
		_ = exec.Command("partx", "--delete", device).Run() // there may be none
		say(t, "losetup", "--detach", device)
	})
	d, err := Look(device)
	require.NoError(t, err)
	return d
}

// say runs a program and returns what it prints.
func say(t *testing.T, argv ...string) string {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "%v: %s", argv, stderr.String())
	return strings.TrimSpace(string(out))
}

// laid runs a fitted plan on the bench, and lets go of it at the end of the test. It returns what was done, and what was done already.
func laid(t *testing.T, r *Runner) (did, was []string, err error) {
	t.Helper()
	r.Told = func(line string, done bool) {
		if done {
			was = append(was, line)
		} else {
			did = append(did, line)
		}
	}
	err = r.Run(t.Context())
	return did, was, err
}

func runner(t *testing.T, p *Plan) *Runner {
	dir := t.TempDir()
	r := &Runner{Plan: p, State: filepath.Join(dir, "state"), Dir: filepath.Join(dir, "run"), Log: slog.New(slog.DiscardHandler)}
	t.Cleanup(func() { require.NoError(t, r.Release(context.Background())) })
	return r
}

// TestLaidOut: everything that a plan says is on the disks, as the tools of others see it; and a second run finds it there.
func TestLaidOut(t *testing.T) {
	disks, group := bench(t, 1<<30, 400<<20, 200<<20, 200<<20)
	p, err := Fit(sample(group), disks, false)
	require.NoError(t, err)
	r := runner(t, p)
	did, was, err := laid(t, r)
	require.NoError(t, err)
	require.Empty(t, was)
	require.Len(t, did, len(Script(p, r.Dir)))
	likePlan(t, p)

	tree := Tree(p, filepath.Join(r.Dir, "root"))
	require.Len(t, tree, 7)
	tree = slices.DeleteFunc(tree, func(m Mountpoint) bool { return m.Type == VFAT }) // the kernel of a test machine may lack it
	require.NoError(t, r.Mount(t.Context(), tree))
	for path, kind := range map[string]int64{"": unix.EXT4_SUPER_MAGIC, "boot": unix.EXT4_SUPER_MAGIC, "srv/data": unix.XFS_SUPER_MAGIC, "data": unix.BTRFS_SUPER_MAGIC} {
		var st unix.Statfs_t
		require.NoError(t, unix.Statfs(filepath.Join(r.Dir, "root", path), &st))
		require.Equal(t, kind, st.Type, path)
	}
	require.Equal(t, "256", say(t, "stat", "-c", "%i", filepath.Join(r.Dir, "root/data/inside")), "a subvolume")
	require.NoError(t, r.Release(t.Context()))

	did, was, err = laid(t, r)
	require.NoError(t, err)
	require.Len(t, did, 1, "only what the running system forgets: %v", did)
	require.Contains(t, did[0], "vgchange")
	require.NotEmpty(t, was)

	// The state was in memory, and the machine started again.
	require.NoError(t, r.Release(t.Context()))
	require.NoError(t, os.RemoveAll(r.State))
	before := say(t, "blkid", "--probe", "--output", "export", disks[2].Path)
	did, _, err = laid(t, r)
	require.NoError(t, err)
	for _, line := range did {
		require.Contains(t, line, "vgchange", "nothing is made again")
	}
	require.Equal(t, before, say(t, "blkid", "--probe", "--output", "export", disks[2].Path))
}

// likePlan holds the disks against a fitted plan, by the tools of others.
func likePlan(t *testing.T, p *Plan) {
	t.Helper()
	type entry struct {
		Node, Type, UUID, Name, Attrs string
		Start, Size                   int64
		Bootable                      bool
	}
	for _, d := range p.Disks {
		if d.Table == nil {
			continue
		}
		var got struct {
			Table struct {
				Label, ID  string
				SectorSize int64
				Partitions []entry
			} `json:"partitiontable"`
		}
		require.NoError(t, json.Unmarshal([]byte(say(t, "sfdisk", "--json", d.Name)), &got))
		require.Equal(t, map[string]string{GPT: "gpt", MBR: "dos"}[d.Table.Style], got.Table.Label)
		require.Equal(t, strings.ToLower(d.Table.ID), strings.ToLower(strings.TrimPrefix(got.Table.ID, "0x")))
		require.Len(t, got.Table.Partitions, len(d.Table.Partitions))
		nodes := map[string]entry{}
		for _, e := range got.Table.Partitions {
			nodes[e.Node] = e
		}
		for _, q := range d.Table.Partitions {
			e := nodes[partitionName(d.Name, q.Index)]
			require.Equal(t, []any{q.Start, q.Size, strings.ToLower(q.UUID), q.Label, q.Boot},
				[]any{e.Start * d.Sector, e.Size * d.Sector, strings.ToLower(e.UUID), e.Name, e.Bootable || strings.Contains(e.Attrs, "LegacyBIOSBootable")})
			if d.Table.Style == MBR { // which sfdisk shows without leading zeroes
				q.Type = strings.TrimPrefix(q.Type, "0")
			}
			require.Equal(t, strings.ToLower(q.Type), strings.ToLower(e.Type))
		}
		if d.Table.Style == GPT {
			require.Contains(t, say(t, "sgdisk", "--verify", d.Name), "No problems found")
		} else {
			say(t, "sfdisk", "--verify", d.Name)
		}
	}
	for _, at := range p.places() {
		u, kind := at.use, at.use.Type
		if kind == LVM {
			kind = "LVM2_member"
		}
		text := say(t, "blkid", "--probe", "--output", "export", at.device)
		require.Contains(t, text, "TYPE="+kind+"\n", at.device)
		require.Contains(t, strings.ToLower(text), "uuid="+strings.ToLower(u.UUID))
		switch {
		case u.Type == LVM:
			require.Equal(t, u.Group, say(t, "lvm", "pvs", "--driverloaded", "n", "--devices", p.devices(&p.Groups[0]), "--noheadings", "-o", "vg_name", at.device))
		case u.Type == XFS && u.Inode > 0:
			info := say(t, "xfs_info", at.device)
			for _, want := range []string{"isize=512", "bsize=4096", "reflink=0", "bigtime=0", "finobt=1", "sparse=1", "rmapbt=0"} {
				require.Contains(t, info, want)
			}
		case strings.HasPrefix(u.Type, "ext") && u.Inode > 0:
			info := say(t, "dumpe2fs", "-h", at.device)
			require.Regexp(t, `Inode size:\s+256\n`, info)
			require.Regexp(t, `Block size:\s+1024\n`, info)
			require.Regexp(t, `Inode count:\s+16384\n`, info)
			require.Regexp(t, `Filesystem features:\s+has_journal ext_attr resize_inode dir_index filetype extent flex_bg sparse_super large_file huge_file dir_nlink extra_isize\n`, info)
		}
	}
	for _, g := range p.Groups {
		for _, v := range g.Volumes {
			got := say(t, "lvm", "lvs", "--driverloaded", "n", "--devices", p.devices(&g), "--noheadings", "--units", "b", "--nosuffix", "-o", "lv_uuid,lv_size", g.Name+"/"+v.Name)
			require.Equal(t, fmt.Sprint(v.UUID, " ", v.Size), got)
		}
	}
}
