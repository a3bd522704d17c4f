package source

import (
	"bytes"
	"context"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/transfer/chunk"
	"github.com/ferry-migrate/ferry/transfer/file"
	"github.com/ferry-migrate/ferry/transfer/file/manifest"
)

// planner walks the source beside the base and cuts what it finds into jobs. One goroutine.
type planner struct {
	p      *pass
	ctx    context.Context
	base   *manifest.Cursor // nil if there is none
	met    bool             // the current entry of base is on the source, or counts as such
	second *manifest.Cursor // for looking elsewhere in the base
	inodes *manifest.Inodes // of the base, made when first needed
	links  map[linkKey]*linkGroup
	job    *job
	jobs   int64
	bytes  int64 // content in job
	path   []byte
	home   uint64 // device of the root
	meta   file.MetaReader
	ending *large // the larger file before, whose OpEnd goes into the next batch
}

type linkKey struct{ dev, ino, gen uint64 }

// linkGroup is an inode with several names, from the first that was met to the last.
type linkGroup struct {
	leader []byte
	fresh  bool   // the leader is a new inode on the target: every other name has to be linked to it
	rest   uint32 // names not met yet
}

// run plans everything; it returns when the last job is handed over.
func (pl *planner) run() error {
	if err := pl.advance(); err != nil {
		return err
	}
	pl.job = pl.p.newJob()
	for it := pl.p.walk.Next(); it != nil; it = pl.p.walk.Next() {
		if err := pl.visit(it); err != nil {
			return err
		}
		if pl.bytes >= pl.p.batch() || len(pl.job.items) >= batchItems {
			if err := pl.flush(); err != nil {
				return err
			}
		}
	}
	pl.finishLarge()
	if err := pl.advance(); err != nil {
		return err
	}
	if pl.base != nil && pl.base.Current() != nil {
		pl.p.lacks.Store(true)
	}
	return pl.flush()
}

// flush hands the job over.
func (pl *planner) flush() error {
	if len(pl.job.items) == 0 {
		return nil
	}
	j := pl.job
	pl.job, pl.bytes = pl.p.newJob(), 0
	return pl.hand(j)
}

func (pl *planner) hand(j *job) error {
	j.n = pl.jobs
	pl.jobs++
	select {
	case pl.p.jobs <- j:
		return nil
	case <-pl.ctx.Done():
		return context.Cause(pl.ctx)
	}
}

// advance leaves the current entry of the base behind.
func (pl *planner) advance() error {
	if pl.base == nil {
		return nil
	}
	if !pl.met && pl.base.Current() != nil {
		pl.p.lacks.Store(true)
	}
	pl.met = false
	return pl.base.Advance()
}

// seek moves the base to the first entry at or after path and returns it if it is the one at path.
func (pl *planner) seek(path []byte) (*file.Entry, error) {
	if pl.base == nil {
		return nil, nil
	}
	for {
		e := pl.base.Current()
		if e == nil {
			return nil, nil
		}
		c := file.ComparePath(e.Path, path)
		if c == 0 {
			pl.met = true
			return e, nil
		}
		if c > 0 {
			return nil, nil
		}
		if err := pl.advance(); err != nil {
			return nil, err
		}
	}
}

func (pl *planner) visit(w *file.Item) error {
	pl.path = append(pl.path[:0], w.Dir.Path...)
	name := w.Name[:len(w.Name)-1]
	if len(pl.path) > 0 && len(name) > 0 {
		pl.path = append(pl.path, '/')
	}
	pl.path = append(pl.path, name...)
	if w.Unread != nil {
		pl.p.unlisted(pl.path, w.Unread)
		return pl.carry(pl.path, false)
	}
	if len(pl.path) > file.MaxPath {
		pl.p.tooDeep(pl.path)
		return nil
	}
	old, err := pl.seek(pl.path)
	if err != nil {
		return err
	}
	if old != nil && pl.p.ledger.trust(pl.path) == resend {
		old.State |= file.StateUncertain
	}
	if w.Err != nil || w.Kind == 0 || w.Mount && w.Kind != file.KindDir {
		pl.p.unlooked(pl.path, w)
		return pl.carry(pl.path, true)
	}
	it := pl.add(w)
	pl.notKept(it)
	if w.Kind == file.KindDir {
		return pl.directory(it, old)
	}
	return pl.leaf(it, old)
}

