package machine

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/transfer/target/configure"
)

// moved is a Debian on a disk of its own, with everything in it that speaks of an old machine: devices by names of the kernel, a static
// network on an interface that will not be there, a rule that pins its name, an initramfs without a driver for the new disk.
type moved struct {
	image string // the disk
	root  string // where it is mounted
	part  string // the device of its root filesystem
	facts configure.Facts
}

// must runs a program of this machine.
func must(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	require.NoError(t, err, "%v: %s", argv, out)
	return strings.TrimSpace(string(out))
}

// move makes the disk: MBR for a BIOS; GPT with an empty EFI system partition for UEFI, which is a directory until the machine starts,
// because few kernels of test machines know FAT.
func move(t *testing.T, kind Kind) *moved {
	if os.Getenv("FERRY_LAB") == "" {
		t.Skip("a machine takes minutes: make lab")
	}
	require.Zero(t, os.Getuid(), "needs root for loop devices and mounts")
	require.Empty(t, Tools(), "these are not installed")
	from, err := Root(context.Background())
	require.NoError(t, err)
	dir := t.TempDir()
	m := &moved{image: filepath.Join(dir, "disk"), root: filepath.Join(dir, "root")}
	require.NoError(t, os.Mkdir(m.root, 0o755))
	require.NoError(t, blank(m.image, 1200))
	offset, end := int64(1<<20), int64(1200<<20)
	if kind == UEFI {
		must(t, "sgdisk", "-n1:2048:+40M", "-t1:ef00", "-n2:0:0", "-t2:8300", m.image)
		offset, end = 41<<20, end-1<<20 // the table has a copy at the end
	} else {
		must(t, "bash", "-c", "echo '2048,,L,*' | sfdisk -q --label dos "+m.image)
	}
	loop := must(t, "losetup", "--find", "--show", "-o", fmt.Sprint(offset), "--sizelimit", fmt.Sprint(end-offset), m.image)
	t.Cleanup(func() { must(t, "losetup", "-d", loop) })
	m.part = "/dev/ferry-" + filepath.Base(loop) // grub-mkconfig makes no menu for what is called a loop device
	must(t, "cp", "-a", loop, m.part)
	t.Cleanup(func() { os.Remove(m.part) })
	must(t, "mkfs.ext4", "-q", "-F", m.part)
	must(t, "mount", m.part, m.root)
	t.Cleanup(func() { exec.Command("umount", m.root).Run() })
	must(t, "cp", "-a", from+"/.", m.root)
	for name, text := range map[string]string{
		"etc/fstab":              "# made by the installer\n/dev/sda1 /    ext4\terrors=remount-ro 0 1\n/dev/sdb1 /data ext4 defaults 0 2\nfiler:/vol /mnt nfs defaults 0 0\n",
		"etc/hostname":           "old\n",
		"etc/hosts":              "127.0.0.1 localhost\n127.0.1.1 old.example.org old\n",
		"etc/default/grub":       "GRUB_TIMEOUT=0\nGRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\nGRUB_CMDLINE_LINUX=\"panic=-1 resume=/dev/sda5\"\nGRUB_DISABLE_LINUX_UUID=true\n",
		"etc/network/interfaces": "auto ens192\niface ens192 inet static\n\taddress 192.0.2.7/24\n",
		"etc/udev/rules.d/70-persistent-net.rules": "SUBSYSTEM==\"net\", ATTR{address}==\"00:50:56:00:00:01\", NAME=\"ens192\"\n",
		"etc/systemd/system/up.service": "[Unit]\nAfter=network-online.target getty.target\nWants=network-online.target\n[Service]\nType=oneshot\n" +
			"ExecStart=/bin/sh -c 'echo FERRY-UP $(hostname) $(findmnt -n -o SOURCE /) $(ip -4 -o addr show eth0)'\nStandardOutput=file:/dev/console\n",
	} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(m.root, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(m.root, name), []byte(text), 0o644))
	}
	must(t, "ln", "-sf", "../up.service", m.root+"/etc/systemd/system/multi-user.target.wants/up.service")
	if old, err := one(m.root, "initrd.img-*"); err == nil { // of a machine with other disks
		require.NoError(t, os.WriteFile(old, noDrivers(), 0o600))
	}
	m.facts = configure.Facts{UEFI: kind == UEFI, BootDisks: []configure.BootDisk{{Device: m.image, CoreAt: 512, Core: 1<<20 - 512}},
		Filesystems: []configure.Filesystem{{Device: m.part, UUID: must(t, "blkid", "-p", "-s", "UUID", "-o", "value", m.part), Type: "ext4", Mount: "/", Was: []string{"/dev/sda1"}}}}
	if kind == UEFI {
		require.NoError(t, os.MkdirAll(m.root+"/boot/efi", 0o755))
		m.facts.BootDisks = nil
		m.facts.Filesystems = append(m.facts.Filesystems, configure.Filesystem{Device: m.part, Type: "vfat", Mount: "/boot/efi"})
	}
	return m
}

