package target

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/chunk"
	"github.com/ferry-migrate/ferry/transfer/file"
)

// While operations are applied, somebody with write access swaps directories and files for symbolic links that lead out.
func TestSymlinkSwap(t *testing.T) {
	base := tmpfs(t)
	root, outside := filepath.Join(base, "root"), filepath.Join(base, "outside")
	shell(t, base, `mkdir -p root/d outside/sub; echo secret > outside/f; chmod 600 outside/f`)
	before := shell(t, outside, `find . -printf '%p %y %m %U %T@ %C@ %s\n' | sort; cat f`)
	tree := openTree(t, root)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			os.Rename(filepath.Join(root, "d"), filepath.Join(root, "moved"))
			os.Symlink(outside, filepath.Join(root, "d"))
			os.Remove(filepath.Join(root, "d"))
			os.Rename(filepath.Join(root, "moved"), filepath.Join(root, "d"))
			os.Remove(filepath.Join(root, "d/f"))
			os.Symlink("../../outside/f", filepath.Join(root, "d/f"))
		}
	}()
	m, link, dir := own(file.KindRegular, 0o4755), own(file.KindSymlink, 0o777), own(file.KindDir, 0o755)
	big := m
	big.Size = 2 * chunk.Size
	for i := range 3000 {
		f := file.AppendDir(nil, []byte("d"))
		f = appendPut(f, "f", m, file.How(i%2), []byte("x"))
		f = file.AppendMetaOp(f, file.OpMeta, []byte("f"), &m, file.HowFresh)
		f = file.AppendSymlink(f, []byte("l"), &link, []byte("/etc/passwd"))
		f = file.AppendMetaOp(f, file.OpBegin, []byte("g"), &big, file.HowInPlace)
		f = appendExtent(f, "f", 0, []byte("x"))
		f = file.AppendDelete(f, []byte("f"), file.KindRegular)
		f = file.AppendDirMeta(f, &dir)
		f = appendPut(file.AppendDir(f, []byte("d/sub")), "f", m, file.HowFresh, []byte("x"))
		f = file.AppendDelete(file.AppendDir(f, []byte("d")), []byte("sub"), file.KindDir)
		if i%16 == 0 {
			tree.dirs.closeIdle() // so that directories are opened again
		}
		if err := tree.Apply(f, &recorder{}); err != nil && fault.CodeOf(err) != CodeChanged {
			t.Fatal(err)
		}
	}
	close(stop)
	<-done
	if after := shell(t, outside, `find . -printf '%p %y %m %U %T@ %C@ %s\n' | sort; cat f`); after != before {
		t.Errorf("outside was\n%s\nis\n%s", before, after)
	}
}

// What is mounted below the root when it is opened is part of the target, also for Sync; what comes later is not, neither as
// a directory, nor as a file, nor for a removal.
func TestMounts(t *testing.T) {
	root := lab(t, "tmpfs")
	shell(t, root, `mkdir before after bind deep victim; touch file victim/f`)
	run(t, "mount", "-t", "tmpfs", "tmpfs", filepath.Join(root, "before"))
	t.Cleanup(func() { run(t, "umount", filepath.Join(root, "before")) })
	tree := openTree(t, root)
	m := own(file.KindRegular, 0o644)
	put := func(dir, name string, how file.How) []byte {
		return appendPut(file.AppendDir(nil, []byte(dir)), name, m, how, []byte("x"))
	}
	apply(t, tree, put("before", "f", file.HowFresh))
	apply(t, tree, put("before/sub", "f", file.HowFresh))
	if err := tree.Sync(); err != nil {
		t.Error(err)
	}
	for _, mount := range [][2]string{{"", "after"}, {"victim", "bind"}, {"victim", "deep"}} {
		point := filepath.Join(root, mount[1])
		if mount[0] == "" {
			run(t, "mount", "-t", "tmpfs", "tmpfs", point)
		} else {
			run(t, "mount", "--bind", filepath.Join(root, mount[0]), point)
		}
		t.Cleanup(func() { run(t, "umount", point) })
	}
	run(t, "mount", "--bind", filepath.Join(root, "victim/f"), filepath.Join(root, "file"))
	t.Cleanup(func() { run(t, "umount", filepath.Join(root, "file")) })
	for i, frame := range [][]byte{
		put("after", "f", file.HowFresh), put("bind", "f", file.HowFresh), put("bind/sub", "f", file.HowFresh),
		put("", "file", file.HowInPlace), put("", "file", file.HowFresh),
		file.AppendDelete(file.AppendDir(nil, nil), []byte("after"), file.KindDir),
		file.AppendDelete(file.AppendDir(nil, nil), []byte("deep"), file.KindDir),
		put("", "bind", file.HowFresh),
	} {
		if err := tree.Apply(frame, &recorder{}); fault.CodeOf(err) != CodeMount {
			t.Errorf("frame %d: %v", i, err)
		}
	}
	if out := shell(t, root, `ls after victim; wc -c < victim/f`); out != "after:\n\nvictim:\nf\n0\n" {
		t.Errorf("written on another mount: %s", out)
	}
}

