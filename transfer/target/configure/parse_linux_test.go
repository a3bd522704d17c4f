package configure

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// bare is a system of facts alone, for what only reads text.
func bare(o Options) *system {
	f := Facts{Filesystems: []Filesystem{
		{Device: "/dev/vda1", UUID: "aaaa", Label: "root disk", Type: "ext4", Mount: "/", Was: []string{"/dev/sda1", "UUID=0ld0"}},
		{Device: "/dev/mapper/my--vg-home", UUID: "bbbb", Type: "ext4", Mount: "/home"},
		{Device: "/dev/vda5", UUID: "cccc", Type: "swap", Was: []string{"/dev/sda5"}},
	}}
	return &system{tree: &tree{report: &Report{}}, facts: f, options: o, report: &Report{}}
}

func TestRename(t *testing.T) {
	for _, c := range []struct {
		spec, mount, want string
		here              bool
	}{
		{"/dev/sda1", "/", "UUID=aaaa", true},
		{"/dev/sda1", "", "UUID=aaaa", true},
		{"/dev/vda1", "", "/dev/vda1", false}, // the source's, not ours
		{"/dev/vda1", "/", "UUID=aaaa", true},
		{"/dev/sdb7", "/nowhere", "/dev/sdb7", false},
		{"UUID=AAAA", "/", "UUID=AAAA", true},
		{`UUID="aaaa"`, "/", `UUID="aaaa"`, true},
		{"UUID=0ld0", "/", "UUID=aaaa", true},
		{"UUID=ffff", "", "UUID=ffff", false},
		{"UUID=", "", "UUID=", false},
		{"LABEL=root disk", "/", "LABEL=root disk", true},
		{"LABEL=", "", "LABEL=", false},
		{"PARTUUID=1-01", "/home", "UUID=bbbb", true},
		{"/dev/disk/by-uuid/aaaa", "/", "/dev/disk/by-uuid/aaaa", true},
		{"/dev/disk/by-id/ata-X-part1", "/", "UUID=aaaa", true},
		{"/dev/my-vg/home", "/home", "/dev/my-vg/home", true},
		{"/dev/mapper/my--vg-home", "/home", "/dev/mapper/my--vg-home", true},
		{"/dev/my-vg/other", "", "/dev/my-vg/other", false},
	} {
		f := bare(Options{}).facts
		name, here := f.rename(c.spec, c.mount)
		require.Equal(t, c.want, name, c.spec)
		require.Equal(t, c.here, here, c.spec)
	}
}

func TestShell(t *testing.T) {
	for _, c := range [][3]string{
		{"A=1\n", "2", "A=2\n"},
		{"#A=1\n", "x y", "#A=1\nA=\"x y\"\n"},
		{"A=1\nB=3\nA='2' # last\n", "4", "A=1\nB=3\nA=4\n"},
		{"export A=\"old\"", "new", "A=new"},
		{"", "a", "A=a\n"},
		{"B=1", "a", "B=1\nA=a\n"},
		{"A=\"same thing\" # kept", "same thing", "A=\"same thing\" # kept"},
		{"A=", `say "x"`, `A='say "x"'`},
	} {
		require.Equal(t, c[2], setShell(c[0], "A", c[1]))
		value, _ := shellValue(c[2], "A")
		require.Equal(t, c[1], value)
	}
}

func TestCommandLine(t *testing.T) {
	s := bare(Options{Serial: "ttyS1", Network: NetworkStatic})
	line := s.words("root=/dev/sda1 ro resume=/dev/sda5 quiet")
	require.Equal(t, "root=UUID=aaaa ro resume=UUID=cccc quiet console=tty0 console=ttyS1,115200 net.ifnames=0 biosdevname=0", line)
	require.Equal(t, line, s.words(line))
	require.Equal(t, "root=UUID=aaaa myroot=/dev/sda1", bare(Options{}).wordsKept("root=LABEL=gone myroot=/dev/sda1"))
	require.Equal(t, "root=ZFS=rpool/ROOT", bare(Options{}).wordsKept("root=ZFS=rpool/ROOT"))
	require.Equal(t, "", bare(Options{}).words(""))
}

func TestEnvironment(t *testing.T) {
	s := bare(Options{Serial: "ttyS0"})
	block := "# GRUB Environment Block\nkernelopts=root=/dev/sda1 ro \nsaved_entry=0\n"
	block += strings.Repeat("#", envSize-len(block))
	out := s.environment(block)
	require.Len(t, out, envSize)
	require.Contains(t, out, "\nkernelopts=root=UUID=aaaa ro console=tty0 console=ttyS0,115200\nsaved_entry=0\n####")
	require.Equal(t, out, s.environment(out))
	full := "# GRUB Environment Block\nkernelopts=root=/dev/sda1 " + strings.Repeat("x", envSize-50)
	full = full[:envSize-1] + "\n"
	require.Equal(t, full, s.environment(full), "no room")
	require.Equal(t, "short", s.environment("short"))
}

