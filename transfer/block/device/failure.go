package device

import (
	"errors"
	"fmt"
	"io"

	"github.com/ferry-migrate/ferry/internal/fault"
)

// Codes of operator errors.
const (
	CodeSourceKind    = "FERRY-SOURCE-KIND"    // neither a block device nor a regular file
	CodeSourceMissing = "FERRY-SOURCE-MISSING" // there is nothing of that name
	CodeSourceRights  = "FERRY-SOURCE-RIGHTS"  // this user may not read it
	CodeSourceWritten = "FERRY-SOURCE-WRITTEN" // another program has the image open for writing
	CodeSourceFailing = "FERRY-SOURCE-FAILING" // so many reads fail that going on makes no sense
	CodeSourceGone    = "FERRY-SOURCE-GONE"    // the device was removed
	CodeSourceChanged = "FERRY-SOURCE-CHANGED" // it became shorter

	CodeTargetKind     = "FERRY-TARGET-KIND"      // neither a block device nor a regular file
	CodeTargetMissing  = "FERRY-TARGET-MISSING"   // there is nothing of that name, and it may not be made
	CodeTargetRights   = "FERRY-TARGET-RIGHTS"    // this user may not write to it
	CodeTargetReadOnly = "FERRY-TARGET-READONLY"  // the device or the filesystem of the image is read-only
	CodeTargetSmall    = "FERRY-TARGET-SMALL"     // it holds less than the source
	CodeTargetMounted  = "FERRY-TARGET-MOUNTED"   // a filesystem on it is mounted
	CodeTargetInUse    = "FERRY-TARGET-IN-USE"    // swap, a volume group, a RAID, a loop device or another program has it
	CodeTargetIsSource = "FERRY-TARGET-IS-SOURCE" // it is the source, under whatever name, or one lies on the other
	CodeTargetData     = "FERRY-TARGET-NOT-EMPTY" // it holds data that nobody agreed to replace
	CodeTargetFull     = "FERRY-TARGET-FULL"      // the filesystem of the image is full
	CodeTargetGone     = "FERRY-TARGET-GONE"      // the device was removed
	CodeTargetFailing  = "FERRY-TARGET-FAILING"   // the disk did not take what was written
)

// sourceFailure gives an error of a read its class.
func sourceFailure(off int64, err error) error {
	err = fmt.Errorf("byte %d: %w", off, err)
	switch {
	case isGone(err):
		return fault.Operator(CodeSourceGone, "attach the device again, then run again: what was copied is kept", err)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fault.Operator(CodeSourceChanged, "let nobody change the size of the source while it is copied, then run again",
			fmt.Errorf("the source became shorter: %w", err))
	}
	return fault.Permanent(err)
}

// failure gives an error of the target its class. The space that is left is told with it: a full filesystem is the usual reason.
func (t *Target) failure(what string, off int64, err error) error {
	err = fmt.Errorf("%s %s at byte %d: %w", what, t.path, off, err)
	switch {
	case isFull(err):
		return fault.Operator(CodeTargetFull, "free space on the target or enlarge it, then run again: what is there is kept", fmt.Errorf("%w: %s", err, t.room()))
	case isGone(err):
		return fault.Operator(CodeTargetGone, "attach the device again, then run again: what is there is kept", err)
	case isMedium(err):
		return fault.Operator(CodeTargetFailing, "read the kernel's log; replace the disk, or free space in what lies below it (a thin pool, an image), then run again", err)
	}
	return fault.Permanent(err)
}
