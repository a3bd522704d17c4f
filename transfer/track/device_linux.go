package track

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A device is what sysfs says of the one that is tracked (see Documentation/ABI/stable/sysfs-block).
type device struct {
	span
	dir  string // of the device
	disk string // directory of the whole disk: the same, or that of the disk it is a partition of
	kind int

	// Open from watch to close: no name is looked up while filesystems are frozen.
	facts    []*os.File // what identity is made of
	inflight *os.File   // numbers of requests in flight
}

// findDevice asks sysfs for the device node at path.
func findDevice(path string) (*device, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return nil, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return nil, fmt.Errorf("%w: %s is no block device", ErrUnavailable, path)
	}
	dir, err := filepath.EvalSymlinks(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev)))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	d := &device{dir: dir, disk: dir, kind: ofBio}
	if _, err := os.Stat(filepath.Join(dir, "partition")); err == nil {
		d.disk = filepath.Dir(dir)
	}
	if d.start, d.end, err = d.extent(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if _, err := fmt.Sscanf(attribute(d.disk, "dev"), "%d:%d", &d.major, &d.minor); err != nil {
		return nil, fmt.Errorf("%w: number of %s: %w", ErrUnavailable, d.disk, err)
	}
	if _, err := os.Stat(filepath.Join(d.disk, "mq")); err == nil {
		d.kind = ofRequest
	}
	switch {
	case d.end <= d.start:
		return nil, fmt.Errorf("%w: %s is empty", ErrUnavailable, path)
	case attribute(d.disk, "queue/dax") == "1":
		return nil, fmt.Errorf("%w: %s allows DAX, where programs write to the medium itself", ErrUnavailable, path)
	case d.kind == ofBio && strings.HasPrefix(filepath.Base(d.disk), "nvme"):
		return nil, fmt.Errorf("%w: %s is an NVMe disk of several paths, which passes bios on before they end", ErrUnavailable, path)
	}
	return d, nil
}

// extent returns where the device lies on its disk, in sectors of 512 bytes.
func (d *device) extent() (start, end int64, err error) {
	if d.dir != d.disk {
		if start, err = strconv.ParseInt(attribute(d.dir, "start"), 10, 64); err != nil {
			return 0, 0, fmt.Errorf("start of %s: %w", d.dir, err)
		}
	}
	size, err := strconv.ParseInt(attribute(d.dir, "size"), 10, 64)
	if err != nil || size < 0 || start < 0 || start > 1<<53 || size > 1<<53 {
		return 0, 0, fmt.Errorf("size of %s: %d sectors at %d: %w", d.dir, size, start, err)
	}
	return start, start + size, nil
}

// watch opens what identity and writing read.
func (d *device) watch() (err error) {
	if d.inflight, err = os.Open(filepath.Join(d.disk, "inflight")); err != nil {
		return err
	}
	for _, name := range []string{filepath.Join(d.disk, "diskseq"), filepath.Join(d.dir, "start"), filepath.Join(d.dir, "size")} {
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // no diskseq before Linux 5.15, no start of a whole disk
		}
		if err != nil {
			return err
		}
		d.facts = append(d.facts, f)
	}
	return nil
}

func (d *device) unwatch() {
	for _, f := range append(d.facts, d.inflight) {
		f.Close() // also of nil
	}
	d.facts, d.inflight = nil, nil
}

// identity changes when the medium does, or its place or size. A device that is gone has none.
func (d *device) identity() string {
	text := fmt.Sprintf("disk %d:%d", d.major, d.minor)
	for _, f := range d.facts {
		b := make([]byte, 32)
		n, _ := f.ReadAt(b, 0)
		text += fmt.Sprintf(" %s %s", filepath.Base(f.Name()), strings.TrimSpace(string(b[:n])))
	}
	return text
}

// writing reports whether the device has writes in flight; the file holds the number of reads and that of all else.
func (d *device) writing() (bool, error) {
	b := make([]byte, 64)
	n, err := d.inflight.ReadAt(b, 0)
	fields := strings.Fields(string(b[:n]))
	if len(fields) != 2 {
		return false, fmt.Errorf("requests in flight: %q: %w", b[:n], err)
	}
	return fields[1] != "0", nil
}

// attribute returns a file of sysfs, "" when there is none.
func attribute(dir, name string) string {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// bootID returns the id of this run of the kernel.
func bootID() (string, error) {
	id := attribute("/proc/sys/kernel/random", "boot_id")
	if id == "" {
		return "", errors.New("no /proc/sys/kernel/random/boot_id")
	}
	return id, nil
}
