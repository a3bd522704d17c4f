package machine

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

//go:embed root.sh
var rootScript []byte

//go:embed disks.sh
var disksScript []byte

//go:embed guest.sh
var guestScript []byte

//go:embed point.sh
var pointScript []byte

// Kind is a machine that there is a disk for.
type Kind string

// The kinds of machine.
const (
	BIOS Kind = "bios" // SeaBIOS, root on LVM
	UEFI Kind = "uefi" // OVMF, root on Btrfs
)

// Tools lists the programs that a machine needs and this one lacks.
func Tools() (missing []string) {
	for _, name := range []string{"qemu-system-x86_64", "mmdebstrap", "sgdisk", "lvm", "losetup", "blkid", "mkfs.ext4", "mkfs.xfs", "mkfs.btrfs", "mkfs.vfat", "mcopy", "btrfs"} {
		if _, err := exec.LookPath(name); err != nil {
			missing = append(missing, name)
		}
	}
	if _, err := os.Stat(ovmf + "CODE_4M.fd"); err != nil {
		missing = append(missing, "ovmf")
	}
	return missing
}

// Root returns the directory of the Debian that machines are made of. It is made when it is not in the cache.
func Root(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("cache directory: %w", err)
	}
	sum := sha256.Sum256(rootScript)
	dir := filepath.Join(cache, "ferry-lab", fmt.Sprintf("debian12-%x", sum[:6]))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", fmt.Errorf("cache directory: %w", err)
	}
	half, err := os.MkdirTemp(filepath.Dir(dir), "half-") // gets its name once it is whole
	if err != nil {
		return "", fmt.Errorf("cache directory: %w", err)
	}
	defer os.RemoveAll(half)
	if err := os.Chmod(half, 0o755); err != nil {
		return "", err
	}
	if err := script(ctx, rootScript, half); err != nil {
		return "", err
	}
	return dir, os.Rename(half, dir)
}

// script runs a shell script and returns what it complained of.
func script(ctx context.Context, text []byte, args ...string) error {
	cmd := exec.CommandContext(ctx, "bash", append([]string{"-s", "--"}, args...)...)
	cmd.Stdin = bytes.NewReader(text)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // lets it detach and unmount
	cmd.WaitDelay = 30 * time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("script %v: %w: %s", args, err, out)
	}
	return nil
}

// Answers are the files that came out of a machine, by name.
type Answers map[string][]byte

// Run makes a machine in dir, starts it with the program ferry inside, and waits until it is off. What it said on its console is in
// dir/console.log.
func Run(ctx context.Context, kind Kind, dir, ferry string) (Answers, error) {
	root, err := Root(ctx)
	if err != nil {
		return nil, err
	}
	program, err := os.ReadFile(ferry)
	if err != nil {
		return nil, err
	}
	for name, content := range map[string][]byte{"ferry": program, "guest.sh": guestScript, "point.sh": pointScript} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o755); err != nil {
			return nil, err
		}
	}
	if err := script(ctx, disksScript, string(kind), root, dir); err != nil {
		return nil, err
	}
	args, err := arguments(kind, root, dir)
	if err != nil {
		return nil, err
	}
	if out, err := exec.CommandContext(ctx, "qemu-system-x86_64", args...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("qemu: %w: %s", err, out)
	}
	return unpack(filepath.Join(dir, "out.tar"))
}

const ovmf = "/usr/share/OVMF/OVMF_"

// arguments are those of qemu.
func arguments(kind Kind, root, dir string) ([]string, error) {
	at := func(name string) string { return filepath.Join(dir, name) }
	kernel, err := one(root, "vmlinuz-*")
	if err != nil {
		return nil, err
	}
	initrd, err := one(root, "initrd.img-*")
	if err != nil {
		return nil, err
	}
	cmdline, err := os.ReadFile(at("cmdline"))
	if err != nil {
		return nil, err
	}
	args := []string{
		"-machine", "q35", "-accel", "tcg,thread=multi,tb-size=256", "-cpu", "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt", "-smp", "2", "-m", "1024",
		"-display", "none", "-vga", "none", "-no-reboot", "-serial", "file:" + at("console.log"),
		"-kernel", kernel, "-initrd", initrd, "-append", strings.TrimSpace(string(cmdline)) + " ro console=ttyS0 net.ifnames=0 panic=-1 quiet",
		"-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng",
		"-device", "virtio-serial-pci", "-chardev", "file,id=out,path=" + at("out.tar"), "-device", "virtserialport,chardev=out,name=ferry.out",
		"-netdev", "user,id=net,restrict=on", "-device", "virtio-net-pci,netdev=net",
		"-drive", "if=none,id=root,format=raw,cache=unsafe,file=" + at("vda.img"), "-device", "virtio-blk-pci,drive=root,serial=root",
	}
	if kind == UEFI {
		vars, err := os.ReadFile(ovmf + "VARS_4M.fd")
		if err != nil {
			return nil, err
		}
		return append(args, "-drive", "if=pflash,unit=0,format=raw,readonly=on,file="+ovmf+"CODE_4M.fd",
			"-drive", "if=pflash,unit=1,format=raw,file="+at("vars.fd")), os.WriteFile(at("vars.fd"), vars, 0o600)
	}
	for _, d := range []struct {
		name string
		mib  int64
	}{{"pv1", 512}, {"pv2", 512}, {"md1", 64}, {"md2", 64}, {"luks", 64}, {"dos", 128}, {"bt1", 256}, {"bt2", 256}} {
		if err := blank(at(d.name), d.mib); err != nil {
			return nil, err
		}
		args = append(args, "-drive", fmt.Sprintf("if=none,id=%s,format=raw,cache=unsafe,file=%s", d.name, at(d.name)), "-device", fmt.Sprintf("virtio-blk-pci,drive=%s,serial=%[1]s", d.name))
	}
	if err := errors.Join(blank(at("nvme"), 128), blank(at("path"), 64)); err != nil {
		return nil, err
	}
	args = append(args, "-drive", "if=none,id=nvme,format=raw,cache=unsafe,file="+at("nvme"), "-device", "nvme,drive=nvme,serial=nvme0", "-device", "virtio-scsi-pci,id=scsi")
	for _, path := range []string{"a", "b"} { // one disk, two ways to it
		args = append(args, "-drive", fmt.Sprintf("if=none,id=path%s,format=raw,cache=none,file.locking=off,file=%s", path, at("path")),
			"-device", fmt.Sprintf("scsi-hd,bus=scsi.0,drive=path%s,serial=shared,wwn=0x5000c50015ea71ac,share-rw=on", path))
	}
	return append(args, "-device", "scsi-cd,bus=scsi.0"), nil
}

// one returns the only file of the root's /boot that matches.
func one(root, pattern string) (string, error) {
	found, err := filepath.Glob(filepath.Join(root, "boot", pattern))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("%s in %s/boot: %v, %w", pattern, root, found, errors.Join(err, os.ErrNotExist))
	}
	return found[0], nil
}

func blank(name string, mib int64) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(mib<<20), f.Close())
}

// unpack reads the archive that a machine sent.
func unpack(name string) (Answers, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	out := Answers{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("answers: %w", err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		content, err := io.ReadAll(io.LimitReader(r, 64<<20))
		if err != nil {
			return nil, fmt.Errorf("answers: %w", err)
		}
		out[filepath.Base(h.Name)] = content
	}
}
