package configure

import (
	"path"
	"slices"
	"strings"

	"github.com/ferry-migrate/ferry/internal/initramfs"
)

// drivers are what a kernel needs to find its disk and network on the virtual machines that there are: KVM, NVMe, Xen, Hyper-V.
var drivers = []string{
	"virtio_pci", "virtio_blk", "virtio_scsi", "virtio_net", "nvme", "xen_blkfront", "xen_netfront", "hv_vmbus", "hv_storvsc", "hv_netvsc",
}

// kernel is one that the system can be started with.
type kernel struct {
	version string
	modules string              // "/usr/lib/modules/6.1.0-1-amd64"
	linux   string              // "/boot/vmlinuz-6.1.0-1-amd64"
	image   string              // its initramfs; a name that does not exist yet if it has none
	files   map[string][]string // module → its file and those it depends on, relative to modules; only of modules that are not built in
	builtin map[string]bool
}

// kernels lists those that have modules and an image to start, the newest last as far as names tell.
func (s *system) kernels() (out []kernel) {
	for _, dir := range s.glob("/lib/modules/*") {
		k := kernel{version: path.Base(dir), modules: dir, files: map[string][]string{}, builtin: map[string]bool{}}
		name := k.version // how files in /boot are called after it
		if base := strings.TrimSpace(s.text(dir + "/pkgbase")); base != "" {
			name = path.Base(base) // Arch
		} else if flavour := k.version[strings.LastIndexByte(k.version, '-')+1:]; s.isFile("/boot/vmlinuz-" + flavour) {
			name = flavour // Alpine
		}
		for _, at := range []string{"/boot/vmlinuz-" + name, "/boot/vmlinux-" + name, "/boot/Image-" + name, dir + "/vmlinuz"} {
			if k.linux == "" && s.isFile(at) {
				k.linux = at
			}
		}
		if k.linux == "" || !s.isFile(dir+"/modules.dep") {
			continue
		}
		k.image = s.imageOf(k.version, name)
		k.read(s.text(dir+"/modules.dep"), s.text(dir+"/modules.builtin"))
		out = append(out, k)
	}
	return out
}

// imageOf returns the initramfs of a kernel by the names that distributions give it.
func (s *system) imageOf(version, name string) string {
	candidates := []string{"/boot/initrd.img-" + name, "/boot/initramfs-" + name + ".img", "/boot/initramfs-" + name, "/boot/initrd-" + name, "/boot/initrd-" + name + ".img"}
	for _, dir := range []string{"/boot", s.facts.esp()} { // Boot Loader Specification: by machine id and version
		if dir != "" {
			candidates = append(candidates, s.glob(dir+"/*/"+version+"/initrd*")...)
		}
	}
	for _, at := range candidates {
		if s.isFile(at) {
			return at
		}
	}
	switch s.report.Family {
	case RedHat, OpenEuler:
		return candidates[1]
	case SUSE:
		return candidates[3]
	default:
		return candidates[0]
	}
}

// read takes modules.dep, "file: file it needs …", and modules.builtin (depmod(8), modules.dep(5)). Names that leave the directory of
// modules are passed over.
func (k *kernel) read(dep, builtin string) {
	for line := range strings.SplitSeq(dep, "\n") {
		file, needs, ok := strings.Cut(line, ":")
		name, isModule := initramfs.Module(file)
		if !ok || !isModule || !slices.Contains(drivers, name) {
			continue
		}
		for _, f := range append([]string{file}, strings.Fields(needs)...) {
			if path.IsAbs(f) || path.Clean(f) != f || strings.HasPrefix(f, "..") {
				continue
			}
			k.files[name] = append(k.files[name], f)
		}
	}
	for line := range strings.SplitSeq(builtin, "\n") {
		if name, ok := initramfs.Module(line); ok {
			k.builtin[name] = true
		}
	}
}

// lacking lists the drivers that the kernel has as modules and the image lacks. in is nil when the image cannot be read.
func (k *kernel) lacking(in map[string]bool) (out []string) {
	for _, d := range drivers {
		if len(k.files[d]) > 0 && !k.builtin[d] && !in[d] {
			out = append(out, d)
		}
	}
	return out
}
