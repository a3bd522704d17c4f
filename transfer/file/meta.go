package file

import (
	"bytes"
	"errors"

	"github.com/ferry-migrate/ferry/transfer/chunk"
)

// Inode flags, as include/uapi/linux/fs.h numbers them (FS_*_FL); the letter is the one of lsattr.
const (
	FlagSecureDelete uint32 = 0x00000001 // s, stored only
	FlagUndelete     uint32 = 0x00000002 // u, stored only
	FlagCompress     uint32 = 0x00000004 // c
	FlagSync         uint32 = 0x00000008 // S
	FlagImmutable    uint32 = 0x00000010 // i
	FlagAppend       uint32 = 0x00000020 // a
	FlagNoDump       uint32 = 0x00000040 // d
	FlagNoAtime      uint32 = 0x00000080 // A
	FlagNoCompress   uint32 = 0x00000400 // m
	FlagJournalData  uint32 = 0x00004000 // j
	FlagNoTail       uint32 = 0x00008000 // t
	FlagDirSync      uint32 = 0x00010000 // D
	FlagTopDir       uint32 = 0x00020000 // T
	FlagNoCow        uint32 = 0x00800000 // C
	FlagDAX          uint32 = 0x02000000 // x
	FlagProjInherit  uint32 = 0x20000000 // P
	FlagCasefold     uint32 = 0x40000000 // F
)

// KeptFlags are the inode flags that are carried: those a person can set and the target's filesystem may honour.
//
// Left out are flags that say how one filesystem stores one inode (e extents, I indexed directory, h huge, N inline data,
// EA inode) and those that only come with keys or hashes that are not copied (E encrypted, V verity): the walk reports
// the latter two as losses.
const KeptFlags = FlagSecureDelete | FlagUndelete | FlagCompress | FlagSync | FlagImmutable | FlagAppend | FlagNoDump |
	FlagNoAtime | FlagNoCompress | FlagJournalData | FlagNoTail | FlagDirSync | FlagTopDir | FlagNoCow | FlagDAX |
	FlagProjInherit | FlagCasefold

// EmptyFlags are the flags that only take effect on an inode that has no content yet.
const EmptyFlags = FlagCompress | FlagNoCompress | FlagNoCow | FlagCasefold

// GuardFlags are the flags that forbid changes, also to root. They are set last and cleared before a change.
const GuardFlags = FlagImmutable | FlagAppend

// ErrXattrs is returned for an inode whose extended attributes exceed MaxXattrs together.
var ErrXattrs = errors.New("extended attributes too large")

// XattrDigest is what Entry.Xattr holds for the canonical encoding enc: the zero digest if there are no attributes.
func XattrDigest(enc []byte) chunk.Digest {
	if len(enc) == 0 {
		return chunk.Digest{}
	}
	return chunk.Sum(enc)
}

// HostXattr reports whether an extended attribute belongs to the host or filesystem it is on, so that it is neither read
// nor carried, nor removed on the target: security.evm (keyed by this host, covers the inode number), what XFS shows of the
// POSIX ACLs under a second name (trusted.SGI_ACL_*), and what network filesystems make up (system.nfs4_acl, system.cifs_acl,
// ceph.*, lustre.* …).
func HostXattr(name []byte) bool {
	if after, ok := bytes.CutPrefix(name, []byte("system.")); ok {
		return string(after) != "posix_acl_access" && string(after) != "posix_acl_default"
	}
	return string(name) == "security.evm" || bytes.HasPrefix(name, []byte("trusted.SGI_ACL_")) ||
		bytes.HasPrefix(name, []byte("ceph.")) || bytes.HasPrefix(name, []byte("lustre."))
}
