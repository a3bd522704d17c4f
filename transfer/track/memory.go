package track

import (
	"sync"

	"github.com/ferry-migrate/ferry/transfer/extent"
)

// Memory is a Tracker without a kernel, for tests: it knows what Wrote told it. Wrote and Lose may be called from any goroutine.
type Memory struct {
	tracker
	seen *seen
}

// NewMemory makes a tracker of a device of size bytes.
func NewMemory(size int64) *Memory {
	s := &seen{marks: make(map[int64]bool)}
	return &Memory{tracker: tracker{witness: s, size: size}, seen: s}
}

// Wrote marks what lies in e, as a write to it would.
func (m *Memory) Wrote(e extent.Extent) {
	m.seen.mu.Lock()
	defer m.seen.mu.Unlock()
	for c := e.Start / chunkSize; c*chunkSize < e.End(); c++ {
		m.seen.marks[c] = true
	}
}

// Lose makes the next Take, and Peek until then, return ErrLost.
func (m *Memory) Lose(why error) {
	m.seen.mu.Lock()
	defer m.seen.mu.Unlock()
	m.seen.why = why
}

// Close does nothing.
func (m *Memory) Close() error { return nil }

// seen is the witness of a Memory.
type seen struct {
	mu    sync.Mutex
	marks map[int64]bool // by number of the chunk
	why   error
}

func (s *seen) marked(add func(start, size int64)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.marks {
		add(c*chunkSize, chunkSize)
	}
}

func (s *seen) clear(kept func(extent.Extent) bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.marks {
		if kept(extent.Extent{Start: c * chunkSize, Size: chunkSize}) {
			delete(s.marks, c)
		}
	}
	return nil
}

func (s *seen) doubt() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.why
}

func (s *seen) forgive() counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.why = nil
	return counts{}
}
