package source

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ferry-migrate/ferry/internal/durable"
	"github.com/ferry-migrate/ferry/transfer/file"
	"github.com/ferry-migrate/ferry/transfer/file/manifest"
)

// held is what the target has: the entries of some manifests.
type held struct {
	readers []*manifest.Reader
	known   *held // what knows the identities, where readers do not; may be nil
}

// add takes over r, unless it is nil.
func (h *held) add(r *manifest.Reader) {
	if r != nil {
		h.readers = append(h.readers, r)
	}
}

func (h *held) close() {
	for _, r := range h.readers {
		r.Close()
	}
	if h.known != nil {
		h.known.close()
	}
}

// union reads the entries of several manifests in order, each path once.
type union struct {
	cursors []*manifest.Cursor
	path    []byte // of the entry returned last
	begun   bool
}

func (h *held) union() *union {
	u := &union{}
	for _, r := range h.readers {
		u.cursors = append(u.cursors, r.Cursor())
	}
	return u
}

// next returns the next entry, of the first manifest that has it; nil at the end. It is valid until the next call.
func (u *union) next() (first *file.Entry, err error) {
	for _, c := range u.cursors {
		if e := c.Current(); !u.begun || e != nil && bytes.Equal(e.Path, u.path) {
			if err := c.Advance(); err != nil {
				return nil, err
			}
		}
	}
	u.begun = true
	for _, c := range u.cursors {
		if e := c.Current(); e != nil && (first == nil || file.ComparePath(e.Path, first.Path) < 0) {
			first = e
		}
	}
	if first != nil {
		u.path = append(u.path[:0], first.Path...)
	}
	return first, nil
}

// identities tells the identities of the entries of a held, which are asked for in order.
type identities struct {
	known *union // nil if the entries have their own
	now   *file.Entry
}

func (h *held) identities() *identities {
	if h.known == nil {
		return &identities{}
	}
	return &identities{known: h.known.union(), now: &file.Entry{}} // which is the root, that never goes
}

func (i *identities) at(e *file.Entry) (id file.Identity, err error) {
	if i.known == nil {
		return e.Identity, nil
	}
	for i.now != nil && file.ComparePath(i.now.Path, e.Path) < 0 {
		if i.now, err = i.known.next(); err != nil {
			return id, err
		}
	}
	if i.now != nil && bytes.Equal(i.now.Path, e.Path) {
		id = i.now.Identity
	}
	return id, nil
}

// leftoversName is the manifest, beside the base, of what the target has and the source has not: kept with --no-delete, or
// excluded. A pass that may delete it finds it there.
const leftoversName = "left"

func (p *pass) leftoversPath() string {
	return filepath.Join(filepath.Dir(p.store.BasePath()), leftoversName)
}

// openLeftovers returns the leftovers, nil if there are none. Damaged ones are set aside: what they named stays on the target.
func (p *pass) openLeftovers() *manifest.Reader {
	r, err := manifest.Open(p.leftoversPath())
	if err == nil {
		err = r.Verify(p.s.Context())
	}
	switch {
	case err == nil:
		return r
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	if r != nil {
		r.Close()
	}
	aside := p.leftoversPath() + ".damaged"
	p.cfg.Log.Warn("what earlier passes left on the target is not known any more", "file", aside, "error", errors.Join(err, os.Rename(p.leftoversPath(), aside)))
	return nil
}

// leftovers is the next manifest of that kind, written once there is something to write.
type leftovers struct {
	path string
	w    *manifest.Writer
}

func newLeftovers(path string) *leftovers { return &leftovers{path: path} }

func (l *leftovers) add(e *file.Entry) error {
	if l.w == nil {
		id, err := newID()
		if err != nil {
			return err
		}
		if l.w, err = manifest.Create(l.path, manifest.Header{Pass: manifest.ID(id)}); err != nil {
			return err
		}
	}
	bare := *e
	bare.State, bare.Resume = 0, 0
	return l.w.Append(&bare)
}

// finish makes the manifest durable, unless err ended it early.
func (l *leftovers) finish(err error) error {
	switch {
	case l.w == nil:
		return err
	case err != nil:
		return errors.Join(err, l.w.Close())
	}
	return l.w.Finish()
}

// replace puts the leftovers of this pass in the place of those before. What this pass deleted must be durable on the target.
func (p *pass) replaceLeftovers() error {
	switch {
	case p.left == nil: // the target had nothing before this pass
		return nil
	case p.left.w != nil:
		return durable.Rename(p.left.path, p.leftoversPath())
	}
	if err := os.Remove(p.leftoversPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
