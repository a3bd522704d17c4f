package configure

import (
	"context"
	"errors"
	"fmt"
	"path"
	"runtime"
	"slices"
	"strings"

	"github.com/ferry-migrate/ferry/internal/fault"
)

// loader has the firmware find a boot loader, and the loader its menu.
func loader(ctx context.Context, s *system) error {
	s.report.Loader = s.loaderName()
	switch s.report.Loader {
	case "grub2":
		if err := s.grubMenu(ctx); err != nil {
			return err
		}
		if s.facts.UEFI {
			return s.efiLoader(ctx)
		}
		return s.biosLoader(ctx)
	case "systemd-boot":
		if s.facts.UEFI {
			return s.efiLoader(ctx)
		}
	}
	// A disk that came block level has its loader on it.
	if !s.facts.UEFI && slices.ContainsFunc(s.facts.BootDisks, hasBootCode) {
		s.warn("the boot loader (%s) is left as it came: names of devices in its configuration are not changed", s.report.Loader)
		return nil
	}
	return fault.Operator(CodeLoader, "install GRUB 2 for the target's firmware on the source and sync again (Debian: grub-pc or grub-efi; Alpine: grub-bios or grub-efi), or move the disk block level",
		fmt.Errorf("boot loader %q cannot be set up for this firmware", s.report.Loader))
}

// loaderName tells boot loaders by their files, which are looked for in the order in which they are common.
func (s *system) loaderName() string {
	if s.grubDir() != "" {
		return "grub2"
	}
	for _, l := range []struct{ pattern, name string }{
		{"loader/loader.conf", "systemd-boot"}, {"EFI/systemd/systemd-boot*.efi", "systemd-boot"}, {"grub/menu.lst", "grub-legacy"}, {"grub/grub.conf", "grub-legacy"},
		{"extlinux*/extlinux.conf", "extlinux"}, {"extlinux.conf", "extlinux"}, {"syslinux/syslinux.cfg", "syslinux"},
	} {
		if len(s.bootFiles(l.pattern)) > 0 {
			return l.name
		}
	}
	if s.isFile("/etc/lilo.conf") {
		return "lilo"
	}
	return "none"
}

// grubDir returns the directory of GRUB 2 in the system, "" if it has none.
func (s *system) grubDir() string {
	for _, dir := range []string{"/boot/grub2", "/boot/grub"} {
		if s.isFile(dir+"/grub.cfg") || len(s.glob(dir+"/*-*/normal.mod")) > 0 {
			return dir
		}
	}
	if s.program("grub2-mkconfig") != "" {
		return "/boot/grub2"
	}
	if s.program("grub-mkconfig") != "" {
		return "/boot/grub"
	}
	return ""
}

// grubMenu has GRUB's menu made anew by the system's own program, in every place where there is one. Where that fails the menu that is
// there is corrected line by line.
func (s *system) grubMenu(ctx context.Context) error {
	menus, stubs := []string{}, []string{}
	for _, name := range s.bootFiles("grub*/grub.cfg", "EFI/*/grub.cfg") {
		if text := s.text(name); strings.Contains(text, "configfile") && !strings.Contains(text, "menuentry ") && !strings.Contains(text, "blscfg") {
			stubs = append(stubs, name)
		} else {
			menus = append(menus, name)
		}
	}
	for _, name := range stubs {
		if err := s.edit(name, "the filesystem with GRUB's menu", s.newUUIDs); err != nil {
			return err
		}
	}
	if len(menus) == 0 {
		menus = []string{s.grubDir() + "/grub.cfg"}
		if _, err := s.prepare(menus[0], true); err != nil { // grub-mkconfig wants the directory to be there
			return err
		}
	}
	made, err := s.makeMenu(ctx)
	if ctx.Err() != nil {
		return err
	}
	if err != nil {
		s.warn("GRUB's menu could not be made anew (%v); the one that is there is corrected", err)
	}
	for _, name := range menus {
		var e error
		switch {
		case err == nil:
			e = s.put(name, made, 0o600, "GRUB's menu")
		case s.isFile(name):
			e = s.edit(name, "GRUB's menu", s.correctMenu)
		default:
			e = fault.Operator(CodeLoader, "install grub-mkconfig on the source and sync again", fmt.Errorf("GRUB has no menu: %w", err))
		}
		if e != nil {
			return e
		}
	}
	return nil
}

