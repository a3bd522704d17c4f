package layout

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/internal/fault"
)

func id(n int) string { return fmt.Sprintf("%08x-0000-4000-8000-%012x", n, n) }

func lvid(n int) string { return fmt.Sprintf("Ferry0-0000-0000-0000-0000-0000-%06d", n) }

// pool is the UUID of the sample's Btrfs. Each test with devices has another one: the kernel remembers those of filesystems it has seen.
var pool = freshID()

func freshID() string {
	return fmt.Sprintf("%08x-0000-4000-8000-%012x", uint32(time.Now().UnixNano()), os.Getpid())
}

// sample is a plan with one of everything: a system disk with LVM, an old one with logical partitions, two that Btrfs spans.
func sample(group string) *Plan {
	return &Plan{
		Version: Version,
		Disks: []Disk{
			{Name: "/dev/sda", Size: 1 << 30, Sector: 512, Table: &Table{Style: GPT, ID: id(1), Partitions: []Partition{
				{Index: 1, Start: mib, Size: mib, Type: "21686148-6449-6E6F-744E-656564454649", UUID: id(2), Label: "bios"},
				{Index: 2, Start: 2 * mib, Size: 40 * mib, Type: "C12A7328-F81F-11D2-BA4B-00A0C93EC93B", UUID: id(3), Label: "EFI ä",
					Use: &Use{Type: VFAT, UUID: "1234-ABCD", Label: "ESP", Has: []string{"FAT16"}, Mounts: []Mount{{Path: "/boot/efi"}}}},
				{Index: 5, Start: 42 * mib, Size: 64 * mib, Least: 32 * mib, Type: gptLinux, UUID: id(4), Boot: true,
					Use: &Use{Type: "ext4", UUID: id(5), Label: "boot", Block: 1024, Inode: 256, PerIno: 4096,
						Has:    []string{"has_journal", "ext_attr", "resize_inode", "dir_index", "filetype", "needs_recovery", "extent", "flex_bg", "sparse_super", "large_file", "huge_file", "dir_nlink", "extra_isize"},
						Mounts: []Mount{{Path: "/boot"}}}},
				{Index: 4, Start: 106 * mib, Size: 900 * mib, Type: gptTypes[LVM], UUID: id(6), Use: &Use{Type: LVM, UUID: lvid(1), Group: group}},
			}}},
			{Name: "/dev/sdb", Size: 400 * mib, Sector: 512, Table: &Table{Style: MBR, ID: "1a2b3c4d", Partitions: []Partition{
				{Index: 1, Start: mib, Size: 64 * mib, Least: 16 * mib, Type: "83", Boot: true, Use: &Use{Type: "ext3", UUID: id(7), Mounts: []Mount{{Path: "/srv/old"}}}},
				{Index: 2, Start: 65 * mib, Size: 300 * mib, Type: "0f", Extended: true},
				{Index: 5, Start: 66 * mib, Size: 32 * mib, Type: "82", Use: &Use{Type: Swap, UUID: id(8), Label: "swap0", Block: 4096}},
				{Index: 6, Start: 100 * mib, Size: 64 * mib, Least: 20 * mib, Type: "83", Use: &Use{Type: "ext2", UUID: id(9)}},
			}}},
			{Name: "/dev/sdc", Size: 200 * mib, Sector: 512, Use: &Use{
				Type: Btrfs, UUID: pool, Label: "pool, it's", Block: 4096, Has: []string{"no_holes", "mixed_backref"},
				Trees:  &Trees{Node: 16384, Data: "single", Metadata: "raid1", Subvolumes: []string{"@", "@home", "a b/c", "@/inside"}, Default: "@"},
				Mounts: []Mount{{Path: "/data", Subvolume: "@"}, {Path: "/home", Subvolume: "@home"}},
			}},
			{Name: "/dev/sdd", Size: 200 * mib, Sector: 512, Use: &Use{Type: Btrfs, UUID: pool, Label: "pool, it's"}},
		},
		Groups: []Group{{Name: group, UUID: lvid(2), Extent: 4 * mib, Volumes: []Volume{
			{Name: "root", UUID: lvid(3), Size: 128 * mib, Least: 64 * mib, Use: &Use{Type: "ext4", UUID: id(11), Label: "root", Mounts: []Mount{{Path: "/"}}}},
			{Name: "swap", UUID: lvid(4), Size: 32 * mib, Use: &Use{Type: Swap, UUID: id(12)}},
			{Name: "data", UUID: lvid(5), Size: 320 * mib, Least: 304 * mib, Use: &Use{
				Type: XFS, UUID: id(13), Label: "data", Block: 4096, Inode: 512, Has: []string{"crc", "ftype", "finobt", "sparse"}, Mounts: []Mount{{Path: "/srv/data"}}}},
			{Name: "bare", UUID: lvid(6), Size: 8 * mib},
		}}},
		Left: []string{"nothing"},
	}
}

