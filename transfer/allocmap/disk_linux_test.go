package allocmap

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/transfer/extent"
)

// tree makes a directory with a few files, for mkfs to fill a filesystem with.
func tree(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	fill(t, func(file, name string) {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
	})
	return dir
}

// ext4 makes a filesystem with files in an image of its own.
func ext4(t testing.TB, size int64) string {
	t.Helper()
	image := blank(t, size)
	run(t, "mke2fs", "-q", "-F", "-t", "ext4", "-d", tree(t), image)
	return image
}

// put writes an image into another at an offset.
func put(t testing.TB, from, to string, off int64) {
	t.Helper()
	b, err := os.ReadFile(from)
	require.NoError(t, err)
	patch(t, to, off, b)
}

// part copies a range of an image to one of its own.
func part(t testing.TB, r io.ReaderAt, off, size int64) string {
	t.Helper()
	to := blank(t, size)
	f, err := os.OpenFile(to, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	_, err = io.Copy(f, io.NewSectionReader(r, off, size))
	require.NoError(t, err)
	return to
}

func partitioned(t testing.TB, image, script string) {
	t.Helper()
	cmd := exec.Command("sfdisk", "-q", image)
	cmd.Stdin = strings.NewReader(script)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

func byPath(t testing.TB, m Map, path string) Volume {
	t.Helper()
	for _, v := range m.Volumes {
		if v.Path == path {
			return v
		}
	}
	require.Fail(t, "no volume", path)
	return Volume{}
}

// TestGPT copies what is in use of a disk with a boot partition, an EFI system partition, ext4, and LVM with swap and a guest's disk in
// it; sgdisk, fsck and lvm judge.
func TestGPT(t *testing.T) {
	needRoot(t)
	need(t, "sfdisk", "sgdisk", "mke2fs", "mkfs.vfat", "lvm", "losetup", "mkswap", "e2fsck", "fsck.vfat")
	image := garbage(t, 300*mib)
	partitioned(t, image, "label: gpt\n1M,1M,21686148-6449-6E6F-744E-656564454649\n2M,32M,U\n34M,64M,L\n180M,100M,E6D6D379-F507-44C2-A23C-238F2A3DF928\n")
	esp := blank(t, 32*mib)
	run(t, "mkfs.vfat", esp)
	put(t, esp, image, 2*mib)
	put(t, ext4(t, 64*mib), image, 34*mib)
	pv := strings.TrimSpace(run(t, "losetup", "--find", "--show", "-o", fmt.Sprint(180*mib), "--sizelimit", fmt.Sprint(100*mib), image))
	l := newLVM(t, pv)
	l("vgcreate", "vg", pv)
	l("lvcreate", "-an", "-Zn", "-Wn", "-n", "guest", "-L", "48M", "vg")
	l("lvcreate", "-an", "-Zn", "-Wn", "-n", "swap", "-L", "16M", "vg")
	run(t, "losetup", "-d", pv)
	guest := garbage(t, 48*mib)
	partitioned(t, guest, "label: dos\n1M,20M,L\n22M,,E\n23M,20M,L\n")
	put(t, ext4(t, 20*mib), guest, mib)
	put(t, ext4(t, 20*mib), guest, 23*mib)
	put(t, guest, image, 181*mib)
	swap := garbage(t, 16*mib)
	run(t, "mkswap", swap)
	put(t, swap, image, 229*mib)

	m := scanned(t, image)[0]
	types := map[string]string{}
	for _, v := range m.Volumes {
		require.Empty(t, v.Whole, v.Path)
		types[v.Path] = v.Type
	}
	require.Equal(t, map[string]string{
		"": "gpt", "3": "ext4", "4": "LVM2_member", "4/guest": "dos", "4/guest/1": "ext4", "4/guest/5": "ext4", "4/swap": "swap",
	}, types)
	for _, e := range []extent.Extent{
		{Start: 0, Size: 2 * mib},            // table, gap, boot code
		{Start: 2 * mib, Size: 32 * mib},     // EFI
		{Start: 180 * mib, Size: mib},        // LVM metadata
		{Start: 284 * mib, Size: 16 * mib},   // backup table
		{Start: 181 * mib, Size: mib},        // table of the guest
		{Start: 181*mib + 22*mib, Size: mib}, // its chain
		{Start: 229 * mib, Size: 4096},       // swap
	} {
		require.True(t, m.Extents.Contains(e), "%v", e)
	}
	require.Empty(t, m.Extents.Within(extent.Extent{Start: 98 * mib, Size: 82 * mib}), "between partitions")
	require.Empty(t, m.Extents.Within(extent.Extent{Start: 229*mib + 4096, Size: 16*mib - 4096}), "swap")
	require.Empty(t, m.Extents.Within(extent.Extent{Start: 245 * mib, Size: 31 * mib}), "free extents")

	to := copied(t, image, m)
	require.Contains(t, run(t, "sgdisk", "-v", to), "No problems found")
	f := device(t, to).R
	run(t, "fsck.vfat", "-n", part(t, f, 2*mib, 32*mib))
	run(t, "e2fsck", "-fn", part(t, f, 34*mib, 64*mib))
	run(t, "e2fsck", "-fn", part(t, f, 182*mib, 20*mib))
	run(t, "e2fsck", "-fn", part(t, f, 204*mib, 20*mib))
	sameTable := func(a, b string) {
		require.Equal(t, strings.ReplaceAll(run(t, "sfdisk", "-d", a), a, ""), strings.ReplaceAll(run(t, "sfdisk", "-d", b), b, ""))
	}
	sameTable(image, to)
	sameTable(guest, part(t, f, 181*mib, 48*mib))
	pv = strings.TrimSpace(run(t, "losetup", "--find", "--show", "-o", fmt.Sprint(180*mib), "--sizelimit", fmt.Sprint(100*mib), to))
	defer func() { run(t, "losetup", "-d", pv) }()
	require.Contains(t, newLVM(t)("lvs", "--devices", pv, "--noheadings"), "guest")
}

// newLVM returns lvm, which sees the devices given to it with --devices and makes physical volumes of these.
func newLVM(t testing.TB, pvs ...string) func(args ...string) string {
	config := fmt.Sprintf(`devices{use_devicesfile=0} global{event_activation=0 locking_dir=%q} activation{monitoring=0} backup{backup=0 archive=0}`, t.TempDir())
	l := func(args ...string) string {
		t.Helper()
		if args[1] != "--devices" && len(pvs) > 0 {
			args = append([]string{args[0], "--devices", strings.Join(pvs, ",")}, args[1:]...)
		}
		cmd := exec.Command("lvm", append(args, "--driverloaded", "n", "--config", config)...)
		cmd.Env = append(os.Environ(), "LVM_SUPPRESS_FD_WARNINGS=1")
		var errs strings.Builder
		cmd.Stderr = &errs
		out, err := cmd.Output()
		require.NoError(t, err, "lvm %v: %s", args, errs.String())
		return string(out)
	}
	if len(pvs) > 0 {
		l(append([]string{"pvcreate", "-q"}, pvs...)...)
	}
	return l
}

// TestLVM has logical volumes in stripes and in pieces over several physical ones.
func TestLVM(t *testing.T) {
	needRoot(t)
	need(t, "lvm", "losetup", "mke2fs", "e2fsck")
	images := []string{garbage(t, 80*mib), garbage(t, 80*mib), garbage(t, 80*mib)}
	devices := loops(t, images)
	l := newLVM(t, devices...)
	l(append([]string{"vgcreate", "vg"}, devices...)...)
	sizes := map[string]int64{"striped": 48 * mib, "grown": 40 * mib, "long": 64 * mib}
	for _, args := range []string{"-n striped -i3 -I64k -L 48M", "-n grown -L 16M", "-n long -L 64M"} {
		l(append(append([]string{"lvcreate", "-an", "-Zn", "-Wn"}, strings.Fields(args)...), "vg")...)
	}
	l("lvextend", "-L", "40M", "vg/grown")
	for name, size := range sizes {
		writeLogical(t, images, name, ext4(t, size))
	}
	maps := scannedWell(t, images...)
	free := int64(0)
	var copies []string
	for i, m := range maps {
		copies = append(copies, copied(t, images[i], m))
		free += 80*mib - m.Extents.Bytes()
	}
	require.Greater(t, free, int64(100*mib))
	for name, size := range sizes {
		lv := logical(t, copies, name)
		run(t, "e2fsck", "-fn", part(t, lv, 0, size))
	}
	for i, m := range maps {
		for _, v := range m.Volumes[1:] {
			require.Equal(t, "ext4", v.Type, "%d %s", i, v.Path)
		}
	}
	// Without its third device nothing of a volume that lies there is known; what lies elsewhere is.
	m := scanned(t, images[:2]...)
	require.Contains(t, fmt.Sprint(m[0].Volumes, m[1].Volumes), "logical volume striped is taken as a whole: a physical volume is missing")
	for _, m := range scanned(t, images[0], images[1], images[2], images[2]) {
		require.NotEmpty(t, m.Volumes[0].Whole)
	}
}

// logical returns a logical volume as Scan reads it.
func logical(t testing.TB, images []string, name string) *lvmLogical {
	s := &scan{ctx: context.Background(), btrfs: map[string][]*volume{}}
	for _, image := range images {
		d := device(t, image)
		s.add(&volume{source: source{s.ctx, d.R, d.Size}})
	}
	for ; s.looked < len(images); s.looked++ {
		s.look(s.volumes[s.looked])
	}
	s.groups()
	for _, v := range s.volumes {
		if strings.HasSuffix(v.path, name) {
			return v.r.(*lvmLogical)
		}
	}
	require.Fail(t, "no volume", "%s: %+v", name, s.volumes[0].report)
	return nil
}

func writeLogical(t testing.TB, images []string, name, from string) {
	t.Helper()
	b, err := os.ReadFile(from)
	require.NoError(t, err)
	lv := logical(t, images, name)
	require.EqualValues(t, len(b), lv.size)
	for _, seg := range lv.segments {
		seg.each(0, seg.size, func(c lvmColumn, off, at, n int64) bool {
			patch(t, c.pv.r.(*os.File).Name(), off, b[seg.at+at:][:n])
			return true
		})
	}
}

// TestLVMKinds has a group with every layout: thin, mirrored, cached and snapshots are taken as a whole, and what is free is not.
func TestLVMKinds(t *testing.T) {
	needRoot(t)
	need(t, "lvm", "losetup")
	backup, err := os.ReadFile(filepath.Join("..", "..", "collector", "probe", "testdata", "lvm-kinds.vg"))
	require.NoError(t, err)
	text := string(backup)
	images := []string{blank(t, 64*mib), blank(t, 64*mib)}
	devices := loops(t, images)
	l := newLVM(t, devices...)
	for i, dev := range devices {
		text = strings.ReplaceAll(text, fmt.Sprintf("PV%d", i), strings.TrimSpace(l("pvs", "--noheadings", "-o", "pv_uuid", dev)))
	}
	file := filepath.Join(t.TempDir(), "backup")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	l("vgcfgrestore", "--force", "-y", "-f", file, "kinds")
	maps := scanned(t, images...)
	// Each segment of a physical volume, free or not: extents of 4 MiB behind the first MiB.
	for i, dev := range devices {
		for _, line := range strings.Split(strings.TrimSpace(l("pvs", "--noheadings", "--segments", "--separator", " ", "-o", "pvseg_start,pvseg_size,lv_name", dev)), "\n") {
			var start, size int64
			var name string
			n, _ := fmt.Sscan(line, &start, &size, &name)
			require.GreaterOrEqual(t, n, 2)
			e := extent.Extent{Start: mib + start*4*mib, Size: size * 4 * mib}
			if n == 2 {
				require.Empty(t, maps[i].Extents.Within(extent.Extent{Start: e.Start, Size: min(e.Size, 63*mib-e.Start)}), "free: %s", line)
			} else {
				require.True(t, maps[i].Extents.Contains(e), line)
			}
		}
	}
	for _, name := range []string{"root", "pool_tdata", "mirror_rimage_0", "fast_corig"} {
		require.Contains(t, fmt.Sprint(maps), "logical volume "+name+" is taken as a whole")
	}
}

// TestTableDoubt has disks whose tables contradict themselves.
func TestTableDoubt(t *testing.T) {
	need(t, "sfdisk", "mke2fs")
	filesystem := ext4(t, 16*mib)
	disk := func(script string) string {
		image := blank(t, 64*mib)
		partitioned(t, image, script)
		put(t, filesystem, image, mib)
		return image
	}
	gpt, dos := "label: gpt\n1M,16M\n17M,20M\n", "label: dos\n1M,16M,L\n20M,,E\n21M,4M,L\n27M,4M,L\n"
	zero, last := make([]byte, 512), int64(64*mib-512)
	for _, c := range []struct {
		name, script string
		edit         func(image string)
		why          string // of the disk; "" when it is understood
		note         string
	}{
		{"gpt", gpt, func(string) {}, "", ""},
		{"dos", dos, func(string) {}, "", ""},
		{"no primary", gpt, func(i string) { patch(t, i, 512, zero) }, "", "primary GPT is damaged"},
		{"bad primary", gpt, func(i string) { patch(t, i, 512+40, []byte{77}) }, "", "primary GPT is damaged"},
		{"bad entries", gpt, func(i string) { patch(t, i, 1024+300, []byte{77}) }, "", "primary GPT is damaged"},
		{"no backup", gpt, func(i string) { patch(t, i, last, zero) }, "", "backup GPT is damaged"},
		{"neither", gpt, func(i string) { patch(t, i, 512, zero); patch(t, i, last, zero) }, "neither of its copies", ""},
		{"no MBR", gpt, func(i string) { patch(t, i, 0, zero) }, "does not announce", ""},
		{"another MBR", gpt, func(i string) { patch(t, i, 446+4, []byte{0x83}) }, "does not announce", ""},
		{"grown", gpt, func(i string) { require.NoError(t, os.Truncate(i, 80*mib)) }, "", "has grown"},
		{"hybrid", gpt, func(i string) { patch(t, i, 446+16, entry(0x83, 2048, 32768)) }, "", ""},
		{"hybrid that differs", gpt, func(i string) { patch(t, i, 446+16, entry(0x83, 2048, 32769)) }, "not in the GPT", ""},
		{"4096", "label: gpt\nsector-size: 4096\nstart=256, size=4096\n", func(string) {}, "", ""},
		{"broken chain", dos, func(i string) { patch(t, i, 20*mib+510, zero[:2]) }, "breaks", ""},
		{"chain back", dos, func(i string) { patch(t, i, 20*mib+446+16+8, zero[:4]) }, "turns back", ""},
		{"overlap", dos, func(i string) { patch(t, i, 446+12, []byte{0, 0, 1}) }, "overlaps", ""},
		{"outside", dos, func(i string) { patch(t, i, 446+12, []byte{0, 0, 0, 1}) }, "outside the disk", ""},
		{"filesystem too", dos, func(i string) { patch(t, i, 1024+56, []byte{0x53, 0xEF}) }, "signatures of ext and of table", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			image := disk(c.script)
			c.edit(image)
			m := scanned(t, image)[0]
			if c.why != "" {
				require.Contains(t, m.Volumes[0].Whole, c.why)
				return
			}
			require.Empty(t, m.Volumes[0].Whole)
			require.Equal(t, "ext4", byPath(t, m, "1").Type)
			require.Contains(t, strings.Join(m.Volumes[0].Notes, "; "), c.note)
		})
	}
}

// TestTableGap has a first partition that begins late: a boot loader may lie before it.
func TestTableGap(t *testing.T) {
	need(t, "sfdisk", "mke2fs")
	image := blank(t, 128*mib)
	partitioned(t, image, "label: dos\n40M,16M,L\n80M,16M,L\n")
	put(t, ext4(t, 16*mib), image, 40*mib)
	m := scanned(t, image)[0]
	require.True(t, m.Extents.Contains(extent.Extent{Start: 0, Size: 40 * mib}))
	require.Empty(t, m.Extents.Within(extent.Extent{Start: 56 * mib, Size: 24 * mib}), "between partitions")
	require.Equal(t, "the content is unknown", byPath(t, m, "2").Whole)
	require.True(t, m.Extents.Contains(extent.Extent{Start: 80 * mib, Size: 16 * mib}))
}

// TestForeign has members of what is not read further: they are never taken for the filesystem that they show.
func TestForeign(t *testing.T) {
	need(t, "mke2fs")
	show := func(off int64, magic string) Volume {
		image := blank(t, 32*mib)
		run(t, "mke2fs", "-q", "-F", "-t", "ext4", image, "16M")
		m := scannedWell(t, image)[0]
		require.True(t, m.Extents.Contains(extent.Extent{Start: 16 * mib, Size: 16 * mib}), "behind the filesystem")
		require.Less(t, m.Volumes[0].Used, int64(24*mib))
		patch(t, image, off, []byte(magic))
		return scanned(t, image)[0].Volumes[0]
	}
	md := make([]byte, 160)
	copy(md, "\xfc\x4e\x2b\xa9\x01")
	le.PutUint64(md[144:], (32*mib-8*kib)/512)
	for _, c := range []struct {
		off   int64
		magic string
	}{
		{32*mib - 8*kib, string(md)},
		{32*mib - 64*kib, "\xfc\x4e\x2b\xa9\x00\x00\x00\x00"},
		{32*mib - 256*kib + 128*kib, "\x0c\xb1\xba\x00\x00\x00\x00\x00"},
		{0, "LUKS\xba\xbe"},
		{64*kib + 64, "_BHRfS_M"},
		{4086, "SWAPSPACE2"},
	} {
		v := show(c.off, c.magic)
		require.Contains(t, v.Whole, "signatures of", "%q", c.magic)
		require.EqualValues(t, 32*mib, v.Used)
	}
	v := scanned(t, blank(t, mib))[0].Volumes[0]
	require.Equal(t, Volume{Size: mib, Used: mib, Whole: "the content is unknown"}, v)
	for _, d := range []Device{{}, {R: strings.NewReader(""), Size: -1}, {R: strings.NewReader(""), Sector: 100}} {
		_, err := Scan(context.Background(), d)
		require.Error(t, err)
	}
	maps, err := Scan(context.Background(), Device{R: strings.NewReader("short"), Size: 4096})
	require.NoError(t, err)
	require.Contains(t, maps[0].Volumes[0].Whole, "EOF")
}
