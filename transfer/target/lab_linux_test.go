package target

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/transfer/chunk"
	"github.com/ferry-migrate/ferry/transfer/file"
)

// labs are the filesystems that fidelity is proved on.
var labs = []struct {
	name string
	mkfs []string
	size int64
}{
	{"ext4", []string{"mkfs.ext4", "-q", "-F", "-I", "256", "-b", "4096"}, 96 << 20},
	{"xfs", []string{"mkfs.xfs", "-q"}, 320 << 20},
	{"btrfs", []string{"mkfs.btrfs", "-q"}, 256 << 20},
}

// lab makes a filesystem in an image and mounts it until the test ends. name is one of labs, or tmpfs.
func lab(t testing.TB, name string, options ...string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	for _, l := range labs {
		if l.name == name {
			return mountImage(t, name, l.mkfs, l.size, options...)
		}
	}
	dir := t.TempDir()
	run(t, "mount", append([]string{"-t", "tmpfs", "-o", "noatime", "tmpfs", dir}, options...)...)
	t.Cleanup(func() { run(t, "umount", dir) })
	return dir
}

func mountImage(t testing.TB, kind string, mkfs []string, size int64, options ...string) string {
	t.Helper()
	if _, err := exec.LookPath(mkfs[0]); err != nil {
		t.Skipf("%s is not installed", mkfs[0])
	}
	dir := tmpfs(t) // an image in memory: what is tested is the filesystem, not the disk
	image := filepath.Join(dir, "image")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, size); err != nil {
		t.Fatal(err)
	}
	run(t, mkfs[0], append(mkfs[1:], image)...)
	mnt := filepath.Join(dir, "mnt")
	if err := os.Mkdir(mnt, 0o755); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-o", strings.Join(append([]string{"loop", "noatime"}, options...), ","), "-t", kind}, image, mnt)
	if out, err := exec.Command("mount", args...).CombinedOutput(); err != nil {
		t.Skipf("this machine cannot mount %s from a loop device: %s", kind, out)
	}
	t.Cleanup(func() { run(t, "umount", mnt) })
	return mnt
}

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
	return string(out)
}

// shell runs a script in dir and returns what it prints.
func shell(t testing.TB, dir, script string) string {
	t.Helper()
	cmd := exec.Command("bash", "-euc", script)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s\n%s", err, out, script)
	}
	return string(out)
}

// sent is what send made of a tree.
type sent struct {
	make  []byte // operations that make everything but hard links
	links []byte
	meta  []byte // OpDirMeta, deepest first
	check []byte
}

