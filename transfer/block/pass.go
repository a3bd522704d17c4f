package block

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/ferry-migrate/ferry/internal/crashpoint"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/allocmap"
	"github.com/ferry-migrate/ferry/transfer/block/device"
	"github.com/ferry-migrate/ferry/transfer/chunk"
	"github.com/ferry-migrate/ferry/transfer/extent"
	"github.com/ferry-migrate/ferry/transfer/file"
	"github.com/ferry-migrate/ferry/transfer/session"
	"github.com/ferry-migrate/ferry/transfer/source"
)

// pass is one session with a target: what it needs, and what it finds out.
type pass struct {
	cfg     *Config
	count   *Counters
	id      file.ID // of the source
	src     *device.Source
	data    extent.List // what is not a hole
	s       *session.Session
	target  Reply
	digests *digests
	journal *journal
	sent    sent
	effort  *session.Effort
	kind    string
	dir     string // state of this source and target
	live
	trusted bool // what the digest map knows is what the source holds still
	blind   bool // filesystems are frozen: no file may be touched

	mu     sync.Mutex
	bad    *extent.Set // could not be read
	differ *extent.Set // chunks that a check found different
	fresh  *extent.Set // chunks that the pass sent
	notes  []string

	mapNotes []string // of the last look at what is in use
}

// limitExtents bounds what is remembered of each kind: 16 MiB.
const limitExtents = 1 << 20

// with calls f with source and target open; readOnly says that it changes neither target nor state.
func with(ctx context.Context, cfg *Config, count *Counters, readOnly bool, f func(context.Context, *pass) error) (err error) {
	count.reset()
	p := &pass{cfg: cfg, count: count, effort: &session.Effort{Chooser: cfg.Compress, Senders: cfg.Streams},
		bad: extent.NewSet(limitExtents), differ: extent.NewSet(limitExtents), fresh: extent.NewSet(limitExtents)}
	if p.src, err = device.OpenSource(cfg.Path, device.SourceOptions{}); err != nil {
		return err
	}
	defer p.src.Close()
	if why := p.src.Cached(); why != "" {
		p.notes = append(p.notes, why)
	}
	if p.data, err = p.src.Data(ctx); err != nil {
		return err
	}
	if p.id, err = sourceID(cfg); err != nil {
		return err
	}
	err = p.open(ctx, Greeting{
		Source: p.id, Label: cfg.Path, Size: p.src.Size(), Identity: p.src.Identity(), Overwrite: cfg.Overwrite, ReadOnly: readOnly,
	})
	if err != nil {
		return err
	}
	defer func() { p.s.Close(session.ErrOver) }()
	defer p.closeLive()
	defer func() {
		if p.digests != nil {
			err = errors.Join(err, p.digests.close())
		}
	}()
	if err := f(p.s.Context(), p); err != nil {
		return p.s.Why(err)
	}
	return nil
}

// openJournal reads the journal of this source and target.
func (p *pass) openJournal() (err error) {
	p.dir = filepath.Join(sourceDir(p.cfg), fmt.Sprintf("%x", p.target.Disk))
	if p.journal, err = loadJournal(p.dir, p.cfg.Log); err != nil {
		return err
	}
	return p.sameSource()
}

// openState opens journal and digest map of this source and target, and decides whether they still hold.
func (p *pass) openState() error {
	err := p.openJournal()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return fmt.Errorf("make state directory: %w", err)
	}
	j, t := p.journal, &p.target
	path := filepath.Join(p.dir, "digests")
	var fresh bool
	if p.digests, fresh, err = openDigests(path, chunk.Count(p.src.Size()), p.cfg.Log); err != nil {
		return err
	}
	if !fresh && (!j.fits(t) || j.Blind) {
		p.cfg.Log.Warn("the target does not hold what the last pass left there: everything is compared", "target", t.Label, "why", t.Altered)
		p.digests.f.Close()
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("forget digest map: %w", err)
		}
		if p.digests, fresh, err = openDigests(path, chunk.Count(p.src.Size()), p.cfg.Log); err != nil {
			return err
		}
	}
	p.kind = "sync"
	switch {
	case !j.Pass.Known():
		p.kind = "first"
	case !j.Committed:
		p.kind = "resume"
	}
	stamp := p.stamp()
	p.trusted = !fresh && j.First && !j.Committed && stamp != "" && stamp == j.Stamp
	j.First = fresh || p.trusted
	j.Covered = j.Covered && !fresh
	j.Stamp = stamp
	return nil
}

