package target

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/chunk"
	"github.com/ferry-migrate/ferry/transfer/file"
)

// listWorkers read metadata ahead of a listing's consumer.
const listWorkers = 2

// List yields what is in the tree, the root first, in walk order. Without o.Content an entry has what a stat tells. With it,
// flags, project id, attribute digest and content digests too; run is then called with the chunk digests of the entry
// before, if it is larger than one chunk. Hard links are not resolved: every name of an inode is an entry of its own.
//
// The stash is left out, and so is what was mounted after the tree was opened. A directory that cannot be listed whole is
// an error: nothing could be concluded from what is missing. A file that may not be read has unknown digests. Slices passed to entry and run are valid during the call.
func (t *Tree) List(ctx context.Context, o ListOptions, entry func(*file.Entry) error, run func(first int64, digests []byte) error) error {
	t.life.RLock()
	defer t.life.RUnlock()
	if t.closing.Load() {
		return errClosed
	}
	fd, err := t.reopen()
	if err != nil {
		return failure("list", []byte(t.path), err)
	}
	w, err := file.NewWalk(fd, file.WalkOptions{Workers: listWorkers, Mounts: len(t.dirs.mounts.before) == 0,
		Skip: func(dir, name []byte, _ file.Kind) bool { return len(dir) == 0 && string(name) == t.stash.name }})
	if err != nil {
		unix.Close(fd)
		return fault.Permanent(fmt.Errorf("list %s: %w", t.path, err))
	}
	defer w.Close()
	l := treeLister{w: w, entry: entry, run: run, content: o.Content}
	for item := w.Next(); item != nil; item = w.Next() {
		if t.closing.Load() {
			return errClosed
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := l.item(item); err != nil {
			return err
		}
	}
	return nil
}

type treeLister struct {
	w       *file.Walk
	entry   func(*file.Entry) error
	run     func(first int64, digests []byte) error
	content bool
	meta    file.MetaReader
	path    []byte
	buf     []byte
	digests []byte
}

func (l *treeLister) item(item *file.Item) error {
	name := bytes.TrimSuffix(item.Name, []byte{0})
	l.path = append(l.path[:0], item.Dir.Path...)
	if len(l.path) > 0 && len(name) > 0 {
		l.path = append(l.path, '/')
	}
	l.path = append(l.path, name...)
	for _, err := range [2]error{item.Unread, item.Err} {
		if err != nil {
			return fault.Permanent(fmt.Errorf("list %q: %w", l.path, err))
		}
	}
	e := item.Entry
	e.Path = l.path
	if !l.content {
		return l.entry(&e)
	}
	if err := l.inside(item, name, &e); err != nil {
		return fault.Permanent(fmt.Errorf("list %q: %w", l.path, err))
	}
	return nil
}

// inside completes e with what needs the entry opened, and yields it.
func (l *treeLister) inside(item *file.Item, name []byte, e *file.Entry) error {
	switch e.Kind {
	case file.KindRegular:
		fd, err := l.w.Dirs.Open(item.Dir, item.Name)
		if errors.Is(err, unix.EACCES) { // unknown digests make the source send it
			return l.entry(e)
		}
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := l.attributes(fd, item.Place.Dev, e); err != nil {
			return err
		}
		return l.digest(fd, e)
	case file.KindDir:
		dir := []byte(".\x00")
		if len(name) > 0 {
			dir = item.Name
		}
		fd, err := l.w.Dirs.Open(item.Dir, dir)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := l.attributes(fd, item.Place.Dev, e); err != nil {
			return err
		}
		return l.entry(e)
	}
	dirfd, err := l.w.Dirs.Acquire(item.Dir)
	if err != nil {
		return err
	}
	enc, err := l.meta.XattrsAt(dirfd, name)
	l.w.Dirs.Release(item.Dir)
	if err != nil {
		return err
	}
	e.Xattr = file.XattrDigest(enc)
	if e.Kind == file.KindSymlink {
		l.room()
		dest, err := l.w.Dirs.Readlink(item.Dir, item.Name, l.buf)
		if err != nil {
			return err
		}
		e.Digest = chunk.Sum(dest)
	}
	return l.entry(e)
}

func (l *treeLister) attributes(fd int, dev uint64, e *file.Entry) (err error) {
	if e.Flags, e.Project, err = l.meta.Flags(fd, dev); err != nil {
		return err
	}
	enc, err := l.meta.Xattrs(fd)
	e.Xattr = file.XattrDigest(enc)
	return err
}

func (l *treeLister) room() {
	if l.buf == nil {
		l.buf = make([]byte, dataSize)
	}
}

// digest yields e with the digest of its content, or followed by those of its chunks, a run for each buffer. Holes are not read.
func (l *treeLister) digest(fd int, e *file.Entry) error {
	l.room()
	if e.Size <= chunk.Size {
		n, err := preadAll(fd, l.buf[:e.Size], 0)
		if err != nil {
			return err
		}
		e.Digest = chunk.Sum(l.buf[:n])
		return l.entry(e)
	}
	size := e.Size
	if err := l.entry(e); err != nil {
		return err
	}
	for off, hole := int64(0), int64(0); off < size; {
		if off >= hole {
			data, end, e := nextData(fd, off, size)
			if e != 0 {
				return e
			}
			empty, err := l.holes(off/chunk.Size, data/chunk.Size)
			if err != nil {
				return err
			}
			off, hole = off+empty*chunk.Size, end
			continue
		}
		length := min(dataSize, chunk.Count(hole)*chunk.Size-off)
		n, err := preadAll(fd, l.buf[:min(length, size-off)], off)
		if err != nil {
			return err
		}
		l.digests = l.digests[:0]
		for part := range slices.Chunk(l.buf[:n], chunk.Size) {
			sum := chunk.Sum(part)
			l.digests = append(l.digests, sum[:]...)
		}
		if err := l.run(off/chunk.Size, l.digests); err != nil {
			return err
		}
		off += length
	}
	return nil
}

// holes yields the chunks from first up to end as holes, and returns how many they are.
func (l *treeLister) holes(first, end int64) (n int64, err error) {
	for at := first; at < end && err == nil; {
		run := holes[:min(end-at, int64(len(holes)/chunk.DigestSize))*chunk.DigestSize]
		err = l.run(at, run)
		at += int64(len(run) / chunk.DigestSize)
	}
	return max(end-first, 0), err
}
