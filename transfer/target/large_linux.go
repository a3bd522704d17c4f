package target

import (
	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/transfer/chunk"
	"github.com/ferry-migrate/ferry/transfer/file"
)

// begin applies OpBegin. A begun file can always be written by its owner; OpEnd sets its mode.
func (a *applier) begin(d *dir, op *file.Op) error {
	if op.Meta.Kind != file.KindRegular {
		return protocolError("content for a %v", op.Meta.Kind)
	}
	a.tree.files.refuse(a.fullPath(op.Name), false)
	old := -1
	var err error
	switch op.How {
	case file.HowInPlace:
		old, err = a.openRegular(d, op.Name, unix.O_WRONLY)
	case file.HowCopy:
		old, err = a.openRegular(d, op.Name, unix.O_RDONLY|unix.O_NOATIME)
	}
	if err != nil {
		return err
	}
	path := a.fullPath(op.Name)
	if op.How != file.HowFresh && old < 0 {
		a.tree.files.refuse(path, true)
		a.need("there is no regular file to build on")
		return nil
	}
	if op.How == file.HowInPlace {
		a.tree.files.forget(path)
		extend(old, op.Meta.Size)
		a.tree.files.release(a.tree.files.add(&begun{path: string(path), fd: old}), false)
		return nil
	}
	if old >= 0 {
		defer unix.Close(old)
	}
	return a.beginNew(d, op, old)
}

// beginNew makes the file of OpBegin, as a copy of old if that is open.
func (a *applier) beginNew(d *dir, op *file.Op, old int) error {
	size := min(a.entry.Size, op.Meta.Size)
	in, err := a.create(d, op.Name, &op.Meta, op.Meta.Perm&0o777|0o600)
	if err != nil {
		return err
	}
	path := a.fullPath(op.Name)
	if in == nil {
		a.tree.files.refuse(path, true)
		return nil
	}
	if old >= 0 {
		if e := a.copyContent(in.fd, old, size); e != 0 {
			unix.Close(in.fd)
			unlinkat(d.fd, a.cname(op.Name), 0)
			if e == unix.ECANCELED {
				return errClosed
			}
			return a.contentFails(e)
		}
	}
	extend(in.fd, op.Meta.Size)
	b := &begun{path: string(path), fd: in.fd, fresh: in.fresh, perm: in.have.Perm, gid: in.have.GID}
	a.tree.files.release(a.tree.files.add(b), false)
	return nil
}

// extend gives a file its size before its content comes: XFS allocates ahead of a write at the end of a file, and what it took too much
// would fill the hole that follows. OpEnd sets the size again and reports what is wrong with it.
func extend(fd int, size int64) { _ = unix.Ftruncate(fd, size) }

// begunFile returns the begun file called name, in use until it is released. It is nil if there is no regular file.
func (a *applier) begunFile(d *dir, name []byte) (*begun, error) {
	if b := a.tree.files.find(a.fullPath(name)); b != nil {
		return b, nil
	}
	fd, err := a.openRegular(d, name, unix.O_WRONLY)
	if fd < 0 || err != nil {
		return nil, err
	}
	return a.tree.files.add(&begun{path: string(a.fullPath(name)), fd: fd}), nil
}

// extent applies OpExtent, OpZero and OpPunch. A file that OpBegin could not make was reported then; its content is dropped.
func (a *applier) extent(d *dir, op *file.Op) error {
	for data, want := op.Data, op.Digests; len(data) > 0; want = want[chunk.DigestSize:] {
		n := min(chunk.Size, len(data))
		if sum := chunk.Sum(data[:n]); string(sum[:]) != string(want[:chunk.DigestSize]) {
			return protocolError("digest of %q does not match its content", op.Name)
		}
		data = data[n:]
	}
	b, err := a.begunFile(d, op.Name)
	if b == nil || err != nil {
		return err
	}
	defer a.tree.files.release(b, false)
	var e unix.Errno
	switch op.Code {
	case file.OpExtent:
		b.writing.Lock()
		e = pwriteAll(b.fd, op.Data, op.Offset)
		b.writing.Unlock()
	case file.OpZero:
		e = a.writeZeroes(b.fd, op.Offset, op.Length)
	case file.OpPunch:
		e = a.punch(b, op.Offset, op.Length)
	}
	return a.writeFails(b, e)
}

// writeFails sorts an error of changing the content of b. That it is too large is told once for all its operations.
func (a *applier) writeFails(b *begun, e unix.Errno) error {
	switch e {
	case 0:
		return nil
	case unix.ECANCELED:
		return errClosed
	case unix.EFBIG, unix.EINVAL: // EINVAL: beyond what an offset can be
		if !a.tree.files.once(&b.tooBig) {
			return nil
		}
		e = unix.EFBIG
	}
	return a.contentFails(e)
}

var zeroes [1 << 20]byte

// writeZeroes writes, rather than allocates: what is only allocated reads back as a hole.
func (a *applier) writeZeroes(fd int, off, length int64) unix.Errno {
	for length > 0 {
		if a.tree.closing.Load() {
			return unix.ECANCELED
		}
		n := min(length, int64(len(zeroes)))
		if e := pwriteAll(fd, zeroes[:n], off); e != 0 {
			return e
		}
		off, length = off+n, length-n
	}
	return 0
}

// punch makes a hole; where the filesystem cannot, what is there is overwritten, and that is a loss.
func (a *applier) punch(b *begun, off, length int64) unix.Errno {
	if length == 0 {
		return 0
	}
	e := unix.EINTR
	for e == unix.EINTR {
		e = errnoOf(unix.Fallocate(b.fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, length))
	}
	if e != unix.EOPNOTSUPP && e != unix.ENOSYS {
		return e
	}
	var st unix.Stat_t
	if err := unix.Fstat(b.fd, &st); err != nil {
		return errnoOf(err)
	}
	if off >= st.Size {
		return 0
	}
	if a.tree.files.once(&b.sparse) {
		a.lose(LossSparse, "punch hole: %v", e)
	}
	return a.writeZeroes(b.fd, off, min(length, st.Size-off))
}

// end applies OpEnd.
func (a *applier) end(d *dir, op *file.Op) error {
	if op.Meta.Kind != file.KindRegular {
		return protocolError("content for a %v", op.Meta.Kind)
	}
	refused := a.tree.files.refuse(a.fullPath(op.Name), false)
	b, err := a.begunFile(d, op.Name)
	if err != nil {
		return err
	}
	if b == nil {
		if !refused {
			a.need("it vanished while it was written")
		}
		return nil
	}
	defer a.tree.files.release(b, true)
	if _, err := a.statFD(b.fd, &a.entry); err != nil {
		return err
	}
	if a.entry.Size != op.Meta.Size {
		if err := a.writeFails(b, errnoOf(unix.Ftruncate(b.fd, op.Meta.Size))); err != nil {
			return err
		}
	}
	in := &a.node
	*in = inode{fd: b.fd, fresh: b.fresh}
	in.have.Kind, in.have.Perm, in.have.UID, in.have.GID = file.KindRegular, b.perm, a.tree.euid, b.gid
	return a.finish(in, &op.Meta)
}
