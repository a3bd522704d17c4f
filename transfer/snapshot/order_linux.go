package snapshot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/file"
)

// mounted is an open filesystem.
type mounted struct {
	path   string // as it was given
	number string // of its superblock, "major:minor" as mountinfo has it: one for all subvolumes of a Btrfs
	fstype string
	source string // its device, if it has one
	root   bool   // the root of this machine
	file   *os.File
}

// openMounts opens the filesystems that paths lie on, each once, in the order they have to be frozen.
func openMounts(paths []string) (all []*mounted, err error) {
	table, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, fmt.Errorf("mounts: %w", err)
	}
	for _, path := range paths {
		m, err := openMount(path, table)
		if err != nil {
			return all, err
		}
		if slices.ContainsFunc(all, func(o *mounted) bool { return o.number == m.number }) {
			m.file.Close()
			continue
		}
		all = append(all, m)
	}
	if len(all) == 0 {
		return nil, errors.New("nothing to freeze")
	}
	return arrange(all), nil
}

func openMount(path string, table []*mountinfo.Info) (*mounted, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fault.Operator("FERRY-FREEZE-MOUNT", "check that the filesystem is mounted", fmt.Errorf("open %s: %w", path, err))
	}
	f := os.NewFile(uintptr(fd), path)
	info, err := mountOf(f, table)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &mounted{
		path: path, number: fmt.Sprintf("%d:%d", info.Major, info.Minor), fstype: info.FSType, source: info.Source, root: info.Mountpoint == "/", file: f,
	}, nil
}

// mountOf returns the line of the mount table that f was opened through.
func mountOf(f *os.File, table []*mountinfo.Info) (*mountinfo.Info, error) {
	id, err := file.MountID(int(f.Fd()))
	if err != nil {
		return nil, err
	}
	for _, m := range table {
		if uint64(m.ID) == id {
			return m, nil
		}
	}
	return nil, errors.New("its mount is not in the mount table")
}

// filesystemOf returns the number of the filesystem that path lies on, "" for one that has no place in the mount table: a pipe, a socket.
func filesystemOf(path string) (string, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("open %s: %w", path, err)
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	table, err := mountinfo.GetMounts(nil)
	if err != nil {
		return "", fmt.Errorf("mounts: %w", err)
	}
	m, err := mountOf(f, table)
	if err != nil {
		return "", nil //nolint:nilerr // pipes and sockets lie on no filesystem that can be frozen
	}
	return fmt.Sprintf("%d:%d", m.Major, m.Minor), nil
}

// arrange sorts filesystems: what lies in files of others comes before them, the root after its equals. Freezing the lower one first
// would make the upper one's last writes wait for ever.
func arrange(all []*mounted) []*mounted {
	below := map[string][]string{} // number → numbers of the filesystems that hold its bytes
	for _, m := range all {
		below[m.number] = m.holders()
	}
	var depth func(number string, limit int) int
	depth = func(number string, limit int) (d int) {
		if _, known := below[number]; !known { // between two that are frozen lies one that is not
			below[number] = holdersOf(number, maxLayers)
		}
		for _, n := range below[number] {
			if limit > 0 && n != number {
				d = max(d, 1+depth(n, limit-1))
			}
		}
		return d
	}
	slices.SortStableFunc(all, func(a, b *mounted) int {
		if d := depth(b.number, maxLayers) - depth(a.number, maxLayers); d != 0 {
			return d
		}
		switch {
		case a.root && !b.root:
			return 1
		case b.root && !a.root:
			return -1
		}
		return 0
	})
	return all
}

const maxLayers = 16 // of devices and files upon each other

// holders returns the numbers of the filesystems that hold the files behind m's devices.
func (m *mounted) holders() (numbers []string) {
	for _, device := range m.devices() {
		numbers = append(numbers, holdersOf(device, maxLayers)...)
	}
	return numbers
}

// devices returns the numbers of m's devices. A Btrfs has several, which its number does not tell.
func (m *mounted) devices() []string {
	if m.fstype != "btrfs" {
		return []string{m.number}
	}
	list, err := filepath.Glob("/sys/fs/btrfs/*/devices/" + filepath.Base(m.source))
	if err != nil || len(list) == 0 {
		return nil
	}
	all, err := filepath.Glob(filepath.Dir(list[0]) + "/*/dev")
	if err != nil {
		return nil
	}
	return contents(all)
}

// holdersOf follows a block device down to loop devices, whose files it finds.
func holdersOf(device string, limit int) (numbers []string) {
	dir, err := filepath.EvalSymlinks(filepath.Join("/sys/dev/block", device))
	if err != nil || limit == 0 {
		return nil
	}
	if _, err := os.Stat(filepath.Join(dir, "partition")); err == nil {
		dir = filepath.Dir(dir)
	}
	for _, f := range contents([]string{filepath.Join(dir, "loop/backing_file")}) {
		if number, err := filesystemOf(f); err == nil && number != "" {
			numbers = append(numbers, number)
		}
	}
	slaves, err := filepath.Glob(filepath.Join(dir, "slaves/*/dev"))
	if err != nil {
		return numbers
	}
	for _, device := range contents(slaves) {
		numbers = append(numbers, holdersOf(device, limit-1)...)
	}
	return numbers
}

// contents reads files of one line; those that cannot be read are left out.
func contents(paths []string) (lines []string) {
	for _, p := range paths {
		if text, err := os.ReadFile(p); err == nil {
			lines = append(lines, strings.TrimSuffix(string(text), "\n"))
		}
	}
	return lines
}