// sameSource refuses a source that is another device than the one that was copied to this target before, as after a disk took the
// name of another.
func (p *pass) sameSource() error {
	was, is := p.journal.Identity, p.src.Identity().Key
	if p.src.IsDevice() && was != "" && was != is && !p.cfg.Overwrite {
		return fault.Operator("FERRY-SOURCE-CHANGED", "check which disk the name stands for now; if this one is meant, run again with --overwrite",
			fmt.Errorf("the source %s is not the device that was copied to this target before", p.cfg.Path))
	}
	p.journal.Identity = is
	return nil
}

// stamp tells whether an image changed since; "" for a device, of which nobody keeps the time of the last write.
func (p *pass) stamp() string {
	st, err := os.Stat(p.cfg.Path)
	if err != nil || !st.Mode().IsRegular() || time.Since(st.ModTime()) < time.Second {
		return ""
	}
	return fmt.Sprintf("%s %d %d", p.src.Identity().Key, st.Size(), st.ModTime().UnixNano())
}

// begin makes a pass known to both sides.
func (p *pass) begin() error {
	id, err := newID()
	if err != nil {
		return err
	}
	j, t := p.journal, &p.target
	j.Before = mark{Pass: t.Pass, Seq: t.Seq, Committed: t.Committed}
	j.Pass, j.Seq, j.Committed, j.Blind = id, 0, false, false
	if err := j.save(); err != nil {
		return err
	}
	return p.s.Begin(Open{Pass: id}, p.cfg.Streams, p)
}

// inUse returns what of the source is in use, and tells people what could not be told.
func (p *pass) inUse(ctx context.Context) (extent.List, error) {
	maps, err := allocmap.Scan(ctx, allocmap.Device{R: p.src, Size: p.src.Size(), Sector: int64(p.src.Sector())})
	if err != nil {
		return nil, err
	}
	clear(p.mapNotes)
	p.mapNotes = p.mapNotes[:0]
	for _, v := range maps[0].Volumes {
		where := "the source"
		if v.Path != "" {
			where = "volume " + v.Path
		}
		if v.Whole != "" {
			p.mapNotes = append(p.mapNotes, fmt.Sprintf("All of %s was read: %s.", where, v.Whole))
		}
		if v.Type == "swap" {
			p.mapNotes = append(p.mapNotes, fmt.Sprintf("Of the swap space in %s only the header was copied.", where))
		}
	}
	return maps[0].Extents, nil
}

// copyAll brings the target in step with a list of what is in use: all of it, or what may have changed.
func (p *pass) copyAll(ctx context.Context, used, list extent.List) (err error) {
	p.count.total.Store(max(used.Bytes(), list.Bytes()))
	saved := max(used.Bytes()-list.Bytes(), 0)
	switch {
	case p.journal.First && p.target.Empty: // what is a hole here reads as zeroes there too
		list = intersect(used, p.data)
	case p.journal.First && !p.trusted && p.target.Source == p.id:
		p.count.enter("compare")
		if err := p.compareAll(ctx, used, true); err != nil {
			return err
		}
		p.mu.Lock()
		p.differ = extent.NewSet(limitExtents)
		p.mu.Unlock()
		p.trusted = true
	}
	if p.trusted {
		if list, err = p.unknown(list); err != nil {
			return err
		}
	}
	skipped := max(used.Bytes()-list.Bytes(), 0)
	p.count.bytes.Store(skipped)
	if p.trusted {
		saved = skipped
	}
	p.count.saved.Store(saved)
	p.count.enter("copy")
	if err := p.each(ctx, list, (*worker).compare); err != nil {
		return err
	}
	return p.s.Flush(p.sent.upTo())
}

