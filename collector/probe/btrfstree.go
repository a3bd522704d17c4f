package probe

import (
	"errors"
	"fmt"
	"sort"

	"github.com/ferry-migrate/ferry/collector/inventory"
)

// Object ids, key types and limits of the trees that are read (linux/include/uapi/linux/btrfs_tree.h).
const (
	btrfsFSTree       = 5
	btrfsRootDir      = 6
	btrfsFirstFree    = 256
	btrfsLastFree     = ^uint64(0) - 255
	btrfsInodeRef     = 12
	btrfsDirItem      = 84
	btrfsRootItem     = 132
	btrfsRootBackref  = 144
	btrfsChunkItem    = 228
	btrfsHeader       = 101
	maxBtrfsRead      = 512 << 20 // bytes of tree blocks read in all
	maxBtrfsChunks    = 1 << 20
	maxSubvolumes     = 65_535
	maxSubvolumeDepth = 256
)

type btrfsKey struct {
	object uint64
	kind   byte
	offset uint64
}

func (a btrfsKey) less(b btrfsKey) bool {
	if a.object != b.object {
		return a.object < b.object
	}
	if a.kind != b.kind {
		return a.kind < b.kind
	}
	return a.offset < b.offset
}

func decodeKey(b []byte) btrfsKey {
	return btrfsKey{le.Uint64(b), b[8], le.Uint64(b[9:])}
}

// btrfsChunk maps a run of logical addresses to devices.
type btrfsChunk struct {
	start, length, stripe, kind uint64
	stripes                     []btrfsStripe
	sub                         uint64
}

type btrfsStripe struct{ device, offset uint64 }

// btrfsTrees reads the trees of an unmounted filesystem.
type btrfsTrees struct {
	super   btrfsSuper
	devices map[uint64]*image
	chunks  []btrfsChunk // sorted by start
	read    int64        // bytes so far
}

var errBtrfs = errors.New("the Btrfs trees cannot be read")

func (t *btrfsTrees) fail(format string, a ...any) error {
	return fmt.Errorf("%w: %s", errBtrfs, fmt.Sprintf(format, a...))
}

// describe fills what only the trees know.
func (t *btrfsTrees) describe(out *inventory.Btrfs) error {
	if err := t.loadChunks(); err != nil {
		return err
	}
	out.Profiles = t.profiles()
	var set BtrfsSubvolumes
	err := t.walk(t.super.root, btrfsKey{}, btrfsKey{^uint64(0), 255, ^uint64(0)}, func(k btrfsKey, data []byte) error {
		return set.Add(k.object, k.kind, k.offset, data)
	})
	if err != nil {
		return err
	}
	out.DefaultSubvolume = set.Default
	out.Subvolumes = set.List(t.directory)
	return nil
}

// loadChunks reads the chunks that the superblock carries, which lead to the tree that has them all.
func (t *btrfsTrees) loadChunks() error {
	for b := t.super.sysChunks; len(b) >= 17+48; {
		n, err := t.addChunk(decodeKey(b), b[17:])
		if err != nil {
			return err
		}
		b = b[17+n:]
	}
	sort.Slice(t.chunks, func(i, j int) bool { return t.chunks[i].start < t.chunks[j].start })
	system := len(t.chunks)
	err := t.walk(t.super.chunkRoot, btrfsKey{}, btrfsKey{^uint64(0), 255, ^uint64(0)}, func(k btrfsKey, data []byte) error {
		if k.kind != btrfsChunkItem {
			return nil
		}
		_, err := t.addChunk(k, data)
		return err
	})
	all := append([]btrfsChunk(nil), t.chunks[system:]...) // the tree repeats those of the superblock
	if err != nil || len(all) == 0 {
		return err
	}
	sort.Slice(all, func(i, j int) bool { return all[i].start < all[j].start })
	t.chunks = all
	return nil
}

func (t *btrfsTrees) addChunk(k btrfsKey, b []byte) (n int, err error) {
	if len(b) < 48 {
		return 0, t.fail("short chunk")
	}
	stripes := int(le.Uint16(b[44:]))
	n = 48 + 32*stripes
	if k.kind != btrfsChunkItem || stripes == 0 || len(b) < n || len(t.chunks) >= maxBtrfsChunks {
		return 0, t.fail("impossible chunk")
	}
	c := btrfsChunk{start: k.offset, length: le.Uint64(b), stripe: le.Uint64(b[16:]), kind: le.Uint64(b[24:]), sub: uint64(le.Uint16(b[46:]))}
	if c.length == 0 || c.stripe == 0 || c.start+c.length < c.start {
		return 0, t.fail("impossible chunk")
	}
	for i := 0; i < stripes; i++ {
		s := b[48+32*i:]
		c.stripes = append(c.stripes, btrfsStripe{le.Uint64(s), le.Uint64(s[8:])})
	}
	t.chunks = append(t.chunks, c)
	return n, nil
}

// Bits of a chunk's type.
var btrfsProfileNames = []struct {
	bit  uint64
	name string
}{{1 << 3, "RAID0"}, {1 << 4, "RAID1"}, {1 << 5, "DUP"}, {1 << 6, "RAID10"}, {1 << 7, "RAID5"}, {1 << 8, "RAID6"}, {1 << 9, "RAID1C3"}, {1 << 10, "RAID1C4"}}

func btrfsKind(kind uint64) (use, profile string) {
	profile = "single"
	for _, p := range btrfsProfileNames {
		if kind&p.bit != 0 {
			profile = p.name
		}
	}
	switch kind & 7 {
	case 1:
		use = "data"
	case 2:
		use = "system"
	case 4:
		use = "metadata"
	case 5:
		use = "data+metadata"
	}
	return use, profile
}

