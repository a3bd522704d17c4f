package source

import (
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/transfer/chunk"
	"github.com/ferry-migrate/ferry/transfer/file"
)

const (
	batchBytes  = 256 << 10 // content in one job of small files
	denseBytes  = 1 << 20   // the same where bytes are dear: the more in one frame, the better it is compressed
	batchItems  = 512       // entries in one job
	inlineBytes = 512 << 10 // a file up to this size goes into a batch whole
	extentBytes = 512 << 10 // content in one job of a larger file
	runChunks   = 8 << 10   // digests in one job that only records
)

// action says what a job does with one entry.
type action uint8

const (
	actKeep    action = iota // recorded as it was, nothing is sent
	actDir                   // recorded; its metadata goes out at the end of the pass
	actMkdir                 // the same, and the directory is made
	actMeta                  // metadata only
	actFile                  // read, compared with what the target has, sent as far as it differs
	actFrom                  // read; if it is the file the target has at another path, moved there, else sent
	actBegin                 // a larger file starts; its content comes in the following jobs
	actEnd                   // a larger file ends
	actSymlink               //
	actNode                  // device, FIFO, socket
	actLink                  // recorded; linked once all files are there
)

// item is one entry of a job. Its slices lie in the job's arena.
type item struct {
	file.Entry
	act   action
	how   file.How
	drop  bool // vanished: not recorded
	dir   *file.Dir
	name  []byte // NUL-terminated
	place file.Place

	base     *file.Entry // what the target has at this path, nil if nothing is known
	old      []byte      // chunk digests of what the target has, for files of more than one chunk that go inline
	chunks   []byte      // chunk digests of the source, filled by the worker
	from     []byte      // actFrom: the path the target has the file at
	fromHash chunk.Digest
	large    *large // actBegin, actEnd
	counted  bool   // its bytes are counted with its runs
}

// data is how many bytes of data the file holds, holes aside, as far as the filesystem tells.
func (it *item) data() int64 {
	if it.Kind != file.KindRegular {
		return 0
	}
	return min(it.Size, it.place.Alloc)
}

// bare returns the name without its NUL.
func (it *item) bare() []byte { return it.name[:len(it.name)-1] }

// large is a file that is read by several jobs.
type large struct {
	fd        int
	item      item          // as planned; Path and name live on the heap
	meta      file.Meta     // for OpEnd; good once described is closed
	described chan struct{} // closed by the worker that has OpBegin: others may be ahead of it
	begin     uint64        // number of the frame that has OpBegin; set in order, before any extent is recorded
	pending   atomic.Int32  // jobs that still need fd
	sparse    bool
}

// done gives up one use of l; the last one closes the file and reports whether it changed since it was looked at.
func (l *large) done(m *file.MetaReader) (changed bool) {
	if l.pending.Add(-1) > 0 {
		return false
	}
	defer unix.Close(l.fd)
	var now file.Entry
	_, err := m.Stat(l.fd, nil, &now)
	return err != nil || !sameContent(&now, &l.item.Entry)
}

// sameContent reports whether two looks at one inode say that its content is the same.
func sameContent(a, b *file.Entry) bool {
	return a.Ino == b.Ino && a.Size == b.Size && a.Mtime == b.Mtime && a.Ctime == b.Ctime
}

// job is a run of entries, or a run of chunks of a larger file, in walk order. Jobs are recorded in the order of n.
type job struct {
	n     int64
	items []item
	arena []byte

	large *large // a run of its chunks
	first int64  // index of the first chunk
	count int64
	old   []byte // digests of what the target has, or nothing
	known bool   // old is the truth: nothing is read or sent
	hole  bool   // all of them are a hole
	found []byte // digests as read

	fence bool // its frame waits for all before it, and all after wait for it
	wait  bool // its frame waits for all before it

	touched []uint64 // hashes of directories whose entries change
}

func (j *job) reset() {
	items, arena, old, found, touched := j.items[:0], j.arena[:0], j.old[:0], j.found[:0], j.touched[:0]
	clear(j.items)
	*j = job{items: items, arena: arena, old: old, found: found, touched: touched}
}

// keep copies b into the arena. It stays where it is even when the arena grows.
func (j *job) keep(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	if cap(j.arena)-len(j.arena) < len(b) {
		j.arena = make([]byte, 0, max(64<<10, len(b)))
	}
	start := len(j.arena)
	j.arena = append(j.arena, b...)
	return j.arena[start:len(j.arena):len(j.arena)]
}

// room reserves n bytes of the arena.
func (j *job) room(n int) []byte {
	if cap(j.arena)-len(j.arena) < n {
		j.arena = make([]byte, 0, max(64<<10, n))
	}
	start := len(j.arena)
	j.arena = j.arena[:start+n]
	return j.arena[start : start+n : start+n]
}
