package file

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The kernel's limits on one list of names and on one value, in bytes (XATTR_LIST_MAX, XATTR_SIZE_MAX).
const xattrMax = 64 << 10

// Xattrs returns the extended attributes of an open regular file or directory in the canonical encoding, nil if there are
// none. Attributes of the host (HostXattr) are left out. If some cannot be read the others are returned with the error.
func (r *MetaReader) Xattrs(fd int) ([]byte, error) { return r.xattrs(uintptr(fd), nil) }

// XattrsAt is Xattrs for an inode of any kind, called name in dirfd; a symbolic link is not followed.
func (r *MetaReader) XattrsAt(dirfd int, name []byte) ([]byte, error) {
	r.path = AppendProcPath(r.path[:0], dirfd, name)
	return r.xattrs(0, &r.path[0])
}

// AppendProcPath appends a path, with the zero byte at its end, that names one component of the open directory dirfd
// whatever that directory is called now. System calls without a descriptor form take it.
func AppendProcPath(dst []byte, dirfd int, name []byte) []byte {
	dst = append(dst, "/proc/self/fd/"...)
	dst = strconv.AppendInt(dst, int64(dirfd), 10)
	dst = append(dst, '/')
	dst = append(dst, name...)
	return append(dst, 0)
}

// xattrs reads through path if it is not nil, else through fd.
func (r *MetaReader) xattrs(fd uintptr, path *byte) ([]byte, error) {
	if r.names == nil {
		r.names = make([]byte, 1<<10)
	}
	n, errno := listXattr(fd, path, r.names)
	if errno == unix.ERANGE && len(r.names) < xattrMax {
		r.names = make([]byte, xattrMax)
		n, errno = listXattr(fd, path, r.names)
	}
	if unsupported(errno) || n == 0 && errno == 0 {
		return nil, nil
	}
	if errno != 0 {
		return nil, fmt.Errorf("list extended attributes: %w", errno)
	}
	if r.value == nil {
		r.value = make([]byte, xattrMax)
	}
	r.sortNames(r.names[:n])
	return r.values(fd, path)
}

// sortNames fills index with the names in list, each with its zero byte.
func (r *MetaReader) sortNames(list []byte) {
	r.index = r.index[:0]
	for len(list) > 0 {
		end := bytes.IndexByte(list, 0) + 1
		if end == 0 {
			break
		}
		if end > 1 && !HostXattr(list[:end-1]) {
			r.index = append(r.index, list[:end])
		}
		list = list[end:]
	}
	slices.SortFunc(r.index, bytes.Compare)
}

func (r *MetaReader) values(fd uintptr, path *byte) (enc []byte, err error) {
	enc = r.enc[:0]
	for _, name := range r.index {
		n, errno := getXattr(fd, path, &name[0], r.value)
		switch {
		case errno == unix.ENODATA: // removed since it was listed
			continue
		case errno != 0:
			if err == nil {
				err = fmt.Errorf("read extended attribute %q: %w", name[:len(name)-1], errno)
			}
			continue
		case len(enc)+len(name)+n+2*binary.MaxVarintLen32 > MaxXattrs:
			return nil, ErrXattrs
		}
		enc = appendBytes(enc, name[:len(name)-1])
		enc = appendBytes(enc, r.value[:n])
	}
	r.enc = enc
	if len(enc) == 0 {
		return nil, err
	}
	return enc, err
}

func listXattr(fd uintptr, path *byte, buf []byte) (int, unix.Errno) {
	if path != nil {
		n, _, errno := unix.Syscall(unix.SYS_LLISTXATTR, uintptr(unsafe.Pointer(path)),
			uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)))
		return int(n), errno
	}
	n, _, errno := unix.Syscall(unix.SYS_FLISTXATTR, fd, uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)))
	return int(n), errno
}

func getXattr(fd uintptr, path, name *byte, buf []byte) (int, unix.Errno) {
	if path != nil {
		n, _, errno := unix.Syscall6(unix.SYS_LGETXATTR, uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(name)),
			uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)), 0, 0)
		return int(n), errno
	}
	n, _, errno := unix.Syscall6(unix.SYS_FGETXATTR, fd, uintptr(unsafe.Pointer(name)),
		uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)), 0, 0)
	return int(n), errno
}
