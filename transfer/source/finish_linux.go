package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"github.com/ferry-migrate/ferry/transfer/chunk"
	"github.com/ferry-migrate/ferry/transfer/file"
	"github.com/ferry-migrate/ferry/transfer/file/manifest"
)

const chunkSize = chunk.Size

// tail sends the operations of the phases after the copy, which are made by one goroutine.
type tail struct {
	p     *pass
	ops   []byte
	dir   []byte // the current one
	any   bool   // there is a current one
	chain bool   // each frame waits for the one before
	round int
	fr    []*framer
}

func (p *pass) newTail() *tail {
	t := &tail{p: p}
	for _, c := range p.s.Streams() {
		t.fr = append(t.fr, newFramer(c, p.effort))
	}
	return t
}

// at makes the directory of path the current one and returns the name in it.
func (t *tail) at(path []byte) (name []byte) {
	dir, name := splitPath(path)
	t.in(dir)
	return name
}

func (t *tail) in(dir []byte) {
	if !t.any || !bytes.Equal(t.dir, dir) {
		t.ops = file.AppendDir(t.ops, dir)
		t.dir, t.any = append(t.dir[:0], dir...), true
	}
}

// added sends the frame once it is large enough.
func (t *tail) added() error {
	if len(t.ops) < batchBytes {
		return nil
	}
	return t.send()
}

func (t *tail) send() error {
	if len(t.ops) == 0 {
		return nil
	}
	f := t.fr[t.round%len(t.fr)]
	t.round++
	if err := f.encode(t.ops, nil); err != nil {
		return err
	}
	seq, after, err := t.p.rec.next()
	if err != nil {
		return err
	}
	t.p.count.raw.Add(int64(len(t.ops)))
	t.ops, t.any = t.ops[:0], false
	if err := f.send(seq, after, t.chain); err != nil {
		return t.p.s.Why(err)
	}
	return nil
}

// each calls f for every entry that the pass has written so far.
func (p *pass) each(ctx context.Context, f func(e *file.Entry, c *manifest.Cursor) error) error {
	r, err := manifest.Open(p.written)
	if err != nil {
		return err
	}
	defer r.Close()
	c := r.Cursor()
	for n := 0; ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		e, err := c.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := f(e, c); err != nil {
			return err
		}
	}
}

// links makes the hard links.
func (p *pass) links(ctx context.Context) error {
	p.rec.raise()
	if p.rec.relinks == 0 {
		return nil
	}
	p.count.enter("links")
	t := p.newTail()
	err := p.each(ctx, func(e *file.Entry, _ *manifest.Cursor) error {
		if e.State&file.StateRelink == 0 {
			return nil
		}
		name := t.at(e.Path)
		t.ops = file.AppendLink(t.ops, name, e.Link)
		p.touch(t.dir)
		return t.added()
	})
	if err != nil {
		return err
	}
	return t.send()
}

// touch makes the metadata of a directory go out at the end.
func (p *pass) touch(dir []byte) {
	if p.rec.touched != nil {
		p.rec.touched[p.hash(dir)] = struct{}{}
	}
}

// directories sends the metadata of directories, children before parents: of all, or of those that changed or were touched.
func (p *pass) directories(ctx context.Context) error {
	p.count.enter("directories")
	p.rec.raise()
	if p.untouched() {
		return nil
	}
	t := p.newTail()
	t.chain = true
	var stack []*file.Entry
	pop := func(path []byte) error {
		for len(stack) > 0 {
			d := stack[len(stack)-1]
			if path != nil && (len(d.Path) == 0 || beneath(path, d.Path)) {
				return nil
			}
			stack = stack[:len(stack)-1]
			if err := p.directory(t, d); err != nil {
				return err
			}
		}
		return nil
	}
	err := p.each(ctx, func(e *file.Entry, _ *manifest.Cursor) error {
		if e.Kind != file.KindDir {
			return nil
		}
		if err := pop(e.Path); err != nil {
			return err
		}
		_, touched := p.rec.touched[p.hash(e.Path)]
		if p.allDirs || touched || e.State&file.StateSent != 0 {
			d := *e
			d.Path = bytes.Clone(e.Path)
			stack = append(stack, &d)
		}
		return nil
	})
	if err == nil {
		err = pop(nil)
	}
	if err != nil {
		return err
	}
	return t.send()
}

// untouched reports whether the pass sent nothing yet, so that no directory can have changed by it.
func (p *pass) untouched() bool { return !p.allDirs && !p.rec.news && len(p.rec.touched) == 0 }

func (p *pass) directory(t *tail, d *file.Entry) error {
	if d.Xattr.Known() {
		x, err := p.dirXattrs(d.Path)
		if err != nil {
			p.ledger.distrust(d.Path, reread)
		}
		d.Xattrs = x
	}
	t.in(d.Path)
	t.ops = file.AppendDirMeta(t.ops, &d.Meta)
	return t.added()
}

// dirXattrs reads the extended attributes of a directory by its path from the root.
func (p *pass) dirXattrs(path []byte) ([]byte, error) {
	fd, err := p.walk.Dirs.OpenPath(p.walk.Root(), path)
	if err != nil {
		return nil, fmt.Errorf("read attributes: %w", err)
	}
	defer unix.Close(fd)
	return p.prober().meta.Xattrs(fd)
}

// verify has the target compare what it holds with what the pass sent, or with everything.
func (p *pass) verify(ctx context.Context, all bool) error {
	p.count.enter("verify")
	if err := p.s.Flush(p.rec.raise()); err != nil {
		return err
	}
	if !all && p.untouched() {
		return nil
	}
	t := p.newTail()
	digests := make([]byte, batchBytes/64)
	quick := p.cfg.Verify == VerifyQuick
	err := p.each(ctx, func(e *file.Entry, c *manifest.Cursor) error {
		dirSent := e.Kind == file.KindDir && (p.allDirs || func() bool { _, ok := p.rec.touched[p.hash(e.Path)]; return ok }())
		if !all && e.State&file.StateSent == 0 && !dirSent || p.ledger.doubted(e.Path) {
			return nil
		}
		if quick {
			return p.check(t, quickEntry(e), nil, 0)
		}
		if e.Chunks() == 0 {
			return p.check(t, e, nil, 0)
		}
		for first := int64(0); first < e.Chunks(); {
			n, err := c.Chunks(digests)
			if err != nil {
				return err
			}
			if n == 0 {
				return errors.New("manifest lost digests while it was read")
			}
			if err := p.check(t, e, digests[:n*chunk.DigestSize], first); err != nil {
				return err
			}
			first += int64(n)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := t.send(); err != nil {
		return err
	}
	return p.s.Flush(p.rec.raise())
}

// quickEntry is what a quick verification compares of e.
func quickEntry(e *file.Entry) *file.Entry {
	q := *e
	q.State = file.StateQuick
	return &q
}

func (p *pass) check(t *tail, e *file.Entry, digests []byte, first int64) error {
	name := t.at(e.Path)
	t.ops = file.AppendCheck(t.ops, name, e, first, digests)
	return t.added()
}
