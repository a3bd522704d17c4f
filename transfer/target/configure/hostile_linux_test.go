package configure

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/internal/fault"
)

// TestHostileLinks: a root whose links lead to the host changes nothing there. The links lead to the same names inside the root instead.
func TestHostileLinks(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, root, host string){
		"fstab": func(t *testing.T, root, host string) { relink(t, root, "etc/fstab", host+"/etc/fstab") },
		"climbing": func(t *testing.T, root, host string) {
			relink(t, root, "etc/fstab", strings.Repeat("../", 30)+host+"/etc/fstab")
		},
		"etc":         func(t *testing.T, root, host string) { relink(t, root, "etc", host+"/etc") },
		"boot":        func(t *testing.T, root, host string) { relink(t, root, "boot", host+"/boot") },
		"units":       func(t *testing.T, root, host string) { relink(t, root, "etc/systemd", host+"/etc") },
		"a loop":      func(t *testing.T, root, _ string) { relink(t, root, "etc/hosts", "hosts") },
		"a FIFO":      func(t *testing.T, root, _ string) { fifo(t, filepath.Join(root, "etc/hosts")) },
		"the journal": func(t *testing.T, root, host string) { require.NoError(t, os.Symlink(host, filepath.Join(root, Home))) },
		"a new file": func(t *testing.T, root, host string) {
			require.NoError(t, os.Symlink(host+"/etc/fstab", filepath.Join(root, "etc/.fstab.ferry-new")))
		},
		"host keys": func(t *testing.T, root, host string) {
			require.NoError(t, os.Symlink(host+"/etc/fstab", filepath.Join(root, "etc/udev/rules.d/70-ferry-net.rules")))
		},
		"a kernel name": func(t *testing.T, root, host string) {
			require.NoError(t, os.Symlink(host, filepath.Join(root, "usr/lib/modules/...")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := t.TempDir()
			for _, f := range []string{"etc/fstab", "etc/hosts", "etc/hostname", "boot/grub/grub.cfg"} {
				write(t, host, f, "/dev/sda1 / ext4 defaults 0 1\n")
			}
			before := dump(t, host)
			root := unpack(t, "debian")
			facts := laid(t, "")
			spoil(t, root, host)
			_, err := Run(context.Background(), root, facts, Options{Hostname: "new", Serial: "ttyS0", DisableOldAgents: true})
			t.Log(err)
			_, err = Check(context.Background(), root, facts)
			t.Log(err)
			t.Log(Undo(context.Background(), root, facts))
			unchanged(t, before, host)
		})
	}
}

// relink puts a link in place of a name.
func relink(t *testing.T, root, name, to string) {
	at := filepath.Join(root, name)
	require.NoError(t, os.RemoveAll(at))
	require.NoError(t, os.Symlink(to, at))
}

func fifo(t *testing.T, at string) {
	require.NoError(t, os.RemoveAll(at))
	require.NoError(t, exec.Command("mkfifo", at).Run())
}

// TestLinksInside: links of the system, absolute ones too, lead where they lead in the system, and the link itself stays.
func TestLinksInside(t *testing.T) {
	root, facts := unpack(t, "debian"), laid(t, "")
	require.NoError(t, os.Rename(filepath.Join(root, "etc/fstab"), filepath.Join(root, "srv-fstab")))
	require.NoError(t, os.Symlink("/srv-fstab", filepath.Join(root, "etc/fstab")))
	before := dump(t, root)
	_, err := Run(context.Background(), root, facts, Options{})
	require.NoError(t, err)
	to, err := os.Readlink(filepath.Join(root, "etc/fstab"))
	require.NoError(t, err)
	require.Equal(t, "/srv-fstab", to)
	text, err := os.ReadFile(filepath.Join(root, "srv-fstab"))
	require.NoError(t, err)
	require.Contains(t, string(text), "UUID="+uuid+"1 /  ")
	require.NoError(t, Undo(context.Background(), root, facts))
	unchanged(t, before, root)
}

// TestOtherChoices: a run with other choices changes files again; what is kept is still what was there before the first.
func TestOtherChoices(t *testing.T) {
	root, facts := unpack(t, "debian"), laid(t, "")
	before := dump(t, root)
	for _, o := range []Options{{Hostname: "one", Network: NetworkDHCP, Serial: "ttyS0"}, {Hostname: "two", Network: NetworkStatic, Addresses: []string{"192.0.2.1/24"}}, {Hostname: "three"}} {
		r, err := Run(context.Background(), root, facts, o)
		require.NoError(t, err)
		require.NotEmpty(t, r.Changes)
	}
	require.NoError(t, Undo(context.Background(), root, facts))
	unchanged(t, before, root)
}

// TestEncryptedBoot: a GRUB that would have to open a LUKS container is refused, whatever the firmware.
func TestEncryptedBoot(t *testing.T) {
	root, facts := unpack(t, "debian"), laid(t, "")
	write(t, root, "etc/default/grub", "GRUB_ENABLE_CRYPTODISK=y\n")
	write(t, root, "usr/bin/grub-mkimage", "#!/bin/false\n")
	write(t, root, "usr/lib/grub/i386-pc/kernel.img", "kernel")
	write(t, root, "usr/lib/grub/i386-pc/boot.img", strings.Repeat("b", sector))
	_, err := Run(context.Background(), root, facts, Options{})
	require.Equal(t, CodeLoader, fault.CodeOf(err), "%v", err)
	require.ErrorContains(t, err, "GRUB_ENABLE_CRYPTODISK")
}