// Paths beyond PATH_MAX, more directories than descriptors, and their removal.
func TestDeepPaths(t *testing.T) {
	root := tmpfs(t)
	tree := openTree(t, root)
	path := bytes.Repeat([]byte("deep-directory-name/"), 600) // 12,000 bytes, 600 levels
	path = path[:len(path)-1]
	m, dir := own(file.KindRegular, 0o600), own(file.KindDir, 0o700)
	f := appendPut(file.AppendDir(nil, path), "f", m, file.HowFresh, []byte("deep"))
	f = file.AppendDirMeta(f, &dir)
	apply(t, tree, f)
	tree.dirs.closeIdle()
	f = file.AppendLink(file.AppendDir(nil, nil), []byte("up"), append(bytes.Clone(path), "/f"...))
	f = appendPut(file.AppendDir(f, path[:len(path)/2-10]), "g", m, file.HowFresh, nil)
	apply(t, tree, f)
	if n := len(tree.dirs.kids); n > 700 {
		t.Errorf("%d directories in memory", n)
	}
	e := file.Entry{Meta: m}
	e.Size, e.Digest = 4, chunk.Sum([]byte("deep"))
	apply(t, tree, file.AppendCheck(file.AppendDir(nil, path), []byte("f"), &e, 0, nil))
	if got, err := os.ReadFile(filepath.Join(root, "up")); err != nil || string(got) != "deep" {
		t.Errorf("%q, %v", got, err)
	}
	apply(t, tree, file.AppendDelete(file.AppendDir(nil, nil), []byte("deep-directory-name"), file.KindDir))
	if list, err := os.ReadDir(root); err != nil || len(list) != 1 {
		t.Errorf("left: %v, %v", list, err)
	}
	for i := range 3 * maxDirs { // wide rather than deep
		apply(t, tree, appendPut(file.AppendDir(nil, fmt.Appendf(nil, "w%d/x", i)), "f", m, file.HowFresh, nil))
	}
	if n := tree.dirs.open.Len(); n > maxDirs {
		t.Errorf("%d descriptors", n)
	}
	if n := len(tree.dirs.kids); n > 2*maxDirs {
		t.Errorf("%d directories in memory", n)
	}
}

