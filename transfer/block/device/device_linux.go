package device

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/collector/blockdev"
	"github.com/ferry-migrate/ferry/transfer/extent"
)

// past makes the reads of a device go past the page cache, and says why not where its filesystem refuses that.
func past(dev *blockdev.Device) (reader, string) {
	info, f := dev.Info(), dev.File()
	r := reader{r: f, size: info.Size, align: max(minimum, int(info.LogicalSector))}
	fd := f.Fd()
	if _, err := unix.FcntlInt(fd, unix.F_SETFL, unix.O_DIRECT); err == nil {
		buf := takeBuffer(r.align)
		defer giveBuffer(buf)
		// Some filesystems take the flag and no read.
		if _, err := f.ReadAt(buf[:r.align], 0); !errors.Is(err, unix.EINVAL) {
			return r, ""
		}
	}
	_, _ = unix.FcntlInt(fd, unix.F_SETFL, 0)
	r.r, r.align = dropping{f}, 1
	return r, "The filesystem of " + info.Path + " has no direct reads: what is read goes through the page cache, and is dropped from it."
}

// dropping reads through the page cache and leaves nothing there.
type dropping struct{ f *os.File }

// ReadAt reads as io.ReaderAt says.
func (d dropping) ReadAt(p []byte, off int64) (int, error) {
	n, err := d.f.ReadAt(p, off)
	_ = unix.Fadvise(int(d.f.Fd()), off, int64(n), unix.FADV_DONTNEED)
	return n, err
}

// identify says what is open as f.
func (h *host) identify(f *os.File, info blockdev.Info) (Identity, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return Identity{}, err
	}
	if info.Image {
		return h.image(int(f.Fd()), &st), nil
	}
	return h.device(st.Rdev, info.Size), nil
}

// dataOf asks the filesystem which ranges of a file are not holes.
func dataOf(ctx context.Context, f *os.File, size int64) (extent.List, error) {
	set := extent.NewSet(1 << 20)
	for at := int64(0); at < size; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		start, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break
		}
		if errors.Is(err, unix.EINVAL) && at == 0 { // a filesystem that does not know holes
			set.Add(0, size)
			break
		}
		if err != nil {
			return nil, err
		}
		end, err := unix.Seek(int(f.Fd()), start, unix.SEEK_HOLE)
		if err != nil {
			return nil, err
		}
		set.Add(start, min(end, size)-start)
		at = end
	}
	return set.List(), nil
}

// user says which swap or device uses what a target is, "" when none does.
func (h *host) user(f *os.File, id Identity) (string, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return "", err
	}
	below := map[*node]bool{}
	if st.Mode&unix.S_IFMT == unix.S_IFBLK {
		h.below(h.numbers[number(st.Rdev)], below, 0)
	}
	for line := range strings.Lines(h.read("proc/swaps")) { // a swap file refuses to be opened by itself
		if path, _, _ := strings.Cut(line, " "); path != "" {
			if n := h.named(path); n != nil && (Identity{Pieces: h.pieces(n, 0)}).liesOn(id) {
				return "swap on " + n.path, nil
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(h.names)) {
		n := h.names[name]
		if (len(n.slaves) > 0 || n.loop != nil) && !below[n] && (Identity{Pieces: h.pieces(n, 0)}).liesOn(id) {
			return n.path, nil
		}
	}
	return "", nil
}

// below gathers a device and what it lies on.
func (h *host) below(n *node, into map[*node]bool, depth int) {
	if n == nil || depth > maxDepth {
		return
	}
	into[n] = true
	h.below(n.whole, into, depth+1)
	for _, slave := range n.slaves {
		h.below(h.names[slave], into, depth+1)
	}
	if n.loop != nil && n.loop.Rdevice != 0 {
		h.below(h.numbers[number(n.loop.Rdevice)], into, depth+1)
	}
}

// claimFile opens what f is for writing, for us alone: mounts, volume managers and other claims are kept from a device, and QEMU from an image.
func claimFile(f *os.File, info blockdev.Info) (*os.File, error) {
	flags := os.O_RDWR
	if !info.Image {
		flags |= os.O_EXCL
	}
	w, err := os.OpenFile("/proc/self/fd/"+strconv.Itoa(int(f.Fd())), flags, 0)
	if err != nil {
		return nil, err
	}
	if info.Image {
		err = unix.FcntlFlock(w.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
	} else {
		// udev leaves a locked device alone (systemd: Locking Block Device Access); it may be looking just now.
		_ = unix.Flock(int(w.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if err != nil {
		w.Close()
		return nil, fmt.Errorf("lock: %w", err)
	}
	return w, nil
}

// room says how much space is left for an image.
func (t *Target) room() string {
	var fs unix.Statfs_t
	if t.device || unix.Fstatfs(int(t.file.Fd()), &fs) != nil {
		return ""
	}
	return fmt.Sprintf("%d of %d bytes are free on its filesystem", int64(fs.Bavail)*fs.Bsize, int64(fs.Blocks)*fs.Bsize)
}

func isFull(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EFBIG)
}

func isGone(err error) bool {
	return errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ESHUTDOWN)
}

func isReadOnly(err error) bool { return errors.Is(err, unix.EROFS) }

func isBusy(err error) bool {
	return errors.Is(err, unix.EBUSY) || errors.Is(err, unix.ETXTBSY) || errors.Is(err, unix.EAGAIN)
}

// isMedium reports whether a read failed for what lies on the disk, so that other bytes may still be read (linux/block/blk-core.c, blk_errors).
func isMedium(err error) bool {
	for _, e := range []unix.Errno{unix.EIO, unix.ENODATA, unix.EREMOTEIO, unix.EILSEQ, unix.EBADMSG, unix.ETIMEDOUT, unix.EUCLEAN} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
