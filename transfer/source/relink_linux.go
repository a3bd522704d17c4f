package source

import (
	"bytes"
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/transfer/chunk"
	"github.com/ferry-migrate/ferry/transfer/file"
)

// group returns the link group of an inode with several names, and whether it is the first of them. A nil group leads itself.
func (pl *planner) group(it *item) (g *linkGroup, leader bool) {
	if it.Nlink <= 1 {
		return nil, true
	}
	key := linkKey{it.place.Dev, it.Ino, it.Gen}
	if g = pl.links[key]; g == nil {
		pl.links[key] = &linkGroup{leader: bytes.Clone(it.Path), rest: it.Nlink - 1}
		return pl.links[key], true
	}
	if g.rest--; g.rest == 0 {
		delete(pl.links, key)
	}
	return g, false
}

// follow plans a further name of an inode.
func (pl *planner) follow(it *item, old *file.Entry, g *linkGroup) {
	it.act = actLink
	it.Link = pl.job.keep(g.leader)
	if old != nil && old.Ino != 0 && old.SameInode(it.Identity) && !g.fresh && old.State&file.StateUncertain == 0 &&
		bytes.Equal(old.Link, g.leader) {
		return
	}
	it.State |= file.StateSent | file.StateRelink
}

// promote plans a name that followed another in the base and leads now. The target's content is that of the old leader.
func (pl *planner) promote(it *item, old *file.Entry, g *linkGroup) error {
	if old.Kind == file.KindRegular && old.SameInode(it.Identity) && old.State&file.StateUncertain == 0 {
		e, err := pl.lookup(it)
		if err != nil {
			return err
		}
		if e != nil {
			return pl.content(it, e, file.HowInPlace, pl.second)
		}
	}
	if g != nil {
		g.fresh = true
	}
	return pl.content(it, nil, file.HowFresh, nil)
}

// lookup returns the base's entry of a regular file with the same inode, whatever its path, with pl.second on it.
func (pl *planner) lookup(it *item) (*file.Entry, error) {
	if pl.base == nil || it.Kind != file.KindRegular || it.Size == 0 || pl.p.foreignBase {
		return nil, nil
	}
	if pl.inodes == nil {
		var err error
		if pl.inodes, err = pl.p.baseReader.Inodes(pl.ctx); err != nil {
			return nil, err
		}
		pl.second = pl.p.baseReader.Cursor()
	}
	for _, pos := range pl.inodes.Lookup(it.Ino) {
		if err := pl.second.Seek(pos); err != nil {
			return nil, err
		}
		e := pl.second.Current()
		if e.Ino == it.Ino && e.SameInode(it.Identity) && e.State&(file.StateUncertain|file.StatePartial) == 0 {
			return e, nil
		}
	}
	return nil, nil
}

// elsewhere plans a file that the target has under another name, if it does.
func (pl *planner) elsewhere(it *item, g *linkGroup) (found bool, err error) {
	e, err := pl.lookup(it)
	if e == nil || err != nil || e.Size != it.Size || bytes.Equal(e.Path, it.Path) {
		return false, err
	}
	if it.Size > inlineBytes {
		same, err := pl.sameAs(it)
		if !same || err != nil {
			return false, err
		}
	}
	if g != nil {
		g.fresh = true
	}
	pl.job.fence = true
	it.how, it.act = file.HowFresh, actFrom
	it.from, it.fromHash = pl.job.keep(e.Path), e.Digest
	n := e.Chunks()
	if it.Size > inlineBytes { // it was read just now
		it.act = actMeta // with from set, which makes it an OpFrom
		if err := pl.second.Seek(pl.second.Position()); err != nil {
			return false, err
		}
		return true, pl.copyDigests(it, pl.second, n)
	}
	pl.bytes += it.Size
	if n > 0 {
		it.chunks, it.old = pl.job.room(int(n)*chunk.DigestSize), pl.job.room(int(n)*chunk.DigestSize)
		if _, err := pl.second.Chunks(it.old); err != nil {
			return false, err
		}
	}
	return true, nil
}

// sameAs reads a larger file and compares it with the digests of pl.second's entry. It stops at the first difference.
func (pl *planner) sameAs(it *item) (bool, error) {
	fd, err := pl.p.walk.Dirs.Open(it.dir, it.name)
	if err != nil {
		return false, nil
	}
	defer unix.Close(fd)
	w := pl.p.prober()
	digests := make([]byte, extentBytes/chunk.Size*chunk.DigestSize)
	found := make([]byte, len(digests))
	for first, total := int64(0), it.Chunks(); first < total; {
		n, err := pl.second.Chunks(digests)
		if err != nil || n == 0 {
			return false, err
		}
		w.ops, w.read = w.ops[:0], 0
		short, err := w.extents(&extents{fd: fd, name: it.bare(), size: it.Size, first: first, count: int64(n), found: found, sparse: it.place.Alloc < it.Size,
			bad: func(int64, error) {}})
		pl.p.count.read.Add(w.read)
		if err != nil || short || !bytes.Equal(found[:n*chunk.DigestSize], digests[:n*chunk.DigestSize]) {
			return false, nil
		}
		first += int64(n)
		if pl.ctx.Err() != nil {
			return false, fmt.Errorf("compare moved file: %w", context.Cause(pl.ctx))
		}
	}
	return true, nil
}