// send makes operations of the tree at root as a source would, with how for what is there already.
func send(t testing.TB, root string, how file.How) (s sent) {
	t.Helper()
	fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	w, err := file.NewWalk(fd, file.WalkOptions{Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	first := map[uint64][]byte{}
	var meta file.MetaReader
	var dirs [][]byte
	for item := w.Next(); item != nil; item = w.Next() {
		if item.Err != nil || item.Unread != nil {
			t.Fatal(item.Err, item.Unread)
		}
		name := item.Name[:len(item.Name)-1]
		e := item.Entry
		s.make = file.AppendDir(s.make, item.Dir.Path)
		s.check = file.AppendDir(s.check, item.Dir.Path)
		path := bytes.Clone(item.Dir.Path)
		if len(path) > 0 {
			path = append(path, '/')
		}
		path = append(path, name...)
		if e.Nlink > 1 && e.Kind != file.KindDir {
			if leader := first[e.Ino]; leader != nil {
				s.links = file.AppendLink(file.AppendDir(s.links, item.Dir.Path), name, leader)
				e.Link = leader
				s.check = file.AppendCheck(s.check, name, &e, 0, nil)
				continue
			}
			first[e.Ino] = path
		}
		dirfd, err := w.Dirs.Acquire(item.Dir)
		if err != nil {
			t.Fatal(err)
		}
		enc, err := meta.XattrsAt(dirfd, append(bytes.Clone(name), "."[:1-min(len(name), 1)]...))
		if err != nil {
			t.Fatal(err)
		}
		e.Xattrs = bytes.Clone(enc)
		e.Xattr = file.XattrDigest(enc)
		var digests []byte
		switch e.Kind {
		case file.KindRegular, file.KindDir:
			open := item.Name
			if len(name) == 0 {
				open = []byte(".\x00")
			}
			fd, err := w.Dirs.Open(item.Dir, open)
			if err != nil {
				t.Fatal(err)
			}
			if e.Flags, e.Project, err = meta.Flags(fd, item.Place.Dev); err != nil {
				t.Fatal(err)
			}
			if e.Kind == file.KindRegular {
				s.make, digests = sendContent(t, s.make, fd, name, &e, how)
			} else {
				if len(name) > 0 {
					s.make = file.AppendMetaOp(s.make, file.OpMkdir, name, &e.Meta, how)
				}
				dirs = append(dirs, file.AppendDirMeta(file.AppendDir(nil, path), &e.Meta))
			}
			unix.Close(fd)
		case file.KindSymlink:
			dest, err := w.Dirs.Readlink(item.Dir, item.Name, make([]byte, 8192))
			if err != nil {
				t.Fatal(err)
			}
			e.Digest = chunk.Sum(dest)
			s.make = file.AppendSymlink(s.make, name, &e.Meta, dest)
		default:
			s.make = file.AppendMetaOp(s.make, file.OpNode, name, &e.Meta, how)
		}
		w.Dirs.Release(item.Dir)
		s.check = file.AppendCheck(s.check, name, &e, 0, digests)
	}
	for i := len(dirs) - 1; i >= 0; i-- {
		s.meta = append(s.meta, dirs[i]...)
	}
	return s
}

// sendContent appends the operations of one regular file.
func sendContent(t testing.TB, ops []byte, fd int, name []byte, e *file.Entry, how file.How) (out, digests []byte) {
	data := make([]byte, e.Size)
	if _, err := preadAll(fd, data, 0); err != nil {
		t.Fatal(err)
	}
	hole, _ := unix.Seek(fd, 0, unix.SEEK_HOLE)
	if e.Size <= chunk.Size && (e.Size == 0 || hole == e.Size) {
		e.Digest = chunk.Sum(data)
		return append(file.AppendPut(ops, name, &e.Meta, how, e.Digest, len(data)), data...), nil
	}
	ops = file.AppendMetaOp(ops, file.OpBegin, name, &e.Meta, how)
	for off := int64(0); off < e.Size; {
		start, err := unix.Seek(fd, off, unix.SEEK_DATA)
		if err != nil {
			start = e.Size
		}
		if start > off {
			ops = file.AppendRange(ops, file.OpPunch, name, off, start-off)
		}
		end := e.Size
		if start < e.Size {
			end, _ = unix.Seek(fd, start, unix.SEEK_HOLE)
		}
		for off = start; off < end; {
			stop := min(off-off%chunk.Size+chunk.Size, end)
			if off%chunk.Size == 0 {
				part := data[off:stop]
				sum := chunk.Sum(part)
				ops = append(file.AppendExtent(ops, name, off, sum[:], len(part)), part...)
			} else if bytes.Equal(data[off:stop], make([]byte, stop-off)) {
				ops = file.AppendRange(ops, file.OpZero, name, off, stop-off)
			} else {
				t.Fatalf("%q: data at %d does not start a chunk", name, off)
			}
			off = stop
		}
	}
	for part := range bytesChunks(data) {
		sum := chunk.Sum(part)
		digests = append(digests, sum[:]...)
	}
	if e.Size <= chunk.Size {
		e.Digest = chunk.Sum(data)
		digests = nil
	}
	return file.AppendMetaOp(ops, file.OpEnd, name, &e.Meta, how), digests
}

func bytesChunks(data []byte) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for off := 0; off < len(data); off += chunk.Size {
			if !yield(data[off:min(off+chunk.Size, len(data))]) {
				return
			}
		}
	}
}

// receive applies s in order, as one pass.
func receive(t testing.TB, tree *Tree, s sent) {
	t.Helper()
	apply(t, tree, s.make)
	apply(t, tree, s.links)
	apply(t, tree, s.meta)
}

// same proves with foreign tools that b is what a is.
func same(t testing.TB, a, b string) {
	t.Helper()
	if out := run(t, "rsync", "-aHAXUn", "--delete", "--itemize-changes", "--checksum", "--exclude=/lost+found", a+"/", b+"/"); out != "" {
		t.Errorf("rsync finds differences:\n%s", out)
	}
	const facts = `
find . -path ./lost+found -prune -o \( -type f -o -type d \) -print0 | sort -z | xargs -0 -r lsattr -dp 2>&1 | sed 's/[eIVEN-]*//g;' || true
find . -path ./lost+found -prune -o -printf '%P %y %m %U %G %T@ %n %l\n' | sort
find . -path ./lost+found -prune -o -type f -printf '%P %A@ \n' | sort
getfattr -dhR -m - -e hex . 2>/dev/null | sort | uniq -c || true`
	if x, y := shell(t, a, facts), shell(t, b, facts); x != y {
		dir := t.TempDir()
		os.WriteFile(filepath.Join(dir, "a"), []byte(x), 0o600)
		os.WriteFile(filepath.Join(dir, "b"), []byte(y), 0o600)
		out, _ := exec.Command("diff", filepath.Join(dir, "a"), filepath.Join(dir, "b")).CombinedOutput()
		t.Errorf("facts differ:\n%s", out)
	}
	if x, y := sparseMaps(t, a), sparseMaps(t, b); x != y {
		t.Errorf("sparse maps differ:\n%s\n%s", x, y)
	}
}

// sparseMaps lists where each file has data.
func sparseMaps(t testing.TB, root string) string {
	t.Helper()
	var out strings.Builder
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOATIME, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		fmt.Fprintf(&out, "%q", path[len(root):])
		for off := int64(0); ; {
			data, err := unix.Seek(fd, off, unix.SEEK_DATA)
			if err != nil {
				break
			}
			if off, err = unix.Seek(fd, data, unix.SEEK_HOLE); err != nil {
				break
			}
			fmt.Fprintf(&out, " %d-%d", data, off)
		}
		out.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}
