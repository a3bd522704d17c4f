package configure

import (
	"bytes"
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/internal/initramfs"
)

var update = flag.Bool("update", false, "write what came out as what should")

// unpack makes a root of a text archive: "-- path --" and content, "-- path -> target --" for a link, "-- kernel VERSION LINUX IMAGE --" for a
// kernel with modules and an image that has none of them.
func unpack(t *testing.T, family string) string {
	text, err := os.ReadFile("testdata/" + family + ".txt")
	require.NoError(t, err)
	root := t.TempDir()
	for _, section := range strings.Split("\n"+string(text), "\n-- ")[1:] {
		head, content, ok := strings.Cut(section+"\n", " --\n")
		require.True(t, ok, head)
		words := strings.Fields(head)
		switch {
		case words[0] == "kernel":
			makeKernel(t, root, words[1], words[2], words[3])
		case len(words) == 3 && words[1] == "->":
			at := filepath.Join(root, words[0])
			require.NoError(t, os.MkdirAll(filepath.Dir(at), 0o755))
			require.NoError(t, os.Symlink(words[2], at))
		default:
			if env, ok := strings.CutPrefix(content, "GRUBENV "); ok {
				content = "# GRUB Environment Block\n" + strings.ReplaceAll(env, "|", "\n")
				content += strings.Repeat("#", 1024-len(content))
			}
			write(t, root, words[0], content)
		}
	}
	return root
}

func write(t testing.TB, root, name, content string) {
	at := filepath.Join(root, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(at), 0o755))
	require.NoError(t, os.WriteFile(at, []byte(content), 0o644))
}

func makeKernel(t testing.TB, root, version, linux, image string) {
	dir := "usr/lib/modules/" + version
	if _, err := os.Lstat(filepath.Join(root, "lib")); os.IsNotExist(err) && !strings.Contains(linux, "lts") {
		require.NoError(t, os.Symlink("usr/lib", filepath.Join(root, "lib")))
	}
	for _, f := range []string{"block/virtio_blk.ko.xz", "scsi/virtio_scsi.ko", "net/virtio_net.ko", "virtio/virtio_pci.ko", "virtio/virtio.ko", "nvme/nvme.ko", "block/xen-blkfront.ko"} {
		write(t, root, dir+"/kernel/drivers/"+f, "ELF of "+f)
	}
	write(t, root, dir+"/modules.dep", "kernel/drivers/block/virtio_blk.ko.xz: kernel/drivers/virtio/virtio.ko\nkernel/drivers/scsi/virtio_scsi.ko: kernel/drivers/virtio/virtio.ko\n"+
		"kernel/drivers/net/virtio_net.ko: kernel/drivers/virtio/virtio.ko\nkernel/drivers/virtio/virtio.ko:\nkernel/drivers/nvme/nvme.ko:\nkernel/drivers/block/xen-blkfront.ko: ../../../../etc/shadow\n")
	write(t, root, dir+"/modules.builtin", "kernel/drivers/virtio/virtio_pci.ko\n")
	write(t, root, linux, "MZ")
	var b bytes.Buffer
	require.NoError(t, initramfs.Archive(&b, []initramfs.File{{Name: "usr", Mode: os.ModeDir | 0o755}, {Name: "usr/lib", Mode: os.ModeDir | 0o755}, {Name: "init", Mode: 0o755, Content: []byte("#!/bin/sh")},
		{Name: "usr/lib/modules/" + version + "/modules.dep", Mode: 0o644}}))
	write(t, root, image, b.String())
}

const uuid = "11111111-aaaa-4bbb-8ccc-00000000000"

