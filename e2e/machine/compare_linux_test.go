package machine

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/collector/inventory"
)

// decode reads one answer.
func decode[T any](t *testing.T, a Answers, name string) (v T) {
	t.Helper()
	require.NoError(t, json.Unmarshal(a[name], &v), name)
	return v
}

// internal are the layers that device-mapper needs to show a snapshot or a pool; they are no volumes.
var internal = regexp.MustCompile(`^/dev/mapper/.*-(real|cow|tpool)$`)

// device is what lsblk says of one device.
type device struct {
	Kname, Path, Type, Fstype, Label, UUID, Partuuid, Partlabel, Parttype, Pttype, Ptuuid, Serial, WWN string

	Number   string `json:"maj:min"`
	Size     int64
	RO       bool
	RM       bool
	Rota     bool
	Start    *int64
	Logical  int64 `json:"log-sec"`
	Physical int64 `json:"phy-sec"`
}

// likeLsblk holds every device against lsblk, in both directions.
func likeLsblk(t *testing.T, a Answers, s *inventory.Server) {
	list := decode[struct{ Blockdevices []device }](t, a, "lsblk.json").Blockdevices
	seen := map[string]string{} // number → device
	content := func(d device, c *inventory.Content) {
		got := []string{"", "", ""}
		if c != nil && c.Class != inventory.ClassBoot {
			got = []string{c.Type, c.Label, c.UUID}
		}
		require.Equal(t, []string{d.Fstype, d.Label, d.UUID}, got, d.Path)
	}
	for _, d := range list {
		number := d.Number
		if _, again := seen[d.Number]; again || internal.MatchString(d.Path) {
			continue
		}
		disk, part, volume := find(s, d.Path)
		switch {
		case disk != nil && disk.Name != d.Path: // one of several paths
			require.Contains(t, disk.Paths, d.Path)
			require.Equal(t, disk.Size, d.Size)
			require.Equal(t, "mpath_member", d.Fstype)
		case disk != nil:
			require.Equal(t, []any{d.Number, d.Size, d.RO, d.RM, d.Rota, d.Logical, d.Physical},
				[]any{disk.Number, disk.Size, disk.ReadOnly, disk.Removable, disk.Rotational, disk.LogicalSector, disk.PhysicalSector}, d.Path)
			table := []string{"", ""}
			if disk.Table != nil {
				table = []string{map[inventory.Style]string{inventory.StyleGPT: "gpt", inventory.StyleMBR: "dos"}[disk.Table.Style], strings.ToLower(disk.Table.ID)}
				require.Empty(t, disk.Table.Problems, d.Path)
			}
			require.Equal(t, []string{d.Pttype, d.Ptuuid}, table, d.Path)
			if d.Serial != "" {
				require.Equal(t, d.Serial, disk.Serial, d.Path)
			}
			content(d, disk.Content)
		case part != nil:
			require.True(t, part.Active, d.Path)
			if part.Extended { // the kernel shows only its table
				d.Size = part.Size
			}
			require.Equal(t, []any{d.Number, d.Size, *d.Start * 512}, []any{part.Number, part.Size, part.Start}, d.Path)
			require.Equal(t, []string{d.Partuuid, d.Partlabel}, []string{strings.ToLower(part.UUID), part.Label}, d.Path)
			if !part.Extended {
				content(d, part.Content)
			}
		case volume != nil:
			if volume.Kind == "snapshot" { // its device is as large as the origin, its own size is the room for changes
				d.Size = volume.Size
			}
			if volume.Kind == "thin-pool" { // lvs means the layer below, -tpool
				d.Number = volume.Number
			}
			require.Equal(t, []any{d.Number, d.Size, true}, []any{volume.Number, volume.Size, volume.Active}, d.Path)
			if !volume.Internal && volume.Kind != "thin-pool" {
				content(d, volume.Content)
			}
		default:
			require.Fail(t, "not found", "%s %s", d.Path, d.Type)
		}
		seen[number] = d.Path
	}
	for i := range s.Disks {
		k := &s.Disks[i]
		require.Contains(t, seen, k.Number, k.Name)
		for _, p := range k.Partitions {
			require.Contains(t, seen, p.Number, p.Name)
		}
	}
	require.Greater(t, len(seen), 3)
}

// find returns the disk, partition or volume of a name.
func find(s *inventory.Server, name string) (*inventory.Disk, *inventory.Partition, *inventory.LogicalVolume) {
	for i := range s.Disks {
		k := &s.Disks[i]
		if k.Name == name || slices.Contains(k.Paths, name) {
			return k, nil, nil
		}
		for j := range k.Partitions {
			if k.Partitions[j].Name == name {
				return nil, &k.Partitions[j], nil
			}
		}
	}
	for g := range s.VolumeGroups {
		for l := range s.VolumeGroups[g].Logical {
			if v := &s.VolumeGroups[g].Logical[l]; v.Device == name {
				return nil, nil, v
			}
		}
	}
	return nil, nil, nil
}

