package manifest

import (
	"fmt"
	"github.com/ferry-migrate/ferry/internal/crashpoint"
	"os"
	"sync"
)

// hook is called after every write, sync and rename with a name that says which. Tests stop there.
var hook = func(string) {}

// syncer is the file below a Writer: it appends, and syncs for many who wait at once (group commit).
type syncer struct {
	file *os.File
	buf  []byte // header and payload of a block, written with one call

	mu         sync.Mutex
	changed    sync.Cond // something below changed
	written    int64     // bytes of the file
	writtenSeq uint64    // frame that the last ended block completes
	synced     int64     // bytes that are durable
	syncedSeq  uint64
	busy       bool // somebody is syncing, without mu
	err        error
}

func newSyncer(f *os.File, size int64) *syncer {
	s := &syncer{file: f, written: size, synced: size}
	s.changed.L = &s.mu
	return s
}

// marks returns how much of the file is written and how much is durable.
func (s *syncer) marks() (written, synced int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.written, s.synced
}

func (s *syncer) seq() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writtenSeq
}

// write appends a block to the file; advance makes it count.
func (s *syncer) write(head, payload []byte) error {
	s.mu.Lock()
	err := s.err
	s.mu.Unlock()
	if err != nil {
		return err
	}
	s.buf = append(append(s.buf[:0], head...), payload...)
	if _, err := s.file.Write(s.buf); err != nil {
		return s.fail(storageError("write", s.file.Name(), err))
	}
	hook("write")
	crashpoint.Hit("manifest.write")
	return nil
}

// advance counts n more bytes and everything up to seq as written.
func (s *syncer) advance(n int64, seq uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil && seq < s.writtenSeq {
		s.err = fmt.Errorf("frame %d after %d: %w", seq, s.writtenSeq, ErrOrder)
	}
	if s.err != nil {
		return s.err
	}
	s.written += n
	s.writtenSeq = seq
	return nil
}

func (s *syncer) fail(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
	s.changed.Broadcast()
	return s.err
}

// Sync returns once everything written before the call is durable. Any number of goroutines may wait; one sync of the disk serves all
// whose blocks were written before it began.
func (s *syncer) Sync() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	need := s.written
	return s.await(func() bool { return s.synced >= need })
}

// SyncTo returns once everything that frames up to seq complete is durable. EndBlock(seq) must have been called before.
func (s *syncer) SyncTo(seq uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil && seq > s.writtenSeq {
		return fmt.Errorf("sync to frame %d: only %d frames are in the manifest: %w", seq, s.writtenSeq, ErrOrder)
	}
	return s.await(func() bool { return s.syncedSeq >= seq })
}

// await syncs, or waits for others who do, until done. It is called with mu held.
func (s *syncer) await(done func() bool) error {
	for s.err == nil && !done() {
		if s.busy {
			s.changed.Wait()
			continue
		}
		s.busy = true
		written, seq := s.written, s.writtenSeq
		err := s.syncUnlocked()
		s.busy = false
		if err != nil && s.err == nil { // never tried again: the kernel may have dropped the pages that it could not write
			s.err = storageError("sync", s.file.Name(), err)
		}
		if err == nil {
			s.synced, s.syncedSeq = written, seq
		}
		s.changed.Broadcast()
	}
	return s.err
}

func (s *syncer) syncUnlocked() error {
	s.mu.Unlock()
	defer s.mu.Lock()
	err := syncData(s.file)
	hook("sync")
	crashpoint.Hit("manifest.sync")
	return err
}

// Close closes the file as it is; without a Finish before, it stays a prefix. Goroutines that wait in Sync return an error.
// Closing twice is fine.
func (s *syncer) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		return nil
	}
	if s.err == nil {
		s.err = fmt.Errorf("manifest %s: %w", s.file.Name(), os.ErrClosed)
	}
	s.changed.Broadcast()
	for s.busy {
		s.changed.Wait()
	}
	f := s.file
	s.file = nil
	if err := f.Close(); err != nil {
		return storageError("close", f.Name(), err)
	}
	return nil
}