// laid is what the target of the fixtures has; kinds change the root.
func laid(t *testing.T, kind string) Facts {
	disk := filepath.Join(t.TempDir(), "disk")
	b := bytes.Repeat([]byte{0xeb}, 1<<20)
	b[510], b[511] = 0x55, 0xaa
	require.NoError(t, os.WriteFile(disk, b, 0o600))
	f := Facts{
		Filesystems: []Filesystem{
			{Device: "/dev/vda1", UUID: uuid + "1", Type: "ext4", Mount: "/", Was: []string{"/dev/sda1", "/dev/nvme0n1p2"}},
			{Device: "/dev/vda2", UUID: uuid + "2", Type: "ext4", Mount: "/boot", Was: []string{"/dev/disk/by-path/pci-0000:00:10.0-scsi-0:0:0:0-part2", "UUID=0ld0ld00-aaaa-4bbb-8ccc-000000000002"}},
			{Device: "/dev/vda3", UUID: uuid + "3", Type: "xfs", Mount: "/srv/data"},
			{Device: "/dev/vda5", UUID: uuid + "5", Type: "swap", Was: []string{"/dev/sda5", "/dev/disk/by-id/scsi-36000c29-part3"}},
			{Device: "/dev/vda7", UUID: uuid + "7", Type: "crypto_LUKS", Was: []string{"/dev/sda7"}},
			{Device: "/dev/mapper/vg0-home", UUID: uuid + "8", Type: "ext4", Mount: "/home"},
		},
		BootDisks: []BootDisk{{Device: disk, CoreAt: 512, Core: 1<<20 - 512}},
		NICs:      []NIC{{MAC: "52:54:00:12:34:56", WasMAC: "00:50:56:AA:BB:CC", Was: "ens192"}},
	}
	esp := Filesystem{Device: "/dev/vda4", UUID: "1234-ABCD", Type: "vfat", Mount: "/boot/efi", Was: []string{"UUID=0LD-0LD0", "PARTUUID=0ld0-01"}}
	switch kind {
	case "uefi":
		f.UEFI, f.Filesystems = true, append(f.Filesystems, esp)
	case "uefi-lvm":
		f.UEFI, f.Filesystems = true, append(f.Filesystems, esp)
		f.Filesystems[0].Device, f.Filesystems[0].Type, f.Filesystems[0].Was = "/dev/mapper/rl-root", "xfs", []string{"/dev/sda4"}
	case "uefi-boot":
		esp.Mount = "/boot"
		f.UEFI, f.Filesystems[1] = true, esp
	case "lvm":
		f.Filesystems[0].Device, f.Filesystems[3].Device = "/dev/mapper/centos-root", "/dev/mapper/centos-swap"
	case "btrfs":
		f.Filesystems[0] = Filesystem{Device: "/dev/vda1", UUID: uuid + "4", Type: "btrfs", Mount: "/", Subvolume: "@"}
		f.Filesystems[1].Mount = ""
	case "names": // the names of the old machine are those of other disks here
		f.Filesystems[0].Was, f.Filesystems[1].Was = []string{"/dev/vda1"}, []string{"/dev/vda2"}
		f.Filesystems[0].Device, f.Filesystems[1].Device = "/dev/vda2", "/dev/vda1"
	case "alpine":
		f.Filesystems[1].Was = []string{"/dev/sda2"}
	}
	return f
}

