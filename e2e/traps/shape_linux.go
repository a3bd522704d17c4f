package traps

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

func hardlinks(b builder) {
	b.mkdir("a", 0o755)
	b.mkdir("z", 0o755)
	b.text("m")
	b.symlink("m", "symlink")
	b.node("device", unix.S_IFCHR|0o600, 1, 3)
	b.node("fifo", unix.S_IFIFO|0o600, 0, 0)
	b.node("socket", unix.S_IFSOCK|0o600, 0, 0)
	b.file("large", Noise(2, 300<<10), 0o644)
	b.file("empty", nil, 0o644)
	for _, n := range []string{"m", "symlink", "device", "fifo", "socket", "large", "empty"} {
		b.link(n, "a/"+n) // met before the name it was made with
		b.link(n, "z/"+n)
		b.times(n, old, older)
	}
	for i := range 300 {
		if i == 0 {
			b.text("crowd 0")
		} else {
			b.link("crowd 0", fmt.Sprint("crowd ", i))
		}
	}
}

func symlinks(b builder) {
	longest := 4095
	if b.fs == "xfs" {
		longest = 1023 // XFS_SYMLINK_MAXLEN is 1024
	}
	b.symlink("/etc/passwd", "absolute")
	b.symlink("../../../../etc/passwd", "up")
	b.symlink("dangling", "dangling") // and a loop
	b.symlink("no such file", "nowhere")
	b.symlink("a//b/./c/", "not clean")
	b.symlink("new\nline\\ \xff", "bytes")
	b.symlink(strings.Repeat("x", 59), "inline in the inode")
	b.symlink(strings.Repeat("x", 60), "just not inline")
	b.symlink(strings.Repeat("long/", longest/5)+strings.Repeat("y", longest%5), "longest")
	b.times("dangling", older, old)
	b.chown("dangling", 1000, 1000)
}

func nodes(b builder) {
	b.node("null", unix.S_IFCHR|0o666, 1, 3)
	b.must(unix.Chmod(b.path("null"), 0o666))
	b.node("disk", unix.S_IFBLK|0o660, 8, 1)
	b.node("widest", unix.S_IFBLK|0o600, 511, 1<<18-1) // the widest that XFS takes
	b.node("fifo", unix.S_IFIFO|0o640, 0, 0)
	b.node("socket", unix.S_IFSOCK|0o700, 0, 0)
	for _, n := range []string{"null", "disk", "widest", "fifo", "socket"} {
		b.chown(n, 0, 6)
		b.times(n, older, old)
	}
}

// sparse files: blocks are of 4096 bytes, the least that all filesystems share.
func sparse(b builder) {
	const block, run = 4096, 256 << 10
	data := Noise(3, run)
	b.sparse("hole first", 2*run, map[int64][]byte{run: data})
	b.sparse("hole in the middle", 3*run, map[int64][]byte{0: data, 2 * run: data})
	b.sparse("hole last", 2*run, map[int64][]byte{0: data})
	b.sparse("hole last and odd", 2*run+5, map[int64][]byte{0: data[:run-3]})
	b.sparse("all hole", run, nil)
	b.sparse("small, all hole", 777, nil)
	b.sparse("larger, all hole", 1<<28, nil)
	b.sparse("allocated zeroes", run, map[int64][]byte{0: make([]byte, run)})
	b.sparse("zeroes and a hole", 3*run, map[int64][]byte{0: data, run: make([]byte, run)})
	b.sparse("small, zeroes", 4*block, map[int64][]byte{0: make([]byte, block), 2 * block: make([]byte, block)})
	every := map[int64][]byte{}
	for i := int64(0); i < 64; i++ {
		every[2*i*block] = data[:block]
	}
	b.sparse("every other block", 128*block, every)
	b.sparse("small with a hole", 3*block, map[int64][]byte{2 * block: []byte("x")})
	b.sparse("last byte of much", 1<<28, map[int64][]byte{1<<28 - 1: []byte("x")})
}

// huge files show who reads holes.
func huge(b builder) {
	b.sparse("all hole", 1<<30, nil)
	b.sparse("a word at each end", 1<<30, map[int64][]byte{0: []byte("first"), 1<<30 - 4: []byte("last")})
}

func (b builder) sparse(name string, size int64, data map[int64][]byte) {
	b.t.Helper()
	f, err := os.Create(b.path(name))
	b.must(err)
	defer f.Close()
	b.must(f.Truncate(size))
	for off, d := range data {
		_, err := f.WriteAt(d, off)
		b.must(err)
	}
	b.must(f.Sync()) // a delayed allocation may show as data or as a hole
}

