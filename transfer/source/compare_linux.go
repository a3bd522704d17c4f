package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

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
	if err := p.s.begin(p, file.Open{ReadOnly: true}, p.cfg.Streams); err != nil {
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
	return p.extras(ctx)
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

// Look walks the source and asks the target what it is, without changing either.
func Look(ctx context.Context, cfg *Config, count *Counters) (*Survey, error) {
	p, err := newPass(cfg, count)
	if err != nil {
		return nil, err
	}
	s := &Survey{Kinds: map[string]int64{}}
	err = p.with(ctx, func(ctx context.Context, dir string) error {
		if _, err := p.choose(dir); err != nil {
			return err
		}
		t := &p.s.target
		s.Known, s.Free, s.Target, s.Type = p.store.Base() != nil && !p.foreignBase, t.Free, t.Label, t.Type
		if _, err := p.openWalk(); err != nil {
			return err
		}
		defer p.walk.Close()
		p.noteMounts()
		return p.survey(ctx, s)
	})
	if err != nil {
		return nil, err
	}
	s.Losses = p.losses.list()
	return s, nil
}

func (p *pass) survey(ctx context.Context, s *Survey) error {
	lacks := map[string]bool{}
	for _, k := range p.s.target.Lacks {
		lacks[k] = true
	}
	linked := map[linkKey]struct{}{}
	w := p.prober()
	for it := p.walk.Next(); it != nil; it = p.walk.Next() {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		path := append(append([]byte{}, it.Dir.Path...), '/')
		path = append(path, it.Name[:len(it.Name)-1]...)
		if it.Unread != nil {
			p.unlisted(path, it.Unread)
			continue
		}
		if it.Err != nil {
			p.unlooked(path, it)
			continue
		}
		s.Entries++
		s.Kinds[it.Kind.String()]++
		p.count.files.Add(1)
		p.expect(w, it, path, lacks)
		if it.Kind != file.KindRegular {
			continue
		}
		if it.Nlink > 1 {
			key := linkKey{it.Place.Dev, it.Ino, it.Gen}
			if _, dup := linked[key]; dup {
				continue
			}
			linked[key] = struct{}{}
		}
		s.Bytes += min(it.Size, it.Place.Alloc)
		p.count.bytes.Store(s.Bytes)
	}
	return nil
}

// expect notes what the target will not be able to keep of an entry, and what the source cannot read.
func (p *pass) expect(w *worker, it *file.Item, path []byte, lacks map[string]bool) {
	kind := ""
	switch it.Kind {
	case file.KindCharDev, file.KindBlockDev:
		kind = "device"
	case file.KindFIFO, file.KindSocket:
		kind = "special"
	case file.KindSymlink:
		kind = "symlink"
	case file.KindRegular:
		if unix.Geteuid() == 0 {
			break
		}
		fd, err := p.walk.Dirs.Open(it.Dir, it.Name)
		if err != nil {
			p.lose("unreadable", path, err)
			break
		}
		unix.Close(fd)
	}
	if lacks[kind] {
		p.losses.add(kind, path, fmt.Sprintf("a %s", it.Kind))
	}
	if lacks["owner"] && (it.UID != uint32(unix.Geteuid()) || it.GID != uint32(unix.Getegid())) {
		p.losses.add("owner", path, fmt.Sprintf("%d:%d", it.UID, it.GID))
	}
}
