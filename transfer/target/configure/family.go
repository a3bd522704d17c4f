package configure

import (
	"errors"
	"strings"

	"github.com/ferry-migrate/ferry/internal/fault"
)

// Family is a family of distributions that keep their configuration in the same way.
type Family string

// The families that are known. Steps look for files and programs, not for names: a system of another family is worked on all the same.
const (
	Debian    Family = "debian" // and Ubuntu
	RedHat    Family = "redhat" // RHEL, CentOS, Rocky, Alma, Oracle, Fedora, Amazon
	OpenEuler Family = "openeuler"
	SUSE      Family = "suse"
	Arch      Family = "arch"
	Alpine    Family = "alpine"
	Other     Family = "other"
)

var families = map[string]Family{
	"debian": Debian, "ubuntu": Debian, "rhel": RedHat, "centos": RedHat, "fedora": RedHat, "openeuler": OpenEuler, "euleros": OpenEuler, "hce": OpenEuler,
	"suse": SUSE, "opensuse": SUSE, "sles": SUSE, "arch": Arch, "alpine": Alpine,
}

// family reads os-release(5), and older files where there is none. Errors: CodeWindows, CodeNotLinux.
func (s *system) family() (Family, error) {
	release := s.text("/etc/os-release")
	if release == "" {
		release = s.text("/usr/lib/os-release")
	}
	ids := []string{}
	for _, key := range []string{"ID", "ID_LIKE"} {
		value, _ := shellValue(release, key)
		ids = append(ids, strings.Fields(strings.ToLower(value))...)
	}
	for _, id := range ids {
		if f, ok := families[id]; ok {
			return f, nil
		}
	}
	for _, old := range []struct {
		file string
		f    Family
	}{{"/etc/debian_version", Debian}, {"/etc/redhat-release", RedHat}, {"/etc/SuSE-release", SUSE}, {"/etc/alpine-release", Alpine}, {"/etc/arch-release", Arch}} {
		if s.isFile(old.file) {
			return old.f, nil
		}
	}
	switch {
	case len(s.glob("/[Ww]indows/[Ss]ystem32")) > 0:
		return "", fault.Operator(CodeWindows, "start the target from Windows' own repair disk, or install the virtio drivers on the source before it is moved block level",
			errors.New("a Windows system cannot be configured from outside yet"))
	case !s.isDir("/etc") || !s.isDir("/lib/modules") && !s.isDir("/boot"):
		return "", fault.Operator(CodeNotLinux, "name the directory where the root filesystem of the received system is mounted", errors.New("no Linux system there: /etc, /boot and /lib/modules are missing"))
	}
	s.warn("the distribution is not known: files and programs are looked for by their usual names")
	return Other, nil
}