// TestBuilders: settings that leave drivers out are changed, others are not.
func TestBuilders(t *testing.T) {
	root, report := t.TempDir(), &Report{}
	tr, err := openTree(root, report)
	require.NoError(t, err)
	defer tr.close()
	s := &system{tree: tr, report: report}
	put := func(name, text string) {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(root, name), []byte(text), 0o644))
	}
	put("etc/initramfs-tools/initramfs.conf", "MODULES=most\n")
	require.NoError(t, s.mostModules())
	require.Empty(t, report.Changes)
	put("etc/initramfs-tools/conf.d/driver-policy", "MODULES=dep\n")
	require.NoError(t, s.mostModules())
	require.NoError(t, s.mostModules())
	require.Len(t, report.Changes, 1)

	put("etc/mkinitfs/features.d/nvme.modules", "")
	require.Equal(t, "features=\"base virtio nvme\"\n", s.initfsFeatures("features=\"base virtio\"\n"))
}

// TestFinish: on FAT, which has no links, a run that is cut off can leave nothing in the place of a file. The next one puts the new file
// there, and undo the original.
func TestFinish(t *testing.T) {
	for _, undo := range []bool{false, true} {
		root := t.TempDir()
		tr, err := openTree(root, &Report{})
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(root+"/grub.cfg", []byte("old"), 0o644))
		_, err = tr.note("grub.cfg")
		require.NoError(t, err)
		require.NoError(t, os.Rename(root+"/grub.cfg", root+"/.grub.cfg.ferry-saved"))
		require.NoError(t, os.WriteFile(root+"/.grub.cfg.ferry-new", []byte("new"), 0o644))
		want := "old"
		if undo {
			err = tr.undo(t.Context(), nil)
		} else {
			want, err = "new", tr.finish()
		}
		require.NoError(t, err)
		content, err := os.ReadFile(root + "/grub.cfg")
		require.NoError(t, err)
		require.Equal(t, want, string(content))
		require.NoFileExists(t, root+"/.grub.cfg.ferry-new")
		tr.close()
	}
}

func TestRenameHost(t *testing.T) {
	text := "127.0.1.1\tweb.example.org web # web\n::1 webby\n"
	require.Equal(t, "127.0.1.1\tnew.example.org new # web\n::1 webby\n", renameHost(text, "web", "new"))
	require.Equal(t, "127.0.1.1\ta.b a # web\n::1 webby\n", renameHost(text, "web.example.org", "a.b"))
}

// TestNetplan: what is written is YAML of the form that netplan(5) gives.
func TestNetplan(t *testing.T) {
	for _, o := range []Options{{Network: NetworkDHCP}, {Network: NetworkStatic, Addresses: []string{"192.0.2.1/24", "2001:db8::1/64"}, Gateway: "2001:db8::ff", DNS: []string{"2001:db8::53"}}} {
		a, err := o.addressing(1)
		require.NoError(t, err)
		var v struct {
			Network struct {
				Version   int
				Ethernets map[string]struct {
					Match     struct{ Name string }
					DHCP4     bool
					Addresses []string
					Routes    []struct{ To, Via string }
				}
			}
		}
		require.NoError(t, yaml.Unmarshal([]byte(netplanFiles(a)["/etc/netplan/01-ferry.yaml"]), &v))
		wired := v.Network.Ethernets["wired"]
		require.Equal(t, 2, v.Network.Version)
		require.Equal(t, o.Network == NetworkDHCP, wired.DHCP4)
		require.Equal(t, o.Addresses, wired.Addresses)
	}
}

// TestEmbed puts a core image and its loader on a disk, twice, and takes them away.
func TestEmbed(t *testing.T) {
	disk, root := filepath.Join(t.TempDir(), "disk"), t.TempDir()
	before := bytes.Repeat([]byte{7}, 1<<20)
	require.NoError(t, os.WriteFile(disk, before, 0o600))
	report := &Report{}
	tr, err := openTree(root, report)
	require.NoError(t, err)
	defer tr.close()
	s := &system{tree: tr, report: report}
	d := BootDisk{Device: disk, CoreAt: 63 * sector, Core: 100 * sector}
	boot, core := bytes.Repeat([]byte{1}, sector), bytes.Repeat([]byte{2}, 5*sector+1)
	require.NoError(t, s.embed(d, boot, core))
	require.NoError(t, s.embed(d, boot, core))
	require.Len(t, report.Changes, 2)
	after, err := os.ReadFile(disk)
	require.NoError(t, err)
	require.Equal(t, before[bootCode:63*sector], after[bootCode:63*sector], "signature, table and what follows")
	require.Equal(t, before[69*sector:], after[69*sector:], "behind the image")
	require.Equal(t, uint64(63), binary.LittleEndian.Uint64(after[kernelAt:]))
	require.Equal(t, []byte{0x90, 0x90}, after[driveCheck:driveCheck+2])
	first := after[63*sector:]
	require.Equal(t, uint64(64), binary.LittleEndian.Uint64(first[blocksAt:]))
	require.Equal(t, uint16(5), binary.LittleEndian.Uint16(first[blocksAt+8:]))

	for _, bad := range []BootDisk{{Device: disk, CoreAt: 63 * sector, Core: 5 * sector}, {Device: disk, CoreAt: 0, Core: 1 << 20}, {Device: disk, CoreAt: 513, Core: 1 << 19}} {
		require.Error(t, s.embed(bad, boot, core))
	}
	require.Error(t, tr.undo(t.Context(), nil), "no boot disk is named")
	require.NoError(t, tr.undo(t.Context(), []BootDisk{d}))
	undone, err := os.ReadFile(disk)
	require.NoError(t, err)
	require.Equal(t, before, undone)
}