func dirs(b builder) {
	b.mkdir("empty", 0o755)
	b.mkdir("sticky", 0o1777)
	b.mkdir("empty/not", 0o700)
	b.mkdir("unreadable", 0)
	b.text("unreadable/file")
	b.mkdir("group", 0o2775)
	b.chown("group", 5, 6)
	b.must(unix.Chmod(b.path("group"), 0o2775))
	b.text("group/of another")
	b.chown("group/of another", 0, 0)
	b.mkdir("group/dir", 0o755) // without the bit its parent would hand down
	for i, n := range []string{"empty", "sticky", "empty/not", "unreadable", "group", "group/dir"} {
		b.times(n, unix.Timespec{Sec: int64(i), Nsec: 1}, unix.Timespec{Sec: -int64(i), Nsec: 2})
	}
	b.times("empty", old, older)
}

func names(b builder) {
	list := []string{"new\nline", "back\\slash", "\xff\xfe\x80", "tab\t", " leading and trailing ", "-rf", "--", "*", "?", "[a]", "'", "\"", "$HOME", "`x`",
		"...", "..x", ".hidden", "~", "#", "%", "\x01\x7f", "a\u0301", "\u00e1", "e\u202eerverse", strings.Repeat("n", 255), strings.Repeat("\xe4", 255),
		"A", "a", "a-", "a.", "a0", "CON", "nul.txt", "x:y", ".ferry", ".ferry.tmp"}
	for _, n := range list {
		b.text(n)
		b.mkdir("dir "+cut(n, 251), 0o755)
		b.file("dir "+cut(n, 251)+"/"+n, []byte(n), 0o600)
		b.symlink(n, "ln "+cut(n, 252))
	}
	// A directory and a file beside it that sort differently by path and by name.
	b.mkdir("s", 0o755)
	b.text("s/x")
	b.text("s-x")
	b.text("s.x")
}

func cut(s string, n int) string { return s[:min(len(s), n)] }

func sizes(b builder) {
	for _, n := range []int{0, 1, 4095, 4096, 4097, 64<<10 - 1, 64 << 10, 64<<10 + 1, 128 << 10, 256<<10 - 1, 256 << 10, 256<<10 + 1,
		1<<20 - 1, 1 << 20, 1<<20 + 1, 5<<20 + 12345} {
		b.file(fmt.Sprint("noise ", n), Noise(uint64(n), n), 0o644)
		b.file(fmt.Sprint("text ", n), bytes.Repeat([]byte("all work and no play\n"), n/21+1)[:n], 0o600)
	}
	same := Noise(9, 200<<10)
	b.file("twin 1", same, 0o644)
	b.file("twin 2", same, 0o644)
}

// deep makes paths that are longer than any path may be, one of few long names and one of many short ones.
func deep(b builder) {
	b.deep("long", strings.Repeat("d", 250), 20)
	b.deep("short", "e", 2300)
}

// deep makes n directories below each other, each with a name, and leaves something at the end.
func (b builder) deep(top, name string, n int) {
	b.t.Helper()
	b.mkdir(top, 0o755)
	at, err := unix.Open(b.path(top), unix.O_PATH|unix.O_CLOEXEC, 0)
	b.must(err)
	for range n {
		b.must(unix.Mkdirat(at, name, 0o750))
		next, err := unix.Openat(at, name, unix.O_PATH|unix.O_CLOEXEC, 0)
		unix.Close(at)
		b.must(err)
		at = next
	}
	defer unix.Close(at)
	fd, err := unix.Openat(at, "file", unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o640)
	b.must(err)
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte("at the bottom"))
	b.must(err)
	b.must(unix.Fsetxattr(fd, "user.deep", []byte("yes"), 0))
	b.must(unix.Symlinkat("bottom", at, "symlink"))
	b.must(unix.Linkat(at, "file", at, "second name", 0))
	b.must(unix.UtimesNanoAt(at, "file", []unix.Timespec{old, older}, 0))
}

func (b builder) many(n int) {
	b.t.Helper()
	for i := range n {
		f, err := os.OpenFile(b.path(fmt.Sprintf("f%06d", i)), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		b.must(err)
		if i%2 == 1 {
			_, err = fmt.Fprintln(f, i)
			b.must(err)
		}
		b.must(f.Close())
	}
}
