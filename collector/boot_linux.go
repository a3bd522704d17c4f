package collector

import (
	"context"
	"path/filepath"
	"strings"

	"github.com/ferry-migrate/ferry/collector/inventory"
	"github.com/ferry-migrate/ferry/internal/initramfs"
)

// virtioDrivers are what a kernel needs to start on a KVM target and reach its disk and network.
var virtioDrivers = []string{"virtio_pci", "virtio_blk", "virtio_scsi", "virtio_net"}

// collectBoot finds how the machine starts and whether its kernel would start on virtual hardware.
func collectBoot(r root, thorough bool) func(context.Context) (Fill, error) {
	return func(ctx context.Context) (Fill, error) {
		kernel := r.read("proc/sys/kernel/osrelease")
		b := inventory.Boot{Firmware: "BIOS", CmdLine: r.read("proc/cmdline")}
		if r.exists("sys/firmware/efi") {
			b.Firmware = "UEFI"
			b.SecureBoot = secureBoot(r)
		}
		for _, word := range strings.Fields(b.CmdLine) {
			if v, ok := strings.CutPrefix(word, "root="); ok {
				b.RootSpec = v
			}
		}
		b.Loader, b.LoaderBIOS, b.LoaderUEFI = bootLoader(r)
		b.Initramfs = initramfsOf(r, kernel)
		b.Modules = r.exists("lib/modules/" + kernel)
		b.Kernels = len(kernels(r))
		b.Virtio = virtio(r, kernel)
		var err error
		if thorough && b.Initramfs != "" {
			err = inInitramfs(ctx, r, b.Initramfs, &b.Virtio)
		}
		tools := findTools(r)
		return func(s *inventory.Server) {
			s.Boot = b
			s.Tools = append(s.Tools, tools...)
		}, err
	}
}

// secureBoot reads the firmware variable SecureBoot of the global GUID: four bytes of attributes, then 0 or 1.
func secureBoot(r root) bool {
	b, err := r.bytes("sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c")
	return err == nil && len(b) == 5 && b[4] == 1
}

// bootLoader looks for the files of boot loaders. Which of them the firmware really starts is not written in the filesystem.
func bootLoader(r root) (name string, bios, uefi bool) {
	for _, dir := range []string{"boot/grub2", "boot/grub"} {
		bios = bios || r.exists(dir+"/i386-pc")
		uefi = uefi || r.exists(dir+"/x86_64-efi") || r.exists(dir+"/arm64-efi")
		if name == "" && (r.exists(dir+"/grub.cfg") || r.exists(dir+"/i386-pc")) {
			name = "grub2"
		}
	}
	uefi = uefi || r.exists("boot/efi/EFI") || r.exists("efi/EFI")
	for _, l := range []struct{ file, name string }{
		{"boot/efi/EFI/redhat/grub.cfg", "grub2"}, {"boot/efi/EFI/centos/grub.cfg", "grub2"}, {"boot/loader/loader.conf", "systemd-boot"},
		{"boot/efi/loader/loader.conf", "systemd-boot"}, {"boot/grub/menu.lst", "grub"}, {"boot/grub/grub.conf", "grub"},
		{"etc/lilo.conf", "lilo"}, {"boot/extlinux/extlinux.conf", "extlinux"}, {"boot/syslinux/syslinux.cfg", "syslinux"}, {"boot/isolinux/isolinux.cfg", "syslinux"},
	} {
		if name == "" && r.exists(l.file) {
			name = l.name
		}
	}
	return name, bios, uefi
}

// initramfsOf finds the image of a kernel by the names that distributions give it.
func initramfsOf(r root, kernel string) string {
	for _, name := range []string{"initramfs-" + kernel + ".img", "initrd.img-" + kernel, "initrd-" + kernel, "initrd-" + kernel + ".img", "initramfs-linux.img"} {
		if r.exists("boot/" + name) {
			return "/boot/" + name
		}
	}
	return ""
}

// kernels lists the kernels that are installed.
func kernels(r root) (out []string) {
	for _, name := range r.names("boot") {
		if v, ok := strings.CutPrefix(name, "vmlinuz-"); ok && !strings.Contains(v, "rescue") {
			out = append(out, v)
		}
	}
	return out
}

// virtio sorts the drivers: in use or built in, else a module on disk, else absent.
func virtio(r root, kernel string) inventory.Virtio {
	v := inventory.Virtio{Ready: []string{}, Loadable: []string{}, Absent: []string{}, Checked: "modules"}
	builtin, onDisk := moduleNames(r, kernel, "modules.builtin"), moduleNames(r, kernel, "modules.dep")
	for _, d := range virtioDrivers {
		loaded := r.exists("sys/module/" + d)
		switch {
		case builtin[d] || loaded && !onDisk[d]:
			v.Ready = append(v.Ready, d)
		case onDisk[d]:
			v.Loadable = append(v.Loadable, d)
		default:
			v.Absent = append(v.Absent, d)
		}
	}
	return v
}

// moduleNames reads a list of module files: "kernel/drivers/block/virtio_blk.ko.xz: …" is virtio_blk. Hyphens and underscores are the same.
func moduleNames(r root, kernel, file string) map[string]bool {
	out := map[string]bool{}
	lines, _ := r.lines(filepath.Join("lib/modules", kernel, file))
	for _, line := range lines {
		path, _, _ := strings.Cut(line, ":")
		if name, ok := initramfs.Module(path); ok {
			out[name] = true
		}
	}
	return out
}
