package device

import (
	"context"
	"fmt"

	"github.com/ferry-migrate/ferry/transfer/extent"
)

// ReadOptions say how Read goes about it. Zero values take the defaults.
type ReadOptions struct {
	Run   int // bytes of one read, 1 MiB
	Depth int // reads in flight, 4; so many runs of memory are used
}

// run is one read.
type run struct {
	off  int64 // of the first byte that is wanted, and how many
	n    int
	from int64  // where the aligned read begins
	buf  []byte // of the aligned read
	bad  extent.List
	err  error
	done chan struct{} // holds one token once it was read
}

// Read calls fn with what lies in the extents, in order, in pieces of at most Run bytes; fn must not keep its argument. What cannot be read is
// tried again in smaller pieces, down to a sector, and left out; bad names it. It returns soon after ctx ends or fn fails, with that error; a
// read that hangs in the disk may then end later. Errors: FERRY-SOURCE-FAILING, FERRY-SOURCE-GONE, FERRY-SOURCE-CHANGED.
func (s *Source) Read(ctx context.Context, extents extent.List, o ReadOptions, fn func(off int64, b []byte) error) (bad extent.List, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := newPipe(s, o)
	go p.plan(ctx, extents)
	for range cap(p.free) {
		go p.work(ctx)
	}
	bad, err = p.deliver(ctx, fn)
	if err != nil {
		return bad, fmt.Errorf("read %s: %w", s.path, err)
	}
	return bad, nil
}

// pipe is one call of Read: plan cuts runs, work reads them in any order, deliver takes them in the order of plan.
type pipe struct {
	s           *Source
	size        int64 // of a run
	free        chan *run
	jobs, order chan *run
	patience    patience
}

func newPipe(s *Source, o ReadOptions) *pipe {
	size, depth := o.Run, o.Depth
	if size <= 0 {
		size = bounce
	}
	size = max(size&^(s.align-1), s.align)
	if depth <= 0 {
		depth = 4
	}
	p := &pipe{s: s, size: int64(size), free: make(chan *run, depth), jobs: make(chan *run, depth), order: make(chan *run, depth)}
	for range depth {
		r := &run{done: make(chan struct{}, 1)}
		if size == bounce {
			r.buf = takeBuffer(s.align)
		} else {
			r.buf = alignedBuffer(size, s.align)
		}
		p.free <- r
	}
	return p
}

// plan cuts the extents at multiples of the size of a run.
func (p *pipe) plan(ctx context.Context, extents extent.List) {
	defer close(p.order)
	defer close(p.jobs)
	for _, e := range extents {
		end := min(e.End(), p.s.size)
		for at := max(e.Start, 0); at < end; {
			var r *run
			select {
			case r = <-p.free:
			case <-ctx.Done():
				return
			}
			to := min(at-at%p.size+p.size, end)
			r.off, r.n, r.from, r.bad, r.err = at, int(to-at), at&^int64(p.s.align-1), r.bad[:0], nil
			p.jobs <- r
			p.order <- r
			at = to
		}
	}
}

// work reads runs until there are no more.
func (p *pipe) work(ctx context.Context) {
	for r := range p.jobs {
		if r.err = ctx.Err(); r.err == nil {
			r.err = p.fill(ctx, r)
		}
		r.done <- struct{}{}
	}
}

// deliver hands runs to fn. Buffers go back to the pool only when all went well: else a read may still be using them.
func (p *pipe) deliver(ctx context.Context, fn func(int64, []byte) error) (extent.List, error) {
	bad := extent.NewSet(limitBad)
	for r := range p.order {
		select {
		case <-r.done:
		case <-ctx.Done():
			return bad.List(), context.Cause(ctx)
		}
		if r.err != nil {
			return bad.List(), r.err
		}
		for _, e := range r.bad {
			bad.Add(e.Start, e.Size)
		}
		if err := r.each(fn); err != nil {
			return bad.List(), err
		}
		p.free <- r
	}
	if ctx.Err() != nil {
		return bad.List(), context.Cause(ctx)
	}
	for range cap(p.free) {
		giveBuffer((<-p.free).buf)
	}
	return bad.List(), nil
}

// each calls fn with the good pieces of a run.
func (r *run) each(fn func(int64, []byte) error) error {
	if len(r.bad) == 0 {
		return fn(r.off, r.buf[r.off-r.from:][:r.n])
	}
	for _, e := range r.bad.Gaps(extent.Extent{Start: r.off, Size: int64(r.n)}) {
		if err := fn(e.Start, r.buf[e.Start-r.from:][:e.Size]); err != nil {
			return err
		}
	}
	return nil
}
