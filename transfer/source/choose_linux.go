package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/ferry-migrate/ferry/internal/fault"
)

// choose decides what the pass builds on: nothing, the base of the store, or a comparison with all that the target holds.
// What does not fit is compared, never assumed.
func (p *pass) choose(dir string) (*peerState, error) {
	t := &p.target
	peer, err := loadPeer(dir, p.store)
	if err != nil {
		return nil, err
	}
	for _, d := range p.store.Recovered().Damaged {
		p.cfg.Log.Warn("damaged state was set aside", "file", d.Path, "error", d.Err)
	}
	base := p.store.Base()
	ours := t.Source == p.tree
	switch {
	case t.Empty && (!ours || base == nil):
		return peer, p.forget()
	case !ours && !p.cfg.Overwrite && !t.Overwrite:
		return nil, fault.Operator("FERRY-TARGET-NOT-EMPTY", "give an empty directory, or --overwrite to replace what is there",
			fmt.Errorf("the target %s holds data that this source did not write", t.Label))
	case !ours:
		p.compare("the target holds data of others")
	case t.Altered != "":
		p.compare(t.Altered)
	case !peer.fits(t):
		p.compare("the target is not where the last pass left it")
	case base == nil || base.Header().Unclean:
		p.unclean = true
	}
	return peer, nil
}

func (p *pass) compare(why string) {
	p.cfg.Log.Warn("everything is compared", "reason", why)
	p.foreignBase = true
}

// forget drops what the store knows: the target is empty.
func (p *pass) forget() error {
	p.ledger.clear()
	if err := os.Remove(p.leftoversPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget what was left: %w", err)
	}
	return p.store.Forget()
}
