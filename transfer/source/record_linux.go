package source

import (
	"context"
	"sync"

	"github.com/ferry-migrate/ferry/internal/crashpoint"
	"github.com/ferry-migrate/ferry/transfer/file"
	"github.com/ferry-migrate/ferry/transfer/file/manifest"
	"github.com/ferry-migrate/ferry/transfer/wire"
)

// recorder lets jobs finish in order: their entries go to the next manifest, their frames get numbers.
type recorder struct {
	w *manifest.Writer

	mu    sync.Mutex
	cond  sync.Cond
	turn  int64
	err   error
	seq   uint64 // last frame
	fence uint64 // all frames after this one wait for it

	news    bool              // something of an entry was sent
	dropped bool              // an entry that was planned is not there any more
	sent    func(path []byte) // told of every entry of which something is sent; may be nil
	relinks int64
	touched map[uint64]struct{} // hashes of directories whose entries changed; nil if all are sent anyway
}

func newRecorder(w *manifest.Writer, remember bool) *recorder {
	r := &recorder{w: w}
	r.cond.L = &r.mu
	if remember {
		r.touched = map[uint64]struct{}{}
	}
	return r
}

// fail ends all waits.
func (r *recorder) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
	r.cond.Broadcast()
}

// place is where the frames of a job stand: they are first, first+1, …, each may be applied once all up to after are, and they leave
// on their lane when it is at the ticket.
type place struct {
	first, after uint64
	ticket       int64
}

// lane is a stream that several workers share. Its frames leave in the order of their numbers: the target reads a stream in order, and
// waits at a frame for all that must come before.
type lane struct {
	conn        *wire.Conn
	given, gone int64 // tickets; guarded by recorder.mu
}

// record waits for the job's turn, appends its entries and numbers its frames.
func (r *recorder) record(j *job, frames int, l *lane) (at place, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.turn != j.n && r.err == nil {
		r.cond.Wait()
	}
	if r.err != nil {
		return at, r.err
	}
	at.first = r.seq + 1
	r.seq += uint64(frames)
	at.after = r.fence
	switch {
	case j.wait || j.fence:
		at.after = at.first - 1
	case j.large != nil:
		at.after = max(at.after, j.large.begin)
	}
	if frames > 0 {
		at.ticket = l.given
		l.given++
	}
	if j.fence {
		r.fence = r.seq
	}
	if err := r.append(j); err != nil {
		r.err = err
	}
	r.turn++
	r.cond.Broadcast()
	return at, r.err
}

// enter waits until the lane is at the ticket.
func (r *recorder) enter(l *lane, ticket int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for l.gone != ticket && r.err == nil {
		r.cond.Wait()
	}
	return r.err
}

// leave lets the next ticket in.
func (r *recorder) leave(l *lane) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l.gone++
	r.cond.Broadcast()
}

func (r *recorder) append(j *job) error {
	if j.large != nil {
		if err := r.w.AppendChunks(j.first, j.found); err != nil {
			return err
		}
		return r.w.EndBlock(r.seq)
	}
	for i := range j.items {
		it := &j.items[i]
		if it.act == actEnd {
			continue
		}
		if it.drop {
			r.dropped = true
			continue
		}
		r.news = r.news || it.State&file.StateSent != 0
		if it.act == actBegin {
			it.large.begin = r.seq
		}
		if it.State&file.StateRelink != 0 {
			r.relinks++
		}
		if err := r.w.Append(&it.Entry); err != nil {
			return err
		}
		if r.sent != nil && it.State&file.StateSent != 0 {
			r.sent(it.Path)
		}
		if it.act != actKeep && it.act != actBegin && it.act != actMeta && it.Chunks() > 0 {
			if err := r.w.AppendChunks(0, it.chunks); err != nil {
				return err
			}
		}
	}
	if r.touched != nil {
		for _, h := range j.touched {
			r.touched[h] = struct{}{}
		}
	}
	return r.w.EndBlock(r.seq)
}

// next numbers one more frame, outside of any job, that waits for all up to the fence.
func (r *recorder) next() (seq, after uint64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seq++
	if r.w == nil { // nothing is recorded any more
		return r.seq, r.fence, nil
	}
	return r.seq, r.fence, r.w.EndBlock(r.seq)
}

// raise makes all frames from here on wait for all before.
func (r *recorder) raise() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fence = r.seq
	return r.seq
}

// work is the body of a worker: it takes jobs until there are no more, or the pass ends.
func (p *pass) work(ctx context.Context, l *lane) error {
	w := newWorker(p, ctx.Done())
	f := newFramer(l.conn, p.effort)
	for {
		var j *job
		select {
		case j = <-p.jobs:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if j == nil {
			return nil
		}
		if err := p.do(w, f, l, j); err != nil {
			p.rec.fail(err)
			return err
		}
	}
}

func (p *pass) do(w *worker, f *framer, l *lane, j *job) error {
	if err := w.run(j); err != nil {
		return err
	}
	if p.mute {
		w.ops, w.cuts = w.ops[:0], w.cuts[:0]
	}
	if err := f.encode(w.ops, w.cuts); err != nil {
		return err
	}
	at, err := p.rec.record(j, len(f.frames), l)
	if err != nil {
		return err
	}
	crashpoint.Hit("source.recorded")
	if len(f.frames) > 0 {
		if err := p.dispatch(f, l, at, j.fence); err != nil {
			return err
		}
	}
	crashpoint.Hit("source.sent")
	p.account(w, j)
	p.recycle(j)
	return nil
}

// dispatch sends the frames of a job, in a strict pass once what was recorded of it is durable.
func (p *pass) dispatch(f *framer, l *lane, at place, chain bool) error {
	if p.strict {
		if err := p.rec.w.SyncTo(at.first + uint64(len(f.frames)) - 1); err != nil {
			return err
		}
	}
	if err := p.rec.enter(l, at.ticket); err != nil {
		return err
	}
	defer p.rec.leave(l)
	if err := f.send(at.first, at.after, chain); err != nil {
		return p.s.Why(err)
	}
	return nil
}
