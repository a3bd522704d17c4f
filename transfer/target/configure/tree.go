package configure

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"

	"github.com/ferry-migrate/ferry/internal/crashpoint"
)

const (
	maxFile  = 16 << 20 // bytes of a file that is read whole: configuration, lists of modules
	maxLinks = 40       // as the kernel follows
	maxNames = 1 << 16  // of one directory
)

// tree is the directory that holds a received system. Names are as the system will see them, "/etc/fstab" or "etc/fstab"; links in them,
// absolute ones too, lead to where they will lead in the system, and never out of it. Every change goes through replace, link,
// remove or makeDir, which journal it.
type tree struct {
	root    *os.Root
	dir     string // for the chroot
	journal *journal
	report  *Report
	step    string // who makes the changes
}

func openTree(dir string, r *Report) (*tree, error) {
	if runtime.GOOS != "linux" {
		return nil, fmt.Errorf("configure a Linux system: %w", errors.ErrUnsupported)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("root of the received system: %w", err)
	}
	j, err := openJournal(root)
	if err != nil {
		root.Close()
		return nil, err
	}
	return &tree{root: root, dir: dir, journal: j, report: r}, nil
}

// close ends the use of the tree and takes away what programs left in the scratch directory.
func (t *tree) close() {
	if t.journal.begun {
		_ = t.root.RemoveAll(scratch) // the next run uses it again
	}
	t.root.Close()
}

// resolve returns a path below the root that holds no link, but for the last name if follow is false. What is missing needs no
// resolving.
func (t *tree) resolve(name string, follow bool) (string, error) {
	todo, done := split(name), []string{}
	for links := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		if part == ".." {
			done = done[:max(0, len(done)-1)]
			continue
		}
		at := path.Join(append(slices.Clone(done), part)...)
		info, err := t.root.Lstat(at)
		if err != nil && !missing(err) && !errors.Is(err, fs.ErrInvalid) && !notDir(err) {
			return "", fmt.Errorf("resolve %s: %w", name, err)
		}
		if err != nil || info.Mode()&fs.ModeSymlink == 0 || !follow && len(todo) == 0 {
			done = append(done, part)
			continue
		}
		to, err := t.root.Readlink(at)
		if links++; err != nil || links > maxLinks {
			return "", fmt.Errorf("resolve %s: too many links, or one that cannot be read: %w", name, errors.Join(err, fs.ErrInvalid))
		}
		if strings.HasPrefix(to, "/") {
			done = done[:0]
		}
		todo = append(split(to), todo...)
	}
	return path.Join(append([]string{"."}, done...)...), nil
}

// split cuts a path into its names; "." is none.
func split(name string) []string {
	return slices.DeleteFunc(strings.Split(name, "/"), func(s string) bool { return s == "" || s == "." })
}

// stat is that of what a name leads to.
func (t *tree) stat(name string) (fs.FileInfo, error) {
	at, err := t.resolve(name, true)
	if err != nil {
		return nil, err
	}
	return t.root.Lstat(at)
}

func (t *tree) isFile(name string) bool {
	info, err := t.stat(name)
	return err == nil && info.Mode().IsRegular()
}

func (t *tree) isDir(name string) bool {
	info, err := t.stat(name)
	return err == nil && info.IsDir()
}

// open opens a regular file for reading.
func (t *tree) open(name string) (*os.File, error) {
	at, err := t.resolve(name, true)
	if err != nil {
		return nil, err
	}
	info, err := t.root.Lstat(at)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // opening a FIFO would wait for ever
		return nil, fmt.Errorf("%s is not a regular file: %w", name, fs.ErrNotExist)
	}
	return t.root.Open(at)
}

// read returns the content of a regular file; fs.ErrNotExist if there is none.
func (t *tree) read(name string) (string, error) {
	f, err := t.open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("%s has more than %d bytes", name, maxFile)
	}
	return string(b), err
}

// text returns the content of a file, "" if there is none or it cannot be read.
func (t *tree) text(name string) string {
	s, err := t.read(name)
	if err != nil {
		return ""
	}
	return s
}

// glob lists the names that match a pattern, sorted; hidden ones, where originals are kept, only if the pattern asks for
// them.
func (t *tree) glob(pattern string) (out []string) {
	dir, last := path.Split(pattern)
	dirs := []string{path.Clean(dir)}
	if strings.ContainsAny(dir, "*?[") {
		dirs = t.glob(path.Clean(dir))
	}
	for _, dir := range dirs {
		at, err := t.resolve(dir, true)
		if err != nil || !t.isDir(at) {
			continue
		}
		f, err := t.root.Open(at)
		if err != nil {
			continue
		}
		names, _ := f.Readdirnames(maxNames)
		f.Close()
		slices.Sort(names)
		for _, name := range names {
			if ok, err := path.Match(last, name); err == nil && ok && (name[0] != '.' || last[0] == '.') {
				out = append(out, path.Join("/", dir, name))
			}
		}
	}
	return out
}

// edit puts what change makes of a file in its place. A file that does not exist is left so.
func (t *tree) edit(name, why string, change func(string) string) error {
	old, err := t.read(name)
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return t.put(name, change(old), permFile, why)
}

// put gives a file a content, unless it has it already. perm is for a new file; else owner, mode and attributes stay.
func (t *tree) put(name, content string, perm os.FileMode, why string) error {
	old, err := t.read(name)
	if err == nil && old == content {
		return nil
	}
	if err != nil && !missing(err) {
		return err
	}
	return t.replace(name, bytes.NewReader([]byte(content)), perm, why)
}

