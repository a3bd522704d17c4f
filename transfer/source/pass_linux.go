package source

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/chunk"
	"github.com/ferry-migrate/ferry/transfer/codec"
	"github.com/ferry-migrate/ferry/transfer/file"
	"github.com/ferry-migrate/ferry/transfer/file/manifest"
	"github.com/ferry-migrate/ferry/transfer/session"
)

// pass is one walk over the source that brings the target in step.
type pass struct {
	cfg      *Config
	tree     file.ID // of the source
	s        *session.Session
	target   file.TreeReply
	listing  func(entries []byte) error // consumer of the listing that was asked for
	store    *manifest.Store
	excludes *Excludes
	count    *Counters
	losses   *losses
	ledger   *ledger // what the next pass must not take on trust

	walk        *file.Walk
	baseReader  *manifest.Reader // nil if the target holds nothing we know of
	baseStarted file.Time
	foreignBase bool // the base is a listing of the target: no identities
	allDirs     bool // the metadata of all directories is sent
	strict      bool // a frame leaves once its entries are durable
	unclean     bool // the target may hold more than the base says

	rec     *recorder
	written string      // path of the manifest that the pass writes
	last    bool        // no pass follows to catch up with what changed meanwhile
	mute    bool        // nothing is sent: the manifest is all that is wanted
	lacks   atomic.Bool // the base has an entry that was not met on the source
	effort  *session.Effort
	jobs    chan *job
	free    chan *job
	seed    maphash.Seed
	probe   *worker
	deleted int64
	left    *leftovers // nil until the deletes are planned
	differs *differences
}

// workersPerStream: while one waits for the disk or the network, another reads.
const workersPerStream = 2

// jobsAhead is how many jobs the planner may be ahead of the workers.
const jobsAhead = 2

func (p *pass) newJob() *job {
	select {
	case j := <-p.free:
		j.reset()
		return j
	default:
		return &job{}
	}
}

func (p *pass) recycle(j *job) {
	select {
	case p.free <- j:
	default:
	}
}

func (p *pass) hash(path []byte) uint64 { return maphash.Bytes(p.seed, path) }

