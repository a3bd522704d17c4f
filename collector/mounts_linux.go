package collector

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/collector/inventory"
)

// oneMount bounds the time to ask one filesystem: a network one whose server is gone never answers.
const oneMount = 2 * time.Second

// readMounts lists the mounts of this process's namespace, in the order of the kernel's table. A line that is not understood is
// named in the error, and costs only itself.
func readMounts(r root) ([]inventory.Mount, error) {
	b, err := r.bytes("proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("mount table: %w", err)
	}
	var out []inventory.Mount
	for line := range strings.Lines(string(b)) {
		m, ok := parseMount(line)
		switch {
		case ok:
			m.Source = properName(r, m.Source)
			out = append(out, m)
		case err == nil && strings.TrimSpace(line) != "":
			err = fmt.Errorf("mount table: the line %q is not understood", line)
		}
	}
	markViews(out)
	return out, err
}

// parseMount reads a line of mountinfo (proc_pid_mountinfo(5)): id, parent, device, root, path, options, optional fields up to a
// hyphen, then type, source and options of the filesystem. Each may have escapes; the source may be empty.
func parseMount(line string) (m inventory.Mount, ok bool) {
	f := strings.Split(strings.TrimRight(line, "\n"), " ")
	dash := slices.Index(f, "-")
	if dash < 6 || len(f) < dash+4 {
		return m, false
	}
	id, err1 := strconv.ParseInt(f[0], 10, 64)
	parent, err2 := strconv.ParseInt(f[1], 10, 64)
	if err1 != nil || err2 != nil {
		return m, false
	}
	fs := f[dash+1:]
	m = inventory.Mount{
		ID: id, Parent: parent, Number: f[2], Root: unescape(f[3]), Path: unescape(f[4]), Options: f[5], Type: unescape(fs[0]), Source: unescape(fs[1]), Super: fs[2],
	}
	m.ReadOnly, m.Kind = hasOption(m.Options, "ro") || hasOption(m.Super, "ro"), mountKind(m.Type)
	return m, true
}

// properName turns the kernel's name of a device-mapper device into the one that lasts: dm-1 is /dev/mapper/vg0-swap.
func properName(r root, name string) string {
	if base, ok := strings.CutPrefix(name, "/dev/dm-"); ok {
		if dm := r.read("sys/block/dm-" + filepath.Base(base) + "/dm/name"); dm != "" {
			return "/dev/mapper/" + dm
		}
	}
	return name
}

func hasOption(list, name string) bool {
	for rest := list; rest != ""; {
		var o string
		if o, rest, _ = strings.Cut(rest, ","); o == name {
			return true
		}
	}
	return false
}

// markViews tells bind mounts and hidden mounts. A filesystem mounted twice cannot be told from a bind mount of its whole: the
// first mount counts. Every subvolume of Btrfs has its own root and is no bind mount of another; a directory in one is, but
// which roots are subvolumes only Btrfs knows, so there only the same root again counts.
func markViews(list []inventory.Mount) {
	type view struct{ number, root string }
	device, exact := map[string]bool{}, map[view]bool{}
	for _, m := range list {
		if m.Root == "/" {
			device[m.Number] = true
		}
	}
	for i := range list {
		m := &list[i]
		v := view{m.Number, m.Root}
		m.Bind = exact[v] || m.Kind != "pseudo" && m.Type != "btrfs" && m.Root != "/" && device[m.Number]
		exact[v] = true
	}
	byID := make(map[int64]*inventory.Mount, len(list))
	for i := range list {
		byID[list[i].ID] = &list[i]
	}
	for i := range list {
		if below := byID[list[i].Parent]; below != nil && below != &list[i] && below.Path == list[i].Path {
			below.Overmount = true
		}
	}
	for i := range list { // what is mounted in a hidden mount is hidden with it; parents come first in the table
		m := &list[i]
		if up := byID[m.Parent]; up != nil && up != m && up.Overmount && up.Path != m.Path {
			m.Overmount = true
		}
	}
}

// mountKind sorts the types of filesystem; what is unknown is local, so that nothing with data is overlooked.
func mountKind(fs string) string {
	switch fs {
	case "proc", "sysfs", "devtmpfs", "devpts", "tmpfs", "ramfs", "cgroup", "cgroup2", "securityfs", "debugfs", "tracefs", "pstore", "bpf",
		"configfs", "hugetlbfs", "mqueue", "fusectl", "binfmt_misc", "autofs", "rpc_pipefs", "nsfs", "efivarfs", "selinuxfs", "nfsd", "fuse.gvfsd-fuse",
		"fuse.lxcfs", "rootfs", "squashfs", "iso9660", "resctrl", "sunrpc", "vboxsf", "fuse.portal":
		return "pseudo"
	case "overlay", "overlayfs", "aufs":
		return "overlay"
	case "nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "glusterfs", "fuse.glusterfs", "fuse.sshfs", "fuse.s3fs", "9p", "virtiofs", "afs", "lustre", "gfs2", "ocfs2", "fuse.cephfs":
		return "network"
	}
	if strings.HasPrefix(fs, "fuse.") {
		return "fuse"
	}
	return "local"
}

