package layout

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/transfer/target/configure"
	"pgregory.net/rapid"

	"github.com/ferry-migrate/ferry/internal/fault"
)

// TestSmallerDisks: what can spare room gives it, in proportion, and nothing gets less than its least.
func TestSmallerDisks(t *testing.T) {
	p := sample("vg0")
	disks := targets(p)
	disks[0].Size, disks[1].Size = 800*mib, 200*mib
	got, err := Fit(p, disks, false)
	require.NoError(t, err)
	part := func(d, index int) (q Partition) {
		for _, q := range got.Disks[d].Table.Partitions {
			if q.Index == index {
				return q
			}
		}
		return q
	}
	require.Equal(t, int64(40*mib), part(0, 2).Size, "an EFI system partition has nothing to spare")
	require.Less(t, part(0, 4).Size, int64(900*mib))
	require.GreaterOrEqual(t, part(0, 4).Size, int64((64+32+304+8)*mib), "what the volumes need")
	require.Equal(t, int64(32*mib), part(1, 5).Size, "nor has swap")
	require.GreaterOrEqual(t, part(1, 6).Size, int64(20*mib))
	require.Equal(t, []any{id(6), gptTypes[LVM]}, []any{part(0, 4).UUID, part(0, 4).Type})
	volumes := int64(0)
	for _, v := range got.Groups[0].Volumes {
		volumes += v.Size
	}
	require.LessOrEqual(t, volumes, part(0, 4).Size)
	require.Equal(t, sample("vg0"), p, "the plan itself is not changed")
}

var bytesOf = regexp.MustCompile(`(\d+) are needed at least`)

// TestSmallestSize: what a refusal names is enough, and less is refused.
func TestSmallestSize(t *testing.T) {
	for i, fixed := range []int64{0, 0, 200 * mib} { // Btrfs cannot be made smaller
		p := sample("vg0")
		disks := targets(p)
		disks[i].Size = 24 * mib
		_, err := Fit(p, disks, false)
		require.Equal(t, CodeSmall, fault.CodeOf(err))
		need, err := strconv.ParseInt(bytesOf.FindStringSubmatch(err.Error())[1], 10, 64)
		require.NoError(t, err)
		if fixed > 0 {
			require.Equal(t, fixed, need)
		}
		disks[i].Size = need
		_, err = Fit(p, disks, false)
		require.NoError(t, err)
		disks[i].Size = need - mib
		_, err = Fit(p, disks, false)
		require.Equal(t, CodeSmall, fault.CodeOf(err))
	}
}

// TestLargerDisks: the last partition gets the rest when asked, and the tables are at the new end.
func TestLargerDisks(t *testing.T) {
	p := sample("vg0")
	disks := targets(p)
	for i := range disks {
		disks[i].Size *= 4
	}
	same, err := Fit(p, disks, false)
	require.NoError(t, err)
	require.Equal(t, starts(p), starts(same))
	got, err := Fit(p, disks, true)
	require.NoError(t, err)
	last := got.Disks[0].Table.Partitions[3]
	require.Equal(t, int64(4<<30-mib), last.Start+last.Size)
	logical, extended := got.Disks[1].Table.Partitions[3], got.Disks[1].Table.Partitions[1]
	require.Equal(t, int64(1600*mib), logical.Start+logical.Size)
	require.Equal(t, int64(1600*mib), extended.Start+extended.Size)
	require.Equal(t, int64(4<<30-512), got.Disks[0].writes()[1].at)
}

// TestFewerDisks: what lay on a disk that is missing becomes partitions of another.
func TestFewerDisks(t *testing.T) {
	p := sample("vg0")
	got, err := Fit(p, []Target{{"/dev/vda", 4 << 30, 512}}, false)
	require.NoError(t, err)
	require.Len(t, got.Disks, 1)
	var uses []string
	for _, at := range got.onDisks() {
		uses = append(uses, at.use.Type)
	}
	require.Equal(t, []string{VFAT, "ext4", LVM, "ext3", Swap, "ext2", Btrfs, Btrfs}, uses)
	again, err := Fit(p, []Target{{"/dev/vda", 4 << 30, 512}}, false)
	require.NoError(t, err)
	require.Equal(t, got, again, "also the UUIDs that had to be made")

	_, err = Fit(p, []Target{{"/dev/vda", 1 << 30, 512}}, false)
	require.Equal(t, CodeSmall, fault.CodeOf(err))
	p.Disks[0], p.Disks[1] = p.Disks[1], p.Disks[0]
	_, err = Fit(p, []Target{{"/dev/vda", 4 << 30, 512}}, false)
	require.Equal(t, CodeSmall, fault.CodeOf(err), "an MBR has no room for more")
}

