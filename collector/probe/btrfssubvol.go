package probe

import (
	"fmt"
	"sort"

	"github.com/ferry-migrate/ferry/collector/inventory"
)

// BtrfsSubvolumes gathers subvolumes from the items of the tree of tree roots. The items come from the trees of an unmounted
// filesystem, or from the kernel (BTRFS_IOC_TREE_SEARCH_V2) for a mounted one; they are decoded here for both.
type BtrfsSubvolumes struct {
	// Default is the id of the subvolume that is mounted when none is named.
	Default uint64
	roots   map[uint64]*btrfsSubvol
}

type btrfsSubvol struct {
	inventory.Subvolume
	root uint64 // logical address of its root block
	dir  uint64 // directory of the parent that it lies in
	name string
	seen bool // has a root item
}

// Add takes one item of the tree of tree roots; items of no interest are ignored. It fails when there are too many subvolumes.
func (s *BtrfsSubvolumes) Add(object uint64, kind byte, offset uint64, data []byte) error {
	if s.roots == nil {
		s.roots = map[uint64]*btrfsSubvol{}
		s.Default = btrfsFSTree
	}
	if object == btrfsRootDir && kind == btrfsDirItem {
		if len(data) >= 37 && string(data[30:]) == "default" {
			s.Default = le.Uint64(data)
		}
		return nil
	}
	if object != btrfsFSTree && (object < btrfsFirstFree || object > btrfsLastFree) {
		return nil
	}
	if s.roots[object] == nil && (kind == btrfsRootItem || kind == btrfsRootBackref) {
		if len(s.roots) >= maxSubvolumes {
			return errTooMany
		}
		s.roots[object] = &btrfsSubvol{Subvolume: inventory.Subvolume{ID: object}}
	}
	r := s.roots[object]
	switch kind {
	case btrfsRootItem:
		// struct btrfs_root_item; the part with UUIDs is absent in filesystems older than Linux 3.6.
		if len(data) < 239 {
			return nil
		}
		r.seen, r.Generation, r.root = true, le.Uint64(data[160:]), le.Uint64(data[176:])
		r.ReadOnly = le.Uint64(data[208:])&1 != 0
		r.Snapshot = offset != 0 && object != btrfsFSTree // the key carries the transaction of a snapshot
		if len(data) >= 295 {
			r.UUID, r.ParentUUID, r.Received = uuid(data[247:]), uuid(data[263:]), uuid(data[279:])
		}
	case btrfsRootBackref:
		if len(data) < 18 || int(le.Uint16(data[16:])) > len(data)-18 {
			return nil
		}
		r.Parent, r.dir = offset, le.Uint64(data)
		r.name = text(data[18:][:le.Uint16(data[16:])])
	}
	return nil
}

var errTooMany = fmt.Errorf("%w: more than %d subvolumes", errBtrfs, maxSubvolumes)

// List returns the subvolumes without the top level, sorted by id. directory returns the path, with a slash at its end, of a
// directory inside a parent subvolume, given by the logical address of its root block or, from the kernel, its id (see
// ListMounted); where it fails the path begins with "?/".
func (s *BtrfsSubvolumes) List(directory func(root, inode uint64) (string, error)) []inventory.Subvolume {
	return s.list(func(parent *btrfsSubvol, inode uint64) (string, error) { return directory(parent.root, inode) })
}

// ListMounted is List with the parent given by its id.
func (s *BtrfsSubvolumes) ListMounted(directory func(id, inode uint64) (string, error)) []inventory.Subvolume {
	return s.list(func(parent *btrfsSubvol, inode uint64) (string, error) { return directory(parent.ID, inode) })
}

func (s *BtrfsSubvolumes) list(directory func(*btrfsSubvol, uint64) (string, error)) []inventory.Subvolume {
	out := []inventory.Subvolume{}
	local := map[uint64]string{} // path inside the parent
	for id, r := range s.roots {
		parent := s.roots[r.Parent]
		if id == btrfsFSTree || parent == nil {
			continue
		}
		dir, err := directory(parent, r.dir)
		if err != nil {
			dir = "?/"
		}
		local[id] = dir + r.name
	}
	for id, r := range s.roots {
		if id == btrfsFSTree || !r.seen || r.Parent == 0 { // without a parent: deleted, waiting to be cleaned
			continue
		}
		v := r.Subvolume
		v.Path = local[id]
		for up, depth := r.Parent, 0; up != btrfsFSTree && depth < maxSubvolumeDepth; depth++ {
			p := s.roots[up]
			if p == nil {
				break
			}
			v.Path, up = local[up]+"/"+v.Path, p.Parent
		}
		out = append(out, v)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].ID < out[j].ID })
	return out
}
