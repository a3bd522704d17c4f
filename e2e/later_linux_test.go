package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/e2e/lab"
	"github.com/ferry-migrate/ferry/e2e/traps"
)

// later is a change between two runs that tries to hide, or to be mistaken for another.
type later struct {
	name   string
	before func(t *testing.T, s *stage)
	change func(t *testing.T, s *stage)
	// cheap says that content known to the target must not be sent again: at most 64 KiB may go over the wire.
	cheap bool
}

// TestLaterPass changes a tree after its first migration and sees that a second run brings the target in step.
func TestLaterPass(t *testing.T) {
	for _, fs := range []string{"ext4", "xfs", "btrfs"} {
		for _, l := range laters {
			t.Run(fs+"/"+l.name, func(t *testing.T) {
				t.Parallel()
				s := newStage(t, fs, 256<<20)
				for i := range 20 { // by which the guard against deleting measures
					write(t, s.path(fmt.Sprint("other/", i)), 10, byte(i))
				}
				l.before(t, s)
				s.mustMigrate()
				s.judge()
				l.change(t, s)
				r := s.mustMigrate()
				s.judge()
				if sent := r.number("bytes_sent"); l.cheap && sent > 64<<10 {
					t.Errorf("%d bytes were sent: more than what changed", sent)
				}
				if got := r.text("pass"); got != "sync" {
					t.Errorf("pass %q, want sync", got)
				}
			})
		}
	}
}

