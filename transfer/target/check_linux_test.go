package target

import (
	"fmt"
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
	shell(t, root, `mkdir -p a/b; echo small > a/f; ln -s dest a/l; dd if=/dev/urandom of=a/b/big bs=100000 count=5 status=none; setfattr -n user.x -v 1 a/f; chattr +d a/b`)
	tree := openTree(t, root)
	var paths []string
	runs := 0
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
	if err != nil || strings.Join(paths, " ") != " a a/b a/b/big a/f a/l" || runs != 8 {
		t.Errorf("%q, %d chunks, %v", paths, runs, err)
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
