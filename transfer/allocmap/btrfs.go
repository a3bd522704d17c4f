package allocmap

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/ferry-migrate/ferry/transfer/extent"
)

// Features of Btrfs that this package knows (linux/include/uapi/linux/btrfs.h). Left out on purpose: zoned, extent-tree-v2 and
// raid-stripe-tree, which keep their extents elsewhere.
const (
	btrfsIncompatKnown = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x20 | 0x40 | 0x80 | 0x100 | 0x200 | btrfsMetadataUUID | 0x800 | 0x10000 // … simple quotas
	btrfsROKnown       = 0x1 | 0x2 | 0x4 | btrfsBlockGroupTree                                                                   // free space tree, its validity, verity
	btrfsFlagsKnown    = 0x1 | 0x2 | 1<<32                                                                                       // written, relocation, seeding

	btrfsMetadataUUID   = 0x400
	btrfsBlockGroupTree = 0x8
)

// btrfsSupers are the places of the superblock and its copies; what lies before the first is kept for boot loaders.
var btrfsSupers = []int64{64 << 10, 64 << 20, 256 << 30}

const (
	btrfsSuperSize = 4 << 10
	btrfsReserved  = 1 << 20 // nothing is allocated below on any device
)

func isBtrfs(v *volume) bool { return v.has(64<<10+64, "_BHRfS_M") }

// btrfsSuper is a superblock (linux/include/uapi/linux/btrfs_tree.h, struct btrfs_super_block).
type btrfsSuper struct {
	fsid, metaID                []byte
	generation, chunkGeneration uint64
	root, chunkRoot, log        uint64 // logical addresses
	rootLevel, chunkLevel       byte
	devices, incompat, compatRO uint64
	flags, deviceID, deviceSize uint64
	sector, node                uint32
	csum                        uint16
	sysChunks, deviceUUID       []byte
}

func readBtrfs(v *volume) (*btrfsSuper, error) {
	b, err := v.read(btrfsSupers[0], btrfsSuperSize)
	if err != nil {
		return nil, err
	}
	s := &btrfsSuper{
		fsid: b[0x20:0x30], flags: le.Uint64(b[0x38:]), generation: le.Uint64(b[0x48:]),
		root: le.Uint64(b[0x50:]), chunkRoot: le.Uint64(b[0x58:]), log: le.Uint64(b[0x60:]),
		devices: le.Uint64(b[0x88:]), sector: le.Uint32(b[0x90:]), node: le.Uint32(b[0x94:]), chunkGeneration: le.Uint64(b[0xA4:]),
		compatRO: le.Uint64(b[0xB4:]), incompat: le.Uint64(b[0xBC:]), csum: le.Uint16(b[0xC4:]),
		rootLevel: b[0xC6], chunkLevel: b[0xC7],
		deviceID: le.Uint64(b[0xC9:]), deviceSize: le.Uint64(b[0xD1:]), deviceUUID: b[0xC9+66:][:16],
	}
	if s.metaID = s.fsid; s.incompat&btrfsMetadataUUID != 0 {
		s.metaID = b[0x23B:0x24B]
	}
	chunks := le.Uint32(b[0xA0:])
	switch {
	case le.Uint64(b[0x30:]) != uint64(btrfsSupers[0]) || chunks > 2048:
		return nil, errors.New("the superblock is damaged")
	case s.csum > 3 || !btrfsSum(s.csum, b):
		return nil, errors.New("the checksum of the superblock is wrong")
	case s.incompat&^btrfsIncompatKnown != 0:
		return nil, fmt.Errorf("it has unknown features: incompat %#x", s.incompat&^btrfsIncompatKnown)
	case s.compatRO&^btrfsROKnown != 0:
		return nil, fmt.Errorf("it has unknown features: read-only compat %#x", s.compatRO&^btrfsROKnown)
	case s.flags&^btrfsFlagsKnown != 0:
		return nil, fmt.Errorf("its superblock has unknown flags, or recorded errors: %#x", s.flags&^btrfsFlagsKnown)
	case !powerOfTwo(uint64(s.sector), 512, 64<<10) || !powerOfTwo(uint64(s.node), uint64(s.sector), 64<<10):
		return nil, errors.New("impossible block size")
	case s.deviceID == 0:
		return nil, errors.New("it is being put in the place of another device")
	case s.deviceSize > uint64(v.size):
		return nil, fmt.Errorf("the filesystem has %d bytes of the device, which has %d", s.deviceSize, v.size)
	}
	s.sysChunks = b[0x32B:][:chunks]
	return s, nil
}

// btrfsSum checks the checksum of a block, which covers all but its first 32 bytes. xxhash (1) and BLAKE2b (3) are not
// computed: what else identifies a block is compared anyway, see btrfsTrees.node.
func btrfsSum(kind uint16, b []byte) bool {
	switch kind {
	case 0:
		return le.Uint32(b) == crc32.Checksum(b[32:], castagnoli)
	case 2:
		sum := sha256.Sum256(b[32:])
		return bytes.Equal(sum[:], b[:32])
	default:
		return true
	}
}

// collectBtrfs keeps a member until all are known.
func (s *scan) collectBtrfs(v *volume) error {
	super, err := readBtrfs(v)
	if err != nil {
		return err
	}
	id := hex.EncodeToString(super.fsid)
	if s.btrfs[id] == nil {
		s.order = append(s.order, id)
	}
	s.btrfs[id] = append(s.btrfs[id], v)
	return nil
}

// scanBtrfs reads one filesystem from its members; what cannot be told of it is in use on all of them.
func scanBtrfs(members []*volume) {
	err := mapBtrfs(members)
	for _, v := range members {
		if err != nil {
			v.whole(err.Error())
		}
	}
}

func mapBtrfs(members []*volume) error {
	t := &btrfsTrees{devices: map[uint64]*volume{}, ids: map[uint64][]byte{}}
	for _, v := range members {
		s, err := readBtrfs(v)
		if err != nil {
			return err
		}
		if t.devices[s.deviceID] != nil {
			return fmt.Errorf("device %d of the filesystem is there twice", s.deviceID)
		}
		if t.super != nil && s.generation != t.super.generation {
			return errors.New("its devices are of different times")
		}
		v.used = extent.NewSet(max(limitExtents/len(members), 1<<12))
		t.super = s
		t.devices[s.deviceID], t.ids[s.deviceID] = v, s.deviceUUID
		v.use(0, btrfsReserved)
		for _, at := range btrfsSupers {
			v.use(at, btrfsSuperSize)
		}
		v.tail(int64(s.deviceSize))
	}
	if n := uint64(len(members)); n < t.super.devices {
		for _, v := range members {
			v.note("%d of the filesystem's %d devices are missing", t.super.devices-n, t.super.devices)
		}
	}
	if err := t.loadChunks(); err != nil {
		return err
	}
	if t.super.log != 0 {
		// Blocks of the log trees, and what they refer to, are in no extent tree until the log is replayed.
		for _, v := range members {
			v.note("the log was not replayed: all chunks are taken as a whole")
		}
		for _, c := range t.chunks {
			t.use(c, c.start, c.length)
		}
		return nil
	}
	return t.scan()
}
