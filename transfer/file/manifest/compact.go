package manifest

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/ferry-migrate/ferry/transfer/chunk"
	"github.com/ferry-migrate/ferry/transfer/file"
)

// merge writes the base that is certain after a pass was cut off, from the base before it (nil if none) and what is left of next.
//
//   - An entry whose block was acknowledged is what next says. One that was sent and not acknowledged is uncertain, and its
//     digests are forgotten. One that was not sent is what base says.
//   - A larger file at the boundary is partial: see tail.
//   - Entries of base that next has not, or not yet, are kept. They are uncertain if deletes may have begun, if next has
//     something else than a directory above them, or if they are links to a file that next passed: it may be a new one.
//   - Hard links to be made again and directories are uncertain up to the end of next, acknowledged or not: links are made,
//     and the metadata of touched directories is restored, later in the pass.
//   - If next is damaged, nothing is certain beyond what is left of it.
type merge struct {
	base, next *Cursor // base is empty if there is none
	out        *Writer
	outline
	torn   bool // next is damaged after outline.end
	tail   tail
	passed []byte // path of the last entry of next that was written
	isDir  bool   // and whether that is a directory
	buf    []byte // digests
}

// tail is the last acknowledged entry of next if it is a larger file that was sent and may not have been ended.
type tail struct {
	pos     Position
	open    bool
	leading int64 // chunks from the first on that are acknowledged
	acked   int64 // chunks before this index that a run holds are acknowledged
	sent    int64 // chunks before this index may have been sent; base knows those after, if the file was changed in place
}

// mergeInto writes the merged manifest to path, durably. base may be nil. acked is the last that the target
// acknowledged. hurt is set if damage in next was met; what lies behind it is then doubted.
func mergeInto(ctx context.Context, path string, base, next *Reader, acked ack) (cut Cut, hurt error, err error) {
	m := merge{next: next.Cursor(), base: &Cursor{limit: -1}}
	if m.outline, err = next.scan(ctx, acked.seq); errors.Is(err, ErrDamaged) {
		m.torn, hurt = true, err
	} else if err != nil {
		return cut, nil, err
	} else if m.end < acked.size {
		m.torn, hurt = true, damaged(next.name, "cut off at byte %d, %d were durable", m.end, acked.size)
	}
	cut = Cut{Pass: next.header.Pass, Acked: acked.seq, File: next.id}
	if cut.Path, err = m.findTail(ctx, next); err != nil {
		return cut, hurt, err
	}
	m.next.limit = m.end
	h := next.header
	h.Pass, h.Base = ID{}, ID{}
	if base != nil {
		m.base = base.Cursor()
		h = oldest(base.header, next.header)
	}
	h.Unclean, h.Cut = true, cut
	if m.out, err = Create(path, h); err != nil {
		return cut, hurt, err
	}
	if err = m.run(ctx); err != nil {
		return cut, hurt, errors.Join(err, m.out.Close())
	}
	return cut, hurt, m.out.Finish()
}

// oldest returns the header of a mixture: what was unchanged since the earlier start was unchanged for either.
func oldest(base, next Header) Header {
	if next.Started.Before(base.Started) {
		base.Started = next.Started
	}
	if next.Boot != base.Boot {
		base.Boot = ID{}
	}
	return base
}

// findTail reads the acknowledged part of next and finds its last entry, and how much of it is acknowledged.
func (m *merge) findTail(ctx context.Context, next *Reader) (last []byte, err error) {
	c := next.Cursor()
	c.limit = m.acked
	found := false
	for n := 0; ; n++ {
		if n%4096 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err := c.Advance(); err != nil {
			return nil, err
		}
		e := c.Current()
		if e == nil {
			break
		}
		m.tail = tail{pos: c.Position(), open: e.Chunks() > 0 && e.State&file.StateSent != 0}
		found = true
	}
	if !found {
		return nil, nil
	}
	last = slices.Clone(c.path)
	if m.done || !m.tail.open {
		m.tail.open = false
		return last, nil
	}
	if c, err = next.At(m.tail.pos); err != nil {
		return nil, err
	}
	c.limit = m.end
	return last, m.tail.read(c, m.acked)
}

// read follows the runs of the entry that c is on; those in blocks before acked are acknowledged.
func (t *tail) read(c *Cursor, acked int64) error {
	for {
		more, err := c.nextRun()
		if err != nil || !more {
			return err
		}
		t.sent = c.runEnd
		if c.block >= acked {
			continue
		}
		t.acked = c.runEnd
		for ; t.leading == c.runFirst && len(c.run) > 0; t.leading++ {
			if !chunk.Digest(c.run[:chunk.DigestSize]).Known() {
				break
			}
			c.run = c.run[chunk.DigestSize:]
			c.runFirst++
		}
	}
}

func (m *merge) run(ctx context.Context) error {
	if err := errors.Join(m.base.Advance(), m.next.Advance()); err != nil {
		return err
	}
	for n := 0; ; n++ {
		if n%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		b, e := m.base.Current(), m.next.Current()
		if b == nil && e == nil {
			return nil
		}
		order := 0
		switch {
		case b == nil:
			order = 1
		case e == nil:
			order = -1
		default:
			order = file.ComparePath(b.Path, e.Path)
		}
		if err := m.step(ctx, order); err != nil {
			return err
		}
	}
}