// replace gives a file the content that r has.
func (t *tree) replace(name string, r io.Reader, perm os.FileMode, why string) error {
	at, err := t.prepare(name, true)
	if err != nil {
		return err
	}
	fresh, err := t.note(at)
	if err != nil {
		return err
	}
	if err := t.write(fresh, at, r, perm); err != nil {
		t.root.Remove(fresh)
		return fmt.Errorf("write %s: %w", name, err)
	}
	return t.swap(fresh, at, why)
}

// write makes the new file, owner, mode and attributes as those of old where that is a regular file.
func (t *tree) write(fresh, old string, r io.Reader, perm os.FileMode) (err error) {
	f, err := t.root.OpenFile(fresh, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := io.Copy(f, r); err != nil {
		return err
	}
	if info, err := t.root.Lstat(old); err == nil && info.Mode().IsRegular() {
		from, err := t.root.Open(old)
		if err != nil {
			return err
		}
		defer from.Close()
		if err := liken(f, from); err != nil {
			return err
		}
	} else if err := f.Chmod(perm); err != nil {
		return err
	}
	return f.Sync()
}

// link makes name a symbolic link to where to says, unless it is one already.
func (t *tree) link(name, to, why string) error {
	at, err := t.prepare(name, false)
	if err != nil {
		return err
	}
	if is, err := t.root.Readlink(at); err == nil && is == to {
		return nil
	}
	fresh, err := t.note(at)
	if err != nil {
		return err
	}
	if err := t.root.Symlink(to, fresh); err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	return t.swap(fresh, at, why)
}

// remove takes a file or link away, if it is there.
func (t *tree) remove(name, why string) error {
	at, err := t.resolve(name, false)
	if err != nil {
		return err
	}
	if info, err := t.root.Lstat(at); missing(err) {
		return nil
	} else if err != nil || info.IsDir() {
		return fmt.Errorf("remove %s: %w", name, errors.Join(err, fs.ErrInvalid))
	}
	if _, err := t.note(at); err != nil {
		return err
	}
	return t.swap("", at, why)
}

// note records what is at a resolved path, before anything is made there, and returns the free name for what will take its place.
func (t *tree) note(at string) (fresh string, err error) {
	mark, err := t.mark(at)
	if err != nil {
		return "", err
	}
	if err := t.journal.add(mark); err != nil {
		return "", err
	}
	crashpoint.Hit("configure.noted")
	fresh = beside(at, "new")
	if err := t.root.Remove(fresh); err != nil && !missing(err) {
		return "", err
	}
	return fresh, nil
}

// swap keeps the original of at, once, and puts fresh in its place, or nothing if fresh is "".
func (t *tree) swap(fresh, at, why string) error {
	kept := t.journal.of[at]
	if kept.Existed {
		if err := t.keep(at, beside(at, "saved")); err != nil {
			return fmt.Errorf("keep the original of %s: %w", at, err)
		}
	}
	crashpoint.Hit("configure.kept")
	var err error
	if fresh != "" {
		err = t.root.Rename(fresh, at)
	} else if err = t.root.Remove(at); missing(err) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("put %s in place: %w", at, err)
	}
	crashpoint.Hit("configure.placed")
	if err := t.syncDir(path.Dir(at)); err != nil {
		return err
	}
	c := Change{Step: t.step, Path: "/" + at, Why: why}
	if kept.Existed {
		c.Backup = "/" + beside(at, "saved")
	}
	t.report.Changes = append(t.report.Changes, c)
	return nil
}

// finish puts a new file in its place where a run was cut off right before, and FAT left nothing there meanwhile.
func (t *tree) finish() error {
	for _, r := range t.journal.records {
		fresh := beside(r.Path, "new")
		if _, err := t.root.Lstat(r.Path); r.Path == "" || !missing(err) {
			continue
		}
		if err := t.root.Rename(fresh, r.Path); err != nil && !gone(err) {
			return fmt.Errorf("put %s in place: %w", r.Path, err)
		}
	}
	return nil
}

// keep gives the original inode its second name. FAT has no links: there the first name is taken away for a moment.
func (t *tree) keep(at, saved string) error {
	if _, err := t.root.Lstat(saved); err == nil {
		return nil
	}
	err := t.root.Link(at, saved)
	if err != nil && !missing(err) {
		err = t.root.Rename(at, saved)
	}
	return err
}

// prepare resolves a name that will be written, and makes the directories that it needs.
func (t *tree) prepare(name string, follow bool) (string, error) {
	at, err := t.resolve(name, follow)
	if err != nil {
		return "", err
	}
	parts := split(path.Dir(at))
	for i := range parts {
		dir := path.Join(parts[:i+1]...)
		if _, err := t.root.Lstat(dir); !missing(err) {
			continue
		}
		mark, err := t.mark(dir)
		if err != nil {
			return "", err
		}
		mark.Dir = true
		if err := t.journal.add(mark); err != nil {
			return "", err
		}
		if err := t.root.Mkdir(dir, permDir); err != nil {
			return "", fmt.Errorf("make directory %s: %w", dir, err)
		}
		t.report.Changes = append(t.report.Changes, Change{Step: t.step, Path: "/" + dir, Why: "holds " + path.Base(name)})
	}
	return at, nil
}

func (t *tree) syncDir(dir string) error {
	f, err := t.root.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return syncNames(f)
}

// beside is the hidden name that Ferry uses next to a file: programs that read whole directories pass over hidden names.
func beside(name, what string) string {
	return path.Join(path.Dir(name), "."+path.Base(name)+".ferry-"+what)
}
