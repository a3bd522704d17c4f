package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/ferry-migrate/ferry/internal/durable"
	"github.com/ferry-migrate/ferry/internal/fault"
)

// The names of the two stores in a state directory. They are apart because trust has a direction: a machine that this
// one sends to may not, for that, write into it.
const (
	TargetsFile = "targets.json"
	SourcesFile = "sources.json"
)

// Peer is one enrolled key.
type Peer struct {
	Fingerprint Fingerprint `json:"fingerprint"`
	Address     string      `json:"address"` // where it was when it was enrolled; only for messages
	Enrolled    time.Time   `json:"enrolled"`
}

// KnownPeers is the durable list of enrolled keys, a JSON file of mode 0600. It is safe for many goroutines, not for two processes.
type KnownPeers struct {
	path  string
	mu    sync.Mutex
	peers []Peer
}

type peersFile struct {
	Version int    `json:"version"`
	Peers   []Peer `json:"peers"`
}

const peersVersion = 1

// OpenKnownPeers reads the list at path; a missing file is an empty list. A damaged one is an operator error (FERRY-PEERS-DAMAGED).
func OpenKnownPeers(path string) (*KnownPeers, error) {
	k := &KnownPeers{path: path}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return k, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read known peers: %w", err)
	}
	var f peersFile
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, fault.Operator("FERRY-PEERS-DAMAGED",
			"Restore "+path+" from a backup; or move it away: its peers then have to be paired again.",
			fmt.Errorf("known peers %s: %w", path, err))
	}
	if f.Version != peersVersion {
		return nil, fault.Operator("FERRY-STATE-NEWER", "Use the version of ferry that wrote it, or a newer one.",
			fmt.Errorf("known peers %s have version %d, this ferry reads %d", path, f.Version, peersVersion))
	}
	k.peers = f.Peers
	return k, nil
}

// Has reports whether the key is enrolled.
func (k *KnownPeers) Has(f Fingerprint) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.index(f) >= 0
}

// At returns the key last enrolled at address.
func (k *KnownPeers) At(address string) (Fingerprint, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range slices.Backward(k.peers) {
		if p.Address == address {
			return p.Fingerprint, true
		}
	}
	return Fingerprint{}, false
}

// All returns a copy of the list, oldest first.
func (k *KnownPeers) All() []Peer {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.peers)
}

// Add enrols a key and returns once that is durable. A key that is known stays as it is.
func (k *KnownPeers) Add(f Fingerprint, address string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.index(f) >= 0 {
		return nil
	}
	peers := append(slices.Clone(k.peers), Peer{Fingerprint: f, Address: address, Enrolled: time.Now().UTC()})
	text, err := json.MarshalIndent(peersFile{Version: peersVersion, Peers: peers}, "", "  ")
	if err != nil {
		return fmt.Errorf("encode known peers: %w", err)
	}
	if err := durable.WriteFile(k.path, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("enrol peer: %w", err)
	}
	k.peers = peers
	return nil
}

func (k *KnownPeers) index(f Fingerprint) int {
	return slices.IndexFunc(k.peers, func(p Peer) bool { return p.Fingerprint == f })
}