// btrfsRoot is the inode number of the root of every Btrfs subvolume (BTRFS_FIRST_FREE_OBJECTID).
const btrfsRoot = 256

// notKept reports what no target is told of an entry.
func (pl *planner) notKept(it *item) {
	if it.place.Attrs&unix.STATX_ATTR_ENCRYPTED != 0 {
		pl.p.lose("encrypted", it.Path, errors.New("encrypted with fscrypt"))
	}
	if it.place.Attrs&unix.STATX_ATTR_VERITY != 0 {
		pl.p.lose("verity", it.Path, errors.New("protected by fs-verity"))
	}
	if len(it.Path) == 0 {
		pl.home = it.place.Dev
	} else if it.Kind == file.KindDir && it.Ino == btrfsRoot && it.place.Dev != pl.home {
		pl.p.lose("subvolume", it.Path, errors.New("a Btrfs subvolume becomes a directory"))
	}
}

// add appends an item for what the walk found.
func (pl *planner) add(w *file.Item) *item {
	pl.finishLarge()
	j := pl.job
	j.items = append(j.items, item{Entry: w.Entry, dir: w.Dir, name: w.Name, place: w.Place})
	it := &j.items[len(j.items)-1]
	it.Path = j.keep(pl.path)
	return it
}

// carry records what the base knows at and below path as it is: nothing can be said about it now.
func (pl *planner) carry(path []byte, self bool) error {
	prefix := append(bytes.Clone(path), '/')
	for {
		if _, err := pl.seek(path); err != nil {
			return err
		}
		var e *file.Entry
		if pl.base != nil {
			e = pl.base.Current()
		}
		if e == nil || !bytes.Equal(e.Path, path) && !bytes.HasPrefix(e.Path, prefix) && len(path) > 0 {
			return nil
		}
		if self || !bytes.Equal(e.Path, path) {
			if err := pl.keepOld(e); err != nil {
				return err
			}
		}
		pl.met = true
		if err := pl.advance(); err != nil {
			return err
		}
	}
}

// keepOld records an entry of the base with its digests.
func (pl *planner) keepOld(e *file.Entry) error {
	j := pl.job
	j.items = append(j.items, item{Entry: *e, act: actKeep})
	it := &j.items[len(j.items)-1]
	it.Path, it.Link = j.keep(e.Path), j.keep(e.Link)
	return pl.copyDigests(it, pl.base, e.Chunks())
}

// copyDigests records n chunk digests of cur's entry after it, the last item of the job.
func (pl *planner) copyDigests(it *item, cur *manifest.Cursor, n int64) error {
	if n == 0 {
		return nil
	}
	it.counted = true
	size := it.Size
	if err := pl.flush(); err != nil {
		return err
	}
	for first := int64(0); first < n; {
		j := pl.p.newJob()
		count := min(n-first, runChunks)
		j.large, j.first, j.count, j.known = &large{item: item{Entry: file.Entry{Meta: file.Meta{Size: size}}}}, first, count, true
		if err := readDigests(cur, j, count); err != nil {
			return err
		}
		if err := pl.hand(j); err != nil {
			return err
		}
		first += count
	}
	return nil
}

func readDigests(cur *manifest.Cursor, j *job, count int64) error {
	size := int(count * chunk.DigestSize)
	if cap(j.old) < size {
		j.old = make([]byte, size)
	}
	j.old = j.old[:size]
	clear(j.old)
	_, err := cur.Chunks(j.old)
	return err
}

// settled reports whether a change after the pass that recorded e must have given it another ctime.
func (pl *planner) settled(e *file.Entry) bool {
	limit := pl.p.baseStarted
	if e.Ctime.Nsec == 0 { // a filesystem that counts in seconds, or two
		limit.Sec -= 2
	} else if limit.Nsec -= clockTick; int32(limit.Nsec) < 0 {
		limit.Sec, limit.Nsec = limit.Sec-1, limit.Nsec+1e9
	}
	return e.Ctime.Before(limit)
}

