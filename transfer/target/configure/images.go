package configure

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/internal/initramfs"
)

// builder is a program that makes an initramfs.
type builder struct {
	program string
	argv    func(k *kernel) []string // makes /tmp/image
	set     func(s *system) error    // changes settings that leave drivers out; nil if the arguments say enough
}

var builders = []builder{
	{"mkinitramfs", func(k *kernel) []string { return []string{"-o", "/tmp/image", k.version} }, (*system).mostModules},
	{"dracut", func(k *kernel) []string {
		return []string{"--force", "--no-hostonly", "--add-drivers", strings.Join(k.modular(), " "), "/tmp/image", k.version}
	}, nil},
	{"mkinitcpio", func(k *kernel) []string { return []string{"-k", k.version, "-S", "autodetect", "-g", "/tmp/image"} }, nil},
	{"mkinitfs", func(k *kernel) []string { return []string{"-o", "/tmp/image", k.version} }, func(s *system) error {
		return s.edit("/etc/mkinitfs/mkinitfs.conf", "drivers of virtual machines", s.initfsFeatures)
	}},
}

// inputs are the files that an initramfs takes up and that steps before this one may have changed.
var inputs = []string{"/etc/crypttab", "/etc/lvm/devices/system.devices", "/etc/initramfs-tools/conf.d/resume"}

// images gives every kernel an initramfs with the drivers of virtual machines. One that has them, and took up nothing that was changed,
// stays.
func images(ctx context.Context, s *system) error {
	kernels := s.kernels()
	if len(kernels) == 0 {
		return fault.Operator(CodeKernel, "mount /boot of the received system below its root, or install a kernel on the source and sync again",
			errors.New("no kernel with modules in /boot and /lib/modules"))
	}
	if err := s.edit("/etc/initramfs-tools/conf.d/resume", "device of hibernation by UUID", s.resume); err != nil {
		return err
	}
	program := slices.IndexFunc(builders, func(b builder) bool { return s.program(b.program) != "" })
	if program >= 0 && builders[program].set != nil {
		if err := builders[program].set(s); err != nil {
			return err
		}
	}
	for _, k := range kernels {
		in, err := s.modulesIn(k.image)
		unreadable := errors.Is(err, initramfs.ErrCompression)
		if err != nil && !missing(err) && !unreadable {
			s.warn("%s is damaged: %v", k.image, err)
		}
		made := s.changed(k.image)
		if unreadable && made || err == nil && len(k.lacking(in)) == 0 && (made || !s.changed(inputs...)) {
			continue
		}
		if err := s.image(ctx, &k, program); err != nil {
			return fmt.Errorf("initramfs %s: %w", k.image, err)
		}
	}
	return nil
}

// image makes one, by the program if there is one, and adds what is then still lacking.
func (s *system) image(ctx context.Context, k *kernel, program int) error {
	if program >= 0 {
		b := builders[program]
		err := s.run(ctx, append([]string{s.program(b.program)}, b.argv(k)...)...)
		if err == nil {
			err = s.adopt("image", k.image, 0o600, "made anew by "+b.program+" with the drivers of virtual machines")
		}
		if ctx.Err() != nil {
			return err
		}
		if err != nil {
			s.warn("%s: %v; drivers are added to the image that is there", b.program, err)
		}
	}
	in, err := s.modulesIn(k.image)
	if missing(err) {
		s.warn("%s has no initramfs, and no program made one", k.linux)
		return nil
	}
	if errors.Is(err, initramfs.ErrCompression) && s.changed(k.image) {
		return nil // the program made it
	}
	if lacking := k.lacking(in); len(lacking) > 0 {
		return s.extend(k, lacking)
	}
	return nil
}

// modulesIn lists the modules in an image.
func (s *system) modulesIn(image string) (map[string]bool, error) {
	found := map[string]bool{}
	err := s.walkImage(image, func(name string) {
		if module, ok := initramfs.Module(name); ok {
			found[module] = true
		}
	})
	return found, err
}

func (s *system) walkImage(image string, visit func(string)) error {
	f, err := s.open(image)
	if err != nil {
		return err
	}
	defer f.Close()
	return initramfs.Walk(f, visit)
}

