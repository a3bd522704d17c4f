package configure

import (
	"context"
	"path"
	"slices"
	"strings"
)

// networkTypes are filesystems whose server may not be reachable from the new machine: without nofail it would wait for them and give up.
var networkTypes = []string{"nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "glusterfs", "fuse.glusterfs", "fuse.sshfs", "fuse.s3fs", "fuse.ceph", "9p", "afs", "lustre", "gpfs", "beegfs"}

// fstab has /etc/fstab name filesystems in a way that holds here, and lets the system start without those that are not here.
func fstab(_ context.Context, s *system) error {
	return s.edit("/etc/fstab", "filesystems by UUID, and none that is missing keeps the system from starting", func(text string) string {
		return s.editTable(text, 6, s.facts.mountLine, "fstab")
	})
}

// crypttab does the same for /etc/crypttab.
func crypttab(_ context.Context, s *system) error {
	return s.edit("/etc/crypttab", "encrypted devices by UUID, and none that is missing keeps the system from starting", func(text string) string {
		return s.editTable(text, 4, s.facts.cryptLine, "crypttab")
	})
}

// editTable hands the fields of each line of a table to change, and puts those that it changed in place of the old. Spaces and comments
// stay as they are. change returns a remark for the report, or "".
func (s *system) editTable(text string, width int, change func(fields []string) string, table string) string {
	lines := strings.SplitAfter(text, "\n")
	for i, line := range lines {
		at := fieldsOf(line, width)
		if len(at) < 2 {
			continue
		}
		fields := make([]string, len(at), width)
		for j, f := range at {
			fields[j] = line[f[0]:f[1]]
		}
		if remark := change(fields[:len(at):width]); remark != "" {
			s.warn("%s: %s", table, remark)
		}
		for j := len(at) - 1; j >= 0; j-- {
			line = line[:at[j][0]] + fields[j] + line[at[j][1]:]
		}
		lines[i] = line
	}
	return strings.Join(lines, "")
}

// fieldsOf returns where the fields of a line are, at most n; none in a comment.
func fieldsOf(line string, n int) (out [][2]int) {
	for i := 0; i < len(line) && len(out) < n; {
		if blank(line[i]) {
			i++
			continue
		}
		if line[i] == '#' {
			break
		}
		start := i
		for i < len(line) && !blank(line[i]) {
			i++
		}
		out = append(out, [2]int{start, i})
	}
	return out
}

func blank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// unescape reads a field of fstab, where \040 is a space.
func unescape(field string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(field)
}

// mountLine changes the fields of one line of fstab: spec, mount point, type, options.
func (f *Facts) mountLine(fields []string) (remark string) {
	if len(fields) < 4 { // mount(8) takes no less
		return ""
	}
	spec, mount, kind := unescape(fields[0]), path.Clean(unescape(fields[1])), fields[2]
	options := strings.Split(fields[3], ",")
	if slices.Contains(networkTypes, kind) {
		fields[3] = withOptions(options, "nofail", "_netdev")
		return ""
	}
	if !isDevice(spec) || slices.Contains(options, "loop") {
		return ""
	}
	if mount[0] != '/' { // swap has none
		mount = ""
	}
	name, here := f.rename(spec, mount)
	if here {
		if name != spec {
			fields[0] = name
		}
		return ""
	}
	if slices.Contains(options, "noauto") || slices.Contains(options, "nofail") {
		return ""
	}
	fields[3] = withOptions(options, "nofail")
	return spec + " is not on this machine: " + fields[1] + " will be passed over (nofail)"
}

// withOptions adds those options that are missing; defaults alone gives way.
func withOptions(options []string, add ...string) string {
	if slices.Contains(options, "noauto") {
		return strings.Join(options, ",")
	}
	for _, o := range add {
		if !slices.Contains(options, o) {
			options = append(options, o)
		}
	}
	return strings.Join(options, ",")
}

// cryptLine changes the fields of one line of crypttab: name, device, key, options.
func (f *Facts) cryptLine(fields []string) (remark string) {
	spec := fields[1]
	if !isDevice(spec) {
		return ""
	}
	name, here := f.rename(spec, "")
	if here {
		fields[1] = name
		return ""
	}
	if len(fields) < 4 { // nowhere to say nofail without moving what the person wrote
		return spec + " of " + fields[0] + " is not on this machine: the system will wait for it"
	}
	options := strings.Split(fields[3], ",")
	if slices.Contains(options, "noauto") || slices.Contains(options, "nofail") {
		return ""
	}
	fields[3] = withOptions(options, "nofail")
	return spec + " of " + fields[0] + " is not on this machine: it will be passed over (nofail)"
}
