package device

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/extent"
)

const (
	limitBad  = 1 << 16         // extents of what could not be read; of more, gaps are closed
	patient   = 5 * time.Minute // spent on failed reads before the next coarser grain
	coarse    = 64 << 10        // the grain after that
	giveUp    = 4               // times patient, then the disk is given up
	deadRuns  = 64              // runs in a row of which no byte can be read
	splitInto = 16              // pieces of what could not be read
)

// patience bounds what a bad disk may cost: one failed read takes seconds to minutes.
type patience struct {
	spent atomic.Int64 // nanoseconds in reads that failed
	dead  atomic.Int32 // runs in a row that are bad as a whole
}

// grain returns the smallest piece that is still worth a try, at least sector; ok is false when the disk is given up.
func (p *patience) grain(sector int) (grain int, ok bool) {
	switch n := p.spent.Load() / int64(patient); {
	case p.dead.Load() >= deadRuns || n >= giveUp:
		return 0, false
	case n == 0:
		return sector, true
	case n == 1:
		return max(coarse, sector), true
	default:
		return 1 << 30, true
	}
}

// fill reads a run. What cannot be read becomes r.bad.
func (p *pipe) fill(ctx context.Context, r *run) error {
	align := int64(p.s.align)
	length := int((r.off+int64(r.n)+align-1) & ^(align-1) - r.from)
	if err := p.try(ctx, r, r.from, length); err != nil {
		return err
	}
	if r.bad.Bytes() < int64(r.n) {
		p.patience.dead.Store(0)
	} else {
		p.patience.dead.Add(1)
	}
	return nil
}

// try reads length bytes at off, piece by piece where they cannot be read at once.
func (p *pipe) try(ctx context.Context, r *run, off int64, length int) error {
	need := int(min(int64(length), p.s.size-off))
	began := time.Now()
	_, err := readFull(p.s.r, r.buf[off-r.from:][:length], off, need)
	if err == nil {
		return nil
	}
	if !isMedium(err) {
		return sourceFailure(p.s.path, off, err)
	}
	p.patience.spent.Add(int64(time.Since(began)))
	if err := ctx.Err(); err != nil {
		return err
	}
	smallest := p.s.sector
	if smallest == 0 {
		smallest = minimum
	}
	grain, ok := p.patience.grain(smallest)
	switch {
	case !ok:
		return fault.Operator("FERRY-SOURCE-FAILING", "copy the disk to an image with ddrescue and migrate that, or replace it and restore a backup",
			fmt.Errorf("the disk does not answer any more, at byte %d: %w", off, err))
	case length <= grain:
		r.addBad(off, need)
		return nil
	}
	piece := max(length/splitInto, grain) / smallest * smallest
	for at := 0; at < need; at += piece {
		if err := p.try(ctx, r, off+int64(at), min(piece, length-at)); err != nil {
			return err
		}
	}
	return nil
}

// addBad adds what of a piece belongs to the run. Pieces come in order.
func (r *run) addBad(off int64, n int) {
	start, end := max(off, r.off), min(off+int64(n), r.off+int64(r.n))
	if start >= end {
		return
	}
	if last := len(r.bad) - 1; last >= 0 && r.bad[last].End() == start {
		r.bad[last].Size = end - r.bad[last].Start
		return
	}
	r.bad = append(r.bad, extent.Extent{Start: start, Size: end - start})
}