// TestFitAlwaysFits: whatever the disks, a plan that Fit returns holds together; Check says so, and nothing has less than its least.
func TestFitAlwaysFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := sample("vg0")
		disks := make([]Target, rapid.IntRange(1, 5).Draw(t, "disks"))
		for i := range disks {
			sector := rapid.SampledFrom([]int64{512, 4096}).Draw(t, "sector")
			disks[i] = Target{partitionName("/dev/vd", i), up(rapid.Int64Range(mib, 3<<30).Draw(t, "size"), 4096), sector}
		}
		got, err := Fit(p, disks, rapid.Bool().Draw(t, "grow"))
		if err != nil {
			require.Equal(t, CodeSmall, fault.CodeOf(err))
			return
		}
		require.NoError(t, got.Check())
		least := map[string]int64{}
		for _, at := range p.places() {
			least[at.use.UUID+at.use.Label] = p.least(at)
		}
		for _, at := range got.places() {
			require.GreaterOrEqual(t, at.size, least[at.use.UUID+at.use.Label], at.device)
		}
	})
}

// starts lists where the partitions of a plan lie.
func starts(p *Plan) (out []span) {
	for _, d := range p.Disks {
		if d.Table != nil {
			for _, q := range d.Table.Partitions {
				out = append(out, span{q.Start, q.Size})
			}
		}
	}
	return out
}

// TestScriptIsWhatAPersonTypes: the lines of a plan, in their order, quoted for a shell.
func TestScriptIsWhatAPersonTypes(t *testing.T) {
	p := sample("vg0")
	fitted, err := Fit(p, targets(p), false)
	require.NoError(t, err)
	var lines []string
	for _, a := range Script(fitted, "/run/x") {
		lines = append(lines, a.String())
	}
	text := strings.Join(lines, "\n")
	at := -1
	for _, want := range []string{
		"wipefs --all --quiet /dev/sda\n# ferry writes the gpt table of /dev/sda, id " + id(1),
		"\n#   2   start 2097152        size 41943040       type C12A7328-F81F-11D2-BA4B-00A0C93EC93B uuid " + id(3) + " name 'EFI ä'",
		"# ferry writes the mbr table of /dev/sdb, id 1a2b3c4d",
		"pvcreate -ff --yes --quiet --devices /dev/sda4 --uuid " + lvid(1) + " --restorefile /run/x/vg0.vg /dev/sda4",
		"vgcfgrestore --yes --quiet --devices /dev/sda4 --file /run/x/vg0.vg vg0\nvgchange --quiet --activate y --devices /dev/sda4 vg0",
		"mkfs.vfat -i 1234ABCD -n ESP -F 16 /dev/sda2",
		"mkfs.ext4 -q -F -U " + id(5) + " -L boot -b 1024 -I 256 -i 4096 -O none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,",
		"mkswap --uuid " + id(8) + " --label swap0 /dev/sdb5",
		"mkfs.btrfs -q -f -U " + pool + ` -L 'pool, it'\''s' -n 16384 -s 4096 -d single -m raid1 -O no-holes -R ^free-space-tree /dev/sdc /dev/sdd`,
		"mkfs.xfs -q -f -m uuid=" + id(13) + ",crc=1,finobt=1,rmapbt=0,reflink=0,bigtime=0,inobtcount=0 -L data -b size=4096 -i sparse=1,nrext64=0,size=512 /dev/vg0/data",
		"mount -t btrfs -o subvolid=5,device=/dev/sdc,device=/dev/sdd /dev/sdc /run/x/top && btrfs subvolume create /run/x/top/@ && umount /run/x/top",
		"btrfs subvolume set-default /run/x/top/@",
	} {
		i := strings.Index(text, want)
		require.Greater(t, i, at, "%s\nin\n%s", want, text)
		at = i
	}
}

// TestFacts: what the system has to know of its new disks follows from the plan, and so do the old names.
func TestFacts(t *testing.T) {
	p := sample("vg-0")
	disks := targets(p)
	for i := range disks {
		disks[i].Path = "/dev/vd" + string(rune('a'+i))
	}
	fitted, err := Fit(p, disks, false)
	require.NoError(t, err)
	require.True(t, len(Tree(fitted, "/r")) > 0 && Tree(fitted, "/r")[0].Dir == "/r")
	f := fitted.facts(false)
	require.Equal(t, []configure.BootDisk{{Device: "/dev/vda", CoreAt: mib, Core: mib, GPT: true}, {Device: "/dev/vdb", CoreAt: 512, Core: mib - 512}}, f.BootDisks)
	at := map[string]configure.Filesystem{}
	for _, fs := range f.Filesystems {
		at[fs.Mount] = fs
	}
	require.Equal(t, configure.Filesystem{Device: "/dev/mapper/vg--0-root", UUID: id(11), Label: "root", Type: "ext4", Mount: "/"}, at["/"])
	require.Equal(t, []string{"/dev/sda5"}, at["/boot"].Was)
	require.Equal(t, "/dev/vda5", at["/boot"].Device)
	require.Equal(t, configure.Filesystem{Device: "/dev/vdc", UUID: pool, Label: "pool, it's", Type: "btrfs", Mount: "/home", Subvolume: "@home", Was: []string{"/dev/sdc"}}, at["/home"])
	require.Contains(t, f.Devices, "/dev/vdb6")
}
