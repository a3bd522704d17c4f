package configure

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/ferry-migrate/ferry/internal/initramfs"
)

// Level is how a check ended.
type Level string

// The levels: an error keeps the system from starting, a warning may.
const (
	OK    Level = "OK"
	Warn  Level = "WARN"
	Error Level = "ERROR"
)

// Finding is what one check found.
type Finding struct {
	Check  string // "kernel", "drivers", …
	Level  Level
	Text   string
	Remedy string // "" if OK
}

// Rehearsal is what can be said about a start without one.
type Rehearsal struct {
	Findings []Finding
	Score    int // 0 to 100: the share of checks that are OK, a warning counting half; at most 49 with an error
}

func (r *Rehearsal) add(check string, level Level, remedy, format string, args ...any) {
	if level == OK {
		remedy = ""
	}
	r.Findings = append(r.Findings, Finding{check, level, fmt.Sprintf(format, args...), remedy})
}

// check runs one look at the system; it adds one finding or more.
type check func(s *system, r *Rehearsal)

var checks = []check{checkKernels, checkDrivers, checkFstab, checkRootWord, checkMenu, checkLoader, checkInit, checkRoom}

// Check looks whether the system below root has what it needs to start on the machine that facts describe. It changes nothing, and needs
// no programs. Errors are those of Run for systems that are none.
func Check(ctx context.Context, root string, f Facts) (Rehearsal, error) {
	var r Rehearsal
	s, err := open(root, f, Options{}, &Report{})
	if err != nil {
		return r, err
	}
	defer s.root.Close() // not close, which tidies up
	for _, c := range checks {
		if err := ctx.Err(); err != nil {
			return r, context.Cause(ctx)
		}
		c(s, &r)
	}
	r.score()
	return r, nil
}

func (r *Rehearsal) score() {
	points, worst := 0, 100
	for _, f := range r.Findings {
		switch f.Level {
		case OK:
			points += 2
		case Warn:
			points++
		default:
			worst = 49
		}
	}
	r.Score = min(worst, points*50/max(1, len(r.Findings)))
}

func checkKernels(s *system, r *Rehearsal) {
	const remedy = "mount /boot of the received system, or install a kernel on the source and sync again"
	kernels := s.kernels()
	if len(kernels) == 0 {
		r.add("kernel", Error, remedy, "no kernel has modules in /lib/modules and an image in /boot")
	}
	for _, k := range kernels {
		if s.isFile(k.image) {
			r.add("kernel", OK, "", "%s has modules and an initramfs", k.linux)
		} else {
			r.add("kernel", Warn, "make one with the system's own tool", "%s has no initramfs", k.linux)
		}
	}
}

func checkDrivers(s *system, r *Rehearsal) {
	for _, k := range s.kernels() {
		in, err := s.modulesIn(k.image)
		lacking := k.lacking(in)
		switch {
		case missing(err):
		case errors.Is(err, initramfs.ErrCompression):
			r.add("drivers", Warn, "look with lsinitramfs or lsinitrd", "%s is compressed in a way that Ferry cannot read", k.image)
		case err != nil:
			r.add("drivers", Error, "configure again: it is made anew", "%s is damaged: %v", k.image, err)
		case slices.ContainsFunc(lacking, func(d string) bool { return strings.HasPrefix(d, "virtio") }):
			r.add("drivers", Error, "configure again: they are added", "%s lacks %s", k.image, strings.Join(lacking, " "))
		case len(k.files) == 0 && !k.builtin["virtio_blk"] && !k.builtin["virtio_scsi"] && !k.builtin["nvme"]:
			r.add("drivers", Error, "install a kernel with virtio drivers on the source", "%s has no driver for a virtual disk", k.linux)
		case len(lacking) > 0:
			r.add("drivers", Warn, "configure again: they are added", "%s lacks %s", k.image, strings.Join(lacking, " "))
		default:
			r.add("drivers", OK, "", "%s has the drivers of virtual machines", k.image)
		}
	}
}

func checkFstab(s *system, r *Rehearsal) {
	root, level := false, OK
	for line := range strings.SplitSeq(s.text("/etc/fstab"), "\n") {
		f := strings.Fields(line)
		if len(f) < 4 || f[0][0] == '#' {
			continue
		}
		root = root || f[1] == "/"
		options := strings.Split(f[3], ",")
		if !isDevice(f[0]) || slices.Contains(options, "noauto") || slices.Contains(options, "nofail") || slices.Contains(options, "loop") {
			continue
		}
		if spec := unescape(f[0]); s.facts.find(spec) == nil {
			level = Error
			r.add("fstab", Error, "configure, or correct the line", "%s, to be mounted at %s, is not on this machine", spec, f[1])
		}
	}
	if level == OK {
		r.add("fstab", OK, "", "every filesystem that is waited for is here")
	}
	if !root {
		r.add("fstab", Warn, "add a line for /", "/etc/fstab does not mention the root filesystem")
	}
}

// menus returns the texts of all menus: GRUB's, and the entries of the Boot Loader Specification.
func (s *system) menus() map[string]string {
	out := map[string]string{}
	for _, name := range s.bootFiles("grub*/grub.cfg", "EFI/*/grub.cfg", "loader/entries/*.conf", "grub/menu.lst", "grub*/grubenv") {
		out[name] = s.text(name)
	}
	return out
}

