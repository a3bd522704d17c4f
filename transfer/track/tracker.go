package track

import (
	"context"
	"fmt"

	"github.com/ferry-migrate/ferry/transfer/extent"
)

// chunkSize is how many bytes of the device one mark stands for.
const chunkSize = 64 << 10

// limitExtents bounds the pending set: 16 bytes each in memory, a few in the file. Beyond it the smallest gaps are closed, and some
// bytes that did not change are read.
const limitExtents = 1 << 18

// A witness holds marks: the kernel's, or a test's. Only its tracker uses it.
type witness interface {
	// marked calls add for each run of marks, in bytes; a run may reach past the end of the device.
	marked(add func(start, size int64))
	// clear takes away the marks that kept says yes to; the extent is that of one mark and may reach past the end of the device.
	// What is being written at that moment is marked afterwards.
	clear(kept func(extent.Extent) bool) error
	// doubt says why writes may have gone unseen since the last forgive; nil when nothing speaks for it.
	doubt() error
	// forgive makes what was counted until now the past.
	forgive() counts
}

// tracker is what every Tracker does with the marks of its witness.
type tracker struct {
	witness witness
	size    int64
	pending pending
	lost    error // why the next Take is ErrLost whatever the witness says; nil when it is not
}

// Take implements Tracker.
func (t *tracker) Take(ctx context.Context) (extent.List, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	list, why := t.look()
	past := t.pending.Counts
	if t.lost = why; why != nil {
		list, past = t.whole(), t.witness.forgive()
	}
	if err := t.pending.keep(list, past); err != nil {
		return nil, err
	}
	kept := func(e extent.Extent) bool {
		return list.Contains(extent.Extent{Start: e.Start, Size: min(e.Size, t.size-e.Start)})
	}
	if err := t.witness.clear(kept); err != nil {
		t.lost = err
		return nil, err
	}
	t.lost = nil
	return list, lost(why)
}

// Peek implements Tracker.
func (t *tracker) Peek(ctx context.Context) (extent.List, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	list, why := t.look()
	if why != nil {
		list = t.whole()
	}
	return list, lost(why)
}

// Acknowledge implements Tracker. The file follows with the next Take: until then it says too much, never too little.
func (t *tracker) Acknowledge(_ context.Context, done extent.List) error {
	t.pending.list = t.pending.list.Subtract(done)
	return nil
}

// look returns marks and pending set in one list, and why it may not be complete. The doubt is asked for last: whatever the
// marks miss was counted before.
func (t *tracker) look() (extent.List, error) {
	set := extent.NewSet(limitExtents)
	for _, e := range t.pending.list {
		set.Add(e.Start, e.Size)
	}
	t.witness.marked(set.Add)
	list := set.List().Within(extent.Extent{Size: t.size})
	why := t.lost
	if why == nil {
		why = t.witness.doubt()
	}
	return list, why
}

func (t *tracker) whole() extent.List { return extent.List{{Size: t.size}} }

func lost(why error) error {
	if why == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrLost, why)
}
