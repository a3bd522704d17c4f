package source

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/ferry-migrate/ferry/internal/durable"
	"github.com/ferry-migrate/ferry/internal/fault"
)

// trust is what the next pass believes of an entry of the manifest.
type trust uint8

const (
	trusted trust = iota
	reread        // it changed while it was read, or could not be read: compare its content
	resend        // the target lacks what the manifest says: send it whole
)

// ledger remembers between passes what the manifest cannot say: entries not to be taken on trust, and what could not be
// kept. It is one JSON file beside the manifest, written before a pass commits.
type ledger struct {
	path string

	mu    sync.Mutex
	doubt map[string]trust  // from the pass before; not changed
	next  map[string]trust  // for the next pass
	later map[string]bool   // of next: a pass right after this one would do no better
	lost  map[string][]loss // by path: from passes before, not sent again since
}

type loss struct {
	Kind   string `json:"kind"`
	Detail string `json:"detail,omitempty"`
}

// ledgerLosses bounds how many losses are remembered one by one; beyond, a later pass does not report those again.
const ledgerLosses = 200_000

type ledgerFile struct {
	Version int               `json:"version"`
	Doubt   map[string]trust  `json:"doubt,omitempty"` // keys are raw bytes as JSON []byte would be: base64
	Lost    map[string][]loss `json:"lost,omitempty"`
}

func openLedger(dir string) (*ledger, error) {
	l := &ledger{path: filepath.Join(dir, "ledger"), doubt: map[string]trust{}, next: map[string]trust{}, later: map[string]bool{}, lost: map[string][]loss{}}
	text, err := os.ReadFile(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read ledger: %w", err)
	}
	var f ledgerFile
	if err := json.Unmarshal(text, &f); err != nil || f.Version > 1 {
		return nil, fault.Operator("FERRY-STATE-DAMAGED", "remove the file: the next run then compares the whole target",
			fmt.Errorf("ledger %s cannot be read: %v", l.path, err))
	}
	for k, v := range f.Doubt {
		l.doubt[unquote(k)] = v
	}
	for k, v := range f.Lost {
		l.lost[unquote(k)] = v
	}
	return l, nil
}

// trust says how far the manifest's entry of path is believed in this pass.
func (l *ledger) trust(path []byte) trust {
	if len(l.doubt) == 0 {
		return trusted
	}
	return l.doubt[string(path)]
}

// distrust makes the next pass look again.
func (l *ledger) distrust(path []byte, t trust) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next[string(path)] = max(l.next[string(path)], t)
}

// leave says that a pass right after this one would find path as it is now.
func (l *ledger) leave(path []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.later[string(path)] = true
}

// doubted reports whether this pass already knows that the entry is not what the manifest says.
func (l *ledger) doubted(path []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.next) > 0 && l.next[string(path)] != trusted
}

// clear forgets everything about the target.
func (l *ledger) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.doubt)
	clear(l.lost)
}

// doubts returns the entries that a pass right after this one has to look at again, sorted.
func (l *ledger) doubts() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	paths := slices.Sorted(maps.Keys(l.next))
	return slices.DeleteFunc(paths, func(p string) bool { return l.later[p] })
}

// sent forgets what was lost of path: the target says it again if it still is.
func (l *ledger) sent(path []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lost) > 0 {
		delete(l.lost, string(path))
	}
}

// save makes the ledger for the next pass durable: doubts of this pass, and losses of before and of now.
func (l *ledger) save(now map[string][]loss) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := ledgerFile{Version: 1, Doubt: map[string]trust{}, Lost: map[string][]loss{}}
	for k, v := range l.next {
		f.Doubt[quote(k)] = v
	}
	for _, m := range []map[string][]loss{l.lost, now} {
		for k, v := range m {
			f.Lost[quote(k)] = v
		}
	}
	if len(f.Doubt)+len(f.Lost) == 0 {
		if err := os.Remove(l.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove ledger: %w", err)
		}
		return nil
	}
	text, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("encode ledger: %w", err)
	}
	return durable.WriteFile(l.path, text, 0o600)
}

// quote makes any bytes a JSON key.
func quote(s string) string {
	b, _ := json.Marshal([]byte(s)) // base64, which cannot fail
	return string(b)
}

func unquote(s string) string {
	var b []byte
	if json.Unmarshal([]byte(s), &b) != nil {
		return s
	}
	return string(b)
}
