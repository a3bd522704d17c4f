package target

import (
	"errors"
	"fmt"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/file"
)

// Reporter hears what Apply cannot do. Its methods are called from several goroutines; byte slices are valid for the call.
type Reporter interface {
	// Loss: something of the entry at path could not be kept. detail says what, for a person.
	Loss(kind LossKind, path []byte, detail string)
	// Need: the operation found nothing to build on; the source has to send the entry at path whole. The same path may be
	// asked for more than once.
	Need(path []byte, why string)
	// Differ: a check found another value in a field of the entry at path.
	Differ(path []byte, field, want, got string)
}

// TreeOptions configure OpenTree. The zero value is usable.
type TreeOptions struct {
	// StateDir holds the lock where the filesystem of the root cannot lock a directory (NFS). Without it such a root is
	// refused.
	StateDir string
}

// ListOptions configure Tree.List.
type ListOptions struct {
	Content bool // read every file: flags, attributes and digests too
}

// TreeState says what a Tree is based on, for the hello.
type TreeState struct {
	Empty      bool      // nothing there but lost+found and Ferry's own stash
	Device     uint64    // device number
	FSID       uint64    // f_fsid of statfs: made from the filesystem's UUID where it has one
	UUID       string    // of the filesystem, hexadecimal; "" if the kernel (before 6.9) or the filesystem does not tell
	Inode      uint64    // of the root
	Btime      file.Time // birth time of the root; zero if unknown
	Ctime      file.Time // of the root; nothing changes it before BeginPass or after EndPass
	Filesystem string    // "ext4", "xfs" …, or its magic number in hexadecimal
	Free       int64     // bytes that this process can still write
	FreeNodes  int64     // inodes that can still be made; -1 where they have no limit
	Keeps      Keeps
}

// Keeps says what the target can keep. What it cannot is a loss. Known from the first BeginPass on.
type Keeps struct {
	Owner     bool // any user and group
	Mode      bool // permissions, set-id and sticky bits
	Devices   bool // device nodes
	Specials  bool // FIFOs and sockets
	Symlinks  bool
	HardLinks bool
	User      bool   // user.* attributes
	Trusted   bool   // trusted.* attributes
	Security  bool   // security.* attributes
	ACL       bool   // POSIX ACLs
	Flags     uint32 // inode flags of regular files, as in file.KeptFlags
	DirFlags  uint32 // inode flags of directories
	Project   bool   // project ids
	Times     bool   // every nanosecond
	Sparse    bool   // holes can be punched
}

// Codes of the operator errors of a Tree.
const (
	CodePlatform = "FERRY-TARGET-PLATFORM" // not Linux
	CodeRoot     = "FERRY-TARGET-ROOT"     // the root is missing, not a directory or not accessible
	CodeBusy     = "FERRY-TARGET-BUSY"     // another target writes there
	CodeFull     = "FERRY-TARGET-FULL"     // no space or quota left
	CodeReadOnly = "FERRY-TARGET-READONLY" // the filesystem is mounted read-only, or turned so after an error
	CodeMount    = "FERRY-TARGET-MOUNT"    // something was mounted below the root after it was opened
	CodeChanged  = "FERRY-TARGET-CHANGED"  // somebody else replaced directories below the root
	CodeProc     = "FERRY-TARGET-PROC"     // /proc is not mounted
)

// ErrProtocol is in the chain of every error for an operation that an honest source does not send.
var ErrProtocol = errors.New("protocol violation")

func protocolError(format string, args ...any) error {
	return fault.Permanent(fmt.Errorf("%w: %w", ErrProtocol, fmt.Errorf(format, args...)))
}

// errClosed is returned by operations that Close cut short; the session that closes the Tree does not need telling why.
var errClosed = fault.Temporary(errors.New("target is closing"))