// TestFamilies configures a system of each family and compares every file that was changed with what it should be; then it configures
// again, which changes nothing, and undoes, which leaves every name, inode, mode, time and byte as it was.
func TestFamilies(t *testing.T) {
	dhcp := Options{Network: NetworkDHCP, Hostname: "new.example.org", Serial: "ttyS0", NewMachineID: true, DisableCloudInit: true, DisableOldAgents: true}
	static := Options{Network: NetworkStatic, Addresses: []string{"192.0.2.10/24", "2001:db8::10/64"}, Gateway: "192.0.2.1", DNS: []string{"192.0.2.53", "192.0.2.54"}}
	for _, c := range []struct {
		family, kind, name string
		options            Options
	}{
		{"debian", "", "keep", Options{}}, {"debian", "", "dhcp", dhcp}, {"debian", "", "static", static},
		{"ubuntu", "uefi", "keep", Options{}}, {"ubuntu", "uefi", "dhcp", dhcp}, {"ubuntu", "uefi", "static", static},
		{"rhel7", "lvm", "keep", Options{}}, {"rhel7", "lvm", "dhcp", dhcp}, {"rhel7", "lvm", "static", static},
		{"rhel9", "uefi-lvm", "keep", Options{}}, {"rhel9", "uefi-lvm", "dhcp", dhcp}, {"rhel9", "uefi-lvm", "static", static},
		{"suse", "btrfs", "dhcp", dhcp}, {"suse", "btrfs", "static", static},
		{"openeuler", "names", "dhcp", dhcp}, {"openeuler", "names", "keep", Options{}},
		{"arch", "uefi-boot", "dhcp", dhcp}, {"arch", "uefi-boot", "static", static},
		{"alpine", "alpine", "dhcp", dhcp}, {"alpine", "alpine", "keep", Options{}},
	} {
		t.Run(c.family+"/"+c.name, func(t *testing.T) {
			t.Parallel()
			root, facts, ctx := unpack(t, c.family), laid(t, c.kind), context.Background()
			before := dump(t, root)
			report, err := Run(ctx, root, facts, c.options)
			require.NoError(t, err)
			golden(t, "testdata/"+c.family+"-"+c.name+".golden", shown(t, root, report))
			rehearsal, err := Check(ctx, root, facts)
			require.NoError(t, err)
			for _, f := range rehearsal.Findings {
				require.NotEqual(t, Error, f.Level, "%+v", f)
			}

			after := dump(t, root)
			again, err := Run(ctx, root, facts, c.options)
			require.NoError(t, err)
			require.Empty(t, again.Changes)
			unchanged(t, after, root)

			require.NoError(t, Undo(ctx, root, facts))
			unchanged(t, before, root)
			require.NoError(t, Undo(ctx, root, facts))
			unchanged(t, before, root)
		})
	}
}

// golden compares a text with a file, or writes the file.
func golden(t *testing.T, name, text string) {
	if *update {
		require.NoError(t, os.WriteFile(name, []byte(text), 0o644))
	}
	want, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, string(want), text)
}

// shown is a report, with the content of what was changed.
func shown(t *testing.T, root string, r Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "family %s, loader %s\n", r.Family, r.Loader)
	for _, w := range r.Warnings {
		fmt.Fprintf(&b, "warning: %s\n", w)
	}
	for _, c := range r.Changes {
		fmt.Fprintf(&b, "\n== %s: %s (%s)\n", c.Step, c.Path, c.Why)
		at := filepath.Join(root, c.Path)
		info, err := os.Lstat(at)
		switch {
		case os.IsNotExist(err):
			b.WriteString("gone\n")
		case info.IsDir():
			b.WriteString("directory\n")
		case info.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(at)
			require.NoError(t, err)
			fmt.Fprintf(&b, "-> %s\n", to)
		default:
			content, err := os.ReadFile(at)
			require.NoError(t, err)
			if err := initramfs.Walk(bytes.NewReader(content), func(name string) { fmt.Fprintf(&b, "%s\n", name) }); err != nil {
				b.Write(content)
			}
		}
	}
	return b.String()
}

// dump is every name with what it is, down to the inode and the nanosecond. The time of the directory that it lies in belongs to the
// test.
func dump(t testing.TB, root string) map[string]string {
	out := map[string]string{}
	require.NoError(t, filepath.WalkDir(root, func(name string, _ fs.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := os.Lstat(name)
		require.NoError(t, err)
		st := info.Sys().(*syscall.Stat_t)
		text := fmt.Sprint(st.Ino, st.Mode, st.Uid, st.Gid, st.Nlink, info.ModTime().UnixNano())
		switch {
		case info.Mode().IsRegular():
			content, err := os.ReadFile(name)
			require.NoError(t, err)
			text += fmt.Sprintf(" %x", sha256.Sum256(content))
		case info.Mode()&fs.ModeSymlink != 0:
			to, _ := os.Readlink(name)
			text += " " + to
		}
		out[strings.TrimPrefix(name, root)] = text
		return nil
	}))
	return out
}

// unchanged requires that a root is as it was when it was dumped.
func unchanged(t testing.TB, before map[string]string, root string) {
	t.Helper()
	after := dump(t, root)
	for name := range before {
		require.Equal(t, before[name], after[name], name)
	}
	for name := range after {
		require.Contains(t, before, name)
	}
}