func targets(p *Plan) (out []Target) {
	for _, d := range p.Disks {
		out = append(out, Target{d.Name, d.Size, d.Sector})
	}
	return out
}

func TestParseReadsWhatAPlanIs(t *testing.T) {
	text, err := json.Marshal(sample("vg0"))
	require.NoError(t, err)
	got, err := Parse(text)
	require.NoError(t, err)
	require.Equal(t, sample("vg0"), got)
	same, err := Fit(got, targets(got), false)
	require.NoError(t, err)
	require.Equal(t, starts(got), starts(same), "on equal disks all stays where it is")
}

func TestHostilePlansAreRefused(t *testing.T) {
	for name, change := range map[string]func(*Plan){
		"version":               func(p *Plan) { p.Version = 2 },
		"no disk":               func(p *Plan) { p.Disks = nil },
		"a disk twice":          func(p *Plan) { p.Disks[1].Name = p.Disks[0].Name },
		"disk is an option":     func(p *Plan) { p.Disks[1].Name = "--help" },
		"disk is no device":     func(p *Plan) { p.Disks[1].Name = "/dev/../etc/passwd" },
		"disk with a newline":   func(p *Plan) { p.Disks[1].Name = "/dev/sdb\n" },
		"disk of no size":       func(p *Plan) { p.Disks[2].Size = 0 },
		"negative size":         func(p *Plan) { p.Disks[0].Table.Partitions[1].Size = -512 },
		"start overflows":       func(p *Plan) { p.Disks[0].Table.Partitions[1].Start = 1<<63 - 512 },
		"size overflows":        func(p *Plan) { p.Disks[0].Table.Partitions[1].Size = 1<<63 - 512 },
		"past the end":          func(p *Plan) { p.Disks[0].Table.Partitions[3].Size = 1 << 30 },
		"over the backup table": func(p *Plan) { p.Disks[0].Table.Partitions[3].Size = 1<<30 - 106*mib },
		"overlap":               func(p *Plan) { p.Disks[0].Table.Partitions[1].Size = 41 * mib },
		"over the table":        func(p *Plan) { p.Disks[0].Table.Partitions[0].Start = 512 },
		"between sectors":       func(p *Plan) { p.Disks[0].Table.Partitions[0].Start = mib + 100 },
		"same index":            func(p *Plan) { p.Disks[0].Table.Partitions[0].Index = 2 },
		"index 0":               func(p *Plan) { p.Disks[0].Table.Partitions[0].Index = 0 },
		"index 129":             func(p *Plan) { p.Disks[0].Table.Partitions[0].Index = 129 },
		"ten thousand": func(p *Plan) {
			p.Disks[0].Table.Partitions = make([]Partition, 10000)
		},
		"style":                   func(p *Plan) { p.Disks[0].Table.Style = "sun" },
		"id":                      func(p *Plan) { p.Disks[0].Table.ID = "../x" },
		"type":                    func(p *Plan) { p.Disks[0].Table.Partitions[0].Type = "ef02" },
		"label with a newline":    func(p *Plan) { p.Disks[0].Table.Partitions[0].Label = "a\nmkfs" },
		"label too long":          func(p *Plan) { p.Disks[0].Table.Partitions[0].Label = strings.Repeat("ä", 37) },
		"least above size":        func(p *Plan) { p.Disks[0].Table.Partitions[1].Least = 41 * mib },
		"a PARTUUID twice":        func(p *Plan) { p.Disks[0].Table.Partitions[0].UUID = id(3) },
		"logical outside":         func(p *Plan) { p.Disks[1].Table.Partitions[3].Start = 370 * mib },
		"no room for the chain":   func(p *Plan) { p.Disks[1].Table.Partitions[2].Start = 65 * mib },
		"two extended":            func(p *Plan) { p.Disks[1].Table.Partitions[0].Extended, p.Disks[1].Table.Partitions[0].Use = true, nil },
		"extended with a use":     func(p *Plan) { p.Disks[1].Table.Partitions[1].Use = p.Disks[1].Table.Partitions[0].Use },
		"logical in a GPT":        func(p *Plan) { p.Disks[0].Table.Partitions[0].Extended = true },
		"table and use":           func(p *Plan) { p.Disks[0].Use = p.Disks[2].Use },
		"unknown filesystem":      func(p *Plan) { p.Disks[0].Table.Partitions[2].Use.Type = "zfs" },
		"filesystem with a slash": func(p *Plan) { p.Disks[0].Table.Partitions[2].Use.Type = "../../bin/sh" },
		"a UUID twice":            func(p *Plan) { p.Disks[0].Table.Partitions[2].Use.UUID = id(7) },
		"UUID is an option":       func(p *Plan) { p.Disks[0].Table.Partitions[2].Use.UUID = "-Otest" },
		"feature":                 func(p *Plan) { p.Disks[0].Table.Partitions[2].Use.Has[0] = "a,b=$(x)" },
		"block size":              func(p *Plan) { p.Disks[0].Table.Partitions[2].Use.Block = 1000 },
		"relative mount":          func(p *Plan) { p.Disks[0].Table.Partitions[2].Use.Mounts[0].Path = "boot" },
		"mount above the root":    func(p *Plan) { p.Disks[0].Table.Partitions[2].Use.Mounts[0].Path = "/../etc" },
		"mount twice":             func(p *Plan) { p.Disks[0].Table.Partitions[2].Use.Mounts[0].Path = "/" },
		"mounted swap":            func(p *Plan) { p.Disks[1].Table.Partitions[2].Use.Mounts = []Mount{{Path: "/x"}} },
		"mount by no subvolume":   func(p *Plan) { p.Disks[2].Use.Mounts[0].Subvolume = "x" },
		"subvolume above the top": func(p *Plan) { p.Disks[2].Use.Trees.Subvolumes[0] = "../x" },
		"subvolume twice":         func(p *Plan) { p.Disks[2].Use.Trees.Subvolumes[1] = "@" },
		"default of nothing":      func(p *Plan) { p.Disks[2].Use.Trees.Default = "x" },
		"profile":                 func(p *Plan) { p.Disks[2].Use.Trees.Data = "raid7" },
		"Btrfs without a first":   func(p *Plan) { p.Disks[2].Use.Trees, p.Disks[2].Use.Mounts = nil, nil },
		"group of no name":        func(p *Plan) { p.Groups[0].Name = "" },
		"group with a slash":      func(p *Plan) { p.Groups[0].Name = "a/b" },
		"group is an option":      func(p *Plan) { p.Groups[0].Name = "-ay" },
		"group of dots":           func(p *Plan) { p.Groups[0].Name = ".." },
		"volume with a newline":   func(p *Plan) { p.Groups[0].Volumes[0].Name = "a\nb" },
		"volume twice":            func(p *Plan) { p.Groups[0].Volumes[0].Name = "swap" },
		"an LVM UUID twice":       func(p *Plan) { p.Groups[0].Volumes[0].UUID = lvid(2) },
		"extent of no power":      func(p *Plan) { p.Groups[0].Extent = 3 * mib },
		"more than the group has": func(p *Plan) { p.Groups[0].Volumes[0].Size = 600 * mib },
		"sum overflows": func(p *Plan) {
			for i := range p.Groups[0].Volumes {
				p.Groups[0].Volumes[i].Size = 1 << 60
			}
		},
		"group on nothing":    func(p *Plan) { p.Disks[0].Table.Partitions[3].Use = nil },
		"PV of another group": func(p *Plan) { p.Disks[0].Table.Partitions[3].Use.Group = "vg1" },
		"group in a volume":   func(p *Plan) { p.Groups[0].Volumes[3].Use = &Use{Type: LVM, UUID: lvid(9), Group: "vg0"} },
	} {
		t.Run(name, func(t *testing.T) {
			p := sample("vg0")
			change(p)
			text, err := json.Marshal(p)
			require.NoError(t, err)
			_, err = Parse(text)
			require.Equal(t, CodePlan, fault.CodeOf(err), "%v", err)
		})
	}
	_, err := Parse([]byte(`{"version":1,"disks":[` + strings.Repeat(" ", maxText) + `]}`))
	require.Equal(t, CodePlan, fault.CodeOf(err))
}

