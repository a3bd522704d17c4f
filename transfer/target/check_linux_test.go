package target

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/chunk"
	"github.com/ferry-migrate/ferry/transfer/file"
)

// Each thing that somebody changes on the target behind our back is found by the check, and nothing else.
func TestCheckFindsDifferences(t *testing.T) {
	root := lab(t, "ext4")
	shell(t, root, `mkdir d; echo text > d/f; ln -s dest d/l; ln d/f d/h; mknod d/dev c 1 3; dd if=/dev/urandom of=d/big bs=64K count=40 status=none; mkfifo d/p`)
	tree := openTree(t, root)
	for _, c := range []struct{ change, want string }{
		{"true", ""},
		{"chmod 600 d/f", "d/f mode"},
		{"chown 5 d/p", "d/p owner"},
		{"touch -m -d @5 d/dev", "d/dev mtime"},
		{"touch -a -d @5 d/p", "d/p atime"},
		{"chattr +A d/big", "d/big flags"},
		{"setfattr -n user.x -v y d/f", "d/f xattrs"},
		{"setfacl -m u:5:rwx d", "d mode|d xattrs"},
		{"touch -r d/f ../stamp; printf TEXT | dd of=d/f conv=notrunc status=none; touch -r ../stamp d/f", "d/f content"},
		{"echo more >> d/big", "d/big mtime|d/big size"},
		{"printf X | dd of=d/big bs=1 seek=2000000 conv=notrunc status=none", "d/big content|d/big mtime"},
		{"truncate -s 100000 d/big", "d/big content|d/big mtime|d/big size"},
		{"cp -a d/f d/h2; mv d/h2 d/h", "d mtime|d/h link"},
		{"ln -sf other d/l", "d mtime|d/l atime|d/l content|d/l mtime"},
		{"rm d/p; mkdir d/p", "d mtime|d/p kind"},
		{"rm d/dev; mknod d/dev c 1 5", "d mtime|d/dev atime|d/dev device|d/dev mtime"},
		{"rm d/dev", "d mtime|d/dev missing"},
		{"rm -r d", " mtime|d missing|d/big missing|d/f missing|d/h missing|d/l missing|d/p missing"},
	} {
		t.Run(c.change, func(t *testing.T) {
			s := send(t, root, file.HowFresh)
			shell(t, root, c.change)
			r := &recorder{}
			if err := tree.Apply(s.check, r); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, d := range r.differs {
				what, _, _ := strings.Cut(d, ":")
				got = append(got, what)
			}
			slices.Sort(got)
			if all := strings.Join(slices.Compact(got), "|"); all != c.want {
				t.Errorf("found %q, want %q\n%q", all, c.want, r.differs)
			}
		})
	}
}

func TestList(t *testing.T) {
	root := lab(t, "xfs")
	shell(t, root, `mkdir -p a/b; echo small > a/f; ln -s dest a/l; dd if=/dev/urandom of=a/b/big bs=100000 count=5 status=none; dd if=/dev/urandom of=a/b/sparse bs=64K seek=100000 count=1 status=none; truncate -s +1T a/b/sparse; setfattr -n user.x -v 1 a/f; chattr +d a/b`)
	tree := openTree(t, root)
	var paths []string
	runs, empty := 0, int64(0)
	err := tree.List(t.Context(), ListOptions{Content: true}, func(e *file.Entry) error {
		paths = append(paths, string(e.Path))
		switch string(e.Path) {
		case "a/f":
			if e.Digest != chunk.Sum([]byte("small\n")) || e.Xattr != file.XattrDigest(file.AppendXattr(nil, "user.x", []byte("1"))) || e.Size != 6 {
				t.Errorf("%+v", e)
			}
		case "a/l":
			if e.Digest != chunk.Sum([]byte("dest")) {
				t.Errorf("%+v", e)
			}
		case "a/b":
			if e.Flags != file.FlagNoDump || e.Kind != file.KindDir {
				t.Errorf("%+v", e)
			}
		}
		return nil
	}, func(first int64, digests []byte) error {
		if paths[len(paths)-1] == "a/b/sparse" {
			empty += int64(bytes.Count(digests, chunk.Hole[:]))
			return nil
		}
		data, err := os.ReadFile(filepath.Join(root, "a/b/big"))
		for i := range len(digests) / chunk.DigestSize {
			off := (int(first) + i) * chunk.Size
			want := chunk.Sum(data[off:min(off+chunk.Size, len(data))])
			if string(digests[i*chunk.DigestSize:][:chunk.DigestSize]) != string(want[:]) {
				t.Errorf("digest of chunk %d", int(first)+i)
			}
			runs++
		}
		return err
	})
	if err != nil || strings.Join(paths, " ") != " a a/b a/b/big a/b/sparse a/f a/l" || runs != 8 || empty != 100_000+1<<40/chunk.Size {
		t.Errorf("%q, %d chunks, %d empty ones, %v", paths, runs, empty, err)
	}
}

