package configure

import (
	"context"
	"path"
	"regexp"
	"slices"
	"strings"
)

// deviceWord is a word of a kernel's command line that names a device.
var deviceWord = regexp.MustCompile(`(^|\s)(root|resume)=(\S+)`)

// wordsKept has the words of a command line name devices in a way that holds here.
func (s *system) wordsKept(line string) string {
	return deviceWord.ReplaceAllStringFunc(line, func(word string) string {
		m := deviceWord.FindStringSubmatch(word)
		mount := ""
		if m[2] == "root" {
			mount = "/"
		}
		if !isDevice(m[3]) {
			return word
		}
		name, here := s.facts.rename(m[3], mount)
		if !here {
			s.warnOnce("%s=%s of a kernel's command line is not on this machine", m[2], m[3])
		}
		return m[1] + m[2] + "=" + name
	})
}

// words does that, and adds what was chosen: a serial console, and plain names of interfaces where the network configuration has to name
// them (the kernel's parameters are in systemd.link(5) and biosdevname(1)).
func (s *system) words(line string) string {
	line = s.wordsKept(line)
	add := []string{}
	if tty := s.options.Serial; tty != "" && !strings.Contains(line, "console="+tty) {
		if !strings.Contains(line, "console=tty0") {
			add = append(add, "console=tty0")
		}
		add = append(add, "console="+tty+",115200")
	}
	if s.plainNames() {
		for _, w := range []string{"net.ifnames=0", "biosdevname=0"} {
			if !strings.Contains(line, w) {
				add = append(add, w)
			}
		}
	}
	for _, w := range add {
		line = strings.TrimLeft(line+" "+w, " ")
	}
	return line
}

// commandLines changes the kernel's command line wherever it is written: what GRUB makes its menu of, the entries of the Boot Loader
// Specification (Fedora, RHEL 8 and later, systemd-boot), GRUB's environment, GRUB Legacy's menu.
func commandLines(_ context.Context, s *system) error {
	const why = "the kernel's command line"
	if err := s.edit("/etc/default/grub", why, s.grubDefaults); err != nil {
		return err
	}
	if err := s.edit("/etc/kernel/cmdline", why, s.firstLine); err != nil {
		return err
	}
	for _, name := range s.bootFiles("loader/entries/*.conf") {
		if err := s.edit(name, why, s.blsEntry); err != nil {
			return err
		}
	}
	for _, name := range s.bootFiles("grub*/grubenv", "EFI/*/grubenv") {
		if err := s.edit(name, why, s.environment); err != nil {
			return err
		}
	}
	for _, name := range s.bootFiles("grub/menu.lst", "grub/grub.conf") {
		if err := s.edit(name, why, func(text string) string { return s.menuLines(text, "kernel") }); err != nil {
			return err
		}
	}
	return nil
}

// bootFiles lists the files that match one of some patterns below /boot or the EFI system partition; links count once.
func (s *system) bootFiles(patterns ...string) (out []string) {
	seen := map[string]bool{}
	dirs := []string{"/boot"}
	if esp := s.facts.esp(); esp != "" && esp != "/boot" {
		dirs = append(dirs, esp)
	}
	for _, dir := range dirs {
		for _, p := range patterns {
			for _, name := range s.glob(path.Join(dir, p)) {
				if at, err := s.resolve(name, true); err == nil && !seen[at] && s.isFile(at) {
					seen[at] = true
					out = append(out, name)
				}
			}
		}
	}
	return out
}

// grubDefaults is /etc/default/grub (info grub, "Simple configuration").
func (s *system) grubDefaults(text string) string {
	value, _ := shellValue(text, "GRUB_CMDLINE_LINUX")
	if to := s.words(value); to != value {
		text = setShell(text, "GRUB_CMDLINE_LINUX", to)
	}
	if value, ok := shellValue(text, "GRUB_CMDLINE_LINUX_DEFAULT"); ok {
		text = setShell(text, "GRUB_CMDLINE_LINUX_DEFAULT", s.wordsKept(value))
	}
	for _, key := range []string{"GRUB_DISABLE_LINUX_UUID", "GRUB_DISABLE_UUID"} { // its menu would name the devices of the old machine
		if value, ok := shellValue(text, key); ok && value == "true" {
			text = setShell(text, key, "false")
		}
	}
	if unit, ok := strings.CutPrefix(s.options.Serial, "ttyS"); ok {
		text = setShell(text, "GRUB_TERMINAL", "console serial")
		text = setShell(text, "GRUB_SERIAL_COMMAND", "serial --unit="+unit+" --speed=115200")
	}
	return text
}

// firstLine is a file of one command line.
func (s *system) firstLine(text string) string {
	line, rest, _ := strings.Cut(text, "\n")
	return s.words(strings.TrimRight(line, " ")) + "\n" + rest
}

// blsEntry is one entry of the Boot Loader Specification (uapi-group.org): lines of a key and a value.
func (s *system) blsEntry(text string) string {
	return s.menuLines(text, "options")
}

// menuLines changes the command line in those lines of a menu that begin with a word. One that takes it from a variable has it changed
// there.
func (s *system) menuLines(text string, words ...string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		at := fieldsOf(line, 2)
		if len(at) < 2 || !slices.Contains(words, line[at[0][0]:at[0][1]]) {
			continue
		}
		start, rest := line[:at[1][0]], line[at[1][0]:]
		if strings.Contains(rest, "$kernelopts") {
			continue
		}
		lines[i] = start + s.words(strings.TrimRight(rest, " \t"))
	}
	return strings.Join(lines, "\n")
}

const envSize = 1024 // bytes of GRUB's environment block, always (info grub, "Environment block")

// environment is a block of GRUB's variables: lines of NAME=value, filled up with # to its size.
func (s *system) environment(text string) string {
	body := strings.TrimRight(text, "#")
	lines := strings.Split(body, "\n")
	changed := false
	for i, line := range lines {
		if v, ok := strings.CutPrefix(line, "kernelopts="); ok {
			lines[i] = "kernelopts=" + s.words(strings.TrimRight(v, " "))
			changed = changed || lines[i] != line
		}
	}
	body = strings.Join(lines, "\n")
	if !changed || len(text) != envSize {
		return text
	}
	if len(body) > envSize {
		s.warnOnce("GRUB's environment has no room for the kernel's command line; it stays as it was")
		return text
	}
	return body + strings.Repeat("#", envSize-len(body))
}