// rows are those of one report of lvm.
func rows(t *testing.T, a Answers, name, kind string) []map[string]string {
	report := decode[struct {
		Report []map[string][]map[string]string
	}](t, a, name)
	require.Len(t, report.Report, 1)
	return report.Report[0][kind]
}

// likeLVM holds groups and volumes against vgs, pvs and lvs.
func likeLVM(t *testing.T, a Answers, s *inventory.Server) {
	groups := map[string]*inventory.VolumeGroup{}
	for i := range s.VolumeGroups {
		vg := &s.VolumeGroups[i]
		groups[vg.Name] = vg
		require.Empty(t, vg.Problems, vg.Name)
	}
	reported := rows(t, a, "vgs.json", "vg")
	require.Len(t, groups, len(reported))
	for _, r := range reported {
		vg := groups[r["vg_name"]]
		require.Equal(t, []string{r["vg_uuid"], r["vg_size"], r["vg_free"], r["vg_extent_size"], r["vg_seqno"]},
			[]string{vg.UUID, fmt.Sprint(vg.Size), fmt.Sprint(vg.Free), fmt.Sprint(vg.ExtentSize), fmt.Sprint(vg.Seqno)}, vg.Name)
	}
	for _, r := range rows(t, a, "pvs.json", "pv") {
		vg := groups[r["vg_name"]]
		i := slices.IndexFunc(vg.Physical, func(p inventory.PhysicalVolume) bool { return p.Device == r["pv_name"] })
		require.GreaterOrEqual(t, i, 0, r["pv_name"])
		pv := vg.Physical[i]
		require.Equal(t, []string{r["pv_uuid"], r["pv_free"], r["pe_start"], r["pv_pe_count"]},
			[]string{pv.UUID, fmt.Sprint(pv.Free), fmt.Sprint(pv.Start), fmt.Sprint(pv.Extents)}, pv.Device)
	}
	volumes := 0
	for _, r := range rows(t, a, "lvs.json", "lv") {
		name, vg := strings.Trim(r["lv_name"], "[]"), groups[r["vg_name"]]
		i := slices.IndexFunc(vg.Logical, func(v inventory.LogicalVolume) bool { return v.Name == name })
		if strings.HasSuffix(name, "_pmspare") && i < 0 {
			continue // kept for repairs: no volume of its own
		}
		require.GreaterOrEqual(t, i, 0, name)
		volumes++
		likeLV(t, r, &vg.Logical[i])
	}
	require.True(t, volumes > 2 || len(reported) == 0)
}

// likeLV holds one volume against its line of lvs, which calls a snapshot linear.
func likeLV(t *testing.T, r map[string]string, v *inventory.LogicalVolume) {
	kind := r["segtype"]
	if r["origin"] != "" && kind == "linear" {
		kind = "snapshot"
	}
	require.Equal(t, []string{r["lv_uuid"], r["lv_size"], r["origin"], r["pool_lv"]}, []string{v.UUID, fmt.Sprint(v.Size), v.Origin, v.Pool}, v.Name)
	require.Equal(t, strings.HasPrefix(r["lv_name"], "["), v.Internal, v.Name)
	if !v.Internal {
		require.Equal(t, kind, v.Kind, v.Name)
	}
	number := ""
	if r["lv_kernel_major"] != "-1" {
		number = r["lv_kernel_major"] + ":" + r["lv_kernel_minor"]
	}
	require.Equal(t, number, v.Number, v.Name)
	if (kind == "snapshot" || kind == "thin-pool") && r["data_percent"] != "" {
		want, err := strconv.ParseFloat(r["data_percent"], 64)
		require.NoError(t, err)
		require.NotNil(t, v.FillPercent, v.Name)
		require.InDelta(t, want, *v.FillPercent, 2, v.Name) // the root goes on writing
	}
}

var subvolume = regexp.MustCompile(`(?m)^ID (\d+) gen \d+ parent (\d+) top level \d+ parent_uuid (\S+)\s+uuid (\S+) path (.*)$`)

