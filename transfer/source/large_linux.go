package source

import (
	"bytes"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/transfer/chunk"
	"github.com/ferry-migrate/ferry/transfer/file"
	"github.com/ferry-migrate/ferry/transfer/file/manifest"
)

// larger plans a file that is read by several jobs.
func (pl *planner) larger(it *item, known *file.Entry, cur *manifest.Cursor) error {
	fd, err := pl.p.walk.Dirs.Open(it.dir, it.name)
	if err != nil {
		it.act = actFile // the worker meets the same error and knows what to do
		it.chunks = pl.job.room(chunk.DigestSize)
		return nil
	}
	l := &large{fd: fd, item: *it, described: make(chan struct{}), sparse: it.place.Alloc < it.Size}
	l.item.Path, l.item.base = bytes.Clone(it.Path), nil
	l.pending.Store(2) // the planner, and OpBegin
	it.act, it.large = actBegin, l
	it.State |= file.StateSent
	oldChunks := int64(0)
	if known != nil {
		oldChunks = known.Chunks()
	}
	if oldChunks == 0 && it.how == file.HowCopy {
		it.how = file.HowFresh
	}
	if it.how != file.HowFresh {
		it.State |= file.StatePartial
	}
	l.item.how = it.how
	resume := int64(0)
	if known != nil && known.State&file.StatePartial != 0 && sameContent(known, &it.Entry) && pl.settled(known) {
		resume = known.Resume
	}
	if err := pl.flush(); err != nil {
		unix.Close(fd)
		return err
	}
	err = pl.runs(l, cur, oldChunks, resume)
	pl.ending = l
	if l.done(&pl.meta) {
		pl.p.changed(&l.item)
	}
	return err
}

// runs cuts the content of l into jobs. Of the first resume chunks the base is the truth.
func (pl *planner) runs(l *large, cur *manifest.Cursor, oldChunks, resume int64) error {
	total := l.item.Chunks()
	for first := int64(0); first < total; {
		count, known, hole := min(resume-first, runChunks), first < resume, false
		if !known {
			var err error
			if count, hole, err = pl.span(l, first, total); err != nil {
				return err
			}
		}
		j := pl.p.newJob()
		j.large, j.first, j.count, j.known, j.hole = l, first, count, known, hole
		if first < oldChunks {
			if err := readDigests(cur, j, min(count, oldChunks-first)); err != nil {
				return err
			}
			for int64(len(j.old)) < count*chunk.DigestSize {
				j.old = append(j.old, 0)
			}
		} else if l.item.how != file.HowFresh {
			j.old = append(j.old[:0], make([]byte, count*chunk.DigestSize)...)
		}
		if !known {
			l.pending.Add(1)
		}
		if err := pl.hand(j); err != nil {
			if !known {
				l.pending.Add(-1)
			}
			return err
		}
		first += count
	}
	return nil
}

// span returns how many chunks from first on make a job: extentBytes, or a hole of up to runChunks.
func (pl *planner) span(l *large, first, total int64) (count int64, hole bool, err error) {
	count = min(extentBytes/chunk.Size, total-first)
	if !l.sparse {
		return count, false, nil
	}
	data, err := unix.Seek(l.fd, first*chunk.Size, unix.SEEK_DATA)
	switch {
	case err == unix.ENXIO:
		return min(total-first, runChunks), true, nil
	case err != nil: // no SEEK_DATA here: the worker treats all as data
		return count, false, nil
	}
	if empty := data/chunk.Size - first; empty >= count {
		return min(empty, total-first, runChunks), true, nil
	}
	return count, false, nil
}

// finishLarge ends the larger file before in the batch that follows its last run.
func (pl *planner) finishLarge() {
	l := pl.ending
	if l == nil {
		return
	}
	pl.ending = nil
	j := pl.job
	j.wait = true
	j.items = append(j.items, item{act: actEnd, how: l.item.how, dir: l.item.dir, name: l.item.name, large: l})
}
