package block

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/chunk"
	"github.com/ferry-migrate/ferry/transfer/wire"
)

// The payload of an operations frame is one operation:
//
//	u8  1, write
//	uvarint number of pieces, at most maxPieces
//	each: uvarint bytes between the end of the piece before and this one; uvarint length × 2, + 1 if it is zeroes
//	the content of the pieces that are not zeroes, back to back
//
//	u8  2, check
//	uvarint number of runs of chunks, at most maxPieces
//	each: uvarint chunks between the end of the run before and this one; uvarint number of chunks
//	the digests of all chunks, back to back
//
// Pieces and runs are in ascending order and lie inside the disk; none is empty. No content lies behind them.
const (
	opWrite byte = 1
	opCheck byte = 2

	maxPieces = 64 << 10
	maxCheck  = 4096 // chunks in one check
)

// A piece is one range of a write, or, in chunks, one run of a check.
type piece struct {
	start, size int64
	zero        bool
}

// appendTable appends the head of a frame: the operation and where its pieces lie.
func appendTable(dst []byte, op byte, pieces []piece) []byte {
	dst = binary.AppendUvarint(append(dst, op), uint64(len(pieces)))
	at := int64(0)
	for _, p := range pieces {
		dst = binary.AppendUvarint(dst, uint64(p.start-at))
		n := uint64(p.size)
		if op == opWrite {
			n <<= 1
			if p.zero {
				n |= 1
			}
		}
		dst = binary.AppendUvarint(dst, n)
		at = p.start + p.size
	}
	return dst
}

var errFrame = errors.New("malformed frame of blocks")

func malformed(what string) error {
	return fault.Permanent(fmt.Errorf("%w: %w: %s", wire.ErrProtocol, errFrame, what))
}

// parseFrame splits a frame for a disk of size bytes into its pieces, which use the memory of buf, and their content.
func parseFrame(b []byte, size int64, buf []piece) (op byte, pieces []piece, content []byte, err error) {
	if len(b) == 0 || b[0] != opWrite && b[0] != opCheck {
		return 0, nil, nil, malformed("operation")
	}
	op, b = b[0], b[1:]
	end := size
	if op == opCheck {
		end = chunk.Count(size)
	}
	number := func() (n uint64) {
		n, k := binary.Uvarint(b)
		if k <= 0 {
			err = malformed("number")
			return 0
		}
		b = b[k:]
		return n
	}
	count := number()
	if err != nil || count == 0 || count > maxPieces {
		return 0, nil, nil, malformed("number of pieces")
	}
	pieces = buf[:0]
	at, total := int64(0), int64(0)
	for range count {
		gap, n := number(), number()
		p := piece{zero: op == opWrite && n&1 == 1}
		if op == opWrite {
			n >>= 1
		}
		if err != nil || n == 0 || gap > uint64(end-at) || n > uint64(end-at)-gap {
			return 0, nil, nil, malformed("piece outside the disk")
		}
		p.start, p.size = at+int64(gap), int64(n)
		at = p.start + p.size
		if !p.zero {
			total += p.size
		}
		if total > wire.MaxPayload {
			return 0, nil, nil, malformed("too much content")
		}
		pieces = append(pieces, p)
	}
	if op == opCheck {
		if total > maxCheck {
			return 0, nil, nil, malformed("too many chunks")
		}
		total *= chunk.DigestSize
	}
	if total != int64(len(b)) {
		return 0, nil, nil, malformed("content")
	}
	return op, pieces, b, nil
}
