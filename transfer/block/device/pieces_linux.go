package device

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/transfer/file"
)

// pieces returns what a device is, first, and then what that lies on.
func (h *host) pieces(n *node, depth int) []Piece {
	self := Piece{h.name(n), 0, n.size}
	if depth >= maxDepth {
		return []Piece{self}
	}
	switch {
	case n.whole != nil:
		return within(h.pieces(n.whole, depth+1), n.start, n.size)
	case n.loop != nil && n.loop.Rdevice != 0: // on a device
		if below := h.numbers[number(n.loop.Rdevice)]; below != nil {
			return within(h.pieces(below, depth+1), int64(n.loop.Offset), n.size)
		}
	case n.loop != nil:
		out := []Piece{{h.fileName(n.loop.Device, n.loop.Inode), int64(n.loop.Offset), n.size}}
		if below := h.numbers[number(n.loop.Device)]; below != nil {
			out = append(out, h.pieces(below, depth+1)...)
		}
		return out
	case n.transparent:
		if below := h.names[n.slaves[0]]; below != nil {
			return h.pieces(below, depth+1)
		}
	}
	out := []Piece{self}
	for _, slave := range n.slaves {
		if below := h.names[slave]; below != nil {
			out = append(out, h.pieces(below, depth+1)...)
		}
	}
	return out
}

// within narrows what a device is to a part of it.
func within(p []Piece, start, size int64) []Piece {
	p[0].Start, p[0].Size = p[0].Start+start, size
	return p
}

// name returns how a device is called in pieces: as in the whole world, or on this kernel.
func (h *host) name(n *node) string {
	if strings.HasPrefix(n.lasting, "wwn:") {
		return n.lasting
	}
	return fmt.Sprintf("device %s/%s@%s", n.number, n.sequence, h.boot)
}

func (h *host) fileName(dev, inode uint64) string {
	return fmt.Sprintf("file %s/%d@%s", number(dev), inode, h.boot)
}

func number(dev uint64) string { return fmt.Sprintf("%d:%d", unix.Major(dev), unix.Minor(dev)) }

// device returns the identity of the block device with a number.
func (h *host) device(rdev uint64, size int64) Identity {
	n := h.numbers[number(rdev)]
	if n == nil { // made after the list was read, or hidden
		n = &node{number: number(rdev), size: size}
	}
	pieces := h.pieces(n, 0)
	return Identity{Key: h.deviceKey(n, pieces), Pieces: pieces}
}

// deviceKey returns the key of a device: the name of its disk that lasts longest, and where on it.
func (h *host) deviceKey(n *node, pieces []Piece) string {
	name := pieces[0].Of
	switch {
	case n.lasting != "":
		name = n.lasting
	case n.whole != nil && n.whole.lasting != "":
		name = n.whole.lasting
	}
	return fmt.Sprintf("%s:%d+%d", name, pieces[0].Start, n.size)
}

// image returns the identity of an open image. Its key tells a file made anew of the same inode by its birth.
func (h *host) image(fd int, st *unix.Stat_t) Identity {
	out := Identity{Pieces: []Piece{{h.fileName(st.Dev, st.Ino), 0, maxImage}}}
	if id, err := file.MountID(fd); err == nil {
		for _, m := range h.mounts {
			if uint64(m.ID) == id {
				for _, n := range h.filesystem(m) {
					out.Pieces = append(out.Pieces, h.pieces(n, 1)...)
				}
			}
		}
	}
	out.Key = out.Pieces[0].Of
	var fs unix.Statfs_t
	var x unix.Statx_t
	if unix.Fstatfs(fd, &fs) == nil && fs.Fsid.Val != [2]int32{} && unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_BTIME, &x) == nil && x.Mask&unix.STATX_BTIME != 0 {
		out.Key = fmt.Sprintf("image:%08x%08x/%d/%d.%09d", uint32(fs.Fsid.Val[0]), uint32(fs.Fsid.Val[1]), st.Ino, x.Btime.Sec, x.Btime.Nsec)
	}
	return out
}

// maxImage is the size of an image in its identity: it may grow.
const maxImage = 1 << 61

// filesystem returns the devices that a mounted filesystem lies on: those of a Btrfs have no number in the table of mounts.
func (h *host) filesystem(m *mountinfo.Info) []*node {
	if n := h.numbers[fmt.Sprintf("%d:%d", m.Major, m.Minor)]; n != nil {
		return []*node{n}
	}
	n := h.named(m.Source)
	if n == nil {
		return nil
	}
	if m.FSType == "btrfs" {
		for _, id := range h.list("sys/fs/btrfs") {
			members := h.list(filepath.Join("sys/fs/btrfs", id, "devices"))
			if !slices.Contains(members, n.name) {
				continue
			}
			var out []*node
			for _, name := range members {
				if member := h.names[name]; member != nil {
					out = append(out, member)
				}
			}
			return out
		}
	}
	return []*node{n}
}

// named finds a device by the path that the kernel or a tool gave it, nil when there is none.
func (h *host) named(path string) *node {
	for _, n := range h.names {
		if n.path == path || "/dev/"+n.name == path {
			return n
		}
	}
	return nil
}

// mountsOn returns the filesystems mounted from what an identity is, or from what lies on it. What lies on another comes before it.
func (h *host) mountsOn(id Identity) (out []Mount, err error) {
	depth := map[string]int{}
	seen := map[string]bool{}
	for _, m := range h.mounts {
		for _, n := range h.filesystem(m) {
			pieces := h.pieces(n, 0)
			// One filesystem may be mounted at many places; the first tells of it. All mounts of a Btrfs have one device in common.
			if seen[n.number] || !(Identity{Pieces: pieces}).liesOn(id) {
				continue
			}
			for _, member := range h.filesystem(m) {
				seen[member.number] = true
			}
			depth[m.Mountpoint] = len(pieces)
			out = append(out, Mount{Dir: m.Mountpoint, Type: m.FSType, Device: n.path, ReadOnly: hasOption(m.VFSOptions, "ro")})
			break
		}
	}
	// What lies on another has all of its pieces, and more.
	slices.SortStableFunc(out, func(a, b Mount) int { return depth[b.Dir] - depth[a.Dir] })
	return out, nil
}

func hasOption(list, option string) bool { return slices.Contains(strings.Split(list, ","), option) }
