package manifest

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/ferry-migrate/ferry/transfer/file"
	"github.com/klauspost/compress/s2"
)

// Sizes of blocks, in bytes.
const (
	blockMagic      = "FMBk"
	blockHeaderSize = 40
	blockSoft       = 64 << 10 // a block that reaches this is written out; small, because a lookup decodes a whole one
	blockMax        = 1 << 20  // no decoded block is larger: a full one and the largest entry
	runMax          = 2048     // digests in one run
)

type blockKind uint8

const (
	blockMore blockKind = 1 + iota
	blockRecords
	blockDeletes
	blockFooter
)

const (
	codecStored = 0
	codecS2     = 1
)

const (
	recordEntry = 1
	recordRun   = 2
)

// footerSize is the length of the footer with its block header.
const footerSize = blockHeaderSize + footerPayload
const footerPayload = (2+int(file.KindSocket)+1)*8 + 32

type blockHeader struct {
	kind    blockKind
	codec   uint8
	payload uint32
	raw     uint32
	seq     uint64
	durable uint64
	pcrc    uint32
}

// blockSeal is the part of a header's checksum that is not in the header: the file and the place it belongs to.
func blockSeal(crc uint32, id ID, off int64) uint32 {
	var b [24]byte
	copy(b[:], id[:])
	binary.LittleEndian.PutUint64(b[16:], uint64(off))
	return crc32.Update(crc, castagnoli, b[:])
}

// put encodes h, for the block at off of the file id, into dst.
func (h *blockHeader) put(dst *[blockHeaderSize]byte, id ID, off int64) {
	le := binary.LittleEndian
	copy(dst[:], blockMagic)
	dst[4], dst[5], dst[6], dst[7] = byte(h.kind), h.codec, 0, 0
	le.PutUint32(dst[8:], h.payload)
	le.PutUint32(dst[12:], h.raw)
	le.PutUint64(dst[16:], h.seq)
	le.PutUint64(dst[24:], h.durable)
	le.PutUint32(dst[32:], h.pcrc)
	le.PutUint32(dst[36:], blockSeal(crc32.Checksum(dst[:36], castagnoli), id, off))
}

// parse decodes the header at off of the file id and reports whether it is whole and within bounds.
func (h *blockHeader) parse(b []byte, id ID, off int64) bool {
	le := binary.LittleEndian
	if len(b) < blockHeaderSize || string(b[:4]) != blockMagic {
		return false
	}
	if le.Uint32(b[36:]) != blockSeal(crc32.Checksum(b[:36], castagnoli), id, off) {
		return false
	}
	*h = blockHeader{
		kind: blockKind(b[4]), codec: b[5], payload: le.Uint32(b[8:]), raw: le.Uint32(b[12:]),
		seq: le.Uint64(b[16:]), durable: le.Uint64(b[24:]), pcrc: le.Uint32(b[32:]),
	}
	if h.raw > blockMax || h.payload > blockMax || int64(h.durable) < 0 || int64(h.durable) > off {
		return false
	}
	switch h.kind {
	case blockMore, blockRecords:
		return h.codec == codecS2 || h.codec == codecStored && h.raw == h.payload
	case blockDeletes:
		return h.payload == 0
	case blockFooter:
		return int(h.payload) == footerPayload
	}
	return false
}

// compress returns the smaller of raw and its S2 form, and the codec. dst is scratch space that is reused. Most of an entry is
// digests and times that do not compress; S2 notices and costs little, and the paths and the rest still give a third.
func compress(dst, raw []byte) ([]byte, uint8) {
	enc := s2.Encode(dst[:cap(dst)], raw)
	if len(enc) >= len(raw) {
		return raw, codecStored
	}
	return enc, codecS2
}

// decompress decodes a payload into dst, which is grown as needed, and reports whether it is what the header promised.
func (h *blockHeader) decompress(dst, payload []byte) ([]byte, bool) {
	if h.codec == codecStored {
		return append(dst[:0], payload...), true
	}
	if n, err := s2.DecodedLen(payload); err != nil || n != int(h.raw) {
		return dst, false
	}
	raw, err := s2.Decode(dst[:cap(dst)], payload)
	if err != nil || len(raw) != int(h.raw) {
		return dst, false
	}
	return raw, true
}

func (t *Totals) append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(t.Entries))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(t.Bytes))
	for _, n := range t.Kinds {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(n))
	}
	return dst
}

func (t *Totals) parse(b []byte) {
	t.Entries = int64(binary.LittleEndian.Uint64(b))
	t.Bytes = int64(binary.LittleEndian.Uint64(b[8:]))
	for i := range t.Kinds {
		t.Kinds[i] = int64(binary.LittleEndian.Uint64(b[16+8*i:]))
	}
}