func TestOpenTree(t *testing.T) {
	root := tmpfs(t)
	tree := openTree(t, root)
	if _, err := OpenTree(root, TreeOptions{}); fault.CodeOf(err) != CodeBusy {
		t.Errorf("a second target: %v", err)
	}
	if state, err := tree.State(); err != nil || !state.Empty || state.Filesystem != "tmpfs" || state.Free <= 0 || !state.Keeps.Times {
		t.Errorf("%+v, %v", state, err)
	}
	if err := tree.Close(); err != nil {
		t.Fatal(err)
	}
	if err := tree.Close(); err != nil {
		t.Error(err)
	}
	if err := tree.Apply(nil, nil); err == nil {
		t.Error("applied after Close")
	}
	again, err := OpenTree(root, TreeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	for _, path := range []string{filepath.Join(root, "missing"), "/etc/passwd"} {
		if _, err := OpenTree(path, TreeOptions{}); fault.CodeOf(err) != CodeRoot || fault.RemedyOf(err) == "" {
			t.Errorf("%s: %v", path, err)
		}
	}
	if os.Geteuid() != 0 {
		return
	}
	run(t, "mount", "-t", "tmpfs", "-o", "ro", "tmpfs", root)
	defer run(t, "umount", root)
	ro, err := OpenTree(root, TreeOptions{})
	if err != nil {
		t.Fatal("a check needs no writable filesystem:", err)
	}
	defer ro.Close()
	if err := ro.BeginPass(false); fault.CodeOf(err) != CodeReadOnly {
		t.Errorf("%v", err)
	}
}

// The probe knows the filesystem's group rule: what is not asked for with chown must come out right.
func TestGroupOfDirectory(t *testing.T) {
	for _, option := range []string{"grpid", "nogrpid"} {
		t.Run(option, func(t *testing.T) {
			root := lab(t, "ext4", option)
			tree := openTree(t, root)
			dir := own(file.KindDir, 0o755)
			dir.GID = 77
			f := file.AppendDirMeta(file.AppendDir(nil, []byte("d")), &dir)
			apply(t, tree, f)
			for i, gid := range []uint32{0, 77, 88} {
				m := own(file.KindRegular, 0o600)
				m.GID = gid
				name := fmt.Sprint(i)
				apply(t, tree, appendPut(file.AppendDir(nil, []byte("d")), name, m, 0, nil))
				var st unix.Stat_t
				if err := unix.Stat(filepath.Join(root, "d", name), &st); err != nil || st.Gid != gid {
					t.Errorf("group %d, want %d, %v", st.Gid, gid, err)
				}
			}
		})
	}
}

// bytesRead is what this process has read from files so far.
func bytesRead(t testing.TB) (n int64) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Skip("the kernel counts no reads:", err)
	}
	if _, err := fmt.Sscanf(string(text), "rchar: %d", &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// sparse is what a source says of a file: what is not in want is a hole.
type sparse struct {
	size int64
	want map[int64]chunk.Digest // by chunk
}

// check has tree compare the chunks from first up to end and returns what differs in the content of f.
func (s *sparse) check(t testing.TB, tree *Tree, first, end int64) (differs []string) {
	t.Helper()
	const most = 1 << 20 / chunk.DigestSize
	e := file.Entry{Meta: own(file.KindRegular, 0o644)}
	e.Size = s.size
	r := &recorder{}
	for ; first < end; first += most {
		digests := bytes.Repeat(chunk.Hole[:], int(min(most, end-first)))
		for i, d := range s.want {
			if at := (i - first) * chunk.DigestSize; at >= 0 && at < int64(len(digests)) {
				copy(digests[at:], d[:])
			}
		}
		if err := tree.Apply(file.AppendCheck(file.AppendDir(nil, nil), []byte("f"), &e, first, digests), r); err != nil {
			t.Fatal(err)
		}
	}
	return slices.DeleteFunc(r.differs, func(d string) bool { return !strings.Contains(d, "content") })
}

// A hole is compared without reading it, and what is wrong in one, or beside it, is found all the same.
func TestCheckOfHoles(t *testing.T) {
	for _, fs := range []string{"xfs", "btrfs", "tmpfs"} {
		t.Run(fs, func(t *testing.T) {
			root := lab(t, fs)
			shell(t, root, `dd if=/dev/zero of=f bs=64K count=1 status=none; printf data | dd of=f bs=1 seek=700G conv=notrunc status=none; truncate -s 1T f; truncate -s +1000 f`)
			tree := openTree(t, root)
			content := make([]byte, chunk.Size)
			zero := chunk.Sum(content)
			copy(content, "data")
			const data, last = 700 << 30 / chunk.Size, 1 << 40 / chunk.Size
			s := &sparse{size: 1<<40 + 1000}
			s.want = map[int64]chunk.Digest{0: zero, 5: {}, data: chunk.Sum(content), data + 1: zero, last: chunk.Sum(make([]byte, 1000))}
			before := bytesRead(t)
			if d := s.check(t, tree, 0, last+1); len(d) > 0 {
				t.Errorf("it found %q", d)
			}
			if n := bytesRead(t) - before; n > 8<<20 {
				t.Errorf("%d bytes were read to compare 64 KiB and a few", n)
			}
			for what, wrong := range map[string]map[int64]chunk.Digest{
				"data instead of a hole":      {data - 9: chunk.Sum(content)},
				"data instead of a last hole": {last: chunk.Sum(content[:1000])},
				"zeroes of another length":    {last: zero},
				"zeroes instead of data":      {data: zero},
				"a hole instead of data":      {data: chunk.Hole},
				"other data":                  {data: chunk.Sum([]byte("other"))},
			} {
				c := &sparse{size: s.size, want: maps.Clone(s.want)}
				maps.Copy(c.want, wrong)
				if d := append(c.check(t, tree, data-10, data+10), c.check(t, tree, last-10, last+1)...); len(d) != 1 {
					t.Errorf("%s: it found %q", what, d)
				}
			}
			shell(t, root, `printf x | dd of=f bs=1 seek=900G conv=notrunc status=none`)
			if d := s.check(t, tree, 899<<30/chunk.Size, 901<<30/chunk.Size); len(d) != 1 || !strings.Contains(d[0], fmt.Sprint(900<<30)) {
				t.Errorf("a byte in a hole: it found %q", d)
			}
		})
	}
}
