package track

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"

	"github.com/ferry-migrate/ferry/transfer/extent"
)

// settle is how long a request may stay on the list of those in flight while the device says that none is.
const settle = time.Second

// words are the marks, eight at a time, and the word of doubts behind them.
func (p *programs) words() []uint64 {
	return unsafe.Slice((*uint64)(unsafe.Pointer(&p.memory[0])), p.pages()*page/8)
}

func (p *programs) doubts() uint64 {
	return atomic.LoadUint64(&p.words()[(p.pages()-1)*page/8])
}

// each calls f for each word in which a mark is set.
func (p *programs) each(f func(at *uint64, marks uint64, first int)) {
	words := p.words()[:(p.pages()-1)*page/8]
	for i := range words {
		if w := atomic.LoadUint64(&words[i]); w != 0 {
			f(&words[i], w, 8*i)
		}
	}
}

// extents calls f with the bytes of each mark of a word; what f returns says whether to go on.
func (p *programs) extents(marks uint64, first int, f func(extent.Extent) bool) bool {
	var b [8]byte
	binary.NativeEndian.PutUint64(b[:], marks)
	rough := int(p.finePages() * page)
	for i, set := range b {
		e := extent.Extent{Start: int64(first+i) * chunkSize, Size: chunkSize}
		if first+i >= rough {
			e = extent.Extent{Start: int64(first+i-rough) * page * chunkSize, Size: page * chunkSize}
		}
		if set != 0 && !f(e) {
			return false
		}
	}
	return true
}

func (p *programs) marked(add func(start, size int64)) {
	p.each(func(_ *uint64, marks uint64, first int) {
		p.extents(marks, first, func(e extent.Extent) bool { add(e.Start, e.Size); return true })
	})
}

// clear leaves a word alone in which a mark was set since the list was made: the next Take has it.
func (p *programs) clear(kept func(extent.Extent) bool) {
	p.each(func(at *uint64, marks uint64, first int) {
		if p.extents(marks, first, kept) {
			atomic.CompareAndSwapUint64(at, marks, 0)
		}
	})
}

func (p *programs) doubt(ctx context.Context) error {
	now, _, err := p.counted()
	switch {
	case err != nil:
		return err
	case now.Misses != p.past.Misses:
		return fmt.Errorf("the kernel skipped the tracker %d times", now.Misses-p.past.Misses)
	case now.Doubts != p.past.Doubts:
		return fmt.Errorf("%d writes of unknown reach, or not seen to end", now.Doubts-p.past.Doubts)
	}
	if id := p.identity(); id != p.opened {
		return fmt.Errorf("the device changed from %s to %s", p.opened, id)
	}
	stale, err := p.stale(ctx)
	if err == nil && len(stale) > 0 {
		err = fmt.Errorf("%d writes were not seen to end", len(stale))
	}
	return err
}

// forgive also strikes those off the list of requests in flight that ended unseen.
func (p *programs) forgive() counts {
	stale, _ := p.stale(context.Background()) // the list stays as it is, and is doubted again
	for key := range stale {
		_ = p.flying.Delete(key)
	}
	if now, _, err := p.counted(); err == nil {
		p.past = now
	}
	return p.past
}

// A flight is a request in flight: its first sector and its bytes.
type flight [2]uint64

// stale returns the requests that are still on the list of those in flight a good while after the device had none. As long as it has
// some nobody can tell; then there are none.
func (p *programs) stale(ctx context.Context) (map[uint64]flight, error) {
	suspects, err := p.inTheAir()
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(settle / 100)
	defer tick.Stop()
	for end := time.Now().Add(settle); len(suspects) > 0 && time.Now().Before(end); {
		if busy, err := p.writing(); busy || err != nil {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
		now, err := p.inTheAir()
		if err != nil {
			return nil, err
		}
		for key, f := range suspects {
			if now[key] != f {
				delete(suspects, key)
			}
		}
	}
	return suspects, nil
}

// inTheAir returns the list of requests in flight. Those that come and go meanwhile may be missing.
func (p *programs) inTheAir() (map[uint64]flight, error) {
	list := make(map[uint64]flight)
	var key uint64
	var f flight
	entries := p.flying.Iterate()
	for entries.Next(&key, &f) {
		list[key] = f
	}
	if err := entries.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return nil, fmt.Errorf("requests in flight: %w", err)
	}
	return list, nil
}
