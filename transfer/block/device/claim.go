package device

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/ferry-migrate/ferry/collector/blockdev"
	"github.com/ferry-migrate/ferry/internal/durable"
	"github.com/ferry-migrate/ferry/internal/fault"
)

// OpenTarget claims a block device or an image file for writing, or says why not. Errors: FERRY-TARGET-KIND, FERRY-TARGET-RIGHTS, FERRY-TARGET-MISSING,
// FERRY-TARGET-READONLY, FERRY-TARGET-SMALL, FERRY-TARGET-MOUNTED, FERRY-TARGET-IN-USE, FERRY-TARGET-IS-SOURCE, FERRY-TARGET-NOT-EMPTY, FERRY-TARGET-FULL.
func OpenTarget(path string, o TargetOptions) (*Target, error) {
	dev, err := blockdev.Open(path)
	fresh := o.Create && errors.Is(err, fs.ErrNotExist)
	if fresh {
		if err := create(path); err != nil {
			return nil, targetRefused(path, err)
		}
		dev, err = blockdev.Open(path)
	}
	if err != nil {
		return nil, targetRefused(path, err)
	}
	t := &Target{facts: factsOf(dev.Info()), dev: dev, fresh: fresh}
	if err := t.claim(o); err != nil {
		t.Close()
		if fresh {
			os.Remove(path)
		}
		return nil, err
	}
	return t, nil
}

// create makes an image file of no size.
func create(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	f.Close()
	return durable.SyncDir(filepath.Dir(path))
}

// claim takes the target once nothing speaks against it. What is cheap to find out and hard to undo comes first; nothing is written before all of
// it was looked at.
func (t *Target) claim(o TargetOptions) error {
	info := t.dev.Info()
	h, err := readHost("/")
	if err == nil {
		t.identity, err = h.identify(t.dev.File(), info)
	}
	if err != nil {
		return fault.Permanent(fmt.Errorf("target %s: %w", t.path, err))
	}
	for _, source := range o.Sources {
		if t.identity.Overlaps(source) {
			return fault.Operator(CodeTargetIsSource, "give another target", fmt.Errorf("target %s is the source, or one of them lies on the other", t.path))
		}
	}
	switch {
	case info.ReadOnly:
		return fault.Operator(CodeTargetReadOnly, "make the device writable (blockdev --setrw), or give another target", fmt.Errorf("target %s is read-only", t.path))
	case t.device && info.Size < o.Size:
		return fault.Operator(CodeTargetSmall, "give a target that is at least as large as the source",
			fmt.Errorf("target %s has %d bytes, the source %d", t.path, info.Size, o.Size))
	}
	if err := t.refuseUsed(h); err != nil {
		return err
	}
	if t.file, err = claimFile(t.dev.File(), info); err != nil {
		return targetRefused(t.path, err)
	}
	t.reader, t.cached = past(t.dev)
	if !o.Overwrite && !t.fresh {
		if err := t.refuseData(); err != nil {
			return err
		}
	}
	return t.grow(o.Size)
}

// refuseUsed refuses a target that something uses.
func (t *Target) refuseUsed(h *host) error {
	mounts, err := h.mountsOn(t.identity)
	if err != nil {
		return fault.Permanent(fmt.Errorf("target %s: what is mounted from it: %w", t.path, err))
	}
	if len(mounts) > 0 {
		var what []string
		for _, m := range mounts {
			what = append(what, m.String())
		}
		return fault.Operator(CodeTargetMounted, "unmount it, or give another target", fmt.Errorf("target %s is mounted: %s", t.path, strings.Join(what, ", ")))
	}
	user, err := h.user(t.dev.File(), t.identity)
	if err == nil && user == "" && !t.device {
		user, err = h.writers(t.dev.File())
	}
	if err != nil {
		return fault.Permanent(fmt.Errorf("target %s: who uses it: %w", t.path, err))
	}
	if user != "" {
		return inUse(t.path, user)
	}
	return nil
}

func inUse(path, user string) error {
	return fault.Operator(CodeTargetInUse, "stop what uses it (swapoff, vgchange -an, mdadm --stop, losetup -d), or give another target",
		fmt.Errorf("target %s is in use by %s", path, user))
}

// edge is how much at either end of a target must be empty: every partition table, volume manager and filesystem leaves a mark there.
const edge = 1 << 20

// refuseData refuses a target that is not empty at its ends.
func (t *Target) refuseData() error {
	buf := takeBuffer(t.align)
	defer giveBuffer(buf)
	for _, at := range []int64{0, max(0, t.size-edge)} {
		b := buf[:min(edge, t.size-at)]
		if _, err := t.readAll(b, at); err != nil {
			return targetRefused(t.path, err)
		}
		for i, x := range b {
			if x != 0 {
				return fault.Operator(CodeTargetData, "give an empty target, or --overwrite to replace what is there; ferry discover shows what it is",
					fmt.Errorf("target %s holds data, at byte %d", t.path, at+int64(i)))
			}
		}
	}
	return nil
}

// grow makes an image as large as it has to be. One that is larger stays so, as a disk would.
func (t *Target) grow(size int64) error {
	if t.device || t.size >= size {
		return nil
	}
	if err := t.file.Truncate(size); err != nil {
		return t.failure("make room in", size, err)
	}
	t.size = size
	return t.Sync()
}

// sourceRefused gives an error of opening a source its class.
func sourceRefused(err error) error {
	err = fmt.Errorf("source: %w", err)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fault.Operator(CodeSourceMissing, "check the name of the source; ferry discover shows the disks", err)
	case errors.Is(err, fs.ErrPermission):
		return fault.Operator(CodeSourceRights, "run as root, or give this user the right to read it", err)
	case errors.Is(err, blockdev.ErrKind):
		return fault.Operator(CodeSourceKind, "give a disk, a partition, a volume or an image file", err)
	}
	return fault.Permanent(err)
}

// targetRefused gives an error of opening a target its class.
func targetRefused(path string, err error) error {
	err = fmt.Errorf("target %s: %w", path, err)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fault.Operator(CodeTargetMissing, "check the name of the target, and that its directory is there", err)
	case isReadOnly(err):
		return fault.Operator(CodeTargetReadOnly, "mount the filesystem of the image read-write, or give another target", err)
	case isBusy(err):
		return inUse(path, "the kernel or another program, which has it for itself")
	case errors.Is(err, fs.ErrPermission):
		return fault.Operator(CodeTargetRights, "run as root, or give this user the right to read and write it", err)
	case errors.Is(err, blockdev.ErrKind):
		return fault.Operator(CodeTargetKind, "give a disk, a partition, a volume or an image file", err)
	}
	return fault.Permanent(err)
}