// noDrivers is an initramfs that holds nothing.
func noDrivers() []byte {
	return []byte("070701" + strings.Repeat("00000000", 11) + "0000000b" + "00000000" + "TRAILER!!!\x00\x00\x00\x00")
}

// start starts a machine from the disk alone and waits until it has said everything in want.
func (m *moved) start(t *testing.T, want ...string) {
	if m.facts.UEFI {
		esp := filepath.Join(filepath.Dir(m.image), "esp")
		require.NoError(t, blank(esp, 40))
		must(t, "mkfs.vfat", esp)
		must(t, "mcopy", "-s", "-i", esp, m.root+"/boot/efi/EFI", "::")
		must(t, "dd", "if="+esp, "of="+m.image, "bs=1M", "seek=1", "conv=notrunc", "status=none")
	}
	must(t, "umount", m.root)
	must(t, "sync", m.image)
	boot(t, m.facts.UEFI, want, m.image)
}

// boot starts a machine from the first of some disks and waits until it has said everything in want.
func boot(t *testing.T, uefi bool, want []string, images ...string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	args := []string{"-machine", "q35", "-accel", "tcg,thread=multi,tb-size=256", "-cpu", "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt", "-smp", "2", "-m", "768",
		"-display", "none", "-vga", "none", "-no-reboot", "-serial", "stdio", "-netdev", "user,id=net,restrict=on", "-device", "virtio-net-pci,netdev=net"}
	for i, image := range images {
		args = append(args, "-drive", fmt.Sprintf("if=none,id=d%d,format=raw,cache=unsafe,file=%s", i, image), "-device", fmt.Sprintf("virtio-blk-pci,drive=d%d", i))
	}
	if uefi {
		vars := filepath.Join(filepath.Dir(images[0]), "vars")
		must(t, "cp", ovmf+"VARS_4M.fd", vars)
		args = append(args, "-drive", "if=pflash,unit=0,format=raw,readonly=on,file="+ovmf+"CODE_4M.fd", "-drive", "if=pflash,unit=1,format=raw,file="+vars)
	}
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", args...)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	began := time.Now()
	require.NoError(t, cmd.Start())
	defer cmd.Wait()
	defer cancel()
	said := &strings.Builder{}
	for r := bufio.NewReader(out); ; {
		b, err := r.ReadByte() // the prompt of a login has no end of line
		said.WriteByte(b)
		if all(said.String(), b, want) {
			t.Logf("up after %s", time.Since(began).Round(time.Second))
			return
		}
		require.NoError(t, err, "the machine stopped: %s", said)
	}
}

// all reports whether a text has all of some words; it looks only when one may just have ended.
func all(text string, last byte, want []string) bool {
	if last != '\n' && last != ' ' {
		return false
	}
	for _, w := range want {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

// testConfigure configures, configures again, undoes, configures, and starts what came of it.
func testConfigure(t *testing.T, kind Kind) {
	m := move(t, kind)
	ctx := context.Background()
	before := listing(t, m.root)
	disk := must(t, "bash", "-c", "head -c 1M "+m.image+" | sha256sum")
	choices := configure.Options{Network: configure.NetworkDHCP, Hostname: "new", Serial: "ttyS0", NewMachineID: true, DisableOldAgents: true,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil))}

	bad, err := configure.Check(ctx, m.root, m.facts)
	require.NoError(t, err)
	require.Less(t, bad.Score, 50, "%+v", bad)
	began := time.Now()
	report, err := configure.Run(ctx, m.root, m.facts, choices)
	require.NoError(t, err)
	t.Logf("%d changes in %s, warnings %q", len(report.Changes), time.Since(began).Round(time.Second), report.Warnings)
	good, err := configure.Check(ctx, m.root, m.facts)
	require.NoError(t, err)
	require.Greater(t, good.Score, 80, "%+v", good)
	again, err := configure.Run(ctx, m.root, m.facts, choices)
	require.NoError(t, err)
	require.Empty(t, again.Changes)

	require.NoError(t, configure.Undo(ctx, m.root, m.facts))
	require.Equal(t, before, listing(t, m.root))
	require.Equal(t, disk, must(t, "bash", "-c", "head -c 1M "+m.image+" | sha256sum"))
	_, err = configure.Run(ctx, m.root, m.facts, choices)
	require.NoError(t, err)
	m.start(t, "FERRY-UP new /dev/vda", "10.0.2.15/24", "new login: ")
}

// listing is every name with its inode, mode, owner, times and size.
func listing(t *testing.T, root string) map[string]string {
	out := map[string]string{}
	for line := range strings.SplitSeq(must(t, "find", root, "-xdev", "-printf", "%P\\t%i %m %U %G %T@ %s %l %n\\n"), "\n") {
		name, rest, _ := strings.Cut(line, "\t")
		out[name] = rest
	}
	return out
}

// TestConfigureBIOS: a Debian from an old machine, on an MBR, starts here from its own disk.
func TestConfigureBIOS(t *testing.T) { testConfigure(t, BIOS) }

// TestConfigureUEFI: the same on a GPT, for a firmware that the system had no loader for.
func TestConfigureUEFI(t *testing.T) { testConfigure(t, UEFI) }