// makeMenu runs grub-mkconfig and looks whether what it made would start something.
func (s *system) makeMenu(ctx context.Context) (string, error) {
	program := s.program("grub2-mkconfig", "grub-mkconfig")
	if program == "" {
		return "", errors.New("there is no grub-mkconfig")
	}
	if err := s.run(ctx, program, "-o", "/tmp/grub.cfg"); err != nil {
		return "", err
	}
	text, err := s.read(path.Join(scratch, "grub.cfg"))
	if err != nil {
		return "", err
	}
	if !strings.Contains(text, "vmlinu") && !strings.Contains(text, "blscfg") && !strings.Contains(text, "linux\t") {
		return "", errors.New("grub-mkconfig found no kernel")
	}
	return s.correctMenu(text), nil
}

// correctMenu corrects command lines and UUIDs in a menu.
func (s *system) correctMenu(text string) string {
	return s.newUUIDs(s.menuLines(text, "linux", "linux16", "linuxefi"))
}

// newUUIDs puts the UUIDs of this machine in place of those that changed.
func (s *system) newUUIDs(text string) string {
	pairs := []string{}
	for _, fs := range s.facts.Filesystems {
		for _, was := range fs.Was {
			if old, ok := strings.CutPrefix(was, "UUID="); ok && old != "" && fs.UUID != "" {
				pairs = append(pairs, old, fs.UUID)
			}
		}
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// efiArch is how UEFI (specification, 3.5.1.1) and GRUB call the processor of this machine, on which the system will run.
func efiArch() (removable, suffix, grub string) {
	if runtime.GOARCH == "arm64" {
		return "BOOTAA64.EFI", "aa64.efi", "arm64-efi"
	}
	return "BOOTX64.EFI", "x64.efi", "x86_64-efi"
}

// efiLoader has a loader where any firmware looks, EFI/BOOT: the entries that firmware remembers stayed in the old machine. It is the
// loader that the system has on its EFI system partition; only where there is none one is made.
func (s *system) efiLoader(ctx context.Context) error {
	esp := s.facts.esp()
	if esp == "" {
		return fault.Operator(CodeLoader, "lay out the target with an EFI system partition and mount it at /boot/efi", errors.New("the firmware is UEFI, and no EFI system partition is mounted"))
	}
	removable, suffix, grub := efiArch()
	if s.fallback(esp, removable) {
		return nil
	}
	boot := path.Join(esp, "EFI/BOOT")
	const why = "the firmware looks here when it remembers nothing"
	for _, pattern := range []string{"EFI/*/shim" + suffix, "EFI/*/grub" + suffix, "EFI/systemd/systemd-boot" + suffix} {
		found := s.glob(path.Join(esp, pattern))
		if len(found) == 0 {
			continue
		}
		if strings.Contains(pattern, "shim") { // shim starts the GRUB beside it, and both come with a list of keys
			for _, name := range []string{"grub" + suffix, "mm" + suffix, "grub.cfg"} {
				if err := s.copy(path.Join(path.Dir(found[0]), name), path.Join(boot, name), why); err != nil {
					return err
				}
			}
		}
		return s.copy(found[0], path.Join(boot, removable), why)
	}
	modules := s.grubModules(grub)
	if s.report.Loader != "grub2" || modules == "" {
		return fault.Operator(CodeLoader, "install GRUB for UEFI on the source and sync again (Debian: grub-efi-amd64-bin; RHEL: grub2-efi-x64)",
			fmt.Errorf("the firmware is UEFI, and the system has no loader for it"))
	}
	s.warn("the boot loader was made here and is not signed: secure boot has to be off")
	if err := s.copyModules(modules); err != nil {
		return err
	}
	if err := s.grubImage(ctx, modules, grub, []string{"part_gpt", "part_msdos", "fat", "normal"}); err != nil {
		return err
	}
	return s.adopt("core", path.Join(boot, removable), permFile, why)
}

// fallback reports whether EFI/BOOT has a loader, however its name is spelled: FAT does not care.
func (s *system) fallback(esp, removable string) bool {
	for _, name := range s.glob(path.Join(esp, "[Ee][Ff][Ii]/[Bb][Oo][Oo][Tt]") + "/*") {
		if strings.EqualFold(path.Base(name), removable) {
			return true
		}
	}
	return false
}

// copy gives name the content of another file, if there is such a file.
func (s *system) copy(from, name, why string) error {
	f, err := s.open(from)
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if same, err := s.same(f, name); same || err != nil {
		return err
	}
	return s.replace(name, f, permFile, why)
}