func checkRootWord(s *system, r *Rehearsal) {
	level, found := OK, false
	for name, text := range s.menus() {
		for line := range strings.SplitSeq(text, "\n") {
			for _, m := range deviceWord.FindAllStringSubmatch(strings.TrimPrefix(line, "kernelopts="), -1) {
				if m[2] != "root" || !isDevice(m[3]) || strings.HasPrefix(strings.TrimSpace(line), "#") {
					continue
				}
				if found = true; s.facts.find(m[3]) == nil {
					level = Error
					r.add("root", Error, "configure again, or correct the menu", "%s starts from %s, which is not on this machine", name, m[3])
				}
			}
		}
	}
	switch {
	case level == OK && found:
		r.add("root", OK, "", "the menu starts from a filesystem that is here")
	case !found:
		r.add("root", Warn, "look into the menu of the boot loader", "no menu names the root filesystem")
	}
}

// checkMenu looks whether the kernels and images that the menu names are there: their paths begin at the top of the boot filesystem.
func checkMenu(s *system, r *Rehearsal) {
	named, absent := 0, map[string]bool{}
	for menu, text := range s.menus() {
		for line := range strings.SplitSeq(text, "\n") {
			f := strings.Fields(line)
			if len(f) < 2 || !slices.Contains([]string{"linux", "linux16", "linuxefi", "initrd", "initrd16", "initrdefi", "kernel"}, f[0]) || !strings.HasPrefix(f[1], "/") {
				continue
			}
			if named++; !s.bootPath(menu, f[1]) {
				absent[f[1]] = true
			}
		}
	}
	switch {
	case named == 0:
		r.add("menu", Error, "configure again", "no menu of a boot loader names a kernel")
	case len(absent) == named:
		r.add("menu", Error, "configure again", "nothing that the menu names is there")
	case len(absent) > 0:
		for name := range absent {
			r.add("menu", Warn, "configure again", "the menu names %s, which is not there", name)
		}
	default:
		r.add("menu", OK, "", "every kernel and initramfs that the menu names is there")
	}
}

// bootPath reports whether a path of a menu leads to a file: from the top of the filesystem of /boot, or of the menu.
func (s *system) bootPath(menu, name string) bool {
	for _, at := range []string{"/boot", path.Dir(menu)} {
		fs, _ := s.facts.holds(at)
		rest, ok := strings.CutPrefix(name, path.Join("/", fs.Subvolume))
		if ok && s.isFile(path.Join(fs.Mount, rest)) {
			return true
		}
	}
	return false
}

func checkLoader(s *system, r *Rehearsal) {
	const remedy = "configure again"
	if s.facts.UEFI {
		removable, _, _ := efiArch()
		switch esp := s.facts.esp(); {
		case esp == "":
			r.add("loader", Error, "lay out the target with an EFI system partition", "no EFI system partition is mounted")
		case !s.fallback(esp, removable):
			r.add("loader", Error, remedy, "%s/EFI/BOOT/%s is missing: the firmware finds no loader", esp, removable)
		default:
			r.add("loader", OK, "", "the firmware finds %s", removable)
		}
		return
	}
	if slices.ContainsFunc(s.facts.BootDisks, hasBootCode) {
		r.add("loader", OK, "", "a boot disk has code in its first sector")
	} else {
		r.add("loader", Error, remedy, "no boot disk has code in its first sector")
	}
}

func checkInit(s *system, r *Rehearsal) {
	init := ""
	for _, name := range []string{"/sbin/init", "/usr/sbin/init", "/lib/systemd/systemd", "/usr/lib/systemd/systemd", "/etc/init", "/bin/init"} {
		if at, err := s.resolve(name, true); err == nil && init == "" && s.isFile(at) {
			init = at
		}
	}
	switch {
	case init == "":
		r.add("init", Error, "sync the root filesystem again", "there is no /sbin/init")
	case path.Base(init) != "systemd" || s.isFile("/etc/systemd/system/default.target") || s.isFile("/usr/lib/systemd/system/default.target") || s.isFile("/lib/systemd/system/default.target"):
		r.add("init", OK, "", "the system has an init and something for it to start")
	default:
		r.add("init", Error, "set it: systemctl --root=DIR set-default multi-user.target", "default.target of systemd leads nowhere")
	}
}

// The room below which a start is at risk, bytes: logs cannot be written, the next kernel does not fit.
const (
	roomNeeded = 16 << 20
	roomWanted = 200 << 20
)

func checkRoom(s *system, r *Rehearsal) {
	for _, at := range []string{"/", "/boot", "/var"} {
		if s.facts.at(at) == nil {
			continue
		}
		free, err := s.free(at)
		switch {
		case err != nil:
			r.add("room", Warn, "look whether it is mounted", "how full %s is cannot be told: %v", at, err)
		case free < roomNeeded && at != "/boot":
			r.add("room", Error, "make room or a larger filesystem", "%s has %d MiB left", at, free>>20)
		case free < roomWanted && at != "/boot", free < roomNeeded:
			r.add("room", Warn, "make room or a larger filesystem", "%s has %d MiB left", at, free>>20)
		default:
			r.add("room", OK, "", "%s has %d MiB left", at, free>>20)
		}
	}
}
