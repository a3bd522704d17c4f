package source

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/ferry-migrate/ferry/transfer/file"
	"github.com/ferry-migrate/ferry/transfer/file/manifest"
)

// list asks the target for its entries and writes them to a manifest at path.
func (p *pass) list(ctx context.Context, path string, content bool) error {
	id, err := newID()
	if err != nil {
		return err
	}
	w, err := manifest.Create(path, manifest.Header{Pass: manifest.ID(id)})
	if err != nil {
		return err
	}
	p.listing = func(b []byte) error {
		err := file.DecodeListing(b, func(e *file.Entry) error {
			e.State, e.Ino = 0, 0
			return w.Append(e)
		}, w.AppendChunks)
		return errors.Join(err, w.EndBlock(0))
	}
	defer func() { p.listing = nil }()
	if err := p.s.Ask(file.MsgList, file.List{Content: content}, file.MsgListed); err != nil {
		return errors.Join(err, w.Close())
	}
	if ctx.Err() != nil {
		return errors.Join(context.Cause(ctx), w.Close())
	}
	return w.Finish()
}

// listNames returns a listing of the target that is removed from the disk already.
func (p *pass) listNames(ctx context.Context) (*manifest.Reader, error) {
	if err := p.s.Flush(p.rec.raise()); err != nil { // links and files must be there
		return nil, err
	}
	path := p.store.Scratch("listing")
	if err := p.list(ctx, path, false); err != nil {
		return nil, fmt.Errorf("list the target: %w", err)
	}
	r, err := manifest.Open(path)
	return r, errors.Join(err, os.Remove(path))
}
