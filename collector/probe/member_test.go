package probe

import (
	"encoding/binary"
	"hash/crc32"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// Arrays and pools cannot be made here without their drivers, so their superblocks are made by hand; blkid judges whether they
// are right, and the parser has to agree with it.

// mdV1 is a version 1 superblock of a RAID1 for a device whose superblock is at off.
func mdV1(off int64) []byte {
	b := make([]byte, 256+2*2)
	le.PutUint32(b, 0xa92b4efc)
	le.PutUint32(b[4:], 1)
	copy(b[16:], "0123456789abcdef")
	copy(b[32:], "host:array")
	le.PutUint32(b[72:], 1)
	le.PutUint32(b[92:], 2)
	le.PutUint64(b[144:], uint64(off/512))
	copy(b[168:], "fedcba9876543210")
	le.PutUint32(b[220:], 2)
	var sum uint64
	for i := 0; i < len(b); i += 4 {
		sum += uint64(le.Uint32(b[i:]))
	}
	le.PutUint32(b[216:], uint32(sum&0xffffffff+sum>>32))
	return b
}

func md090() []byte {
	b := make([]byte, 4096)
	for word, v := range map[int]uint32{0: 0xa92b4efc, 1: 0, 2: 90, 3: 0, 5: 0x01020304, 7: 5, 13: 0x05060708, 14: 0x090a0b0c, 15: 0x0d0e0f10} {
		le.PutUint32(b[4*word:], v)
	}
	return b
}

// zfsLabel is the first 256 KiB label of a pool: the list of names and the ring of uberblocks.
func zfsLabel(size int) []byte {
	b := make([]byte, size)
	pair := func(name string, kind uint32, value []byte) []byte {
		p := binary.BigEndian.AppendUint32(nil, uint32(len(name)))
		p = append(p, name...)
		p = append(p, make([]byte, -len(name)&3)...)
		p = binary.BigEndian.AppendUint32(p, kind)
		p = binary.BigEndian.AppendUint32(p, 1)
		p = append(p, value...)
		h := binary.BigEndian.AppendUint32(nil, uint32(len(p)+8))
		return append(binary.BigEndian.AppendUint32(h, uint32(len(p)+8)), p...)
	}
	list := append([]byte{1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, pair("name", 9, append([]byte{0, 0, 0, 4}, "tank"...))...)
	list = append(list, pair("pool_guid", 8, binary.BigEndian.AppendUint64(nil, 1234567890123))...)
	list = append(list, pair("guid", 8, binary.BigEndian.AppendUint64(nil, 42))...)
	for _, label := range []int{0, 256 << 10, size - 512<<10, size - 256<<10} {
		copy(b[label+16<<10:], list)
		for i := 0; i < 128; i++ {
			ub := b[label+128<<10+i<<10:]
			le.PutUint64(ub, 0x00bab10c)
			le.PutUint64(ub[8:], 5000)
			le.PutUint64(ub[16:], uint64(i+1))
		}
	}
	return b
}

func TestMembersLikeBlkid(t *testing.T) {
	tool(t, "blkid")
	const size = 64 << 20
	at := func(off int64, data []byte) func(*os.File) error {
		return func(f *os.File) error { _, err := f.WriteAt(data, off); return err }
	}
	const v10 = (size/512 - 16) &^ 7 * 512
	for _, c := range []struct {
		name, version string
		write         func(*os.File) error
	}{
		{"md 1.0", "1.0", at(v10, mdV1(v10))},
		{"md 1.1", "1.1", at(0, mdV1(0))},
		{"md 1.2", "1.2", at(4096, mdV1(4096))},
		{"md 0.90", "0.90", at(size-64<<10, md090())},
		{"zfs", "", at(0, zfsLabel(size))},
	} {
		t.Run(c.name, func(t *testing.T) {
			img := blank(t, size)
			f, err := os.OpenFile(img, os.O_RDWR, 0)
			require.NoError(t, err)
			defer f.Close()
			require.NoError(t, c.write(f))
			want := blkid(t, img)
			got, err := Content(f, size)
			require.NoError(t, err)
			require.Equal(t, want["TYPE"], got.Type)
			require.Equal(t, want["LABEL"], got.Label)
			if got.Type != "zfs_member" {
				require.Equal(t, want["UUID"], got.UUID)
				require.Equal(t, want["UUID_SUB"], got.Member)
				require.Equal(t, c.version, got.Version)
			} else {
				require.Equal(t, "1234567890123", got.UUID)
			}
		})
	}
}

// TestMirrorMember has a filesystem at the start and the superblock of a mirror at the end: it is a member, and says so of both.
func TestMirrorMember(t *testing.T) {
	tool(t, "mkfs.ext4")
	const size = 64 << 20
	img := blank(t, size)
	run1(t, "mkfs.ext4", "-q", "-F", img, "60000k")
	f, err := os.OpenFile(img, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	const off = (size/512 - 16) &^ 7 * 512
	_, err = f.WriteAt(mdV1(off), off)
	require.NoError(t, err)
	got, err := Content(f, size)
	require.NoError(t, err)
	require.Equal(t, "linux_raid_member", got.Type)
	require.Equal(t, []string{"ext4"}, got.Also)
}

// TestDamagedSuperblock breaks a checksum, and makes a filesystem larger than its device.
func TestDamagedSuperblock(t *testing.T) {
	tool(t, "mkfs.ext4")
	img := blank(t, 64<<20)
	run1(t, "mkfs.ext4", "-q", "-F", img)
	f, err := os.OpenFile(img, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteAt([]byte{7}, 1024+200)
	require.NoError(t, err)
	got, err := Content(f, 32<<20)
	require.NoError(t, err)
	require.Len(t, got.Problems, 2)
}

func TestLVMChecksum(t *testing.T) {
	// lvm2's start value is not the usual one, and it does not invert: against a plain loop over the definition.
	data := []byte("the quick brown fox")
	sum := uint32(lvmCRCStart)
	for _, b := range data {
		sum = crc32.IEEETable[byte(sum)^b] ^ sum>>8
	}
	require.Equal(t, sum, lvmCRC(data))
}

// TestNTFSFixup: the last two bytes of each sector of a record are kept elsewhere in it, and put back before it is read.
func TestNTFSFixup(t *testing.T) {
	rec := make([]byte, 1024)
	copy(rec, "FILE")
	le.PutUint16(rec[4:], 48) // the update sequence …
	le.PutUint16(rec[6:], 3)  // … of one number and two saved words
	le.PutUint16(rec[48:], 0x7777)
	copy(rec[50:], "abcd")
	le.PutUint16(rec[510:], 0x7777)
	le.PutUint16(rec[1022:], 0x7777)
	v := ntfs{m: newImage(patched{base: rec, size: 1024}, 1024), record: 1024}
	got := v.fileRecord(0)
	require.Equal(t, "ab", string(got[510:512]))
	require.Equal(t, "cd", string(got[1022:1024]))
	le.PutUint16(rec[1022:], 0x7778) // a torn write
	require.Nil(t, ntfs{m: newImage(patched{base: rec, size: 1024}, 1024), record: 1024}.fileRecord(0))
}

// TestExtendedLoop: a chain of logical partitions that turns back ends, and is reported.
func TestExtendedLoop(t *testing.T) {
	table, parts, err := Table(patched{base: loopback(), size: 1 << 30}, 1<<30, 512)
	require.NoError(t, err)
	require.Len(t, parts, 1)
	require.Contains(t, table.Problems[0], "turns back")
}
