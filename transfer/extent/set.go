package extent

import (
	"cmp"
	"slices"
)

// Set gathers ranges in any order. The zero Set is empty and holds any number of extents; see NewSet.
type Set struct {
	list   List
	limit  int
	grain  int64 // gaps up to this are closed
	settle int   // length at which the list is settled again
	loose  bool  // list is not sorted
}

// firstGrain is the least gap that is closed to save memory.
const firstGrain = 4 << 10

// NewSet makes a set of at most limit extents, 16 bytes each. When more are added the smallest gaps between them are closed,
// so the set may then say that more is in it than was added, never less. Grain tells.
func NewSet(limit int) *Set { return &Set{limit: max(limit, 2)} }

// Grain returns the size up to which gaps between extents were closed to stay within the limit; 0 when none were.
func (s *Set) Grain() int64 { return s.grain }

// Add adds size bytes at start. No bytes or fewer change nothing.
func (s *Set) Add(start, size int64) {
	if size <= 0 || s.extend(start, size) {
		return
	}
	if len(s.list) >= max(s.settle, 2) {
		s.compact()
		s.settle = max(2*len(s.list), 1<<10)
		if s.limit > 0 {
			s.settle = min(s.settle, s.limit)
		}
		if s.extend(start, size) {
			return
		}
	}
	s.loose = s.loose || len(s.list) > 0 && start < s.list[len(s.list)-1].Start
	s.list = append(s.list, Extent{start, size})
}

// extend makes the last extent longer, when the range begins inside it or at its end.
func (s *Set) extend(start, size int64) bool {
	if len(s.list) == 0 {
		return false
	}
	last := &s.list[len(s.list)-1]
	if start < last.Start || start-s.grain > last.End() {
		return false
	}
	last.Size = max(last.End(), start+size) - last.Start
	return true
}

// List returns what was added. It shares memory with the set: adding more ends its life.
func (s *Set) List() List {
	s.merge()
	return s.list
}

// compact merges, and widens the grain until half of the limit is free again.
func (s *Set) compact() {
	s.merge()
	for s.limit > 0 && len(s.list) > s.limit/2 && len(s.list) > 1 {
		s.grain = max(2*s.grain, firstGrain)
		s.loose = true
		s.merge()
	}
}

// merge sorts the list and joins what overlaps, touches, or is no more than the grain apart.
func (s *Set) merge() {
	if !s.loose {
		return
	}
	slices.SortFunc(s.list, func(a, b Extent) int { return cmp.Compare(a.Start, b.Start) })
	out := s.list[:0]
	for _, e := range s.list {
		if n := len(out); n > 0 && e.Start-s.grain <= out[n-1].End() {
			out[n-1].Size = max(out[n-1].End(), e.End()) - out[n-1].Start
			continue
		}
		out = append(out, e)
	}
	s.list, s.loose = out, false
}
