package snapshot

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/internal/fault"
)

// Requests of include/uapi/linux/btrfs.h. Each has an argument of 4096 bytes.
const (
	btrfsSnapCreateV2 = 0x50009417 // struct btrfs_ioctl_vol_args_v2: fd, transid, flags, 4 unused, name at 56
	btrfsSnapDestroy  = 0x5000940f // struct btrfs_ioctl_vol_args: fd, name at 8
	btrfsInoLookup    = 0xd0009412 // struct btrfs_ioctl_ino_lookup_args: treeid, objectid, path at 16
	btrfsRootRef      = 0xd000943d // struct btrfs_ioctl_get_subvol_rootref_args: min_treeid, 255 of treeid and dirid, num_items

	btrfsReadOnly = 2   // BTRFS_SUBVOL_RDONLY
	btrfsTop      = 256 // inode number of a subvolume's top directory (BTRFS_FIRST_FREE_OBJECTID)
	btrfsRefs     = 255 // in one answer
)

type btrfs struct {
	dir string
	log *slog.Logger
}

// Btrfs returns what makes read-only Btrfs snapshots, in the top directory of the subvolume; their notes lie in dir.
func Btrfs(dir string, log *slog.Logger) Snapshotter { return &btrfs{dir, log} }

type btrfsSnapshot struct {
	*note
	by   *btrfs
	path string
}

// Snapshot makes a snapshot of the subvolume that root lies on.
func (b *btrfs) Snapshot(ctx context.Context, root string) (Snapshot, error) {
	top, rel, err := subvolume(root)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(top)
	if err != nil {
		return nil, fmt.Errorf("subvolume: %w", err)
	}
	defer f.Close()
	if err := undivided(f, rel); err != nil {
		return nil, err
	}
	if err := unix.Syncfs(int(f.Fd())); err != nil { // what was written before is in it: else a file may be there without its content
		return nil, fmt.Errorf("sync %s: %w", top, err)
	}
	n, err := newNote(b.dir, "btrfs", top)
	if err != nil {
		return nil, err
	}
	var arg [4096]byte
	binary.NativeEndian.PutUint64(arg[0:], uint64(f.Fd()))
	binary.NativeEndian.PutUint64(arg[16:], btrfsReadOnly)
	copy(arg[56:], n.name())
	if err := btrfsCall(f, btrfsSnapCreateV2, &arg); err != nil {
		return nil, errors.Join(fmt.Errorf("snapshot of %s: %w", top, err), n.remove(context.WithoutCancel(ctx), b.dir, b.log))
	}
	return &btrfsSnapshot{note: n, by: b, path: filepath.Join(top, n.name(), rel)}, nil
}

// Dir is where root is read.
func (s *btrfsSnapshot) Dir() string { return s.path }

// Intact returns nil: a Btrfs snapshot holds what it held.
func (s *btrfsSnapshot) Intact(context.Context) error { return nil }

// Release removes the snapshot.
func (s *btrfsSnapshot) Release(ctx context.Context) error { return s.remove(ctx, s.by.dir, s.by.log) }

// removeBtrfs removes the snapshot, if it exists.
func (n *note) removeBtrfs() error {
	f, err := os.Open(n.At)
	if err != nil {
		return err
	}
	defer f.Close()
	var arg [4096]byte
	copy(arg[8:], n.name())
	err = btrfsCall(f, btrfsSnapDestroy, &arg)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// subvolume returns the top directory of the Btrfs subvolume that path lies on, and the path from there.
func subvolume(path string) (top, rel string, err error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return "", "", fmt.Errorf("filesystem of %s: %w", path, err)
	}
	var start, st unix.Stat_t
	if err := unix.Stat(path, &start); err != nil {
		return "", "", fmt.Errorf("source %s: %w", path, err)
	}
	for top = path; fs.Type == unix.BTRFS_SUPER_MAGIC; top = filepath.Dir(top) {
		if err := unix.Stat(top, &st); err != nil {
			return "", "", fmt.Errorf("source %s: %w", path, err)
		}
		if st.Dev != start.Dev {
			break
		}
		if st.Ino == btrfsTop {
			rel, err = filepath.Rel(top, path)
			return top, rel, err
		}
		if top == "/" {
			break
		}
	}
	return "", "", fault.Operator(CodeNoSnapshot, "use --snapshot freeze, or lvm where it lies on LVM",
		fmt.Errorf("%s lies in no Btrfs subvolume whose top directory can be reached", path))
}

// undivided returns an operator error if another subvolume begins at or below rel: a snapshot shows an empty directory there.
func undivided(top *os.File, rel string) error {
	for least := uint64(0); ; {
		var refs [4096]byte
		binary.NativeEndian.PutUint64(refs[:], least)
		err := btrfsCall(top, btrfsRootRef, &refs)
		if err != nil && !errors.Is(err, unix.EOVERFLOW) { // which says that there are more
			return fault.Operator(CodeNoSnapshot, "use --snapshot freeze: this needs Linux 4.18", fmt.Errorf("subvolumes in %s: %w", top.Name(), err))
		}
		for i := range min(int(refs[8+16*btrfsRefs]), btrfsRefs) {
			dir := binary.NativeEndian.Uint64(refs[8+16*i+8:])
			least = binary.NativeEndian.Uint64(refs[8+16*i:]) + 1
			path, err := btrfsPath(top, dir)
			if err != nil {
				return err
			}
			if rel == "." || path == rel || strings.HasPrefix(path, rel+"/") {
				return fault.Operator(CodeNoSnapshot, "migrate the subvolumes one by one, or use --snapshot freeze",
					fmt.Errorf("another subvolume begins in %s", filepath.Join(top.Name(), path)))
			}
		}
		if err == nil {
			return nil
		}
	}
}

// btrfsPath returns the path of a directory by its inode number, from the top of its subvolume.
func btrfsPath(top *os.File, dir uint64) (string, error) {
	var arg [4096]byte
	binary.NativeEndian.PutUint64(arg[8:], dir)
	if err := btrfsCall(top, btrfsInoLookup, &arg); err != nil {
		return "", fmt.Errorf("path of a directory in %s: %w", top.Name(), err)
	}
	path, _, _ := bytes.Cut(arg[16:], []byte{0})
	return strings.TrimSuffix(string(path), "/"), nil
}

func btrfsCall(f *os.File, request uintptr, arg *[4096]byte) error {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(arg)))
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return errno
		}
	}
}