// extend appends an archive of drivers to an image: their files, what those need, and the lists by which they are found.
func (s *system) extend(k *kernel, lacking []string) error {
	dir, dirs := s.modulesDir(k)
	files := []initramfs.File{}
	add := func(name string) error {
		text, err := s.read(path.Join(k.modules, name))
		if err != nil {
			return err
		}
		at := path.Join(dir, name)
		for _, d := range parents(at) {
			if !dirs[d] {
				dirs[d] = true
				files = append(files, initramfs.File{Name: d, Mode: os.ModeDir | 0o755})
			}
		}
		files = append(files, initramfs.File{Name: at, Mode: 0o644, Content: []byte(text)})
		return nil
	}
	packed := map[string]bool{}
	for _, d := range lacking {
		for _, name := range k.files[d] {
			if packed[name] {
				continue
			}
			packed[name] = true
			if err := add(name); err != nil {
				return err
			}
		}
	}
	for _, at := range s.glob(k.modules + "/modules.*") {
		if err := add(path.Base(at)); err != nil {
			return err
		}
	}
	old, err := s.open(k.image)
	if err != nil {
		return err
	}
	defer old.Close()
	info, err := old.Stat()
	if err != nil {
		return err
	}
	var more bytes.Buffer
	more.Write(make([]byte, -info.Size()&3))
	if err := initramfs.Archive(&more, files); err != nil {
		return err
	}
	return s.replace(k.image, io.MultiReader(old, &more), 0o600, "drivers added: "+strings.Join(lacking, " "))
}

// modulesDir returns where an image has the modules of a kernel, and the directories it has on the way. A directory of the archive that
// is a link in the image would replace that link.
func (s *system) modulesDir(k *kernel) (dir string, dirs map[string]bool) {
	dirs = map[string]bool{}
	tail := "lib/modules/" + k.version
	err := s.walkImage(k.image, func(name string) {
		name = strings.TrimPrefix(path.Clean(name), "/")
		for _, d := range parents(name) {
			dirs[d] = true
		}
		dirs[name] = true
		if i := strings.Index(name+"/", tail+"/"); i >= 0 && dir == "" {
			dir = name[:i] + tail
		}
	})
	if dir != "" {
		return dir, dirs
	}
	if at, e := s.resolve("/lib", true); e == nil && err != nil { // it cannot be read: as in the system
		dir = path.Join(at, "modules", k.version)
		for _, d := range parents(dir) {
			dirs[d] = true
		}
		return dir, dirs
	}
	return tail, dirs
}

// parents lists the directories above a path, the highest first.
func parents(name string) (out []string) {
	for i := range len(name) {
		if name[i] == '/' && i > 0 {
			out = append(out, name[:i])
		}
	}
	return out
}

// modular lists the drivers that the kernel has as modules.
func (k *kernel) modular() []string { return k.lacking(nil) }

// resume changes RESUME= of initramfs-tools.
func (s *system) resume(text string) string {
	value, ok := shellValue(text, "RESUME")
	if !ok || !isDevice(value) {
		return text
	}
	name, here := s.facts.rename(value, "")
	if !here {
		name = "none"
	}
	return setShell(text, "RESUME", name)
}

// mostModules has mkinitramfs put in the drivers of any machine, where it was told to look at this one (initramfs.conf(5)).
func (s *system) mostModules() error {
	text := s.text("/etc/initramfs-tools/initramfs.conf")
	for _, name := range s.glob("/etc/initramfs-tools/conf.d/*") {
		text += "\n" + s.text(name)
	}
	if value, ok := shellValue(text, "MODULES"); !ok || value == "most" {
		return nil
	}
	return s.put("/etc/initramfs-tools/conf.d/zz-ferry.conf", made+"MODULES=most\n", permFile, "drivers of any machine")
}

// initfsFeatures adds to features="…" of mkinitfs.conf those that hold the drivers, where this mkinitfs has them.
func (s *system) initfsFeatures(text string) string {
	value, _ := shellValue(text, "features")
	words := strings.Fields(value)
	for _, f := range []string{"virtio", "nvme", "scsi", "xen", "hyperv"} {
		if !slices.Contains(words, f) && s.isFile("/etc/mkinitfs/features.d/"+f+".modules") {
			words = append(words, f)
		}
	}
	return setShell(text, "features", strings.Join(words, " "))
}