// FuzzParse: what Parse takes can be fitted or is refused, and every script of it names no device but its own.
func FuzzParse(f *testing.F) {
	text, err := json.Marshal(sample("vg0"))
	require.NoError(f, err)
	f.Add(text)
	f.Add([]byte(`{"version":1,"disks":[{"name":"/dev/a","size":1048576,"sector":512}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Parse(text)
		if err != nil {
			require.Equal(t, CodePlan, fault.CodeOf(err))
			return
		}
		for _, scale := range []int64{1, 3} {
			disks := targets(p)
			for i := range disks {
				disks[i].Size = up(disks[i].Size/scale, mib)
			}
			fitted, err := Fit(p, disks, true)
			if err != nil {
				require.Contains(t, []string{CodePlan, CodeSmall}, fault.CodeOf(err))
				continue
			}
			for i := range fitted.Groups {
				_ = fitted.metadata(&fitted.Groups[i])
			}
			for _, a := range Script(fitted, "/run/x") {
				require.NotContains(t, strings.TrimPrefix(a.String(), "# "), "\x00")
				if a.Disk != nil {
					for _, w := range a.Disk.writes() {
						require.True(t, w.at >= 0 && w.at+int64(len(w.data)) <= a.Disk.Size)
					}
				}
			}
		}
	})
}