func (t *btrfsTrees) profiles() []inventory.BtrfsProfile {
	out := []inventory.BtrfsProfile{}
	at := map[[2]string]int{}
	for _, c := range t.chunks {
		use, profile := btrfsKind(c.kind)
		i, ok := at[[2]string{use, profile}]
		if !ok {
			i = len(out)
			at[[2]string{use, profile}] = i
			out = append(out, inventory.BtrfsProfile{Kind: use, Profile: profile})
		}
		out[i].Size += bounded(c.length)
	}
	return out
}

// block reads the tree block at a logical address from the first copy that is there and sound.
func (t *btrfsTrees) block(logical uint64) ([]byte, error) {
	if t.read += int64(t.super.node); t.read > maxBtrfsRead {
		return nil, t.fail("more than %d bytes of them", maxBtrfsRead)
	}
	i := sort.Search(len(t.chunks), func(i int) bool { return t.chunks[i].start > logical }) - 1
	if i < 0 || logical-t.chunks[i].start >= t.chunks[i].length {
		return nil, t.fail("address %d is in no chunk", logical)
	}
	for _, s := range t.chunks[i].locate(logical - t.chunks[i].start) {
		m := t.devices[s.device]
		if m == nil {
			continue
		}
		b := m.at(bounded(s.offset), int(t.super.node))
		if b != nil && le.Uint64(b[48:]) == logical && uuid(b[32:]) == t.super.metaFSID && btrfsSum(t.super.csumType, b) {
			return b, nil
		}
	}
	return nil, t.fail("no sound copy of the block at %d on the devices that were found", logical)
}

// locate returns the places of a byte of the chunk, one for each copy. Parity is not used to rebuild a missing one.
func (c btrfsChunk) locate(off uint64) []btrfsStripe {
	n := uint64(len(c.stripes))
	data, copies := uint64(1), n
	switch {
	case c.kind&(1<<3) != 0: // RAID0
		data, copies = n, 1
	case c.kind&(1<<6) != 0: // RAID10
		copies = max(c.sub, 1)
		data = max(n/copies, 1)
	case c.kind&(1<<7) != 0 && n > 1: // RAID5
		data, copies = n-1, 1
	case c.kind&(1<<8) != 0 && n > 2: // RAID6
		data, copies = n-2, 1
	}
	stripe := off / c.stripe
	row, column := stripe/data, stripe%data
	if c.kind&(3<<7) != 0 { // the parity moves by one device with each row
		column = (column + row) % n
	}
	var out []btrfsStripe
	for i := uint64(0); i < copies; i++ {
		if at := column*copies + i; at < n {
			s := c.stripes[at]
			out = append(out, btrfsStripe{s.device, s.offset + row*c.stripe + off%c.stripe})
		}
	}
	return out
}

// walk calls f with every item between two keys, both included, of the tree whose root block is at logical.
func (t *btrfsTrees) walk(logical uint64, from, to btrfsKey, f func(btrfsKey, []byte) error) error {
	return t.walkLevel(logical, 8, from, to, f)
}

func (t *btrfsTrees) walkLevel(logical uint64, levels int, from, to btrfsKey, f func(btrfsKey, []byte) error) error {
	b, err := t.block(logical)
	if err != nil {
		return err
	}
	n, level := int(le.Uint32(b[96:])), int(b[100])
	if level >= levels || n < 0 || n > (len(b)-btrfsHeader)/25 {
		return t.fail("impossible block at %d", logical)
	}
	if level == 0 {
		return t.leaf(b, n, from, to, f)
	}
	if n > (len(b)-btrfsHeader)/33 {
		return t.fail("impossible block at %d", logical)
	}
	for i := 0; i < n; i++ {
		p := b[btrfsHeader+33*i:]
		if to.less(decodeKey(p)) {
			return nil
		}
		if i+1 < n && decodeKey(p[33:]).less(from) {
			continue
		}
		if err := t.walkLevel(le.Uint64(p[17:]), level, from, to, f); err != nil {
			return err
		}
	}
	return nil
}

func (t *btrfsTrees) leaf(b []byte, n int, from, to btrfsKey, f func(btrfsKey, []byte) error) error {
	for i := 0; i < n; i++ {
		p := b[btrfsHeader+25*i:]
		k, off, size := decodeKey(p), int64(le.Uint32(p[17:])), int64(le.Uint32(p[21:]))
		if k.less(from) || to.less(k) {
			continue
		}
		if btrfsHeader+off+size > int64(len(b)) {
			return t.fail("item outside its block")
		}
		if err := f(k, b[btrfsHeader+off:][:size]); err != nil {
			return err
		}
	}
	return nil
}

// directory returns the path of a directory inside the subvolume whose root block is at logical: "a/b/", "" for the top.
func (t *btrfsTrees) directory(logical, inode uint64) (string, error) {
	path := ""
	for depth := 0; inode != btrfsFirstFree; depth++ {
		parent, name := uint64(0), ""
		err := t.walk(logical, btrfsKey{inode, btrfsInodeRef, 0}, btrfsKey{inode, btrfsInodeRef, ^uint64(0)}, func(k btrfsKey, data []byte) error {
			if len(data) >= 10 && int(le.Uint16(data[8:])) <= len(data)-10 {
				parent, name = k.offset, text(data[10:10+int(le.Uint16(data[8:]))])
			}
			return nil
		})
		if err != nil {
			return "", err
		}
		if parent == 0 || depth > maxSubvolumeDepth {
			return "", t.fail("directory %d has no path", inode)
		}
		path, inode = name+"/"+path, parent
	}
	return path, nil
}
