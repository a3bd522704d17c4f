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
func (s *stack) pieces(n *node, depth int) []Piece {
	self := Piece{s.name(n), 0, n.size}
	if depth >= maxDepth {
		return []Piece{self}
	}
	switch {
	case n.whole != nil:
		return within(s.pieces(n.whole, depth+1), n.start, n.size)
	case n.loop != nil && n.loop.Rdevice != 0: // on a device
		if below := s.numbers[number(n.loop.Rdevice)]; below != nil {
			return within(s.pieces(below, depth+1), int64(n.loop.Offset), n.size)
		}
	case n.loop != nil:
		out := []Piece{{s.fileName(n.loop.Device, n.loop.Inode), int64(n.loop.Offset), n.size}}
		if below := s.numbers[number(n.loop.Device)]; below != nil {
			out = append(out, s.pieces(below, depth+1)...)
		}
		return out
	case n.transparent:
		if below := s.names[n.slaves[0]]; below != nil {
			return s.pieces(below, depth+1)
		}
	}
	out := []Piece{self}
	for _, slave := range n.slaves {
		if below := s.names[slave]; below != nil {
			out = append(out, s.pieces(below, depth+1)...)
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
func (s *stack) name(n *node) string {
	if strings.HasPrefix(n.lasting, "wwn:") {
		return n.lasting
	}
	return fmt.Sprintf("device %s/%s@%s", n.number, n.sequence, s.boot)
}

func (s *stack) fileName(dev, inode uint64) string {
	return fmt.Sprintf("file %s/%d@%s", number(dev), inode, s.boot)
}

func number(dev uint64) string { return fmt.Sprintf("%d:%d", unix.Major(dev), unix.Minor(dev)) }

// device returns the identity of the block device with a number.
func (s *stack) device(rdev uint64, size int64) Identity {
	n := s.numbers[number(rdev)]
	if n == nil { // made after the list was read, or hidden
		n = &node{number: number(rdev), size: size}
	}
	pieces := s.pieces(n, 0)
	key := pieces[0].Of
	if n.lasting != "" {
		key = n.lasting
	} else if n.whole != nil && n.whole.lasting != "" {
		key = n.whole.lasting
	}
	return Identity{Key: fmt.Sprintf("%s:%d+%d", key, pieces[0].Start, n.size), Pieces: pieces}
}

// image returns the identity of an open file. A hard link is the same file; one that was copied over it is not.
func (s *stack) image(fd int, st *unix.Stat_t) Identity {
	out := Identity{Pieces: []Piece{{s.fileName(st.Dev, st.Ino), 0, maxImage}}}
	if id, err := file.MountID(fd); err == nil {
		for _, m := range s.mounts {
			if uint64(m.ID) == id {
				for _, n := range s.filesystem(m) {
					out.Pieces = append(out.Pieces, s.pieces(n, 1)...)
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
func (s *stack) filesystem(m *mountinfo.Info) []*node {
	if n := s.numbers[fmt.Sprintf("%d:%d", m.Major, m.Minor)]; n != nil {
		return []*node{n}
	}
	n := s.named(m.Source)
	if n == nil {
		return nil
	}
	if m.FSType == "btrfs" {
		for _, id := range s.list("sys/fs/btrfs") {
			members := s.list(filepath.Join("sys/fs/btrfs", id, "devices"))
			if !slices.Contains(members, n.name) {
				continue
			}
			var out []*node
			for _, name := range members {
				if member := s.names[name]; member != nil {
					out = append(out, member)
				}
			}
			return out
		}
	}
	return []*node{n}
}

// named finds a device by the path that the kernel or a tool gave it, nil when there is none.
func (s *stack) named(path string) *node {
	for _, n := range s.names {
		if n.path == path || "/dev/"+n.name == path {
			return n
		}
	}
	return nil
}

// mountsOn returns the filesystems mounted from what an identity is, or from what lies on it.
func (s *stack) mountsOn(id Identity) (out []Mount) {
	depth := map[string]int{}
	seen := map[string]bool{}
	for _, m := range s.mounts {
		for _, n := range s.filesystem(m) {
			pieces := s.pieces(n, 0)
			// One filesystem may be mounted at many places; the first tells of it. All mounts of a Btrfs have one device in common.
			if seen[n.number] || !(Identity{Pieces: pieces}).liesOn(id) {
				continue
			}
			for _, member := range s.filesystem(m) {
				seen[member.number] = true
			}
			depth[m.Mountpoint] = len(pieces)
			out = append(out, Mount{Dir: m.Mountpoint, Type: m.FSType, Device: n.path, ReadOnly: hasOption(m.VFSOptions, "ro")})
			break
		}
	}
	// What lies on another has all of its pieces, and more.
	slices.SortStableFunc(out, func(a, b Mount) int { return depth[b.Dir] - depth[a.Dir] })
	return out
}

func hasOption(list, option string) bool { return slices.Contains(strings.Split(list, ","), option) }
