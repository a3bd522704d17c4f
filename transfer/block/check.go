package block

import (
	"context"

	"github.com/ferry-migrate/ferry/transfer/chunk"
	"github.com/ferry-migrate/ferry/transfer/extent"
	"github.com/ferry-migrate/ferry/transfer/source"
)

// checks asks the target to compare what it holds with digests. One goroutine.
type checks struct {
	w       *worker
	digests []byte
}

// add adds a chunk; they come in ascending order within a frame.
func (k *checks) add(c int64, d chunk.Digest) error {
	w := k.w
	if n := len(w.pieces); n > 0 && w.pieces[n-1].start+w.pieces[n-1].size == c {
		w.pieces[n-1].size++
	} else {
		w.pieces = append(w.pieces, piece{start: c, size: 1})
	}
	k.digests = append(k.digests, d[:]...)
	if len(k.digests) >= maxCheck*chunk.DigestSize {
		return k.send()
	}
	return nil
}

func (k *checks) send() error {
	w := k.w
	if len(w.pieces) == 0 {
		return nil
	}
	w.content = append(w.content[:0], k.digests)
	err := w.frame(opCheck, nil)
	w.pieces, k.digests = w.pieces[:0], k.digests[:0]
	return err
}

// check sends the digests of a job. With learn, what the target finds equal is known once that is acknowledged.
func (w *worker) check(j *job, learn bool) error {
	w.pieces, w.content = w.pieces[:0], w.content[:0]
	var digests []byte
	for i, c := range j.chunks {
		j.send[i] = true
		w.pieces = append(w.pieces, piece{start: c, size: 1})
		digests = append(digests, j.found[i][:]...)
	}
	w.content = append(w.content, digests)
	w.p.count.bytes.Add(j.used.Bytes())
	if !learn {
		return w.frame(opCheck, nil)
	}
	return w.frame(opCheck, j)
}

// compareAll reads ranges and has the target compare them with what it holds. With learn, what is equal is known afterwards.
func (p *pass) compareAll(ctx context.Context, list extent.List, learn bool) error {
	err := p.each(ctx, list, func(w *worker, j *job) error { return w.check(j, learn) })
	if err != nil {
		return err
	}
	return p.s.Flush(p.sent.upTo())
}

// forgetDifferent makes chunks that a check found different unknown.
func (p *pass) forgetDifferent() error {
	for _, e := range p.differChunks() {
		for c := e.Start; c < e.End(); c++ {
			if err := p.digests.set(c, chunk.Digest{}); err != nil {
				return err
			}
		}
	}
	return p.digests.sync()
}

// verify has the target read back what the pass sent, and compare it with the digest map.
func (p *pass) verify(ctx context.Context) error {
	if p.cfg.Verify == source.VerifyNone {
		return nil
	}
	p.count.enter("verify")
	p.mu.Lock()
	fresh := p.fresh.List()
	p.differ = extent.NewSet(limitExtents)
	p.mu.Unlock()
	k := &checks{w: &worker{p: p, conn: p.s.Streams()[0]}}
	var d [1]chunk.Digest
	for _, e := range fresh {
		for c := e.Start; c < e.End(); c++ {
			if p.cfg.Verify == source.VerifyQuick && c%quickEvery != 0 {
				continue
			}
			if err := p.digests.of([]int64{c}, d[:]); err != nil {
				return err
			}
			if !d[0].Known() {
				continue
			}
			if err := k.add(c, d[0]); err != nil {
				return err
			}
			if len(k.digests) == 0 {
				k.w.conn = p.s.Streams()[int(p.sent.upTo())%len(p.s.Streams())]
			}
		}
	}
	if err := k.send(); err != nil {
		return err
	}
	if err := p.s.Flush(p.sent.upTo()); err != nil {
		return err
	}
	return p.forgetDifferent()
}

// quickEvery is of how many chunks a quick verification reads one back.
const quickEvery = 16

// differs takes what a check found.
func (p *pass) differs(d Differ) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range d.Chunks {
		if c < 0 || c >= chunk.Count(p.src.Size()) {
			return malformed("chunk outside the disk")
		}
		p.differ.Add(c, 1)
	}
	return nil
}

// differChunks are the chunks that checks found different.
func (p *pass) differChunks() extent.List {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append(extent.List(nil), p.differ.List()...)
}

// different are the ranges of bytes that checks found different.
func (p *pass) different() extent.List {
	out := p.differChunks()
	for i := range out {
		out[i].Start *= chunk.Size
		out[i].Size = min(out[i].Size*chunk.Size, p.src.Size()-out[i].Start)
	}
	return out
}
