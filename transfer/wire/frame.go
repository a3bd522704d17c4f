package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/codec"
)

const (
	// HeaderSize is the length of a frame header in bytes.
	HeaderSize = 32
	// MaxPayload is the most bytes a frame carries, encoded or decoded: 2 MiB of content and 64 KiB around it.
	MaxPayload = 2<<20 + 64<<10
)

// Type says what a frame carries.
type Type uint8

// The types. Ping frames never reach a caller of ReadFrame, and measuring frames only one that measures.
const (
	TypeControl Type = 1 + iota // one message
	TypeOps                     // operations on the target
	TypeListing                 // entries of a manifest
	typePing
	typeMeasure // bytes that mean nothing
	typeEnd
)

// Header describes one frame.
type Header struct {
	Type   Type
	Codec  codec.ID // of the payload
	Length int      // of the payload, bytes; WriteFrame fills it in
	Raw    int      // of the payload once decoded, bytes; WriteFrame fills it in when Codec is none
	Seq    uint64   // of an operations frame, from 1; otherwise 0
	After  uint64   // an operations frame may be applied once all frames up to this Seq are; less than Seq
}

// ErrProtocol is wrapped by errors about bytes that no well-behaved peer sends. Such errors are permanent.
var ErrProtocol = errors.New("protocol violation")

func violation(format string, args ...any) error {
	return fault.Permanent(fmt.Errorf("%w: %s", ErrProtocol, fmt.Sprintf(format, args...)))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (h *Header) check() error {
	switch {
	case h.Type < TypeControl || h.Type >= typeEnd:
		return violation("frame of unknown type %d", h.Type)
	case !h.Codec.Valid():
		return violation("frame with unknown codec %d", h.Codec)
	case h.Length > MaxPayload || h.Raw > MaxPayload:
		return violation("frame of %d bytes, %d decoded, over the limit of %d", h.Length, h.Raw, MaxPayload)
	case h.Codec == codec.None && h.Raw != h.Length:
		return violation("frame of %d bytes claims to be %d decoded without a codec", h.Length, h.Raw)
	case h.Type == TypeOps && (h.Seq == 0 || h.After >= h.Seq):
		return violation("operations frame %d waits for frame %d", h.Seq, h.After)
	case h.Type != TypeOps && (h.Seq != 0 || h.After != 0):
		return violation("numbered frame of type %d", h.Type)
	case h.Type == TypeControl && (h.Length > MaxMessage || h.Codec != codec.None):
		return violation("control frame of %d bytes with codec %s", h.Length, h.Codec)
	case h.Type == typePing && h.Length != 0:
		return violation("ping of %d bytes", h.Length)
	}
	return nil
}

// put encodes h, which must have passed check.
func (h *Header) put(b *[HeaderSize]byte) {
	le := binary.LittleEndian
	le.PutUint32(b[0:], uint32(h.Length))
	le.PutUint32(b[4:], uint32(h.Raw))
	b[8], b[9] = byte(h.Type), byte(h.Codec)
	le.PutUint16(b[10:], 0)
	le.PutUint32(b[12:], 0)
	le.PutUint64(b[16:], h.Seq)
	le.PutUint64(b[24:], h.After)
	le.PutUint32(b[12:], crc32.Checksum(b[:], castagnoli))
}

// parseHeader decodes and checks a header. It clears the checksum field of b.
func parseHeader(b *[HeaderSize]byte) (h Header, err error) {
	le := binary.LittleEndian
	sum := le.Uint32(b[12:])
	le.PutUint32(b[12:], 0)
	if crc32.Checksum(b[:], castagnoli) != sum {
		return Header{}, violation("frame header with a wrong checksum")
	}
	if flags := le.Uint16(b[10:]); flags != 0 {
		return Header{}, violation("frame with unknown flags %#x", flags)
	}
	length, raw := le.Uint32(b[0:]), le.Uint32(b[4:])
	if length > MaxPayload || raw > MaxPayload { // before int, which may have 32 bits
		return Header{}, violation("frame of %d bytes, %d decoded, over the limit of %d", length, raw, MaxPayload)
	}
	h = Header{
		Type: Type(b[8]), Codec: codec.ID(b[9]), Length: int(length), Raw: int(raw),
		Seq: le.Uint64(b[16:]), After: le.Uint64(b[24:]),
	}
	return h, h.check()
}
