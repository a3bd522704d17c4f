package dump

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"sort"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Option asks for more.
type Option uint8

// Ctime adds change times: a tree that nobody wrote to has the same ones. They cannot be copied.
const Ctime Option = 1

// keptFlags are the inode flags (FS_*_FL of linux/fs.h) that mean something to a person: s S c i a d A D T C P.
const keptFlags = 0x1 | 0x8 | 0x4 | 0x10 | 0x20 | 0x40 | 0x80 | 0x10000 | 0x20000 | 0x800000 | 0x20000000

// grain is what sparse maps are rounded out to, bytes: the least block of the filesystems compared.
const grain = 4096

// Tree holds one line per path, "." being the root.
type Tree map[string]string

type walker struct {
	tree   Tree
	option Option
	first  map[[2]uint64]string // by device and inode: the first path of an inode with several names
}

// Of dumps the tree below dir.
func Of(dir string, options ...Option) (Tree, error) {
	w := &walker{tree: Tree{}, first: map[[2]uint64]string{}}
	for _, o := range options {
		w.option |= o
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("dump %s: %w", dir, err)
	}
	defer unix.Close(fd)
	if err := w.entry(fd, ".", "."); err != nil {
		return nil, fmt.Errorf("dump %s: %w", dir, err)
	}
	return w.tree, nil
}

// Diff returns a line for each path that differs, at most limit of them, and one that counts the rest.
func Diff(source, target Tree, limit int) (lines []string) {
	paths := map[string]bool{}
	for p := range source {
		paths[p] = true
	}
	for p := range target {
		paths[p] = true
	}
	sorted := make([]string, 0, len(paths))
	for p := range paths {
		if source[p] != target[p] {
			sorted = append(sorted, p)
		}
	}
	sort.Strings(sorted)
	for i, p := range sorted {
		if i == limit {
			return append(lines, fmt.Sprintf("… and %d more", len(sorted)-limit))
		}
		lines = append(lines, fmt.Sprintf("%.200q\n    source: %s\n    target: %s", p, or(source[p]), or(target[p])))
	}
	return lines
}

func or(line string) string {
	if line == "" {
		return "missing"
	}
	return line
}

