package source

import (
	"context"
	"errors"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/codec"
	"github.com/ferry-migrate/ferry/transfer/file"
	"github.com/ferry-migrate/ferry/transfer/session"
	"github.com/ferry-migrate/ferry/transfer/wire"
)

// open greets the target.
func (p *pass) open(ctx context.Context) (err error) {
	p.s, err = session.Open(ctx, p.cfg.Dial, wire.Hello{
		Features: []string{"file"},
		Software: p.cfg.Software,
		Body:     file.Greeting{SourceTree: p.tree, Label: p.cfg.Root, Into: p.cfg.Into},
	}, fault.Operator("FERRY-TARGET-LEVEL", "start the target with --into dir:PATH, or upgrade it",
		errors.New("the target does not receive files")), &p.target)
	return err
}

// listener is told what the target says. The entries of a listing go to listing.
type listener struct {
	p       *pass
	unpack  codec.Packer
	decoded []byte
}

// Acked tells the store.
func (l *listener) Acked(seq uint64) error { return l.p.acked(seq) }

// Hear handles what only a target of files says.
func (l *listener) Hear(h wire.Header, payload []byte) error {
	if h.Type == wire.TypeListing {
		return l.list(h, payload)
	}
	m, err := wire.DecodeMessage(payload)
	if err != nil {
		return err
	}
	switch m.Kind {
	case file.MsgLoss:
		var v file.Loss
		if err := m.Decode(&v); err != nil {
			return err
		}
		l.p.loss(v)
	case file.MsgNeed:
		var v file.Need
		if err := m.Decode(&v); err != nil {
			return err
		}
		l.p.need(v)
	case file.MsgDiffer:
		var v file.Differ
		if err := m.Decode(&v); err != nil {
			return err
		}
		l.p.differ(v)
	default:
		return session.Unknown("a message " + m.Kind)
	}
	return nil
}

func (l *listener) list(h wire.Header, payload []byte) (err error) {
	var out []byte
	if out, l.decoded, err = l.unpack.Unpack(l.decoded, payload, h.Codec, h.Raw); err != nil {
		return err
	}
	if l.p.listing == nil {
		return session.Unknown("a listing")
	}
	return l.p.listing(out)
}
