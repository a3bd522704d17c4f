package block

import (
	"sync"

	"github.com/ferry-migrate/ferry/transfer/chunk"
	"github.com/ferry-migrate/ferry/transfer/extent"
)

// jobChunks is how many chunks one job reads and one frame holds: 1 MiB.
const jobChunks = 16

// job is what a worker reads, compares and sends at once: whole chunks, of which only what is in use is read and the rest is
// taken as zeroes, so that a chunk has one content whatever happens to be free in it.
type job struct {
	chunks []int64     // at most jobChunks, ascending
	used   extent.List // what is in use in them
	old    [jobChunks]chunk.Digest
	found  [jobChunks]chunk.Digest
	send   [jobChunks]bool
}

// plan hands out the jobs of a list of extents, in order, to any number of goroutines.
type plan struct {
	mu   sync.Mutex
	list extent.List
	at   int64 // of the first extent, what is not handed out yet begins here
}

// next fills j with the next job; false says that there is none.
func (p *plan) next(j *job) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	j.chunks, j.used = j.chunks[:0], j.used[:0]
	for len(p.list) > 0 {
		e := p.list[0]
		at := max(p.at, e.Start)
		c := at / chunk.Size
		if n := len(j.chunks); n == 0 || j.chunks[n-1] != c {
			if n == jobChunks {
				break
			}
			j.chunks = append(j.chunks, c)
		}
		end := min(e.End(), (c+1)*chunk.Size)
		if n := len(j.used); n > 0 && j.used[n-1].End() == at {
			j.used[n-1].Size += end - at
		} else {
			j.used = append(j.used, extent.Extent{Start: at, Size: end - at})
		}
		p.at = end
		if end == e.End() {
			p.list = p.list[1:]
		}
	}
	return len(j.chunks) > 0
}

// slot returns which chunk of the job an offset lies in.
func (j *job) slot(off int64) int {
	c := off / chunk.Size
	for i, have := range j.chunks {
		if have == c {
			return i
		}
	}
	return -1
}

// eachUsed calls f for what is in use in the chunk of slot i.
func (j *job) eachUsed(i int, f func(extent.Extent)) {
	for _, e := range j.used.Within(extent.Extent{Start: j.chunks[i] * chunk.Size, Size: chunk.Size}) {
		f(e)
	}
}

// union returns what lies in either list.
func union(a, b extent.List) extent.List {
	s := extent.NewSet(limitExtents)
	for _, e := range append(append(extent.List(nil), a...), b...) {
		s.Add(e.Start, e.Size)
	}
	return s.List()
}

// intersect returns what lies in both lists.
func intersect(a, b extent.List) (out extent.List) {
	for _, e := range a {
		out = append(out, b.Within(e)...)
	}
	return out
}