var laters = []later{
	{name: "mtime put back", before: put("f", 1000), change: func(t *testing.T, s *stage) {
		flipByte(t, s.path("f"), 500)
	}},
	{name: "mtime put back in a large file", before: put("f", 3<<20), cheap: false, change: func(t *testing.T, s *stage) {
		flipByte(t, s.path("f"), 2<<20)
	}},
	{name: "clock set back", before: put("f", 1000), change: clockSetBack},
	{name: "stores through a mapping", before: put("f", 256<<10), change: mappedStores},
	{name: "inode reused", before: put("f", 4096), change: inodeReused},
	{name: "swapped", before: put("a", 200<<10, "b", 200<<10), cheap: true, change: func(t *testing.T, s *stage) {
		must(t, unix.Renameat2(unix.AT_FDCWD, s.path("a"), unix.AT_FDCWD, s.path("b"), unix.RENAME_EXCHANGE))
	}},
	{name: "chain of renames", before: put("a", 200<<10, "b", 200<<10, "c", 200<<10), cheap: true, change: func(t *testing.T, s *stage) {
		must(t, os.Rename(s.path("c"), s.path("d")))
		must(t, os.Rename(s.path("b"), s.path("c")))
		must(t, os.Rename(s.path("a"), s.path("b")))
	}},
	{name: "directory moved", before: put("one/sub/a", 200<<10, "one/b", 300<<10, "two/c", 10), cheap: true, change: func(t *testing.T, s *stage) {
		must(t, os.Rename(s.path("one"), s.path("two/moved")))
	}},
	{name: "directories swapped", before: put("one/a", 100<<10, "two/a", 100<<10), cheap: true, change: func(t *testing.T, s *stage) {
		must(t, unix.Renameat2(unix.AT_FDCWD, s.path("one"), unix.AT_FDCWD, s.path("two"), unix.RENAME_EXCHANGE))
	}},
	{name: "directory moved into its child's place", before: put("a/b/f", 100<<10, "a/g", 10), change: func(t *testing.T, s *stage) {
		must(t, os.Rename(s.path("a/b"), s.path("b")))
		must(t, os.Rename(s.path("a"), s.path("b/a")))
	}},
	{name: "link made", before: put("a", 200<<10), cheap: true, change: func(t *testing.T, s *stage) {
		must(t, os.Link(s.path("a"), s.path("b")))
	}},
	{name: "link group split", before: linked("a", "b", "c"), change: func(t *testing.T, s *stage) {
		write(t, s.path("new"), 70<<10, 9)
		must(t, os.Rename(s.path("new"), s.path("b"))) // writing through the old b would spoil a and c
	}},
	{name: "link group without its first name", before: linked("a", "b", "c"), cheap: true, change: func(t *testing.T, s *stage) {
		must(t, os.Remove(s.path("a")))
	}},
	{name: "link groups exchange a name", before: func(t *testing.T, s *stage) {
		linked("a", "b")(t, s)
		linked("x", "y")(t, s)
	}, change: func(t *testing.T, s *stage) {
		must(t, unix.Renameat2(unix.AT_FDCWD, s.path("b"), unix.AT_FDCWD, s.path("y"), unix.RENAME_EXCHANGE))
	}},
	{name: "link group written to", before: linked("a", "b"), change: func(t *testing.T, s *stage) {
		flipByte(t, s.path("b"), 7)
	}},
	{name: "immutable and append-only files change", before: flagged, change: flaggedChange},
	{name: "flags come and go", before: flagged, change: func(t *testing.T, s *stage) {
		must(t, traps.ClearFlags(s.path("i"), traps.Immutable))
		must(t, traps.ClearFlags(s.path("a dir"), traps.Append))
		must(t, traps.AddFlags(s.path("plain"), traps.Immutable))
		must(t, traps.AddFlags(s.path("plain dir"), traps.Append|traps.Immutable))
	}},
	{name: "immutable directory deleted", before: flagged, change: func(t *testing.T, s *stage) {
		must(t, traps.ClearFlags(s.path("i dir"), traps.Immutable))
		must(t, os.RemoveAll(s.path("i dir")))
		must(t, traps.ClearFlags(s.path("i"), traps.Immutable))
		must(t, os.Remove(s.path("i")))
	}},
	{name: "types change", before: types, change: typesChange},
	{name: "deleted", before: put("d/e/f", 10, "d/g", 10, "h", 10, "i", 10, "j", 10, "k", 10, "l", 10, "m", 10, "n", 10), change: func(t *testing.T, s *stage) {
		must(t, os.RemoveAll(s.path("d")))
		must(t, os.Remove(s.path("h")))
	}},
	{name: "metadata only", before: put("f", 300<<10, "d/g", 10), cheap: true, change: func(t *testing.T, s *stage) {
		must(t, os.Chown(s.path("f"), 7, 8))
		must(t, os.Chmod(s.path("f"), 0o751))
		must(t, unix.Setxattr(s.path("f"), "user.new", []byte("x"), 0))
		must(t, os.Chmod(s.path("d"), 0o700))
		must(t, unix.Setxattr(s.path("d"), "trusted.new", []byte("x"), 0))
	}},
	{name: "xattr taken away", before: func(t *testing.T, s *stage) {
		put("f", 10)(t, s)
		must(t, unix.Setxattr(s.path("f"), "user.old", []byte("x"), 0))
		must(t, unix.Setxattr(s.path("f"), "security.capability", []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 0))
	}, change: func(t *testing.T, s *stage) {
		must(t, unix.Removexattr(s.path("f"), "user.old"))
		must(t, unix.Removexattr(s.path("f"), "security.capability"))
	}},
	{name: "grown and shrunk", before: put("grows", 100<<10, "shrinks", 300<<10, "empties", 100<<10, "fills", 0), change: func(t *testing.T, s *stage) {
		write(t, s.path("grows"), 400<<10, 1)
		must(t, os.Truncate(s.path("shrinks"), 70<<10+1))
		must(t, os.Truncate(s.path("empties"), 0))
		write(t, s.path("fills"), 200<<10, 3)
	}},
	{name: "hole punched and filled", before: put("punched", 1<<20, "filled", 1<<20), change: func(t *testing.T, s *stage) {
		f, err := os.OpenFile(s.path("punched"), os.O_RDWR, 0)
		must(t, err)
		defer f.Close()
		must(t, unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 256<<10, 256<<10))
		must(t, os.Truncate(s.path("filled"), 0))
		must(t, os.Truncate(s.path("filled"), 2<<20))
	}},
	{name: "one chunk of many", before: put("f", 16<<20), change: func(t *testing.T, s *stage) {
		flipByte(t, s.path("f"), 5<<20)
	}},
	{name: "remounted", before: put("f", 100<<10), cheap: true, change: func(t *testing.T, s *stage) {
		lab.Offline(t, filepath.Dir(s.source), func(string) {})
	}},
}