func TestHolds(t *testing.T) {
	f := Facts{Filesystems: []Filesystem{{Mount: "/", Subvolume: "@"}, {Mount: "/boot"}}}
	for name, want := range map[string]string{"/boot/grub": "/grub", "/usr/lib": "/@/usr/lib"} {
		_, at := f.holds(name)
		require.Equal(t, want, at)
	}
}

// FuzzTables: whatever a table holds, comments and spaces stay, a second time changes nothing, and no line is lost.
func FuzzTables(f *testing.F) {
	f.Add("/dev/sda1 / ext4 defaults 0 1\n# comment\n\tnfs:/x /y nfs ro\n/dev/sdb1 /z xfs rw")
	f.Add("secret /dev/sda7 none luks\nlost UUID=1 none")
	f.Fuzz(func(t *testing.T, text string) {
		s := bare(Options{})
		for _, change := range []func([]string) string{s.facts.mountLine, s.facts.cryptLine} {
			once := s.editTable(text, 6, change, "table")
			require.Equal(t, strings.Count(text, "\n"), strings.Count(once, "\n"))
			require.Equal(t, once, s.editTable(once, 6, change, "table"))
		}
	})
}

// FuzzMenus: menus, entries, environments and files of assignments of any content are changed at most once.
func FuzzMenus(f *testing.F) {
	f.Add("linux /vmlinuz root=/dev/sda1 ro\noptions root=UUID=0ld0")
	f.Add("GRUB_CMDLINE_LINUX=\"root=/dev/sda1\"\nGRUB_DISABLE_UUID=true")
	f.Add("# GRUB Environment Block\nkernelopts=root=/dev/sda1\n" + strings.Repeat("#", 973))
	f.Add("DEVICE=lo\ntype=wifi\n")
	f.Fuzz(func(t *testing.T, text string) {
		s := bare(Options{Serial: "ttyS0", Network: NetworkStatic})
		for _, change := range []func(string) string{s.correctMenu, s.blsEntry, s.environment, s.grubDefaults, s.firstLine, s.resume} {
			once := change(text)
			require.Equal(t, once, change(once))
		}
		wired("ifcfg-eth0", text)
		s.readdress(text)
	})
}

// FuzzKernelFiles: lists of modules name files below their directory only.
func FuzzKernelFiles(f *testing.F) {
	f.Add("kernel/virtio_blk.ko: ../../x.ko /y.ko kernel/virtio.ko", "kernel/nvme.ko")
	f.Fuzz(func(t *testing.T, dep, builtin string) {
		k := kernel{files: map[string][]string{}, builtin: map[string]bool{}}
		k.read(dep, builtin)
		for _, files := range k.files {
			for _, name := range files {
				require.True(t, filepath.IsLocal(name), name)
			}
		}
	})
}

// FuzzUndo: a journal of any content changes nothing outside the root.
func FuzzUndo(f *testing.F) {
	f.Add("etc/fstab", true, false)
	f.Add("../host/victim", false, false)
	f.Add("link/victim", false, true)
	f.Fuzz(func(t *testing.T, name string, existed, dir bool) {
		top := t.TempDir()
		root, victim := filepath.Join(top, "root"), filepath.Join(top, "host", "victim")
		require.NoError(t, os.MkdirAll(filepath.Join(root, Home), 0o755))
		require.NoError(t, os.MkdirAll(filepath.Dir(victim), 0o755))
		require.NoError(t, os.WriteFile(victim, []byte("victim"), 0o600))
		require.NoError(t, os.Symlink("../host", filepath.Join(root, "link")))
		b, err := json.Marshal(record{Path: name, Existed: existed, Dir: dir})
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(root, lines), b, 0o600))
		_ = Undo(t.Context(), root, Facts{})
		content, err := os.ReadFile(victim)
		require.NoError(t, err)
		require.Equal(t, "victim", string(content))
	})
}
