package source

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ferry-migrate/ferry/internal/durable"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/file"
	"github.com/ferry-migrate/ferry/transfer/file/manifest"
)

// peerState says which states of the target fit the source's manifest. It is written before a pass is made known to the
// target, so the target is either where the pass before left it or somewhere in this one.
type peerState struct {
	Version int      `json:"version"`
	Before  passMark `json:"before"`  // where the pass began
	Current passMark `json:"current"` // the pass
}

// passMark is a point in a pass: everything up to frame Seq is durable on the target, and all of it if Committed.
type passMark struct {
	Pass      file.ID `json:"pass"`
	Seq       uint64  `json:"seq"`
	Committed bool    `json:"committed"`
}

func (m passMark) holds(t *file.TreeReply) bool {
	return t.Pass == m.Pass && (t.Committed || t.Seq >= m.Seq && !m.Committed)
}

const peerName = "peer.json"

// loadPeer reads what is known, and adds what the manifest knows of the last pass.
func loadPeer(dir string, s *manifest.Store) (*peerState, error) {
	p := &peerState{Version: 1}
	text, err := os.ReadFile(filepath.Join(dir, peerName))
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read state: %w", err)
	}
	if err := json.Unmarshal(text, p); err != nil || p.Version > 1 {
		return nil, fault.Operator("FERRY-STATE-DAMAGED", "remove the file: the next run then compares the whole target",
			fmt.Errorf("state file %s cannot be read: %v", filepath.Join(dir, peerName), err))
	}
	if base := s.Base(); base != nil {
		h := base.Header()
		if h.Pass == manifest.ID(p.Current.Pass) {
			p.Current.Committed = true
		}
		if h.Unclean && h.Cut.Pass == manifest.ID(p.Current.Pass) {
			p.Current.Seq = h.Cut.Acked
		}
	}
	return p, nil
}

// fits reports whether a target in state t holds what the manifest says, or has at least not forgotten any of it.
func (p *peerState) fits(t *file.TreeReply) bool {
	if p.Current.holds(t) {
		return true
	}
	return p.Current.Seq == 0 && !p.Current.Committed && p.Before.holds(t)
}

// advance makes pass the current one, durably.
func (p *peerState) advance(dir string, t *file.TreeReply, pass file.ID) error {
	next := peerState{Version: 1, Before: passMark{Pass: t.Pass, Seq: t.Seq, Committed: t.Committed}, Current: passMark{Pass: pass}}
	text, err := json.MarshalIndent(next, "", "  ")
	if err != nil {
		return fmt.Errorf("encode state: %w", err)
	}
	return durable.WriteFile(filepath.Join(dir, peerName), append(text, '\n'), 0o600)
}

// newID returns a random identifier.
func newID() (id file.ID, err error) {
	if _, err := rand.Read(id[:]); err != nil {
		return id, fmt.Errorf("make an identifier: %w", err)
	}
	return id, nil
}

// loadID reads an identifier from path, or makes one.
func loadID(path string) (id file.ID, err error) {
	text, err := os.ReadFile(path)
	if err == nil {
		if n, err := hex.Decode(id[:], text[:min(len(text), 2*len(id))]); err == nil && n == len(id) {
			return id, nil
		}
		return id, fault.Operator("FERRY-STATE-DAMAGED", "remove the file; the target then has to be received into with --overwrite",
			fmt.Errorf("state file %s holds no identifier", path))
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return id, fmt.Errorf("read state: %w", err)
	}
	if id, err = newID(); err != nil {
		return id, err
	}
	return id, durable.WriteFile(path, []byte(hex.EncodeToString(id[:])+"\n"), 0o600)
}

// pathKey is a directory name for a path.
func pathKey(path string) string {
	sum := sha256.Sum256([]byte(path))
	return hex.EncodeToString(sum[:8])
}