// TestOneChunk: of a large file only the chunks that changed go over the wire.
func TestOneChunk(t *testing.T) {
	s := newStage(t, "ext4", 256<<20)
	put("f", 32<<20)(t, s)
	s.mustMigrate()
	flipByte(t, s.path("f"), 5<<20)
	r := s.mustMigrate()
	s.judge()
	if sent := r.number("bytes_sent"); sent > 256<<10 {
		t.Errorf("%d bytes were sent for one changed byte", sent)
	}
}

// put returns a function that makes files of noise: name, size, name, size …
func put(nameSize ...any) func(t *testing.T, s *stage) {
	return func(t *testing.T, s *stage) {
		for i := 0; i < len(nameSize); i += 2 {
			write(t, s.path(nameSize[i].(string)), nameSize[i+1].(int), byte(i))
		}
	}
}

// write makes or replaces a file in place with n bytes that do not compress.
func write(t testing.TB, path string, n int, seed byte) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, traps.Noise(uint64(seed), n), 0o644))
}

func linked(first string, more ...string) func(t *testing.T, s *stage) {
	return func(t *testing.T, s *stage) {
		write(t, s.path(first), 70<<10, first[0])
		for _, name := range more {
			must(t, os.Link(s.path(first), s.path(name)))
		}
	}
}

// clockSetBack changes a file and leaves a change time that lies before the one of the first run, as a clock that was set
// back does. Setting the clock of this machine would disturb others, so the inode is edited on the unmounted filesystem.
func clockSetBack(t *testing.T, s *stage) {
	var st unix.Stat_t
	must(t, unix.Stat(s.path("f"), &st))
	flipByte(t, s.path("f"), 500)
	editor := map[string]string{"ext4": "debugfs", "xfs": "xfs_db"}[fsOf(s.source)]
	if editor == "" {
		t.Skip("needs a tool that edits inodes, which btrfs has not")
	}
	lab.Need(t, editor)
	lab.Offline(t, filepath.Dir(s.source), func(image string) {
		past := st.Ctim.Sec - 3600
		cmd := exec.Command("debugfs", "-w", "-R", fmt.Sprintf("set_inode_field <%d> ctime @%d", st.Ino, past), image)
		if editor == "xfs_db" {
			cmd = exec.Command("xfs_db", "-x", "-c", fmt.Sprintf("inode %d", st.Ino), "-c", fmt.Sprintf("write core.ctime.sec %d", past), image)
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
		}
	})
	var now unix.Stat_t
	must(t, unix.Stat(s.path("f"), &now))
	if now.Ctim.Sec >= st.Ctim.Sec || now.Mtim != st.Mtim {
		t.Fatalf("the trap is not set: ctime was %v and is %v", st.Ctim, now.Ctim)
	}
}

