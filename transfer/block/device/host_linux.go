package device

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// maxDepth bounds how many devices lie on one another.
const maxDepth = 16

// host is what the kernel tells of its block devices, which lies on which, and what is mounted.
type host struct {
	root    string
	boot    string // id of the running kernel: numbers mean something on it only
	numbers map[string]*node
	names   map[string]*node
	mounts  []*mountinfo.Info
}

// node is one block device (linux/Documentation/ABI/stable/sysfs-block).
type node struct {
	name, number string // "sda1", "8:1"
	path         string // "/dev/sda1", "/dev/mapper/vg0-root"
	lasting      string // name across reboots, or ""
	sequence     string // counts media, on kernels since 5.15
	size         int64
	whole        *node // of a partition
	start        int64 // of a partition
	slaves       []string
	transparent  bool // the same bytes as each of its slaves: multipath
	loop         *unix.LoopInfo64
}

// readHost reads sysfs and the mounts below root.
func readHost(root string) (*host, error) {
	h := &host{root: root, numbers: map[string]*node{}, names: map[string]*node{}}
	h.boot = h.read("proc/sys/kernel/random/boot_id")
	entries, err := os.ReadDir(h.path("sys/block"))
	if err != nil {
		return nil, fmt.Errorf("list block devices: %w", err)
	}
	for _, e := range entries {
		h.add(e.Name())
	}
	f, err := os.Open(h.path("proc/self/mountinfo"))
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	defer f.Close()
	if h.mounts, err = mountinfo.GetMountsFromReader(f, nil); err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	return h, nil
}

func (h *host) path(name string) string { return filepath.Join(h.root, name) }

// read returns an attribute, "" when there is none.
func (h *host) read(name string) string {
	b, err := os.ReadFile(h.path(name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func (h *host) count(name string) int64 {
	n, err := strconv.ParseInt(h.read(name), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// list returns the names in a directory.
func (h *host) list(name string) (out []string) {
	entries, _ := os.ReadDir(h.path(name))
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// add takes up a device and its partitions.
func (h *host) add(name string) {
	dir := filepath.Join("sys/block", name)
	d := h.node(dir, name)
	if d.number == "" || d.size == 0 {
		return
	}
	d.slaves = h.list(dir + "/slaves")
	d.lasting, d.sequence = h.lasting(dir), h.read(dir+"/diskseq")
	if dm := h.read(dir + "/dm/name"); dm != "" {
		d.path = "/dev/mapper/" + dm
		d.transparent = strings.HasPrefix(h.read(dir+"/dm/uuid"), "mpath-") && len(d.slaves) > 0
	}
	if h.read(dir+"/loop/backing_file") != "" {
		d.loop = h.askLoop(name)
	}
	for _, sub := range h.list(dir) {
		if at := filepath.Join(dir, sub); strings.HasPrefix(sub, name) && h.count(at+"/partition") > 0 {
			p := h.node(at, sub)
			p.whole, p.start = d, h.count(at+"/start")*512
		}
	}
}

func (h *host) node(dir, name string) *node {
	n := &node{name: name, number: h.read(dir + "/dev"), path: "/dev/" + strings.ReplaceAll(name, "!", "/"), size: h.count(dir+"/size") * 512}
	h.numbers[n.number], h.names[name] = n, n
	return n
}

// lasting returns a name that a disk keeps across reboots, and that no other has.
func (h *host) lasting(dir string) string {
	for _, attribute := range []string{"wwid", "device/wwid"} {
		if id := h.read(filepath.Join(dir, attribute)); worldWide(id) {
			return "wwn:" + id
		}
	}
	if id := h.read(dir + "/dm/uuid"); id != "" {
		return "dm:" + id
	}
	if id := h.read(dir + "/md/uuid"); id != "" {
		return "md:" + id
	}
	for _, attribute := range []string{"serial", "device/serial"} {
		if id := h.read(filepath.Join(dir, attribute)); id != "" {
			return "serial:" + h.read(dir+"/device/model") + ":" + id
		}
	}
	return ""
}

// worldWide tells identifiers that are given out once in the world from those that a hypervisor makes of a serial number which every
// machine of its kind has ("t10.", "nvme.").
func worldWide(id string) bool {
	kind, rest, _ := strings.Cut(id, ".")
	return slices.Contains([]string{"naa", "eui", "uuid"}, kind) && strings.Trim(rest, "0-") != ""
}

// askLoop asks a loop device what it shows. The name that sysfs has is that of the mount namespace, and of the day, it was made in; the inode is not.
func (h *host) askLoop(name string) *unix.LoopInfo64 {
	fd, err := unix.Open(h.path("dev/"+name), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	info, err := unix.IoctlLoopGetStatus64(fd)
	if err != nil {
		return nil
	}
	return info
}
