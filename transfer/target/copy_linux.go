package target

import (
	"golang.org/x/sys/unix"
)

// copyStep is how many bytes are copied between two looks at whether the tree is closing.
const copyStep = 8 << 20

// copyContent makes the first size bytes of the empty file dst those of src, holes included: by a reflink, which shares
// them, or segment by segment. ECANCELED says that the tree is closing.
func (a *applier) copyContent(dst, src int, size int64) unix.Errno {
	if unix.IoctlFileClone(dst, src) == nil {
		return 0
	}
	for off := int64(0); off < size; {
		data, hole, e := nextData(src, off, size)
		if e == 0 && data < hole {
			e = a.copySegment(dst, src, data, hole)
		}
		if e != 0 {
			return e
		}
		off = hole
	}
	return errnoOf(unix.Ftruncate(dst, size))
}

// nextData returns the first segment of data of fd at or after off, cut at size; [size, size) if there is none.
func nextData(fd int, off, size int64) (data, hole int64, e unix.Errno) {
	data, err := unix.Seek(fd, off, unix.SEEK_DATA)
	switch err {
	case nil:
	case unix.ENXIO:
		return size, size, 0
	case unix.EINVAL: // the filesystem has no notion of holes
		return off, size, 0
	default:
		return 0, 0, errnoOf(err)
	}
	hole, err = unix.Seek(fd, data, unix.SEEK_HOLE)
	return min(data, size), min(hole, size), errnoOf(err)
}

// copySegment copies [off, end) by copy_file_range, or through memory where that is missing or refuses.
func (a *applier) copySegment(dst, src int, off, end int64) unix.Errno {
	inKernel := true
	for off < end {
		if a.tree.closing.Load() {
			return unix.ECANCELED
		}
		n, err := 0, error(nil)
		if inKernel {
			from, to := off, off
			n, err = unix.CopyFileRange(src, &from, dst, &to, int(min(end-off, copyStep)), 0)
			switch {
			case err == unix.EINTR:
				continue
			case isFull(err) || err == unix.EIO:
				return errnoOf(err)
			case err != nil || n == 0: // before 4.5, across filesystems before 5.3, some filesystems always
				inKernel = false
				continue
			}
		} else {
			if a.data == nil {
				a.data = make([]byte, dataSize)
			}
			n, err = preadAll(src, a.data[:min(end-off, dataSize)], off)
			if err != nil {
				return errnoOf(err)
			}
			if n == 0 { // cut short by somebody else: the rest stays a hole
				break
			}
			if e := pwriteAll(dst, a.data[:n], off); e != 0 {
				return e
			}
		}
		off += int64(n)
	}
	return 0
}

// dataSize is the length of the buffer that content is copied and checked in.
const dataSize = 256 << 10
