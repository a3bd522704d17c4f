package block

import (
	"context"
	"errors"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/session"
	"github.com/ferry-migrate/ferry/transfer/wire"
)

// open greets the target.
func (p *pass) open(ctx context.Context, g Greeting) (err error) {
	p.s, err = session.Open(ctx, p.cfg.Dial, wire.Hello{Features: []string{Feature}, Software: p.cfg.Software, Body: g},
		fault.Operator("FERRY-TARGET-LEVEL", "start the target with --into image:PATH or device:PATH, or migrate a directory",
			errors.New("the target receives files, not disks")), &p.target)
	return err
}

// Hear is told what the checks of the target found.
func (p *pass) Hear(h wire.Header, payload []byte) error {
	if h.Type != wire.TypeControl {
		return session.Unknown("a frame")
	}
	m, err := wire.DecodeMessage(payload)
	if err != nil {
		return err
	}
	if m.Kind != MsgDiffer {
		return session.Unknown("a message " + m.Kind)
	}
	var v Differ
	if err := m.Decode(&v); err != nil {
		return err
	}
	return p.differs(v)
}
