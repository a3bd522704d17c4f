package track

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/zeebo/blake3"

	"github.com/ferry-migrate/ferry/internal/durable"
	"github.com/ferry-migrate/ferry/transfer/extent"
)

// The file of a pending set:
//
//	"ferry track 1\n"
//	JSON of header, "\n"
//	for each extent two unsigned varints: bytes since the end of the one before, size in bytes
//	16 bytes: BLAKE3 of all before
const (
	pendingMagic = "ferry track 1\n"
	sumSize      = 16
)

// counts are what speaks against a tracker; they only grow.
type counts struct {
	Misses uint64 `json:"misses"` // times the kernel skipped a program
	Reach  uint64 `json:"reach"`  // requests of which nobody can tell what they change
	Room   uint64 `json:"room"`   // requests for which the list of those in flight had no room
	Unseen uint64 `json:"unseen"` // writes that ended and were not seen to begin
}

// header is what the pending set belongs to.
type header struct {
	Generation string    `json:"generation"` // equal as long as no write can have gone unseen for want of a program: programs.generation
	Since      time.Time `json:"since"`      // the programs run since then
	Counts     counts    `json:"counts"`     // forgiven
	Size       int64     `json:"size"`       // of the device, in bytes
	Extents    int       `json:"extents"`
}

// A pending set holds what was taken and not yet acknowledged.
type pending struct {
	header
	list    extent.List
	path    string      // "" keeps nothing on disk
	written extent.List // what the file holds, when there is one
	exists  bool
}

// keep makes list the pending set and c what is forgiven, and writes both down. On an error the set is as it was.
func (p *pending) keep(list extent.List, c counts) error {
	next := p.header
	next.Counts, next.Extents = c, len(list)
	if p.path != "" && !(p.exists && next.Counts == p.Counts && slices.Equal(p.written, list)) {
		data, err := encode(next, list)
		if err == nil {
			err = durable.WriteFile(p.path, data, 0o600)
		}
		if err != nil {
			return fmt.Errorf("pending set: %w", err)
		}
		p.written, p.exists = list, true
	}
	p.header, p.list = next, list
	return nil
}

func encode(h header, list extent.List) ([]byte, error) {
	text, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	b := append([]byte(pendingMagic), text...)
	b = append(b, '\n')
	at := int64(0)
	for _, e := range list {
		b = binary.AppendUvarint(b, uint64(e.Start-at))
		b = binary.AppendUvarint(b, uint64(e.Size))
		at = e.End()
	}
	return summed(b), nil
}

// summed puts the checksum behind b.
func summed(b []byte) []byte {
	sum := blake3.Sum256(b)
	return append(b, sum[:sumSize]...)
}
