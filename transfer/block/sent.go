package block

import (
	"math"
	"sync"

	"github.com/ferry-migrate/ferry/transfer/chunk"
	"github.com/ferry-migrate/ferry/transfer/session"
)

// sent numbers the frames of a session and remembers what the writes among them bring until they are acknowledged.
type sent struct {
	mu    sync.Mutex
	last  uint64
	queue []brought
}

// brought is what one frame brings.
type brought struct {
	seq     uint64
	check   bool // nothing, but its chunks are known if the target finds no difference
	chunks  []int64
	digests []chunk.Digest
}

// maxSent is how many frames may be on their way: those of a job each.
const maxSent = 4096

// number returns the number of the next frame; j is the job that it is of, nil for one that brings nothing to remember. It waits while
// too many are on their way.
func (s *sent) number(op byte, j *job, at *session.Session) (uint64, error) {
	s.mu.Lock()
	for len(s.queue) >= maxSent {
		first := s.queue[0].seq
		s.mu.Unlock()
		if err := at.Await(first); err != nil {
			return 0, err
		}
		s.mu.Lock()
	}
	defer s.mu.Unlock()
	s.last++
	if j == nil {
		return s.last, nil
	}
	b := brought{seq: s.last, check: op == opCheck}
	for i, c := range j.chunks {
		if j.send[i] {
			b.chunks = append(b.chunks, c)
			b.digests = append(b.digests, j.found[i])
		}
	}
	s.queue = append(s.queue, b)
	return s.last, nil
}

// upTo returns the number of the last frame.
func (s *sent) upTo() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// take returns what the frames up to seq brought, and forgets them.
func (s *sent) take(seq uint64) []brought {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for n < len(s.queue) && s.queue[n].seq <= seq {
		n++
	}
	out := s.queue[:n:n]
	s.queue = s.queue[n:]
	return out
}

// all returns and forgets everything that is not acknowledged.
func (s *sent) all() []brought { return s.take(math.MaxUint64) }
