package file

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/transfer/chunk"
)

func dirHandle(t *testing.T, path string) int {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func TestMetaReaderStat(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "new\nline\xff")
	if err := os.WriteFile(path, []byte("12345"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	fd := dirHandle(t, dir)
	var r MetaReader
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	for _, old := range []bool{false, true} {
		stat := r.Stat
		if old {
			stat = r.statOld
		}
		var e Entry
		place, err := stat(fd, []byte("new\nline\xff"), &e)
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind != KindRegular || e.Perm != 0o640 || e.Size != 5 || e.Ino != st.Ino || e.Nlink != 1 ||
			e.Mtime != (Time{st.Mtim.Sec, uint32(st.Mtim.Nsec)}) || place.Dev != st.Dev {
			t.Errorf("old %v: %+v %+v", old, e, place)
		}
		if _, err := stat(fd, []byte("link"), &e); err != nil || e.Kind != KindSymlink || e.Size != 0 {
			t.Errorf("old %v: symlink: %v %+v", old, err, e)
		}
		if _, err := stat(fd, nil, &e); err != nil || e.Kind != KindDir {
			t.Errorf("old %v: directory itself: %v %+v", old, err, e)
		}
		if _, err := stat(fd, []byte("missing"), &e); err != unix.ENOENT {
			t.Errorf("old %v: missing: %v", old, err)
		}
	}
	if _, err := r.Stat(fd, bytes.Repeat([]byte("a"), MaxName+1), new(Entry)); err != unix.ENAMETOOLONG {
		t.Errorf("long name: %v", err)
	}
}

func TestMetaReaderXattrs(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("trusted attributes need root")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	for _, name := range []string{"f", "plain"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("f", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	big := bytes.Repeat([]byte{0, 1, 255}, 1000)
	want := []byte(nil)
	for _, x := range []struct{ name, value string }{{"trusted.b", string(big)}, {"user.a", "1"}, {"user.empty", ""}} {
		if err := unix.Setxattr(path, x.name, []byte(x.value), 0); err == unix.EOPNOTSUPP || err == unix.ENOSPC {
			t.Skipf("the test directory's filesystem refuses %s: %v", x.name, err)
		} else if err != nil {
			t.Fatal(err)
		}
		want = AppendXattr(want, x.name, []byte(x.value))
	}
	if err := unix.Lsetxattr(filepath.Join(dir, "link"), "trusted.link", []byte("of the link"), 0); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	dirfd := dirHandle(t, dir)
	var r MetaReader
	if got, err := r.Xattrs(fd); err != nil || !bytes.Equal(got, want) {
		t.Errorf("by descriptor: %q %v", got, err)
	}
	if got, err := r.XattrsAt(dirfd, []byte("f")); err != nil || !bytes.Equal(got, want) {
		t.Errorf("by name: %q %v", got, err)
	}
	if got, err := r.XattrsAt(dirfd, []byte("link")); err != nil || !bytes.Equal(got, AppendXattr(nil, "trusted.link", []byte("of the link"))) {
		t.Errorf("symbolic link: %q %v", got, err)
	}
	plain := []byte("plain")
	if got, err := r.XattrsAt(dirfd, plain); err != nil || got != nil {
		t.Errorf("none: %q %v", got, err)
	}
	if XattrDigest(nil).Known() || XattrDigest(want) != chunk.Sum(want) {
		t.Error("digest")
	}
	var e Entry
	if n := testing.AllocsPerRun(100, func() {
		r.XattrsAt(dirfd, plain)
		r.Stat(dirfd, plain, &e)
		r.Handle(dirfd, plain)
		r.Flags(fd, 1)
	}); n != 0 {
		t.Errorf("%v allocations for a file without attributes", n)
	}
}

func TestHostXattr(t *testing.T) {
	for name, want := range map[string]bool{
		"user.a": false, "security.capability": false, "security.selinux": false, "security.evm": true, "system.posix_acl_access": false,
		"system.posix_acl_default": false, "system.nfs4_acl": true, "trusted.SGI_ACL_FILE": true, "trusted.a": false, "btrfs.compression": false,
	} {
		if HostXattr([]byte(name)) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}

// lsattr is the foreign reader of inode flags.
func TestMetaReaderFlags(t *testing.T) {
	lsattr, err := exec.LookPath("lsattr")
	if err != nil || os.Geteuid() != 0 {
		t.Skip("needs root and lsattr (e2fsprogs)")
	}
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("chattr", "+dAi", path).CombinedOutput(); err != nil {
		t.Skipf("the test directory's filesystem has no inode flags: %s", out)
	}
	defer exec.Command("chattr", "-i", path).Run()
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var r MetaReader
	flags, _, err := r.Flags(fd, 1)
	if err != nil || flags != FlagNoDump|FlagNoAtime|FlagImmutable {
		t.Errorf("flags %#x, %v", flags, err)
	}
	out, err := exec.Command(lsattr, path).Output()
	if err != nil || !strings.Contains(strings.Fields(string(out))[0], "i") {
		t.Errorf("lsattr says %q, %v", out, err)
	}
}

func TestMetaReaderHandle(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a", "b"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "a2")); err != nil {
		t.Fatal(err)
	}
	fd := dirHandle(t, dir)
	var r MetaReader
	a, mount, err := r.Handle(fd, []byte("a"))
	if err != nil {
		t.Fatal(err)
	}
	if a == 0 {
		t.Skip("the test directory's filesystem has no file handles")
	}
	a2, _, _ := r.Handle(fd, []byte("a2"))
	b, _, _ := r.Handle(fd, []byte("b"))
	if a != a2 || a == b {
		t.Errorf("handles %x %x %x", a, a2, b)
	}
	id, err := MountID(fd)
	if err != nil || id != uint64(mount) {
		t.Errorf("mount %d by handle, %d by fdinfo, %v", mount, id, err)
	}
	var e Entry
	if place, err := r.Stat(fd, []byte("a"), &e); err != nil || place.Mount != 0 && place.Mount != id {
		t.Errorf("mount %+v by statx, %d by fdinfo, %v", place, id, err)
	}
}
