package device

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// qemuWrites are the bytes of an image that a QEMU locks while it may write or resize it (qemu/block/file-posix.c: 100 and the number of the
// permission).
var qemuWrites = []int64{100 + 1, 100 + 3}

// writers says who has the file f open for writing, "" when nobody does. The kernel itself is asked, by a lease that it gives only while nobody does,
// not even a loop device; where it gives none, the descriptors of all processes and the locks are looked at.
func (h *host) writers(f *os.File) (string, error) {
	fd := f.Fd()
	_, err := unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_RDLCK)
	if err == nil {
		_, err = unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_UNLCK)
		return "", err
	}
	sure := errors.Is(err, unix.EAGAIN)
	var st unix.Stat_t
	if err := unix.Fstat(int(fd), &st); err != nil {
		return "", err
	}
	for _, n := range h.names {
		if n.loop != nil && n.loop.Device == st.Dev && n.loop.Inode == st.Ino && n.loop.Flags&unix.LO_FLAGS_READ_ONLY == 0 {
			return n.path, nil
		}
	}
	if who := h.holder(&st); who != "" {
		return who, nil
	}
	for _, at := range qemuWrites {
		lock := unix.Flock_t{Type: unix.F_WRLCK, Start: at, Len: 1}
		if unix.FcntlFlock(fd, unix.F_OFD_GETLK, &lock) == nil && lock.Type != unix.F_UNLCK {
			return "a virtual machine", nil
		}
	}
	if sure {
		return "another program", nil
	}
	return "", nil
}

// holder finds a process that has a file open for writing.
func (h *host) holder(st *unix.Stat_t) string {
	proc := h.path("proc")
	for _, pid := range numbersIn(proc) {
		dir := filepath.Join(proc, pid)
		for _, n := range numbersIn(filepath.Join(dir, "fd")) {
			if writes(dir, n, st) {
				name, _ := os.ReadFile(filepath.Join(dir, "comm"))
				return fmt.Sprintf("process %s (%s)", pid, strings.TrimSpace(string(name)))
			}
		}
	}
	return ""
}

func numbersIn(dir string) (out []string) {
	f, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer f.Close()
	names, _ := f.Readdirnames(-1)
	for _, name := range names {
		if _, err := strconv.Atoi(name); err == nil {
			out = append(out, name)
		}
	}
	return out
}

// writes reports whether descriptor n of a process is the file st, open for writing. Its flags are looked at first: asking for a file on
// a network whose server is gone would hang, and few are open for writing.
func writes(process, n string, st *unix.Stat_t) bool {
	info, err := os.ReadFile(filepath.Join(process, "fdinfo", n))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(info), "flags:")
	line, _, _ := strings.Cut(rest, "\n")
	flags, err := strconv.ParseUint(strings.TrimSpace(line), 8, 32)
	if err != nil || flags&unix.O_ACCMODE == unix.O_RDONLY || flags&unix.O_PATH != 0 {
		return false
	}
	if _, rest, ok := strings.Cut(string(info), "ino:"); ok { // since Linux 5.14
		line, _, _ := strings.Cut(rest, "\n")
		if strings.TrimSpace(line) != strconv.FormatUint(st.Ino, 10) {
			return false
		}
	}
	var have unix.Stat_t
	return unix.Stat(filepath.Join(process, "fd", n), &have) == nil && have.Dev == st.Dev && have.Ino == st.Ino
}