// mappedStores changes a file through a mapping made before the first run and never closed.
func mappedStores(t *testing.T, s *stage) {
	f, err := os.OpenFile(s.path("f"), os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	m, err := unix.Mmap(int(f.Fd()), 0, 256<<10, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	must(t, err)
	defer unix.Munmap(m)
	m[1000] ^= 1
	s.mustMigrate()
	s.judge()
	m[1000] ^= 2 // the page is mapped and was dirty: only a sync before the look makes this one show
	m[200_000] ^= 2
}

// inodeReused replaces a file by another with the same inode number, size and mtime.
func inodeReused(t *testing.T, s *stage) {
	var was unix.Stat_t
	must(t, unix.Stat(s.path("f"), &was))
	must(t, os.Remove(s.path("f")))
	var is unix.Stat_t
	for i := range 100 {
		write(t, s.path("f"), 4096, byte(100+i))
		must(t, unix.Stat(s.path("f"), &is))
		if is.Ino == was.Ino {
			break
		}
		must(t, os.Rename(s.path("f"), s.path(fmt.Sprint("not it ", i))))
	}
	if is.Ino != was.Ino {
		t.Skip("this filesystem does not use the inode number again")
	}
	must(t, unix.UtimesNanoAt(unix.AT_FDCWD, s.path("f"), []unix.Timespec{was.Atim, was.Mtim}, 0))
}

func flagged(t *testing.T, s *stage) {
	put("i", 1000, "a", 1000, "i large", 200<<10, "a large", 200<<10, "i dir/f", 10, "a dir/f", 10, "plain", 10, "plain dir/f", 10)(t, s)
	for _, n := range []string{"i", "i large", "i dir"} {
		must(t, traps.AddFlags(s.path(n), traps.Immutable))
	}
	for _, n := range []string{"a", "a large", "a dir"} {
		must(t, traps.AddFlags(s.path(n), traps.Append))
	}
}

func flaggedChange(t *testing.T, s *stage) {
	for _, n := range []string{"i", "i large"} {
		must(t, traps.ClearFlags(s.path(n), traps.Immutable))
		flipByte(t, s.path(n), 500)
		must(t, traps.AddFlags(s.path(n), traps.Immutable))
	}
	for _, n := range []string{"a", "a large"} {
		f, err := os.OpenFile(s.path(n), os.O_APPEND|os.O_WRONLY, 0)
		must(t, err)
		_, err = f.WriteString("more")
		must(t, err)
		f.Close()
	}
	must(t, traps.ClearFlags(s.path("i dir"), traps.Immutable))
	write(t, s.path("i dir/new"), 10, 1)
	must(t, os.Remove(s.path("i dir/f")))
	must(t, traps.AddFlags(s.path("i dir"), traps.Immutable))
	write(t, s.path("a dir/new"), 10, 1)
	write(t, s.path("a dir/f"), 20, 1)
}

// types makes an entry of each type for each other type to take its place.
func types(t *testing.T, s *stage) {
	for from, create := range makers {
		for to := range makers {
			if from != to {
				create(t, s.path(from+" to "+to))
			}
		}
	}
}

func typesChange(t *testing.T, s *stage) {
	for from := range makers {
		for to, create := range makers {
			if from != to {
				must(t, os.RemoveAll(s.path(from+" to "+to)))
				create(t, s.path(from+" to "+to))
			}
		}
	}
}

var makers = map[string]func(t *testing.T, path string){
	"file":    func(t *testing.T, path string) { write(t, path, 100, 1) },
	"large":   func(t *testing.T, path string) { write(t, path, 100<<10, 2) },
	"dir":     func(t *testing.T, path string) { write(t, path+"/inside", 10, 3) },
	"symlink": func(t *testing.T, path string) { must(t, os.Symlink("elsewhere", path)) },
	"fifo":    func(t *testing.T, path string) { must(t, unix.Mkfifo(path, 0o600)) },
}

// fsOf is the type of the filesystem that holds path.
func fsOf(path string) string {
	var st unix.Statfs_t
	if unix.Statfs(path, &st) != nil {
		return ""
	}
	return map[int64]string{unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs", unix.TMPFS_MAGIC: "tmpfs"}[int64(st.Type)]
}

// sameBytes fails the test unless both files hold the same.
func sameBytes(t testing.TB, a, b string) {
	t.Helper()
	x, err := os.ReadFile(a)
	must(t, err)
	y, err := os.ReadFile(b)
	must(t, err)
	if !bytes.Equal(x, y) {
		t.Errorf("%s and %s differ", a, b)
	}
}