// unknown returns what of a list lies in chunks of which the digest map knows nothing.
func (p *pass) unknown(list extent.List) (extent.List, error) {
	jobs, out := &plan{list: list}, extent.NewSet(limitExtents)
	var j job
	for jobs.next(&j) {
		if err := p.digests.of(j.chunks, j.old[:]); err != nil {
			return nil, err
		}
		for i := range j.chunks {
			if !j.old[i].Known() {
				j.eachUsed(i, func(e extent.Extent) { out.Add(e.Start, e.Size) })
			}
		}
	}
	return intersect(list, out.List()), nil
}

// Acked takes over what the target has on its disk. The journal says so first: a target that fell behind it is then not believed.
func (p *pass) Acked(seq uint64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.blind {
		return nil // the next one counts
	}
	done := p.sent.take(seq)
	if len(done) == 0 {
		return nil
	}
	p.journal.Seq = max(p.journal.Seq, seq)
	if err := p.journal.save(); err != nil {
		return err
	}
	differ := p.differ.List()
	for _, b := range done {
		for i, c := range b.chunks {
			if b.check && differ.Contains(extent.Extent{Start: c, Size: 1}) {
				continue
			}
			if err := p.digests.set(c, b.digests[i]); err != nil {
				return err
			}
			if !b.check {
				p.fresh.Add(c, 1)
			}
		}
	}
	return p.digests.write()
}

// commit makes the pass the last one on both sides.
func (p *pass) commit() error {
	if err := p.digests.sync(); err != nil {
		return err
	}
	crashpoint.Hit("block.flushed")
	if err := p.s.Ask(file.MsgCommit, file.Commit{Pass: p.journal.Pass, Seq: p.sent.upTo()}, file.MsgDone); err != nil {
		return err
	}
	crashpoint.Hit("block.done")
	p.journal.Committed = true
	if err := p.journal.save(); err != nil {
		return err
	}
	crashpoint.Hit("block.committed")
	if !p.cfg.MoreToCome() {
		if err := p.forget(); err != nil {
			return err
		}
	}
	p.s.Bye(!p.cfg.MoreToCome())
	return nil
}

// lose notes what could not be read.
func (p *pass) lose(bad extent.List) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range bad {
		p.bad.Add(e.Start, e.Size)
	}
}

// losses are the ranges that could not be read.
func (p *pass) losses() []source.Loss {
	p.mu.Lock()
	defer p.mu.Unlock()
	bad := p.bad.List()
	if len(bad) == 0 {
		return nil
	}
	return []source.Loss{{Kind: "bad_sectors", Count: int64(len(bad)), Sample: words(bad, 5),
		Detail: "could not be read; the target has zeroes there", Remedy: "replace the disk; restore the files in these ranges from a backup"}}
}

// words says the first n ranges for a person.
func words(l extent.List, n int) (out []string) {
	for _, e := range l[:min(len(l), n)] {
		out = append(out, fmt.Sprintf("bytes %d to %d", e.Start, e.End()-1))
	}
	return out
}

// result is what the pass came to.
func (p *pass) result(r *source.Result) *source.Result {
	c := p.count
	r.Pass, r.Files, r.Bytes, r.BytesRead, r.BytesRaw, r.BytesSaved = p.kind, 1, c.total.Load(), c.read.Load(), c.raw.Load(), c.saved.Load()
	r.TargetLabel, r.Losses, r.Notes = p.target.Label, p.losses(), append(p.notes, p.mapNotes...)
	bad := p.different()
	r.Differences, r.Differ = int64(len(bad)), words(bad, 20)
	return r
}
