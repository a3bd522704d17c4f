package target

import (
	"errors"
	"fmt"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/internal/fault"
)

// The wrappers below take pointers to names with their zero byte, so that the usual path allocates nothing, and return bare
// errnos. Names are single components: none of these calls walks a path.

func openat(dirfd int, name *byte, flags int, mode uint32) (int, unix.Errno) {
	for {
		fd, _, e := unix.Syscall6(unix.SYS_OPENAT, uintptr(dirfd), uintptr(unsafe.Pointer(name)),
			uintptr(flags|unix.O_CLOEXEC|unix.O_LARGEFILE), uintptr(mode), 0, 0)
		if e != unix.EINTR {
			return int(fd), e
		}
	}
}

func mkdirat(dirfd int, name *byte, mode uint32) unix.Errno {
	_, _, e := unix.Syscall(unix.SYS_MKDIRAT, uintptr(dirfd), uintptr(unsafe.Pointer(name)), uintptr(mode))
	return e
}

func unlinkat(dirfd int, name *byte, flags int) unix.Errno {
	_, _, e := unix.Syscall(unix.SYS_UNLINKAT, uintptr(dirfd), uintptr(unsafe.Pointer(name)), uintptr(flags))
	return e
}

func symlinkat(dest *byte, dirfd int, name *byte) unix.Errno {
	_, _, e := unix.Syscall(unix.SYS_SYMLINKAT, uintptr(unsafe.Pointer(dest)), uintptr(dirfd), uintptr(unsafe.Pointer(name)))
	return e
}

func mknodat(dirfd int, name *byte, mode uint32, dev uint64) unix.Errno {
	_, _, e := unix.Syscall6(unix.SYS_MKNODAT, uintptr(dirfd), uintptr(unsafe.Pointer(name)), uintptr(mode), uintptr(dev), 0, 0)
	return e
}

func linkat(olddir int, old *byte, newdir int, name *byte) unix.Errno {
	_, _, e := unix.Syscall6(unix.SYS_LINKAT, uintptr(olddir), uintptr(unsafe.Pointer(old)), uintptr(newdir),
		uintptr(unsafe.Pointer(name)), 0, 0)
	return e
}

func renameat(olddir int, old *byte, newdir int, name *byte) unix.Errno {
	_, _, e := unix.Syscall6(unix.SYS_RENAMEAT, uintptr(olddir), uintptr(unsafe.Pointer(old)), uintptr(newdir),
		uintptr(unsafe.Pointer(name)), 0, 0)
	return e
}

func getdents(fd int, buf []byte) (int, unix.Errno) {
	n, _, e := unix.Syscall(unix.SYS_GETDENTS64, uintptr(fd), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)))
	return int(n), e
}

func fchmod(fd int, mode uint32) unix.Errno {
	_, _, e := unix.Syscall(unix.SYS_FCHMOD, uintptr(fd), uintptr(mode), 0)
	return e
}

// utimens sets access and modification time of fd, or of what path leads to if path is not nil.
func utimens(fd int, path *byte, ts *[2]unix.Timespec) unix.Errno {
	if path != nil {
		fd = unix.AT_FDCWD
	}
	_, _, e := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(ts)), 0, 0, 0)
	return e
}

// pwriteAll writes all of b at off.
func pwriteAll(fd int, b []byte, off int64) unix.Errno {
	for len(b) > 0 {
		n, _, e := unix.Syscall6(unix.SYS_PWRITE64, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), uintptr(off), 0, 0)
		switch {
		case e == unix.EINTR:
		case e != 0:
			return e
		case n == 0:
			return unix.EIO
		default:
			b, off = b[n:], off+int64(n)
		}
	}
	return 0
}

// preadAll fills b from off and returns how much there was before the end of the file.
func preadAll(fd int, b []byte, off int64) (int, error) {
	done := 0
	for done < len(b) {
		n, err := unix.Pread(fd, b[done:], off+int64(done))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return done, err
		}
		if n == 0 {
			break
		}
		done += n
	}
	return done, nil
}

// fdPath appends the path, with its zero byte, that leads to the inode of fd, also one opened with O_PATH.
func fdPath(dst []byte, fd int) []byte {
	dst = append(dst, "/proc/self/fd/"...)
	return append(strconv.AppendInt(dst, int64(fd), 10), 0)
}

// fatal reports whether e concerns the whole target rather than one entry.
func fatal(e error) bool {
	switch e {
	case unix.ENOSPC, unix.EDQUOT, unix.EIO, unix.EROFS, unix.ENOMEM, unix.EMFILE, unix.ENFILE, unix.EBADF, unix.EFAULT,
		unix.ENODEV, unix.EUCLEAN, unix.ESHUTDOWN, unix.ESTALE, unix.ENOSYS, unix.EBUSY, unix.ENOBUFS, unix.ENOTCONN:
		return true
	}
	return false
}

// failure wraps an errno that ends the session with its class. what is a verb and an object.
func failure(what string, path []byte, e error) error {
	err := fmt.Errorf("%s %q: %w", what, path, e)
	switch e {
	case unix.ENOSPC, unix.EDQUOT:
		return fault.Operator(CodeFull, "free space on the target or enlarge it, then run again: what is there is kept", err)
	case unix.EROFS:
		return fault.Operator(CodeReadOnly, "mount the target's filesystem read-write; check it if it turned read-only by itself", err)
	case unix.EBUSY:
		return fault.Operator(CodeMount, "unmount what is mounted below the target, then run again", err)
	case unix.ENOMEM, unix.EMFILE, unix.ENFILE, unix.ENOBUFS:
		return fault.Temporary(err)
	}
	return fault.Permanent(err)
}

// isFull reports whether err is for want of space or quota.
func isFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }
