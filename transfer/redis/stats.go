package redis

import (
	"sync"
	"sync/atomic"
	"time"
)

// What a migration is doing.
var connecting, copying, following = "connect", "full", "follow"

// Progress is a copy of the counters of a migration.
type Progress struct {
	Phase      string        // "connect", "full" or "follow"
	Keys       int64         // of the snapshot, read
	KeysTotal  int64         // about; 0 while unknown
	Bytes      int64         // of the snapshot, read
	BytesTotal int64         // of the snapshot; 0 while unknown, as in a diskless transfer
	BytesRead  int64         // from the source, on the wire
	BytesSent  int64         // to the target, on the wire
	Commands   int64         // of the stream, applied
	Filtered   int64         // keys and commands left out as asked
	Skipped    int64         // keys the target had, left alone as asked
	LagBytes   int64         // of the stream, received and not applied
	Lag        time.Duration // age of the oldest command received and not applied
	Offset     int64         // of the source's stream, up to which it is applied; 0 while nothing is followed
	Full       int64         // full copies begun
	Continued  int64         // times the stream was continued at an offset after a start
	Attempts   int64         // attempts that failed and were repeated
	Losses     map[string]Loss
}

// Loss is one kind of thing that could not be moved.
type Loss struct {
	Count  int64
	Sample []string // some of them
}

// stats are the counters of a migration while it runs.
type stats struct {
	phase                                  atomic.Pointer[string]
	keys, keysTotal, bytesDone, bytesTotal atomic.Int64
	commands, filtered, skipped            atomic.Int64
	full, continued, attempts              atomic.Int64
	oldestNs                               atomic.Int64 // when the oldest command not applied came, or one a little before it

	mu     sync.Mutex
	losses map[string]Loss
}

// begin starts counting a full copy.
func (s *stats) begin(phase *string) {
	s.phase.Store(phase)
	for _, c := range []*atomic.Int64{&s.keys, &s.bytesDone, &s.filtered, &s.skipped} {
		c.Store(0)
	}
}

const maxSample = 5

// lose counts something that could not be moved.
func (s *stats) lose(kind, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.losses == nil {
		s.losses = map[string]Loss{}
	}
	l := s.losses[kind]
	l.Count++
	if len(l.Sample) < maxSample {
		l.Sample = append(l.Sample, name)
	}
	s.losses[kind] = l
}

// Progress returns how far the migration is.
func (m *Migration) Progress() Progress {
	s := &m.stats
	p := Progress{
		Phase: connecting, Keys: s.keys.Load(), KeysTotal: s.keysTotal.Load(), Bytes: s.bytesDone.Load(), BytesTotal: s.bytesTotal.Load(),
		BytesRead: m.source.Read.Load(), BytesSent: m.out.Written.Load(), Commands: s.commands.Load(), Filtered: s.filtered.Load(),
		Skipped: s.skipped.Load(), Full: s.full.Load(), Continued: s.continued.Load(), Attempts: s.attempts.Load(), Losses: map[string]Loss{},
	}
	if phase := s.phase.Load(); phase != nil {
		p.Phase = *phase
	}
	if at, done := m.received.Load(), m.applied.Load(); at != nil && done != nil {
		p.Offset = done.Offset
		if p.LagBytes = max(at.Offset-done.Offset, 0); p.LagBytes > 0 {
			p.Lag = max(time.Since(time.Unix(0, s.oldestNs.Load())), 0)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, l := range s.losses {
		p.Losses[k] = Loss{l.Count, append([]string(nil), l.Sample...)}
	}
	return p
}