// copy walks the source, reads and sends: everything up to the hard links.
func (p *pass) copy(ctx context.Context) error {
	workers := workersPerStream * len(p.s.Streams())
	p.jobs = make(chan *job, jobsAhead)
	p.free = make(chan *job, 2*workers+jobsAhead)
	g, ctx := errgroup.WithContext(ctx)
	watch, done := context.WithCancel(ctx)
	defer done()
	go p.effort.Observe(watch)
	if p.baseReader == nil && !p.mute {
		var counting sync.WaitGroup
		defer counting.Wait()
		defer done()
		counting.Go(func() { p.total(watch) })
	}
	context.AfterFunc(ctx, func() { p.rec.fail(context.Cause(ctx)) })
	for _, c := range p.s.Streams() {
		l := &lane{conn: c}
		for range workersPerStream {
			g.Go(func() error { return p.work(ctx, l) })
		}
	}
	g.Go(func() error {
		pl := &planner{p: p, ctx: ctx, links: map[linkKey]*linkGroup{}}
		if p.baseReader != nil {
			pl.base = p.baseReader.Cursor()
		}
		if err := pl.run(); err != nil {
			return err
		}
		for range workers {
			select {
			case p.jobs <- nil:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	})
	return g.Wait()
}

// batch is how much content a job of small files holds.
func (p *pass) batch() int64 {
	if p.effort.Chooser.Strength() == codec.Strongest {
		return denseBytes
	}
	return batchBytes
}

// prober returns the worker the planner reads with.
func (p *pass) prober() *worker {
	if p.probe == nil {
		p.probe = newWorker(p, nil)
	}
	return p.probe
}

// account adds what a job did to the counters.
func (p *pass) account(w *worker, j *job) {
	c := p.count
	c.read.Add(w.read)
	c.raw.Add(int64(len(w.ops)))
	c.saved.Add(w.saved)
	if j.large != nil {
		n := dataIn(j.found, j.large.item.Size-j.first*chunkSize)
		c.bytes.Add(n)
		if j.known {
			c.saved.Add(n)
		}
		return
	}
	var files, bytes int64
	for i := range j.items {
		it := &j.items[i]
		if it.act == actEnd || it.drop {
			continue
		}
		files++
		if it.act != actBegin && len(it.Link) == 0 && !it.counted {
			bytes += it.data()
		}
	}
	c.files.Add(files)
	c.bytes.Add(bytes)
}

// dataIn returns how many bytes of data chunks with these digests hold, holes aside; left is how much of the file there is from the
// first on.
func dataIn(digests []byte, left int64) (n int64) {
	for i := range int64(len(digests) / chunk.DigestSize) {
		if *digestAt(digests, i) != chunk.Hole {
			n += max(0, min(chunk.Size, left-i*chunk.Size))
		}
	}
	return n
}

// saved counts an unchanged file; one of several chunks is counted with its digests.
func (p *pass) saved(it *item) {
	if it.Chunks() == 0 && len(it.Link) == 0 {
		p.count.saved.Add(it.data())
	}
}

// changed notes an entry that was not the same before and after it was read.
func (p *pass) changed(it *item) { p.ledger.distrust(it.Path, reread) }

// unreadable notes content that could not be read.
func (p *pass) unreadable(it *item, err error) {
	p.ledger.distrust(it.Path, reread)
	p.ledger.leave(it.Path)
	p.lose("unreadable", it.Path, err)
}

// partial notes metadata that could not be read.
func (p *pass) partial(it *item, what string, err error) {
	kind := "xattr_unread"
	if what == "flags" {
		kind = "flags_unread"
	}
	p.lose(kind, it.Path, err)
}

func (p *pass) unlisted(path []byte, err error) {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, file.ErrMoved) || errors.Is(err, unix.ENOTDIR) {
		p.ledger.distrust(path, reread)
		return
	}
	p.lose("unlistable", path, err)
}

// unlooked notes an entry whose metadata could not be read, or that is another filesystem.
func (p *pass) unlooked(path []byte, it *file.Item) {
	if it.Mount {
		p.lose("mount", path, errors.New("something is mounted over it"))
		return
	}
	p.lose("unreadable", path, it.Err)
}

func (p *pass) tooDeep(path []byte) {
	p.lose("too_deep", path[:1024], fmt.Errorf("path of %d bytes", len(path)))
}

func (p *pass) lose(kind string, path []byte, err error) {
	p.losses.add(kind, path, fmt.Sprint(err))
}

// loss, need, differ and acked are what the target says.
func (p *pass) loss(l file.Loss) {
	p.losses.add(l.Kind, l.Path, l.Detail)
}

func (p *pass) need(n file.Need) { p.ledger.distrust(n.Path, resend) }

func (p *pass) differ(d file.Differ) {
	if p.losses.covers(d) {
		return
	}
	p.ledger.distrust(d.Path, resend)
	p.differs.add(d)
}

func (p *pass) acked(seq uint64) error {
	if p.mute {
		return nil
	}
	return p.store.Acked(seq)
}

// openRoot opens the source directory. Where the kernel lets us, it is a private copy of its mount alone, so that what is
// mounted below does not hide what lies under it. bounded says that the walk has to mind mounts itself.
func openRoot(path string) (fd int, bounded bool, err error) {
	fd, err = openNoAtime(unix.AT_FDCWD, path)
	if err != nil {
		return -1, false, sourceError(path, err)
	}
	tree, err := unix.OpenTree(fd, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return fd, true, nil // not privileged, or before Linux 5.2
	}
	defer unix.Close(tree)
	clone, err := openNoAtime(tree, ".")
	if err != nil {
		return fd, true, nil
	}
	unix.Close(fd)
	return clone, false, nil
}

// openNoAtime opens a directory so that listing it leaves its access time alone, where this process may.
func openNoAtime(dirfd int, path string) (int, error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC
	fd, err := unix.Openat(dirfd, path, flags|unix.O_NOATIME, 0)
	if err == unix.EPERM {
		fd, err = unix.Openat(dirfd, path, flags, 0)
	}
	return fd, err
}

func sourceError(path string, err error) error {
	err = fmt.Errorf("source %s: %w", path, err)
	switch {
	case errors.Is(err, unix.ENOENT):
		return fault.Operator("FERRY-SOURCE-MISSING", "check the path; if it is on a disk, mount it", err)
	case errors.Is(err, unix.ENOTDIR):
		return fault.Operator("FERRY-SOURCE-NOT-DIRECTORY", "give a directory", err)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return fault.Operator("FERRY-SOURCE-UNREADABLE", "run as root", err)
	}
	return err
}

func fileTime(t time.Time) file.Time {
	return file.Time{Sec: t.Unix(), Nsec: uint32(t.Nanosecond())}
}

// workers is how many goroutines read ahead in the walk.
func workers() int { return max(2, min(runtime.NumCPU(), 4)) }
