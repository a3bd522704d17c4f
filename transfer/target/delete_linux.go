package target

import (
	"bytes"
	"encoding/binary"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/transfer/file"
)

const (
	direntSize = 32 << 10
	// maxDepth is how deep a removal descends before it moves what is deeper up, so that descriptors and memory stay bounded.
	maxDepth = 32
)

// delete applies OpDelete.
func (a *applier) delete(d *dir, op *file.Op) error {
	_, err := a.remove(d, op.Name, a.fullPath(op.Name), false)
	return err
}

// remover removes one directory tree.
type remover struct {
	a       *applier
	keep    bool       // stash regular files
	path    []byte     // from the root, of the directory being emptied
	mount   *dir       // the directory the tree lies in: the tree must be on its mount
	top     int        // descriptor of the tree's own directory
	moved   int        // directories moved up into it
	levels  [][]byte   // a buffer for each depth
	failed  int        // entries that could not be removed
	because unix.Errno // why the first could not
	stat    file.Entry
}

// removeTree removes the directory called name in d, path from the root, with all in it. Flags that forbid it are cleared on
// the way; what is mounted below is never entered.
func (a *applier) removeTree(d *dir, name, path []byte, keep bool) (ok bool, err error) {
	r := remover{a: a, keep: keep, path: bytes.Clone(path), mount: d, levels: make([][]byte, maxDepth+1)}
	e, err := r.dir(d.fd, append(bytes.Clone(name), 0), 0)
	if err != nil {
		return false, err
	}
	if (e == unix.EPERM || e == unix.EACCES) && a.openDir(d, e) {
		e = unlinkat(d.fd, a.cname(name), unix.AT_REMOVEDIR)
	}
	if e != 0 && e != unix.ENOENT {
		if r.because != 0 {
			e = r.because
		}
		a.lose(LossNotReplaced, "remove directory, %d entries in it could not be removed: %v", r.failed, e)
		return false, nil
	}
	return true, nil
}

// dir empties the directory called name (with its zero byte) in parent and removes it. err ends the session.
func (r *remover) dir(parent int, name []byte, depth int) (e unix.Errno, err error) {
	fd, e := openDirAt(parent, &name[0])
	if e == unix.EACCES && r.a.tree.openUp(parent, &name[0]) {
		fd, e = openDirAt(parent, &name[0])
	}
	if e != 0 {
		return e, r.fatal(e)
	}
	defer unix.Close(fd)
	place, err := r.a.statFD(fd, &r.stat)
	if err == nil {
		err = mountOf(fd, &place)
	}
	if err != nil {
		return 0, err
	}
	if !sameMount(r.mount, fd, place) {
		return 0, mountError(r.path)
	}
	if depth == 0 {
		r.top = fd
	}
	if err := r.empty(fd, depth); err != nil {
		return 0, err
	}
	e = unlinkat(parent, &name[0], unix.AT_REMOVEDIR)
	if e == unix.EPERM && unguardFD(fd) {
		e = unlinkat(parent, &name[0], unix.AT_REMOVEDIR)
	}
	return e, r.fatal(e)
}

func (r *remover) fatal(e unix.Errno) error {
	if e != 0 && fatal(e) {
		return failure("remove", r.path, e)
	}
	return nil
}

// empty removes the entries of fd, reading the directory again until a reading removes nothing.
func (r *remover) empty(fd, depth int) error {
	if r.levels[depth] == nil {
		r.levels[depth] = make([]byte, direntSize)
	}
	for again := true; again; {
		again = false
		r.failed = 0
		err := eachDirent(fd, r.levels[depth], func(name []byte, kind uint8) error {
			if r.a.tree.closing.Load() {
				return errClosed
			}
			e, err := r.entry(fd, name, kind, depth)
			switch e {
			case 0, unix.ENOENT:
				again = true
			default:
				r.failed++
				r.because = e
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// entry removes one entry. The byte behind name is zero.
func (r *remover) entry(fd int, name []byte, kind uint8, depth int) (e unix.Errno, err error) {
	before := len(r.path)
	r.path = append(append(r.path, '/'), name...)
	defer func() { r.path = r.path[:before] }()
	if kind != unix.DT_DIR {
		if e = r.file(fd, name, kind, depth); e != unix.EISDIR {
			return e, r.fatal(e)
		}
	}
	if depth < maxDepth {
		e, err = r.dir(fd, name[:len(name)+1], depth+1)
	} else {
		e = r.moveUp(fd, &name[0])
		err = r.fatal(e)
	}
	if err == nil && (e == unix.EPERM || e == unix.EACCES) && r.open(fd) {
		e, err = r.dir(fd, name[:len(name)+1], min(depth+1, maxDepth))
	}
	return e, err
}

func (r *remover) file(fd int, name []byte, kind uint8, depth int) unix.Errno {
	if r.keep && kind == unix.DT_REG && r.moved == 0 { // of what was moved up the path is not known any more
		if done, _ := r.a.tree.stash.keep(r.a, fd, name, r.path); done {
			return 0
		}
	}
	e := unlinkat(fd, &name[0], 0)
	if e == unix.EPERM && (unguardFD(fd) || r.a.unguard(fd, &name[0]) != 0) || e == unix.EACCES && r.open(fd) {
		e = unlinkat(fd, &name[0], 0)
	}
	if e == unix.EPERM && r.a.unguard(fd, &name[0]) != 0 {
		e = unlinkat(fd, &name[0], 0)
	}
	return e
}

// open makes the directory fd writable; see applier.openDir.
func (r *remover) open(fd int) bool {
	return unguardFD(fd) || r.a.openDir(&dir{fd: fd}, unix.EACCES)
}

// moveUp moves the directory called name in fd up into the top of the tree, whose entries are read again until none is left.
func (r *remover) moveUp(fd int, name *byte) unix.Errno {
	for {
		r.moved++
		up := append(strconv.AppendInt([]byte(".ferry-remove-"), int64(r.moved), 10), 0)
		e := renameat(fd, name, r.top, &up[0])
		if e == unix.EPERM && (unguardFD(fd) || r.a.unguard(fd, name) != 0) {
			e = renameat(fd, name, r.top, &up[0])
		}
		if e != unix.EEXIST && e != unix.ENOTEMPTY && e != unix.ENOTDIR {
			return e
		}
	}
}

func (a *applier) direntBuf() []byte {
	if a.dents == nil {
		a.dents = make([]byte, direntSize)
	}
	return a.dents
}

// eachDirent calls fn for each entry of the directory fd but "." and "..", with its d_type. The byte behind name is zero.
func eachDirent(fd int, buf []byte, fn func(name []byte, kind uint8) error) error {
	if _, err := unix.Seek(fd, 0, unix.SEEK_SET); err != nil {
		return failure("read", []byte("directory"), err)
	}
	for {
		n, e := getdents(fd, buf)
		if e == unix.ENOENT { // removed while it was read
			return nil
		}
		if e != 0 {
			return failure("read", []byte("directory"), e)
		}
		if n == 0 {
			return nil
		}
		for rest := buf[:n]; len(rest) >= 20; {
			length := int(binary.NativeEndian.Uint16(rest[16:]))
			if length < 20 || length > len(rest) {
				return failure("read", []byte("directory"), unix.EIO)
			}
			name := rest[19:length]
			if end := bytes.IndexByte(name, 0); end >= 0 {
				name = name[:end]
			}
			if string(name) != "." && string(name) != ".." {
				if err := fn(name, rest[18]); err != nil {
					return err
				}
			}
			rest = rest[length:]
		}
	}
}
