package source

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/ferry-migrate/ferry/transfer/file"
	"github.com/ferry-migrate/ferry/transfer/file/manifest"
)

// Compare reads the whole source and has the target compare everything with what it holds, without changing anything. What the
// target holds and the source does not is a difference too, unless it is excluded.
func Compare(ctx context.Context, cfg *Config, count *Counters) (r *Result, err error) {
	began := time.Now()
	p, err := newPass(cfg, count)
	if err != nil {
		return nil, err
	}
	p.mute, p.allDirs = true, true
	err = p.with(ctx, func(ctx context.Context, _ string) error { return p.compareAll(ctx) })
	if err != nil {
		return nil, err
	}
	r = p.result()
	r.Pass, r.Verified, r.Seconds = "", VerifyFull.String(), time.Since(began).Seconds()
	return r, nil
}

func (p *pass) compareAll(ctx context.Context) error {
	if _, err := p.openWalk(); err != nil {
		return err
	}
	defer p.walk.Close()
	if err := p.s.Begin(file.Open{ReadOnly: true}, p.cfg.Streams, &listener{p: p}); err != nil {
		return err
	}
	p.written = p.store.Scratch("verify")
	id, err := newID()
	if err != nil {
		return err
	}
	w, err := manifest.Create(p.written, manifest.Header{Pass: manifest.ID(id)})
	if err != nil {
		return err
	}
	defer os.Remove(p.written)
	p.rec = newRecorder(w, false)
	p.losses.inherit(p.ledger.lost)
	p.noteMounts()
	p.count.enter("read")
	if err := p.copy(ctx); err != nil {
		return errors.Join(err, w.Close())
	}
	if err := w.Finish(); err != nil {
		return err
	}
	p.rec.w = nil
	if err := p.verify(ctx, true); err != nil {
		return err
	}
	if err := p.extras(ctx); err != nil {
		return err
	}
	p.s.Bye(false)
	return nil
}

// extras counts what the target holds and the source does not.
func (p *pass) extras(ctx context.Context) error {
	names, err := p.listNames(ctx)
	if err != nil {
		return err
	}
	defer names.Close()
	_, err = p.eachAbsent(ctx, &held{readers: []*manifest.Reader{names}}, func(e *file.Entry, a absence) error {
		if a == absent {
			p.differ(file.Differ{Path: e.Path, Field: "missing", Want: "nothing", Got: e.Kind.String()})
		}
		return nil
	})
	return err
}
