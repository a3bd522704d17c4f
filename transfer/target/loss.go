package target

// LossKind names one thing a target could not keep of an entry. The names are stable: scripts match them.
type LossKind uint8

// The kinds of loss. Each is reported at most once per entry and operation.
const (
	LossOwner         LossKind = iota // user or group
	LossMode                          // permission, set-id or sticky bits
	LossXattrUser                     // attributes user.*
	LossXattrTrusted                  // attributes trusted.*
	LossXattrSecurity                 // attributes security.* but for capabilities
	LossXattrOther                    // attributes of any other namespace
	LossACL                           // POSIX access or default ACL
	LossCapability                    // file capability
	LossFlags                         // inode flags
	LossProject                       // project id
	LossDevice                        // character or block device node
	LossSpecial                       // FIFO or socket
	LossName                          // the filesystem refuses the name
	LossSymlinkLong                   // the symbolic link points to a longer path than the filesystem stores
	LossSymlink                       // the filesystem has no symbolic links
	LossHardLink                      // the name became a file of its own
	LossTime                          // a time out of range or too fine for the filesystem
	LossSparse                        // a hole became zeroes
	LossTooLarge                      // the file is larger than the filesystem allows
	LossNotReplaced                   // what is there cannot be removed or changed
	lossEnd
)

// lossTable gives each kind its stable name and what a person can do about it.
var lossTable = [lossEnd]struct{ name, remedy string }{
	LossOwner:         {"owner", "run the target as root, outside a user namespace, on a filesystem that stores owners"},
	LossMode:          {"mode", "run the target as root, on a filesystem that stores permissions"},
	LossXattrUser:     {"xattr_user", "use a target filesystem with user attributes and large enough inodes"},
	LossXattrTrusted:  {"xattr_trusted", "run the target as root on a filesystem with trusted attributes"},
	LossXattrSecurity: {"xattr_security", "run the target as root on a filesystem with security attributes"},
	LossXattrOther:    {"xattr_other", "use the same filesystem as the source"},
	LossACL:           {"acl", "use a target filesystem with POSIX ACLs, mounted with acl"},
	LossCapability:    {"capability", "run the target as root on a filesystem with security attributes"},
	LossFlags:         {"flags", "run the target as root on the same filesystem as the source"},
	LossProject:       {"project", "use XFS, or ext4 made with -O project, and run the target as root"},
	LossDevice:        {"device", "run the target as root, outside a container"},
	LossSpecial:       {"special", "use a target filesystem with FIFOs and sockets"},
	LossName:          {"name", "use a target filesystem that allows the name, or rename the file on the source"},
	LossSymlinkLong:   {"symlink_long", "use a target filesystem with symbolic links of 4095 bytes, for example ext4 with 4 KiB blocks"},
	LossSymlink:       {"symlink", "use a target filesystem with symbolic links"},
	LossHardLink:      {"hard_link", "use a target filesystem that allows as many hard links"},
	LossTime:          {"time", "use a target filesystem with nanosecond times beyond 2038, for example ext4 with 256-byte inodes"},
	LossSparse:        {"sparse", "use a target filesystem that can punch holes"},
	LossTooLarge:      {"too_large", "use a target filesystem for larger files"},
	LossNotReplaced:   {"not_replaced", "run the target as root, or remove the entry on the target by hand"},
}

// String returns the stable lower-case name of the kind.
func (k LossKind) String() string {
	if k >= lossEnd {
		return "unknown"
	}
	return lossTable[k].name
}

// Remedy returns one phrase that says what to change so that nothing is lost.
func (k LossKind) Remedy() string {
	if k >= lossEnd {
		return ""
	}
	return lossTable[k].remedy
}

// RemedyOf returns the remedy of the kind with this stable name, or "".
func RemedyOf(name string) string {
	for _, k := range lossTable {
		if k.name == name {
			return k.remedy
		}
	}
	return ""
}