// collectMounts lists mounts and how full they are, swap, fstab and crypttab.
func collectMounts(r root, stat func(path string) (unix.Statfs_t, error)) func(context.Context) (Fill, error) {
	return func(ctx context.Context) (Fill, error) {
		list, err := readMounts(r)
		missing := measure(ctx, list, stat)
		swaps, fstab, crypttab := readSwaps(r), readFstab(r), readCrypttab(r)
		return func(s *inventory.Server) {
			s.Mounts = append(s.Mounts, list...)
			s.Missing = append(s.Missing, missing...)
			s.Swaps = append(s.Swaps, swaps...)
			s.Fstab = append(s.Fstab, fstab...)
			s.Crypttab = append(s.Crypttab, crypttab...)
		}, err
	}
}

// measure asks how full filesystems are that hold data of their own; one of several views is enough. One of a program (FUSE) may refuse to
// answer even root, and is not migrated anyway.
func measure(ctx context.Context, list []inventory.Mount, stat func(string) (unix.Statfs_t, error)) []inventory.Missing {
	failed := make([]error, len(list))
	inParallel(len(list), 8, func(i int) {
		m := &list[i]
		if m.Kind != "local" && m.Kind != "network" || m.Overmount || m.Bind || stat == nil {
			return
		}
		ctx, cancel := context.WithTimeout(ctx, oneMount)
		defer cancel()
		path := m.Path
		st, err := patiently(ctx, func() (unix.Statfs_t, error) { return stat(path) })
		if err != nil {
			failed[i] = err
			return
		}
		block := st.Frsize
		if block == 0 {
			block = st.Bsize
		}
		if st.Blocks == 0 || st.Bfree > st.Blocks {
			return
		}
		m.Size = int64(st.Blocks) * block
		m.Usage = &inventory.Usage{Used: int64(st.Blocks-st.Bfree) * block, Free: int64(st.Bfree) * block, Source: "statfs"}
		if st.Files > 0 {
			free := int64(st.Ffree)
			m.FreeInodes = &free
		}
	})
	var missing []inventory.Missing
	for i, err := range failed {
		if err != nil {
			missing = append(missing, inventory.Missing{Part: "mounts", Subject: list[i].Path, Reason: fmt.Sprintf("%s of type %s: %v", list[i].Source, list[i].Type, err)})
		}
	}
	return missing
}

func statfs(path string) (st unix.Statfs_t, err error) {
	err = unix.Statfs(path, &st)
	return st, err
}

// unescape undoes the octal escapes of /proc and fstab: blank, tab, newline, backslash, # and any other byte written as three digits.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var out []byte
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && len(s)-i >= 4 {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				out = append(out, byte(n))
				i += 3
				continue
			}
		}
		out = append(out, s[i])
	}
	return string(out)
}

// readSwaps reads /proc/swaps; sizes there are KiB.
func readSwaps(r root) (out []inventory.Swap) {
	lines, _ := r.lines("proc/swaps")
	for _, line := range lines {
		f := strings.Fields(line)
		if len(f) < 4 || f[0] == "Filename" {
			continue
		}
		size, _ := strconv.ParseInt(f[2], 10, 64)
		used, _ := strconv.ParseInt(f[3], 10, 64)
		out = append(out, inventory.Swap{Name: properName(r, unescape(f[0])), File: f[1] == "file", Size: size << 10, Used: used << 10})
	}
	return out
}

// readFstab reads /etc/fstab (fstab(5)): four to six fields.
func readFstab(r root) (out []inventory.FstabEntry) {
	lines, _ := r.lines("etc/fstab")
	for _, line := range lines {
		f := strings.Fields(line)
		if len(f) < 3 {
			continue
		}
		e := inventory.FstabEntry{Spec: strings.Trim(unescape(f[0]), `"`), Path: unescape(f[1]), Type: f[2], Options: "defaults"}
		if len(f) > 3 {
			e.Options = unescape(f[3])
		}
		if len(f) > 4 {
			e.Dump, _ = strconv.Atoi(f[4])
		}
		if len(f) > 5 {
			e.Pass, _ = strconv.Atoi(f[5])
		}
		e.Device = resolve(r, e.Spec)
		out = append(out, e)
	}
	return out
}

// resolve finds the device that a tag stands for by the links that udev keeps; the content of disks is asked later.
func resolve(r root, spec string) string {
	tag, value, ok := strings.Cut(spec, "=")
	dir := map[string]string{"UUID": "by-uuid", "LABEL": "by-label", "PARTUUID": "by-partuuid", "PARTLABEL": "by-partlabel", "ID": "by-id"}[tag]
	link := spec
	if ok && dir != "" {
		link = filepath.Join("/dev/disk", dir, strings.Trim(value, `"'`))
	}
	if !strings.HasPrefix(link, "/dev/") || !r.exists(link) || !r.isHost() {
		return ""
	}
	if real, err := filepath.EvalSymlinks(link); err == nil && !strings.HasPrefix(real, "/dev/dm-") {
		return real
	}
	return link
}

// readCrypttab reads /etc/crypttab (crypttab(5)).
func readCrypttab(r root) (out []inventory.CrypttabEntry) {
	lines, _ := r.lines("etc/crypttab")
	for _, line := range lines {
		f := append(strings.Fields(line), "", "", "")
		if f[1] != "" {
			out = append(out, inventory.CrypttabEntry{Name: f[0], Device: f[1], KeyFile: f[2], Options: f[3]})
		}
	}
	return out
}