// entry writes down name in the directory at, and all that is below.
func (w *walker) entry(at int, name, full string) error {
	fd, err := unix.Openat(at, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %.200q: %w", full, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("stat %.200q: %w", full, err)
	}
	kind := st.Mode & unix.S_IFMT
	var b strings.Builder
	fmt.Fprintf(&b, "%s %04o %d:%d mtime %d.%09d", kinds[kind], st.Mode&0o7777, st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec)
	if kind != unix.S_IFLNK {
		fmt.Fprintf(&b, " atime %d.%09d", st.Atim.Sec, st.Atim.Nsec)
	}
	if w.option&Ctime != 0 {
		fmt.Fprintf(&b, " ctime %d.%09d", st.Ctim.Sec, st.Ctim.Nsec)
	}
	if kind == unix.S_IFCHR || kind == unix.S_IFBLK {
		fmt.Fprintf(&b, " device %d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	}
	if kind != unix.S_IFDIR && st.Nlink > 1 {
		key := [2]uint64{st.Dev, st.Ino}
		if w.first[key] == "" {
			w.first[key] = full
		}
		fmt.Fprintf(&b, " links %d of %.200q", st.Nlink, w.first[key])
	}
	if err := xattrs(&b, fd); err != nil {
		return fmt.Errorf("xattrs of %.200q: %w", full, err)
	}
	var names []string
	switch kind {
	case unix.S_IFLNK:
		buf := make([]byte, 8192)
		n, err := unix.Readlinkat(fd, "", buf)
		if err != nil {
			return fmt.Errorf("readlink %.200q: %w", full, err)
		}
		fmt.Fprintf(&b, " to %q", buf[:n])
	case unix.S_IFREG, unix.S_IFDIR:
		if names, err = w.inside(&b, fd, &st); err != nil {
			return fmt.Errorf("read %.200q: %w", full, err)
		}
	}
	w.tree[full] = b.String()
	for _, n := range names {
		if err := w.entry(fd, n, path.Join(full, n)); err != nil {
			return err
		}
	}
	return nil
}

var kinds = map[uint32]string{unix.S_IFREG: "file", unix.S_IFDIR: "dir", unix.S_IFLNK: "symlink", unix.S_IFCHR: "char",
	unix.S_IFBLK: "block", unix.S_IFIFO: "fifo", unix.S_IFSOCK: "socket"}

// inside writes down flags and content of a file, or returns the sorted names in a directory.
func (w *walker) inside(b *strings.Builder, at int, st *unix.Stat_t) (names []string, err error) {
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", at), unix.O_RDONLY|unix.O_NOATIME|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "entry")
	defer f.Close()
	flags, err := unix.IoctlGetInt(fd, unix.FS_IOC_GETFLAGS)
	if err == nil && uint32(flags)&keptFlags != 0 {
		fmt.Fprintf(b, " flags %#x", uint32(flags)&keptFlags)
	}
	if p := project(fd); p != 0 {
		fmt.Fprintf(b, " project %d", p)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		names, err = f.Readdirnames(-1)
		slices.Sort(names)
		return names, err
	}
	data, err := dataMap(fd, st.Size)
	if err != nil {
		return nil, err
	}
	sum, err := content(f, data)
	fmt.Fprintf(b, " size %d sha256 %x data %v", st.Size, sum, data)
	return nil, err
}

// content returns a digest of all blocks that are not zero and of where they are: the same for equal content, however the
// holes lie. Holes are not read.
func content(f *os.File, data [][2]int64) ([]byte, error) {
	sum := sha256.New()
	zero, buf := make([]byte, grain), make([]byte, 64*grain)
	for _, r := range data {
		for at, end := r[0]*grain, r[1]*grain; at < end; {
			n, err := f.ReadAt(buf[:min(int64(len(buf)), end-at)], at)
			for o := 0; o < n; o += grain {
				if block := buf[o:min(o+grain, n)]; !bytes.Equal(block, zero[:len(block)]) {
					fmt.Fprint(sum, at+int64(o), ":")
					sum.Write(block)
				}
			}
			at += int64(n)
			if err == io.EOF {
				break
			}
			if err != nil {
				return nil, err
			}
		}
	}
	return sum.Sum(nil), nil
}

// fsxattr is struct fsxattr of linux/fs.h; getFsxattr is FS_IOC_FSGETXATTR.
type fsxattr struct{ XFlags, ExtSize, Extents, Project, CowExtSize, _, _ uint32 }

const getFsxattr = 0x801c581f

// project returns the project id, 0 where the filesystem has none.
func project(fd int) uint32 {
	var x fsxattr
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), getFsxattr, uintptr(unsafe.Pointer(&x))); errno != 0 {
		return 0
	}
	return x.Project
}

// dataMap returns the ranges with data as [begin, end) in units of grain.
func dataMap(fd int, size int64) (ranges [][2]int64, err error) {
	for off := int64(0); off < size; {
		begin, err := unix.Seek(fd, off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break
		}
		if err != nil {
			return nil, err
		}
		end, err := unix.Seek(fd, begin, unix.SEEK_HOLE)
		if err != nil {
			return nil, err
		}
		r := [2]int64{begin / grain, (end + grain - 1) / grain}
		if n := len(ranges); n > 0 && ranges[n-1][1] == r[0] {
			ranges[n-1][1] = r[1]
		} else {
			ranges = append(ranges, r)
		}
		off = end
	}
	return ranges, nil
}

// xattrs writes down all extended attributes, sorted by name. Through /proc a descriptor of a symbolic link is the link itself.
func xattrs(b *strings.Builder, fd int) error {
	self := fmt.Sprintf("/proc/self/fd/%d", fd)
	buf := make([]byte, 64<<10)
	n, err := unix.Listxattr(self, buf)
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	if err != nil {
		return err
	}
	names := strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00")
	slices.Sort(names)
	for _, name := range names {
		if name == "" {
			continue
		}
		n, err := unix.Getxattr(self, name, buf)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if n > 64 {
			fmt.Fprintf(b, " %s sha256 %x", name, sha256.Sum256(buf[:n]))
		} else {
			fmt.Fprintf(b, " %s %q", name, buf[:n])
		}
	}
	return nil
}
