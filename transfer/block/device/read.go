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
	patient   = 5 * time.Minute // spent on reads that fail before the next coarser grain
	coarse    = 64 << 10        // the grain after that
	giveUp    = 4               // times patient, then the disk is given up
	deadBytes = 64 << 20        // in a row that cannot be read, then too
	splitInto = 16              // pieces of what could not be read
)

// patience bounds what a bad disk may cost: one failed read takes seconds to minutes.
type patience struct {
	spent atomic.Int64 // nanoseconds in reads that failed
	dead  atomic.Int64 // bytes in a row that could not be read
}

// grain returns the smallest piece that is still worth a try, at least sector; ok is false when the disk is given up.
func (p *patience) grain(sector int64) (grain int64, ok bool) {
	switch n := p.spent.Load() / int64(patient); {
	case p.dead.Load() >= deadBytes || n >= giveUp:
		return 0, false
	case n == 0:
		return sector, true
	case n == 1:
		return max(coarse, sector), true
	default:
		return bounce, true
	}
}

// Fill fills p with the bytes at off, which lie within the source. What cannot be read is tried again in smaller pieces, down to a sector; then bad
// names it, and p has zeroes there. A read that hangs in the disk is not interrupted. Errors: FERRY-SOURCE-FAILING, FERRY-SOURCE-GONE, FERRY-SOURCE-CHANGED.
func (s *Source) Fill(ctx context.Context, p []byte, off int64) (bad extent.List, err error) {
	sector := s.sector
	if sector == 0 {
		sector = minimum
	}
	v := salvage{s: s, exact: reader{r: s.r, size: s.size, align: min(sector, s.align)}, sector: int64(sector)}
	if err := v.read(ctx, p, off, bounce); err != nil {
		return v.bad.List(), fmt.Errorf("read %s: %w", s.path, err)
	}
	return v.bad.List(), nil
}

// salvage reads what can be read of a range.
type salvage struct {
	s      *Source
	exact  reader // reads no sector but those asked for
	sector int64
	bad    extent.Set
}

// read reads p in pieces that end at multiples of size, a power of two.
func (v *salvage) read(ctx context.Context, p []byte, off, size int64) error {
	for len(p) > 0 {
		n := min(int64(len(p)), size-off%size)
		if err := v.piece(ctx, p[:n], off, size); err != nil {
			return err
		}
		p, off = p[n:], off+n
	}
	return nil
}

func (v *salvage) piece(ctx context.Context, p []byte, off, size int64) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	patience := &v.s.patience
	began := time.Now()
	_, err := v.exact.readAll(p, off)
	switch {
	case err == nil:
		patience.dead.Store(0)
		return nil
	case !isMedium(err):
		return sourceFailure(off, err)
	}
	patience.spent.Add(int64(time.Since(began)))
	grain, ok := patience.grain(v.sector)
	switch {
	case !ok:
		return fault.Operator(CodeSourceFailing, "copy the disk to an image with ddrescue and migrate that, or restore a backup",
			fmt.Errorf("byte %d: too much of the disk cannot be read: %w", off, err))
	case size > grain:
		return v.read(ctx, p, off, max(size/splitInto, grain))
	}
	clear(p)
	v.bad.Add(off, int64(len(p)))
	patience.dead.Add(int64(len(p)))
	return nil
}