// step writes one entry: of base alone (order < 0), of next alone (> 0), or of both.
func (m *merge) step(ctx context.Context, order int) error {
	var err error
	switch {
	case order < 0:
		b := m.base.Current()
		if m.deletes || m.torn || m.replaced(b.Path) || m.unlinked(b.Link) {
			err = m.doubt(b)
		} else {
			err = m.copy(ctx, m.base, b.State)
		}
	case order > 0:
		err = m.fromNext(ctx, nil)
	default:
		err = m.fromNext(ctx, m.base)
	}
	if err == nil && order <= 0 {
		err = m.base.Advance()
	}
	if err == nil && order >= 0 {
		err = m.next.Advance()
	}
	return err
}

// replaced reports whether path, of an entry of base alone, lies below an entry of next that is not a directory.
func (m *merge) replaced(path []byte) bool {
	n := len(m.passed)
	return n > 0 && !m.isDir && len(path) > n && path[n] == '/' && bytes.Equal(path[:n], m.passed)
}

// unlinked reports whether the pass may have made link, which an entry of base alone is a hard link to, anew.
func (m *merge) unlinked(link []byte) bool {
	return len(link) > 0 && (m.next.Current() != nil || file.ComparePath(link, m.passed) <= 0 || m.replaced(link))
}

// fromNext writes the current entry of next. base is on the same path, or nil.
func (m *merge) fromNext(ctx context.Context, base *Cursor) error {
	e := m.next.Current()
	m.passed, m.isDir = append(m.passed[:0], e.Path...), e.Kind == file.KindDir
	acked := m.next.pos.block < m.acked
	sent := e.State&file.StateSent != 0
	atTail := m.next.pos == m.tail.pos && acked
	switch {
	case e.State&file.StateRelink != 0, e.Kind == file.KindDir:
		return m.doubt(e)
	case atTail && m.tail.open:
		return m.partial(ctx, base)
	case acked && sent:
		return m.copy(ctx, m.next, e.State&^file.StatePartial)
	case acked && (e.Chunks() == 0 || !atTail):
		return m.copy(ctx, m.next, e.State)
	case !sent && base != nil:
		return m.copy(ctx, base, base.entry.State)
	default:
		return m.doubt(e)
	}
}

// doubt writes e as uncertain, its content forgotten.
func (m *merge) doubt(e *file.Entry) error {
	d := *e
	d.State, d.Resume = file.StateUncertain, 0
	d.Digest, d.Xattr = chunk.Digest{}, chunk.Digest{}
	return m.out.Append(&d)
}

// copy writes the entry c is on, and its digests, with state.
func (m *merge) copy(ctx context.Context, c *Cursor, state file.State) error {
	e := *c.Current()
	e.State = state &^ passBits
	if err := m.out.Append(&e); err != nil {
		return err
	}
	return m.copyRuns(ctx, c, e.Chunks())
}

// copyRuns writes the digests c has left, of chunks before end.
func (m *merge) copyRuns(ctx context.Context, c *Cursor, end int64) error {
	for {
		first, digests, err := c.Run()
		if err != nil || len(digests) == 0 || first >= end {
			return err
		}
		digests = digests[:min(int64(len(digests)), (end-first)*chunk.DigestSize)]
		if err := errors.Join(ctx.Err(), m.out.AppendChunks(first, digests)); err != nil {
			return err
		}
	}
}

// partial writes the open tail of next: digests that were acknowledged; those that were not if base says the same; base's own where the
// pass had not come to, if it changed the file in place.
func (m *merge) partial(ctx context.Context, base *Cursor) error {
	e := *m.next.Current()
	inPlace := e.State&file.StatePartial != 0 && base != nil && base.entry.State&file.StateUncertain == 0
	e.State, e.Resume, e.Digest = file.StatePartial, m.tail.leading, chunk.Digest{}
	if err := m.out.Append(&e); err != nil {
		return err
	}
	for {
		first, digests, err := m.next.Run()
		if err != nil {
			return err
		}
		if len(digests) == 0 {
			break
		}
		m.buf = append(m.buf[:0], digests...)
		if first >= m.tail.acked {
			if err := forget(m.buf, first, base, inPlace); err != nil {
				return err
			}
		}
		if err := errors.Join(ctx.Err(), m.out.AppendChunks(first, m.buf)); err != nil {
			return err
		}
	}
	if !inPlace {
		return nil
	}
	if err := base.skipTo(m.tail.sent); err != nil {
		return err
	}
	return m.copyRuns(ctx, base, e.Chunks())
}

// forget makes those digests unknown, of chunks from first on, that base does not have too.
func forget(digests []byte, first int64, base *Cursor, inPlace bool) error {
	if !inPlace {
		clear(digests)
		return nil
	}
	if err := base.skipTo(first); err != nil {
		return err
	}
	before := make([]byte, len(digests))
	if _, err := base.Chunks(before); err != nil {
		return err
	}
	for i := 0; i < len(digests); i += chunk.DigestSize {
		if !bytes.Equal(digests[i:i+chunk.DigestSize], before[i:i+chunk.DigestSize]) {
			clear(digests[i : i+chunk.DigestSize])
		}
	}
	return nil
}
