package layout

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/collector/blockdev"
)

// tell makes the kernel's partitions of a disk those of its table, one by one. Asking it to read the table anew would fail where it knows no
// partition tables, and partx --update passes over numbers above the count of partitions (util-linux 2.38).
func (r *Runner) tell(ctx context.Context, d *Disk) error {
	if err := r.settle(ctx); err != nil {
		return err
	}
	f, err := os.Open(d.Name)
	if err != nil {
		return fmt.Errorf("partitions: %w", err)
	}
	defer f.Close()
	for _, name := range knownPartitions(d.Name) {
		i := slices.IndexFunc(d.Table.Partitions, func(p Partition) bool { return partitionName(d.Name, p.Index) == name && kernelHas(d.Name, p) })
		if i >= 0 {
			continue
		}
		text, err := os.ReadFile(filepath.Join("/sys/class/block", filepath.Base(name), "partition"))
		if err != nil {
			continue // gone meanwhile
		}
		number, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err == nil {
			err = blkpg(f, unix.BLKPG_DEL_PARTITION, Partition{Index: number})
		}
		if err != nil && !errors.Is(err, unix.ENXIO) {
			return fmt.Errorf("forget partition %s: %w", name, err)
		}
	}
	for _, p := range d.Table.sorted() {
		if kernelHas(d.Name, *p) {
			continue
		}
		known := *p
		if p.Extended { // only as much as its own table, as the kernel does it: those inside would overlap
			known.Size = 1024
		}
		if err := blkpg(f, unix.BLKPG_ADD_PARTITION, known); err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("make %s known: %w", partitionName(d.Name, p.Index), err)
		}
	}
	return r.settle(ctx)
}

// settle waits until udev, where it runs, has seen to what it was told of: it reads tables anew when somebody has written to a disk, and
// the partitions are gone for a moment.
func (r *Runner) settle(ctx context.Context) error {
	if _, err := os.Stat("/run/udev/control"); err != nil {
		return nil //nolint:nilerr // there is no udev to wait for
	}
	return r.run(ctx, []string{"udevadm", "settle"})
}

// blkpg asks the kernel to add or forget a partition (linux/blkpg.h).
func blkpg(f *os.File, op int32, p Partition) error {
	part := unix.BlkpgPartition{Start: p.Start, Length: p.Size, Pno: int32(p.Index)}
	arg := unix.BlkpgIoctlArg{Op: op, Datalen: int32(unsafe.Sizeof(part)), Data: (*byte)(unsafe.Pointer(&part))}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.BLKPG, uintptr(unsafe.Pointer(&arg))); errno != 0 {
		return errno
	}
	return nil
}

// kernelHas reports whether the kernel knows a partition of a disk as it is. Of an extended one it shows the table only.
func kernelHas(disk string, p Partition) bool {
	number := func(what string) int64 {
		text, err := os.ReadFile(filepath.Join("/sys/class/block", partitionName(filepath.Base(disk), p.Index), what))
		if err != nil {
			return -1
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err != nil {
			return -1
		}
		return n * 512
	}
	return number("start") == p.Start && (p.Extended || number("size") == p.Size)
}

// knownPartitions lists the partitions of a disk that the kernel knows.
func knownPartitions(disk string) (out []string) {
	found, _ := filepath.Glob(filepath.Join("/sys/class/block", filepath.Base(disk), filepath.Base(disk)+"*", "partition")) // the pattern is good
	for _, f := range found {
		out = append(out, filepath.Join(filepath.Dir(disk), filepath.Base(filepath.Dir(f))))
	}
	return out
}

// tableHolds reports whether the disk has its table, and the kernel the partitions of it.
func tableHolds(d *Disk) bool {
	f, err := blockdev.Open(d.Name)
	if err != nil {
		return false
	}
	defer f.Close()
	for _, w := range d.writes() {
		got := make([]byte, len(w.data))
		if _, err := f.ReadAt(got, w.at); err != nil || !bytes.Equal(got, w.data) {
			return false
		}
	}
	return !slices.ContainsFunc(d.Table.Partitions, func(p Partition) bool { return !kernelHas(d.Name, p) })
}
