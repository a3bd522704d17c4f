package target

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/file"
)

// mountSet holds the mounts below the root that were there when the tree was opened: they are part of the target. One that
// appears later is not: what is written there would be lost with it, or land on a disk that nobody agreed to.
type mountSet struct {
	before map[uint64]bool // mount ids

	mu      sync.Mutex
	entered map[uint64]int // a descriptor on each that was entered, for Sync
}

// readMounts lists the mounts below the absolute path root. The format is that of proc_pid_mountinfo(5): the mount id is
// the first field, the mount point the fifth, with blanks and backslashes as three octal digits.
func readMounts(root string) (map[uint64]bool, error) {
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	set := map[uint64]bool{}
	prefix := strings.TrimSuffix(filepath.Clean(root), "/") + "/"
	for line := range bytes.Lines(info) {
		fields := bytes.Fields(line)
		if len(fields) < 5 || !strings.HasPrefix(unescapeMount(string(fields[4])), prefix) {
			continue
		}
		id, err := strconv.ParseUint(string(fields[0]), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("list mounts: %w", err)
		}
		set[id] = true
	}
	return set, nil
}

func unescapeMount(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// mountOf completes place with the mount id of fd on kernels whose statx does not tell.
func mountOf(fd int, place *file.Place) error {
	if place.Mount != 0 {
		return nil
	}
	id, err := file.MountID(fd)
	place.Mount = id
	return err
}

// admit checks that the directory opened as fd, called name in parent, may be written to.
func (s *mountSet) admit(parent *dir, name []byte, fd int, place *file.Place) error {
	if err := mountOf(fd, place); err != nil {
		return fault.Permanent(err)
	}
	if sameMount(parent, fd, *place) {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.before[place.Mount] {
		return mountError(name)
	}
	if _, known := s.entered[place.Mount]; known {
		return nil
	}
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return failure("open directory", name, err)
	}
	s.entered[place.Mount] = dup
	return nil
}

// sameMount reports whether what is open as fd lies on the mount of parent. Without mount ids the device number decides,
// which Btrfs changes from subvolume to subvolume.
func sameMount(parent *dir, fd int, place file.Place) bool {
	if place.Mount != 0 || parent.mount != 0 {
		return place.Mount == parent.mount
	}
	var fs unix.Statfs_t
	return place.Dev == parent.dev || unix.Fstatfs(fd, &fs) == nil && fs.Type == unix.BTRFS_SUPER_MAGIC
}

func mountError(name []byte) error {
	return failure("write below", name, unix.EBUSY)
}

// sync writes back every filesystem that was entered.
func (s *mountSet) sync() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, fd := range s.entered {
		if err := syncfs(fd); err != nil {
			return err
		}
	}
	return nil
}

func (s *mountSet) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, fd := range s.entered {
		unix.Close(fd)
	}
	s.entered = nil
}
