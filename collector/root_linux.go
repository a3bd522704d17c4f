package collector

import (
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// root is the directory that a system's files lie under: "/", or a captured tree.
type root string

// maxFile bounds what is read of a file in /proc, /sys or /etc.
const maxFile = 16 << 20

func (r root) path(name string) string { return filepath.Join(string(r), name) }

// read returns a file's content without the blanks around it; "" when there is none. There are a dozen files to read for each disk,
// so this takes no more than the three system calls that it needs.
func (r root) read(name string) string {
	fd, err := unix.Open(r.path(name), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	var small [4096]byte // an attribute in sysfs is a page at most
	n, err := unix.Read(fd, small[:])
	if err != nil || n <= 0 {
		return ""
	}
	if n < len(small) {
		return strings.TrimSpace(string(small[:n]))
	}
	b, _ := r.bytes(name)
	return strings.TrimSpace(string(b))
}

// bytes returns a file's content, up to maxFile.
func (r root) bytes(name string) ([]byte, error) {
	f, err := os.Open(r.path(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile))
}

// number returns a file's content as a number; 0 when it is not one.
func (r root) number(name string) int64 {
	n, err := strconv.ParseInt(r.read(name), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// names lists a directory, sorted; nil when it cannot be read.
func (r root) names(name string) []string {
	entries, err := os.ReadDir(r.path(name))
	if err != nil {
		return nil
	}
	out := make([]string, len(entries))
	for i, e := range entries {
		out[i] = e.Name()
	}
	return out
}

func (r root) exists(name string) bool {
	_, err := os.Stat(r.path(name))
	return err == nil
}

// lines splits a file into lines that are neither empty nor a comment.
func (r root) lines(name string) (out []string, err error) {
	b, err := r.bytes(name)
	for _, line := range strings.Split(string(b), "\n") {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			out = append(out, line)
		}
	}
	return out, err
}

// isHost reports whether r is this machine itself, which may be asked by system calls too.
func (r root) isHost() bool { return r == "/" }
