package configure

import (
	"regexp"
	"slices"
	"strings"
)

// unstable are names of devices that the next kernel, or the next machine, gives to others.
var unstable = regexp.MustCompile(`^/dev/(([shv]|xv)d[a-z]+[0-9]*|nvme[0-9].*|mmcblk[0-9].*|cciss/.*|dm-[0-9]+|disk/by-(path|id|diskseq)/.*|root)$`)

// find returns the filesystem that the source called spec, in the words of fstab(5); nil if there is none. A name of the kernel's is the
// source's: it says nothing about the disk of that name here.
func (f *Facts) find(spec string) *Filesystem {
	spec = strings.ReplaceAll(spec, `"`, "")
	key, value, _ := strings.Cut(spec, "=")
	for dir, tag := range map[string]string{"/dev/disk/by-uuid/": "UUID", "/dev/disk/by-label/": "LABEL"} {
		if v, ok := strings.CutPrefix(spec, dir); ok {
			key, value = tag, v
		}
	}
	for i := range f.Filesystems {
		if fs := &f.Filesystems[i]; slices.Contains(fs.Was, spec) {
			return fs
		}
	}
	for i := range f.Filesystems {
		fs := &f.Filesystems[i]
		switch {
		case key == "UUID" && fs.UUID != "" && strings.EqualFold(value, fs.UUID),
			key == "LABEL" && fs.Label != "" && value == fs.Label,
			!unstable.MatchString(spec) && sameVolume(spec, fs.Device):
			return fs
		}
	}
	return nil
}

// sameVolume reports whether two names are of one device: /dev/group/volume is /dev/mapper/group-volume, where hyphens of the names are
// doubled.
func sameVolume(a, b string) bool { return mapperName(a) == mapperName(b) }

func mapperName(name string) string {
	parts := strings.Split(name, "/") // "", dev, group, volume
	if len(parts) != 4 || parts[1] != "dev" || slices.Contains([]string{"mapper", "disk", "md", "cciss"}, parts[2]) {
		return name
	}
	double := func(s string) string { return strings.ReplaceAll(s, "-", "--") }
	return "/dev/mapper/" + double(parts[2]) + "-" + double(parts[3])
}

// rename returns what to call spec from now on, and whether it is there. mount, if not "", is where it is mounted: that decides what no
// name does. Names that stay true stay as they are.
func (f *Facts) rename(spec, mount string) (string, bool) {
	fs := f.find(spec)
	known := fs != nil && !unstable.MatchString(spec) && !slices.Contains(fs.Was, spec)
	if known {
		return spec, true
	}
	if fs == nil && mount != "" {
		fs = f.at(mount)
	}
	if fs == nil || fs.UUID == "" {
		return spec, false
	}
	return "UUID=" + fs.UUID, true
}

// isDevice reports whether an fstab spec means a block device, and not a share, a directory or nothing.
func isDevice(spec string) bool {
	for _, prefix := range []string{"/dev/", "UUID=", "LABEL=", "PARTUUID=", "PARTLABEL=", "ID="} {
		if strings.HasPrefix(spec, prefix) {
			return true
		}
	}
	return false
}