// likeBtrfs holds subvolumes, profiles and devices against btrfs.
func likeBtrfs(t *testing.T, a Answers, s *inventory.Server) {
	for _, section := range strings.Split("\n"+string(a["btrfs.txt"]), "\n== ")[1:] {
		path, text, _ := strings.Cut(section, "\n")
		i := slices.IndexFunc(s.Btrfs, func(fs inventory.Btrfs) bool { return slices.Contains(fs.MountPaths, path) })
		require.GreaterOrEqual(t, i, 0, path)
		fs := s.Btrfs[i]
		require.Empty(t, fs.Problems)
		require.Contains(t, text, "uuid: "+fs.UUID)
		require.Contains(t, text, fmt.Sprintf("Total devices %d ", fs.NumDevices))
		for _, d := range fs.Devices {
			require.Regexp(t, fmt.Sprintf(`devid\s+%d size %d used %d path %s`, d.ID, d.Size, d.Used, d.Name), text)
		}
		if fs.DefaultSubvolume != 5 {
			require.Contains(t, text, fmt.Sprintf("default ID %d ", fs.DefaultSubvolume))
		}
		for _, p := range fs.Profiles {
			kind := strings.ToUpper(p.Kind[:1]) + p.Kind[1:]
			require.Regexp(t, fmt.Sprintf(`%s, %s: total=%d,`, kind, p.Profile, p.Size), text)
		}
		found := subvolume.FindAllStringSubmatch(text, -1)
		require.Len(t, fs.Subvolumes, len(found), path)
		for j, m := range found {
			v := fs.Subvolumes[j]
			parent := v.ParentUUID
			if parent == "" {
				parent = "-"
			}
			require.Equal(t, m[1:], []string{fmt.Sprint(v.ID), fmt.Sprint(v.Parent), parent, v.UUID, v.Path})
			require.Equal(t, v.ParentUUID != "", v.Snapshot, v.Path)
		}
	}
}

// likeMounts holds mounts against findmnt, and how full they are against df.
func likeMounts(t *testing.T, a Answers, s *inventory.Server) {
	type mount struct {
		Target, Source, Fstype, Fsroot string

		Number string `json:"maj:min"`
		ID     int64
		Parent int64
	}
	at := map[int64]inventory.Mount{}
	for _, m := range s.Mounts {
		at[m.ID] = m
	}
	list := decode[struct{ Filesystems []mount }](t, a, "findmnt.json").Filesystems
	for _, w := range list {
		m, ok := at[w.ID]
		require.True(t, ok, w.Target)
		source, _, _ := strings.Cut(w.Source, "[")
		require.Equal(t, []any{w.Target, source, w.Fstype, w.Fsroot, w.Number, w.Parent}, []any{m.Path, m.Source, m.Type, m.Root, m.Number, m.Parent})
	}
	require.Len(t, s.Mounts, len(list))
	full := map[string][]string{}
	for _, line := range strings.Split(string(a["df.txt"]), "\n") {
		if f := strings.Fields(line); len(f) == 3 {
			full[f[0]] = f[1:]
		}
	}
	compared := 0
	for _, m := range s.Mounts {
		f := full[m.Path]
		if f == nil || m.Kind != "local" || m.Overmount || m.Bind {
			continue
		}
		used, err := strconv.ParseInt(f[0], 10, 64)
		require.NoError(t, err)
		require.NotNil(t, m.Usage, m.Path)
		slack := 0.0
		if m.Path == "/" || m.Type == "btrfs" {
			slack = 16 << 20 // the journal is written, and a commit may come between
		}
		require.InDelta(t, used, m.Usage.Used, slack, m.Path)
		compared++
	}
	require.Greater(t, compared, 1)
}

// likeHost holds the machine and its network against uname, ip and their like.
func likeHost(t *testing.T, a Answers, s *inventory.Server) {
	require.Equal(t, string(a["host.txt"]), fmt.Sprintf("%s\n%s\n%d\n%s\n", s.OS.Kernel, s.Host.Hostname, s.CPU.Count, s.Boot.Firmware))
	type link struct {
		Ifname, Address string
		MTU             int
		Addr            []struct {
			Local     string
			Prefixlen int
		} `json:"addr_info"`
	}
	links := decode[[]link](t, a, "ip.json")
	require.Len(t, s.NICs, len(links))
	for _, w := range links {
		i := slices.IndexFunc(s.NICs, func(n inventory.NIC) bool { return n.Name == w.Ifname })
		require.GreaterOrEqual(t, i, 0, w.Ifname)
		n, addresses := s.NICs[i], []string{}
		for _, ad := range w.Addr {
			addresses = append(addresses, fmt.Sprintf("%s/%d", ad.Local, ad.Prefixlen))
		}
		require.Equal(t, []any{w.Address, w.MTU}, []any{n.MAC, n.MTU})
		require.ElementsMatch(t, addresses, n.Addresses)
	}
	for _, r := range decode[[]struct{ Dst, Gateway, Dev string }](t, a, "route.json") {
		if r.Dst == "default" {
			require.Equal(t, []string{r.Dev, r.Gateway}, []string{s.NICs[0].Name, s.NICs[0].Gateway})
			require.True(t, s.NICs[0].Primary)
		}
	}
	swaps, want := []string{}, []string{}
	for _, w := range s.Swaps {
		swaps = append(swaps, fmt.Sprintf("%s %d", w.Name, w.Size))
	}
	for _, line := range strings.Split(strings.TrimSpace(string(a["swaps.txt"])), "\n") {
		name, size, _ := strings.Cut(line, " ")
		for _, d := range decode[struct{ Blockdevices []device }](t, a, "lsblk.json").Blockdevices {
			if "/dev/"+d.Kname == name { // the kernel has no better name for a volume
				name = d.Path
			}
		}
		want = append(want, name+" "+size)
	}
	require.ElementsMatch(t, want, swaps)
}