// TestLikeness: a file that is changed keeps its owner, its mode and its attributes.
func TestLikeness(t *testing.T) {
	root, facts := unpack(t, "debian"), laid(t, "")
	name := filepath.Join(root, "etc/fstab")
	if os.Getuid() == 0 {
		require.NoError(t, os.Chown(name, 12, 34))
	}
	require.NoError(t, os.Chmod(name, 0o640))
	require.NoError(t, unix.Setxattr(name, "user.label", []byte("kept"), 0))
	before, err := os.Stat(name)
	require.NoError(t, err)
	_, err = Run(context.Background(), root, facts, Options{})
	require.NoError(t, err)
	after, err := os.Stat(name)
	require.NoError(t, err)
	was, is := before.Sys().(*syscall.Stat_t), after.Sys().(*syscall.Stat_t)
	require.NotEqual(t, was.Ino, is.Ino)
	require.Equal(t, []uint32{was.Mode, was.Uid, was.Gid}, []uint32{is.Mode, is.Uid, is.Gid})
	value := make([]byte, 10)
	n, err := unix.Getxattr(name, "user.label", value)
	require.NoError(t, err)
	require.Equal(t, "kept", string(value[:n]))
}

// TestHostileJournal: a journal that came with the root neither reaches out of it nor to a disk that is not a boot disk.
func TestHostileJournal(t *testing.T) {
	host := t.TempDir()
	write(t, host, "victim", "victim")
	before := dump(t, host)
	for name, line := range map[string]string{
		"path out":        `{"path":"../` + filepath.Base(host) + `/victim"}`,
		"absolute path":   `{"path":"` + host + `/victim"}`,
		"through a link":  `{"path":"out/victim"}`,
		"another disk":    `{"device":"` + host + `/victim","at":0,"saved":"eA=="}`,
		"not boot code":   `{"device":"DISK","at":4096,"saved":"eA=="}`,
		"the table":       `{"device":"DISK","at":0,"saved":"` + strings.Repeat("AAAA", 2000) + `"}`,
		"no base64":       `{"device":"DISK","at":0,"saved":"!"}`,
		"itself":          `{"path":".ferry-configure/journal"}`,
		"the root itself": `{"path":".","dir":true}`,
		"nothing":         `{}`,
		"no JSON":         `{"path":`,
	} {
		t.Run(name, func(t *testing.T) {
			root, facts := t.TempDir(), laid(t, "")
			require.NoError(t, os.Symlink(host, filepath.Join(root, "out")))
			disk, err := os.ReadFile(facts.BootDisks[0].Device)
			require.NoError(t, err)
			write(t, root, lines, strings.ReplaceAll(line, "DISK", facts.BootDisks[0].Device)+"\n")
			t.Log(Undo(context.Background(), root, facts))
			unchanged(t, before, host)
			after, err := os.ReadFile(facts.BootDisks[0].Device)
			require.NoError(t, err)
			require.Equal(t, disk, after)
		})
	}
}

// TestRefused: what cannot be done is refused before anything is written, with a code and a remedy.
func TestRefused(t *testing.T) {
	windows := t.TempDir()
	write(t, windows, "Windows/System32/ntoskrnl.exe", "MZ")
	for name, c := range map[string]struct {
		root    string
		facts   func(*Facts)
		options Options
		code    string
		writes  bool
	}{
		"Windows":             {root: windows, code: CodeWindows},
		"nothing":             {root: t.TempDir(), code: CodeNotLinux},
		"no root filesystem":  {facts: func(f *Facts) { f.Filesystems = f.Filesystems[1:] }, code: CodeFacts},
		"no boot disk":        {facts: func(f *Facts) { f.BootDisks = nil }, code: CodeFacts, writes: true},
		"an empty boot disk":  {facts: func(f *Facts) { os.Truncate(f.BootDisks[0].Device, 0); os.Truncate(f.BootDisks[0].Device, 1<<20) }, code: CodeLoader, writes: true},
		"no system partition": {facts: func(f *Facts) { f.UEFI = true }, code: CodeLoader, writes: true},
		"a host name":         {options: Options{Hostname: "a\nb"}, code: CodeChoice},
		"a console":           {options: Options{Serial: "ttyS0 init=/bin/sh"}, code: CodeChoice},
		"no address":          {options: Options{Network: NetworkStatic}, code: CodeChoice},
		"a bad address":       {options: Options{Network: NetworkStatic, Addresses: []string{"1.2.3.4"}}, code: CodeChoice},
		"a bad gateway":       {options: Options{Network: NetworkStatic, Addresses: []string{"1.2.3.4/24"}, Gateway: "x"}, code: CodeChoice},
		"a bad interface":     {facts: func(f *Facts) { f.NICs[0].Was = "eth0\"\n" }, code: CodeFacts, writes: true},
		"another network":     {options: Options{Network: "token ring"}, code: CodeChoice},
	} {
		t.Run(name, func(t *testing.T) {
			root, facts := c.root, laid(t, "")
			if root == "" {
				root = unpack(t, "debian")
			}
			if c.facts != nil {
				c.facts(&facts)
			}
			before := dump(t, root)
			_, err := Run(context.Background(), root, facts, c.options)
			require.Equal(t, c.code, fault.CodeOf(err), "%v", err)
			require.NotEmpty(t, fault.RemedyOf(err))
			if c.writes {
				require.NoError(t, Undo(context.Background(), root, facts))
			}
			unchanged(t, before, root)
		})
	}
}
