package track

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/ferry-migrate/ferry/transfer/extent"
)

// words are the marks, eight at a time, and the word of doubts behind them.
func (p *programs) words() []uint64 {
	return unsafe.Slice((*uint64)(unsafe.Pointer(&p.memory[0])), p.pages()*page/8)
}

// doubts returns how often the programs could not tell, by kind.
func (p *programs) doubts() (n [doubtKinds]uint64) {
	for kind := range n {
		n[kind] = atomic.LoadUint64(&p.words()[(p.pages()-1)*page/8+int64(kind)])
	}
	return n
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

// clear leaves a word alone in which a mark was set since the list was made: the next Take has it. Then what is in flight is marked again.
func (p *programs) clear(kept func(extent.Extent) bool) error {
	p.each(func(at *uint64, marks uint64, first int) {
		if p.extents(marks, first, kept) {
			atomic.CompareAndSwapUint64(at, marks, 0)
		}
	})
	return p.markFlying()
}

// A flight is a request in flight: its first sector, its bytes, and when it began.
type flight [3]uint64

// markFlying marks the ranges of all requests in flight: data that comes to the disk after this Take was read is so read with the
// next, whether or not the end of its request is seen. A request that was there at the Take before too, on a device that
// now has none, ended unseen and is read with this Take. It stays on the list until its place is taken: only the kernel can
// take it off without hitting another that takes its place at that moment.
func (p *programs) markFlying() error {
	now, err := p.inFlight()
	if err != nil {
		return err
	}
	writing, err := p.writing()
	if err != nil {
		return err
	}
	for key, f := range now {
		if before, ok := p.flown[key]; !ok || before != f || writing {
			p.mark(f)
		}
	}
	p.flown = now
	return nil
}

// inFlight returns the list of requests in flight. One that stays on it all the while is not missed, whatever comes and goes.
func (p *programs) inFlight() (map[uint64]flight, error) {
	list := make(map[uint64]flight)
	var key uint64
	var f flight
	entries := p.flying.Iterate()
	for entries.Next(&key, &f) {
		list[key] = f
	}
	if err := entries.Err(); err != nil {
		return nil, fmt.Errorf("requests in flight: %w", err)
	}
	return list, nil
}

// mark does for a request in flight what the programs do.
func (p *programs) mark(f flight) {
	sector, sectors := int64(f[0]), int64(max(1, (f[1]+511)>>9))
	first, last := max(sector, p.start)-p.start, min(sector+sectors, p.end)-p.start-1
	for c := first >> sectorBits; first <= last && c <= last>>sectorBits; c++ {
		var b [8]byte
		b[c%8] = 1
		atomic.OrUint64(&p.words()[c/8], binary.NativeEndian.Uint64(b[:]))
	}
}

func (p *programs) doubt() error {
	now, _, err := p.counted()
	switch {
	case err != nil:
		return err
	case now.Misses != p.past.Misses:
		return fmt.Errorf("the kernel skipped the tracker %d times", now.Misses-p.past.Misses)
	case now.Reach != p.past.Reach:
		return fmt.Errorf("%d requests may have changed more than they tell", now.Reach-p.past.Reach)
	case now.Room != p.past.Room:
		return fmt.Errorf("%d writes too many were in flight", now.Room-p.past.Room)
	case now.Unseen != p.past.Unseen:
		return fmt.Errorf("%d writes ended that were not seen to begin", now.Unseen-p.past.Unseen)
	}
	if id := p.identity(); id != p.opened {
		return fmt.Errorf("the device changed from %s to %s", p.opened, id)
	}
	return nil
}

func (p *programs) forgive() counts {
	if now, _, err := p.counted(); err == nil {
		p.past = now
	}
	return p.past
}