// clockTick is the coarsest step of the clock that times of inodes are taken from, in nanoseconds, twice (CONFIG_HZ=100).
const clockTick = 20e6

// unchanged reports whether nothing of the entry can have changed since the base was written, its access time aside.
func (pl *planner) unchanged(now, old *file.Entry) bool {
	return old.Kind == now.Kind && old.Size == now.Size && old.Mtime == now.Mtime && old.Ctime == now.Ctime &&
		old.Ino != 0 && old.SameInode(now.Identity) && old.State&(file.StateUncertain|file.StatePartial) == 0 &&
		pl.settled(old) && pl.p.ledger.trust(now.Path) == trusted
}

// inherit takes over what an unchanged entry had.
func inherit(it *item, old *file.Entry) {
	it.Flags, it.Project, it.Xattr, it.Digest = old.Flags, old.Project, old.Xattr, old.Digest
}

func (pl *planner) directory(it *item, old *file.Entry) error {
	switch {
	case old == nil || old.Kind != file.KindDir || old.State&file.StateUncertain != 0:
		it.act = actMkdir
	case pl.unchanged(&it.Entry, old) && old.Atime == it.Atime && !pl.p.allDirs:
		inherit(it, old)
		it.act = actKeep
	default:
		it.act = actDir
	}
	if old != nil && old.Kind == file.KindDir { // it stays what it was when it cannot be opened: what it holds must not go
		e := *old
		e.Path, e.Link, e.Xattrs = nil, nil, nil
		it.base = &e
	}
	return nil
}

// leaf plans anything but a directory.
func (pl *planner) leaf(it *item, old *file.Entry) error {
	group, leader := pl.group(it)
	if !leader {
		pl.follow(it, old, group)
		return nil
	}
	if old != nil && len(old.Link) > 0 {
		return pl.promote(it, old, group)
	}
	if old != nil && pl.unchanged(&it.Entry, old) {
		inherit(it, old)
		if old.Atime == it.Atime || it.Kind == file.KindRegular {
			if it.act = actKeep; old.Atime != it.Atime {
				it.act = actMeta
			}
			pl.p.saved(it)
			return pl.copyDigests(it, pl.base, old.Chunks())
		}
	}
	var known *file.Entry
	how := file.HowFresh
	if old != nil && old.Kind == it.Kind && old.State&file.StateUncertain == 0 {
		switch {
		case old.Ino != 0 && old.SameInode(it.Identity), old.Ino == 0 && old.Nlink == 1 && it.Nlink == 1:
			known, how = old, file.HowInPlace
		case old.Kind == file.KindRegular && old.State&file.StatePartial == 0:
			known, how = old, file.HowCopy
		}
	}
	if known == nil || how != file.HowInPlace {
		found, err := pl.elsewhere(it, group)
		if found || err != nil {
			return err
		}
	}
	if group != nil {
		group.fresh = how != file.HowInPlace
	}
	return pl.content(it, known, how, pl.base)
}

// content plans reading an entry that is compared with known, whose chunk digests cur is about to return.
func (pl *planner) content(it *item, known *file.Entry, how file.How, cur *manifest.Cursor) error {
	it.how = how
	if known != nil {
		e := *known
		e.Path, e.Link, e.Xattrs = nil, nil, nil
		it.base = &e
	}
	switch it.Kind {
	case file.KindSymlink:
		it.act = actSymlink
		return nil
	case file.KindRegular:
		it.act = actFile
	default:
		it.act = actNode
		return nil
	}
	if it.Size > inlineBytes {
		return pl.larger(it, known, cur)
	}
	pl.bytes += it.Size
	if it.Size <= chunk.Size {
		if how == file.HowCopy { // small files are always sent whole
			it.how = file.HowFresh
		}
		return nil
	}
	it.chunks = pl.job.room(int(it.Chunks()) * chunk.DigestSize)
	if known == nil || known.Chunks() == 0 {
		if how == file.HowCopy { // no digests to compare with, so all is sent: a new inode is cheaper than a copy
			it.how = file.HowFresh
		}
		return nil
	}
	it.old = pl.job.room(len(it.chunks))
	clear(it.old)
	_, err := cur.Chunks(it.old)
	return err
}
