package target

import (
	"bytes"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/transfer/file"
)

// applier applies the operations of one frame. It owns every buffer the work needs; appliers are reused.
type applier struct {
	tree *Tree
	r    Reporter
	meta file.MetaReader
	op   file.Op

	inDir   bool   // the frame has set a directory
	dirPath []byte // its path
	dir     *dir   // it, once an operation needed it
	lost    uint32 // kinds of loss the operation has reported, a bit each

	name  [file.MaxName + 1]byte
	other [file.MaxName + 1]byte
	path  []byte // of the entry, for reports and the table of begun files
	proc  []byte // a path in /proc
	link  []byte
	ts    [2]unix.Timespec
	node  inode
	entry file.Entry
	data  []byte // content on its way between files or back from one
	dents []byte
}

// Apply applies the operations of one frame in order. It may be called from several goroutines with different frames.
//
// What a single entry cannot have is told to r and the rest goes on. An error ends the session: the target is full, its
// disk fails, or the frame breaks the protocol; operations before the failing one are applied. r is not used afterwards.
func (t *Tree) Apply(frame []byte, r Reporter) error {
	t.life.RLock()
	defer t.life.RUnlock()
	if t.closing.Load() {
		return errClosed
	}
	a := t.appliers.Get().(*applier)
	a.r = r
	err := a.frame(frame)
	a.leave()
	a.r, a.op, a.node, a.inDir, a.dirPath = nil, file.Op{}, inode{}, false, nil // keep nothing of the frame
	t.appliers.Put(a)
	return err
}

func (a *applier) frame(frame []byte) error {
	for n := 0; len(frame) > 0; n++ {
		rest, err := file.DecodeOp(frame, &a.op)
		if err != nil {
			return protocolError("operation %d: %w", n, err)
		}
		err = a.one()
		if isFull(err) && a.tree.stash.release() {
			err = a.one()
		}
		if err != nil {
			return err
		}
		frame = rest
	}
	return nil
}

// one applies a.op. Doing it again after an error is safe.
func (a *applier) one() error {
	op := &a.op
	a.lost = 0
	if op.Code == file.OpDir {
		a.leave()
		a.inDir, a.dirPath = true, op.Path
		return nil
	}
	if !a.inDir {
		return protocolError("operation %d without a directory", op.Code)
	}
	if len(a.dirPath) == 0 && string(op.Name) == a.tree.stash.name {
		return protocolError("name %q is not the source's", op.Name)
	}
	if op.Code == file.OpCheck {
		return a.check(op)
	}
	if !a.tree.inPass {
		return protocolError("operation %d outside of a pass", op.Code)
	}
	d, err := a.here(op.Code != file.OpDelete)
	if errors.Is(err, errNoDir) {
		if op.Code != file.OpDelete && a.lost == 0 {
			a.lose(LossNotReplaced, "its directory cannot be made or entered")
		}
		return nil
	}
	if err != nil {
		return err
	}
	return a.write(d, op)
}

// write applies an operation that changes the target.
func (a *applier) write(d *dir, op *file.Op) error {
	switch op.Code {
	case file.OpPut:
		return a.put(d, op)
	case file.OpBegin:
		return a.begin(d, op)
	case file.OpExtent, file.OpZero, file.OpPunch:
		return a.extent(d, op)
	case file.OpEnd:
		return a.end(d, op)
	case file.OpMkdir:
		return a.mkdir(d, op)
	case file.OpSymlink:
		return a.symlink(d, op)
	case file.OpNode:
		return a.mknod(d, op)
	case file.OpMeta:
		return a.setMeta(d, op)
	case file.OpLink:
		return a.hardLink(d, op)
	case file.OpFrom:
		return a.from(d, op)
	case file.OpDelete:
		return a.delete(d, op)
	case file.OpDirMeta:
		return a.dirMeta(d, op)
	}
	return protocolError("operation %d", op.Code)
}

// here returns the current directory, which stays open until leave.
func (a *applier) here(make bool) (*dir, error) {
	if a.dir == nil {
		d, err := a.tree.dirs.acquire(a, a.dirPath, make)
		if err != nil {
			return nil, err
		}
		a.dir = d
	}
	return a.dir, nil
}

func (a *applier) leave() {
	if a.dir != nil {
		a.tree.dirs.release(a.dir)
		a.dir = nil
	}
}

// cname returns name with a zero byte behind it, valid until the next call.
func (a *applier) cname(name []byte) *byte { return cstring(&a.name, name) }

// cname2 is cname for operations with a second name.
func (a *applier) cname2(name []byte) *byte { return cstring(&a.other, name) }

func cstring(buf *[file.MaxName + 1]byte, name []byte) *byte {
	n := copy(buf[:file.MaxName], name)
	buf[n] = 0
	return &buf[0]
}

// fullPath returns the path of the entry called name in the current directory, valid until the next call.
func (a *applier) fullPath(name []byte) []byte {
	a.path = append(a.path[:0], a.dirPath...)
	if len(a.path) > 0 && len(name) > 0 {
		a.path = append(a.path, '/')
	}
	a.path = append(a.path, name...)
	return a.path
}

// lose reports a loss of the entry that the operation names, once per kind.
func (a *applier) lose(kind LossKind, format string, args ...any) {
	if a.lost&(1<<kind) != 0 {
		return
	}
	a.lost |= 1 << kind
	a.r.Loss(kind, a.fullPath(a.op.Name), fmt.Sprintf(format, args...))
}

func (a *applier) need(why string) { a.r.Need(a.fullPath(a.op.Name), why) }

// statFD fills e from the inode of fd.
func (a *applier) statFD(fd int, e *file.Entry) (file.Place, error) {
	place, err := a.meta.Stat(fd, nil, e)
	if err != nil {
		return place, failure("look at", a.fullPath(a.op.Name), err)
	}
	return place, nil
}

// splitPath returns the directory and the name of path.
func splitPath(path []byte) (dir, name []byte) {
	if i := bytes.LastIndexByte(path, '/'); i >= 0 {
		return path[:i], path[i+1:]
	}
	return nil, path
}
