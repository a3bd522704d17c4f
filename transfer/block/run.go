package block

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/ferry-migrate/ferry/transfer"
	"github.com/ferry-migrate/ferry/transfer/codec"
	"github.com/ferry-migrate/ferry/transfer/snapshot"
	"github.com/ferry-migrate/ferry/transfer/source"
	"github.com/ferry-migrate/ferry/transfer/wire"
)

// Config describes one source disk and how to bring a target in step with it. A pass does not change it.
type Config struct {
	Path     string // absolute: a block device or an image file
	State    string // state directory of the process; each source and target has its own below it
	Software string // for the target's log

	Dial     wire.DialFunc
	Counters *wire.Counters // those Dial counts in

	Streams    int            // data connections, at least 1
	Compress   *codec.Chooser // how hard
	Overwrite  bool           // the target may hold data of others, the source may be another device than before
	Verify     source.Verify
	Log        *slog.Logger
	MoreToCome func() bool // another pass will follow this one

	Watch *Watch // of this source

	// Of a source that is mounted: the last pass ends while its filesystems are frozen.
	Bound                   time.Duration               // for so long at most; 0: snapshot.Bound
	Writes                  []string                    // has to be written meanwhile and may not lie on them, see snapshot.Options
	BeforeFreeze, AfterThaw func(context.Context) error // hooks of the operator; may be nil
	Still                   func(snapshot.Report)       // told which point in time the last pass holds
}

// Counters are the running totals of a pass. They may be read at any time.
type Counters struct {
	phase atomic.Pointer[string]
	total atomic.Int64
	bytes atomic.Int64
	read  atomic.Int64
	raw   atomic.Int64
	saved atomic.Int64
}

// Progress returns a copy of the counters; the one file is the disk.
func (c *Counters) Progress(sent int64) transfer.Progress {
	p := transfer.Progress{
		FilesTotal: 1, Bytes: c.bytes.Load(), BytesTotal: c.total.Load(), BytesRead: c.read.Load(), BytesRaw: c.raw.Load(),
		BytesSaved: c.saved.Load(), BytesSent: sent,
	}
	if s := c.phase.Load(); s != nil {
		p.Phase = *s
	}
	return p
}

func (c *Counters) enter(phase string) { c.phase.Store(&phase) }

func (c *Counters) reset() {
	for _, n := range []*atomic.Int64{&c.total, &c.bytes, &c.read, &c.raw, &c.saved} {
		n.Store(0)
	}
	c.enter("scan")
}

// Run brings the target in step with the source once. It may be called again after any error; a temporary one means that the
// connection was lost. count is reset.
func Run(ctx context.Context, cfg *Config, count *Counters) (r *source.Result, err error) {
	began := time.Now()
	err = with(ctx, cfg, count, false, func(ctx context.Context, p *pass) error {
		if err := p.openState(); err != nil {
			return err
		}
		if err := p.openLive(ctx); err != nil {
			return err
		}
		if err := p.begin(); err != nil {
			return err
		}
		if err := p.bring(ctx); err != nil {
			return err
		}
		if err := p.verify(ctx); err != nil {
			return err
		}
		r = p.result(&source.Result{Verified: cfg.Verify.String()})
		return p.commit()
	})
	if err != nil {
		return nil, err
	}
	r.Seconds = time.Since(began).Seconds()
	return r, nil
}

// Compare reads what is in use on the source and has the target compare it with what it holds, without changing anything.
func Compare(ctx context.Context, cfg *Config, count *Counters) (r *source.Result, err error) {
	began := time.Now()
	err = with(ctx, cfg, count, true, func(ctx context.Context, p *pass) error {
		if err := p.s.Begin(Open{}, cfg.Streams, p); err != nil {
			return err
		}
		used, err := p.inUse(ctx)
		if err != nil {
			return err
		}
		count.total.Store(used.Bytes())
		count.enter("compare")
		if err := p.compareAll(ctx, used, false); err != nil {
			return err
		}
		p.s.Bye(false)
		r = p.result(&source.Result{Verified: source.VerifyFull.String()})
		r.Pass = ""
		return nil
	})
	if err != nil {
		return nil, err
	}
	r.Seconds = time.Since(began).Seconds()
	return r, nil
}

// Look maps the source and asks the target what it is and holds, without changing either.
func Look(ctx context.Context, cfg *Config, count *Counters) (s *source.Survey, err error) {
	err = with(ctx, cfg, count, true, func(ctx context.Context, p *pass) error {
		used, err := p.inUse(ctx)
		if err != nil {
			return err
		}
		if err := p.openJournal(); err != nil {
			return err
		}
		t := &p.target
		s = &source.Survey{Entries: 1, Bytes: used.Bytes(), Known: p.journal.fits(t), Target: t.Label, Type: t.Type, Free: t.Size, Notes: p.mapNotes}
		p.s.Bye(false)
		return nil
	})
	return s, err
}