// A cached directory that somebody replaced is noticed when it is opened again, before anything is written into it.
func TestReplacedDirectory(t *testing.T) {
	root := tmpfs(t)
	tree := openTree(t, root)
	m := own(file.KindRegular, 0o600)
	apply(t, tree, appendPut(file.AppendDir(nil, []byte("a/b")), "f", m, file.HowFresh, nil))
	a, err := tree.dirs.acquire(&applier{tree: tree}, []byte("a/b"), false)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.dirs.release(a)
	tree.dirs.mu.Lock()
	tree.dirs.close(a.parent) // stays in memory for its child
	tree.dirs.mu.Unlock()
	shell(t, root, `mv a gone; mkdir a`)
	err = tree.Apply(appendPut(file.AppendDir(nil, []byte("a")), "f", m, file.HowFresh, nil), &recorder{})
	if fault.CodeOf(err) != CodeChanged {
		t.Errorf("%v", err)
	}
	if list, _ := os.ReadDir(filepath.Join(root, "a")); len(list) != 0 {
		t.Error("written into the new directory")
	}
}

func TestHostileFrames(t *testing.T) {
	root := tmpfs(t)
	tree := openTree(t, root)
	m, dir, link := own(file.KindRegular, 0o600), own(file.KindDir, 0o700), own(file.KindSymlink, 0o777)
	unsorted := m
	unsorted.Xattrs = file.AppendXattr(file.AppendXattr(nil, "user.b", nil), "user.a", nil)
	zero := m
	zero.Xattrs = file.AppendXattr(nil, "user.\x00", nil)
	garbage := m
	garbage.Xattrs = []byte{200, 1, 1}
	at := file.AppendDir(nil, nil)
	for name, frame := range map[string][]byte{
		"no directory":        appendPut(nil, "f", m, file.HowFresh, nil),
		"parent":              appendPut(file.AppendDir(nil, []byte("../x")), "f", m, file.HowFresh, nil),
		"absolute":            file.AppendDir(nil, []byte("/etc")),
		"dot name":            appendPut(at, "..", m, file.HowFresh, nil),
		"slash in name":       appendPut(at, "a/b", m, file.HowFresh, nil),
		"content of a dir":    appendPut(at, "f", dir, file.HowFresh, nil),
		"dir that is a file":  file.AppendMetaOp(at, file.OpMkdir, []byte("f"), &m, 0),
		"node that is a file": file.AppendMetaOp(at, file.OpNode, []byte("f"), &m, 0),
		"metadata of a dir":   file.AppendMetaOp(at, file.OpMeta, []byte("f"), &dir, 0),
		"link to nothing":     file.AppendSymlink(at, []byte("l"), &link, nil),
		"link with a zero":    file.AppendSymlink(at, []byte("l"), &link, []byte("a\x00b")),
		"link to the root":    file.AppendLink(at, []byte("l"), nil),
		"unsorted attributes": appendPut(at, "f", unsorted, file.HowFresh, nil),
		"zero in attribute":   appendPut(at, "f", zero, file.HowFresh, nil),
		"garbage attributes":  appendPut(at, "f", garbage, file.HowFresh, nil),
		"truncated":           appendPut(at, "f", m, file.HowFresh, []byte("abc"))[:20],
		"unknown":             append(bytes.Clone(at), 250),
	} {
		err := tree.Apply(frame, &recorder{})
		if !errors.Is(err, ErrProtocol) || fault.ClassOf(err) != fault.ClassPermanent {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := tree.EndPass(); err != nil {
		t.Fatal(err)
	}
	if err := tree.Apply(appendPut(at, "f", m, file.HowFresh, nil), &recorder{}); !errors.Is(err, ErrProtocol) {
		t.Errorf("written outside of a pass: %v", err)
	}
}

func TestDelete(t *testing.T) {
	for _, fs := range []string{"ext4", "tmpfs"} {
		t.Run(fs, func(t *testing.T) {
			root := lab(t, fs)
			shell(t, root, `mkdir -p d/a/b/c d/locked/x; touch d/f d/a/f d/locked/f d/locked/x/f d/append; chattr +i d/locked/f d/locked/x d/f; chattr +a d/append d/locked; ln -s /etc d/etc; mkfifo d/p; chattr +i .`)
			defer shell(t, root, unguard)
			tree := openTree(t, root)
			at := file.AppendDir(nil, nil)
			apply(t, tree, file.AppendDelete(at, []byte("d"), file.KindDir))
			apply(t, tree, file.AppendDelete(file.AppendDir(nil, []byte("d/a/b")), []byte("c"), file.KindDir))
			if out := shell(t, root, `ls -A | grep -v lost+found || true`); out != "" {
				t.Errorf("left: %s", out)
			}
			// A directory becomes a file and a file a directory.
			m, dir := own(file.KindRegular, 0o600), own(file.KindDir, 0o700)
			shell(t, root, `mkdir -p x/y; touch x/y/z; echo f > y; chattr +i x/y y`)
			f := appendPut(file.AppendDir(nil, nil), "x", m, file.HowInPlace, []byte("now a file"))
			f = file.AppendMetaOp(f, file.OpMkdir, []byte("y"), &dir, file.HowFresh)
			apply(t, tree, appendPut(file.AppendDir(f, []byte("y")), "f", m, file.HowFresh, nil))
			if out := shell(t, root, `cat x; ls y`); out != "now a filef\n" {
				t.Errorf("%s", out)
			}
		})
	}
}

func TestLargeDirectory(t *testing.T) {
	const files = 200_000
	root := tmpfs(t)
	tree := openTree(t, root)
	m := own(file.KindRegular, 0o644)
	var f []byte
	for i := range files {
		if len(f) == 0 {
			f = file.AppendDir(f, []byte("large"))
		}
		f = appendPut(f, fmt.Sprintf("file-%d", i), m, file.HowFresh, nil)
		if len(f) > 1<<18 || i == files-1 {
			apply(t, tree, f)
			f = f[:0]
		}
	}
	n := 0
	err := tree.List(t.Context(), ListOptions{}, func(e *file.Entry) error { n++; return nil }, nil)
	if err != nil || n != files+2 {
		t.Errorf("%d entries, %v", n, err)
	}
	apply(t, tree, file.AppendDelete(file.AppendDir(nil, nil), []byte("large"), file.KindDir))
	if list, err := os.ReadDir(root); err != nil || len(list) != 0 {
		t.Errorf("left: %v, %v", list, err)
	}
}

// The disk fills up: the session ends with a code, what was there stays, the stash is given up first, and once there is
// space the same operations go through.
func TestFull(t *testing.T) {
	root := mountImage(t, "ext4", []string{"mkfs.ext4", "-q", "-F", "-m", "0"}, 8<<20)
	data := randomBytes(1, chunk.Size)
	tree := openTree(t, root)
	m := own(file.KindRegular, 0o600)
	put := func(i int, how file.How) error {
		return tree.Apply(appendPut(file.AppendDir(nil, nil), fmt.Sprintf("f%03d", i), m, how, data), &recorder{})
	}
	n := 0
	var err error
	for ; n < 1000 && err == nil; n++ {
		err = put(n, file.HowFresh)
	}
	if fault.CodeOf(err) != CodeFull || fault.RemedyOf(err) == "" || !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("after %d files: %v", n, err)
	}
	if _, err := os.Lstat(filepath.Join(root, fmt.Sprintf("f%03d", n-1))); err == nil {
		t.Error("half a file was left")
	}
	for i := range 2 { // room for the stash itself
		if err := os.Remove(filepath.Join(root, fmt.Sprintf("f%03d", i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := tree.BeginPass(true); err != nil { // a sync that rewrites everything would need twice the space
		t.Fatal(err)
	}
	for i := 2; i < n-1; i++ {
		if err := put(i, file.HowFresh); err != nil {
			t.Fatalf("file %d of %d: %v", i, n-1, err)
		}
	}
	big := m
	big.Size = 1 << 30
	f := file.AppendMetaOp(file.AppendDir(nil, nil), file.OpBegin, []byte("big"), &big, file.HowFresh)
	f = file.AppendRange(f, file.OpZero, []byte("big"), 0, 1<<30)
	if err := tree.Apply(f, &recorder{}); fault.CodeOf(err) != CodeFull {
		t.Fatalf("%v", err)
	}
	apply(t, tree, file.AppendDelete(file.AppendDir(nil, nil), []byte("big"), file.KindRegular)) // which lets go of its descriptor
	if err := put(n, file.HowFresh); err != nil {
		t.Errorf("with free space: %v", err)
	}
	if err := tree.EndPass(); err != nil {
		t.Error(err)
	}
}

func FuzzApply(f *testing.F) {
	m, dir, link := own(file.KindRegular, 0o600), own(file.KindDir, 0o700), own(file.KindSymlink, 0o777)
	node := own(file.KindFIFO, 0o600)
	m.Xattrs = file.AppendXattr(nil, "user.a", []byte("1"))
	s := appendPut(file.AppendDir(nil, []byte("a/b")), "f", m, file.HowFresh, []byte("abc"))
	s = file.AppendMetaOp(s, file.OpMkdir, []byte("d"), &dir, 0)
	s = file.AppendSymlink(s, []byte("l"), &link, []byte("../../../outside"))
	s = file.AppendMetaOp(s, file.OpNode, []byte("p"), &node, 0)
	s = file.AppendMetaOp(s, file.OpBegin, []byte("g"), &m, file.HowFresh)
	s = file.AppendMetaOp(appendExtent(s, "g", 0, []byte("x")), file.OpEnd, []byte("g"), &m, 0)
	s = file.AppendDelete(file.AppendLink(s, []byte("h"), []byte("a/b/f")), []byte("d"), file.KindDir)
	s = from(file.AppendDirMeta(s, &dir), "i", m, "a/b/f")
	f.Add(s)
	f.Add(appendPut(file.AppendDir(nil, []byte("a/b/l")), "f", m, file.HowInPlace, []byte("abc")))
	f.Add(file.AppendDelete(file.AppendDir(nil, []byte("a")), []byte("b"), file.KindDir))
	base := tmpfs(f)
	shell(f, base, `mkdir -p root outside; echo sentinel > outside/f; ln -s ../outside root/l; ln outside/f root-link`)
	const look = `find outside root-link -printf '%p %y %m %U %G %T@ %n %s\n' | sort; cat outside/f`
	before := shell(f, base, look)
	tree, err := OpenTree(filepath.Join(base, "root"), TreeOptions{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { tree.Close() })
	n := 0
	f.Fuzz(func(t *testing.T, frame []byte) {
		if err := tree.BeginPass(n%2 == 0); err != nil {
			t.Fatal(err)
		}
		_ = tree.Apply(bounded(frame), &recorder{})
		if n++; n%256 == 1 || !strings.Contains(t.Name(), "/seed") {
			if after := fastLook(base); after != "" {
				t.Fatal(after)
			}
		}
	})
	if after := shell(f, base, look); after != before {
		f.Errorf("outside was\n%s\nis\n%s", before, after)
	}
}

// bounded cuts a frame before an operation that would write for long.
func bounded(frame []byte) []byte {
	var op file.Op
	for rest := frame; len(rest) > 0; {
		next, err := file.DecodeOp(rest, &op)
		if err != nil || op.Code == file.OpZero && op.Length > 1<<20 {
			return frame[:len(frame)-len(rest)]
		}
		rest = next
	}
	return frame
}

// fastLook returns what is wrong with the sentinel, "" if it is untouched.
func fastLook(base string) string {
	text, err := os.ReadFile(filepath.Join(base, "outside/f"))
	list, _ := os.ReadDir(filepath.Join(base, "outside"))
	top, _ := os.ReadDir(base)
	if err != nil || string(text) != "sentinel\n" || len(list) != 1 || len(top) != 3 {
		return fmt.Sprintf("the sentinel was touched: %q, %v, %v, %v", text, err, list, top)
	}
	return ""
}
