package codec

import (
	"fmt"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/ferry-migrate/ferry/internal/fault"
)

// zstdWindow bounds how far back a match may lie, and with it the memory of an encoder: frames are not much longer anyway.
const zstdWindow = 1 << 20

// zstdMaxWindow bounds the window a decoder accepts, which is the whole content in a frame of a single segment.
const zstdMaxWindow = 8 << 20

// zstdCodec makes its encoder and decoder on first use: most codecs only ever do one of the two.
type zstdCodec struct {
	encoder func() (*zstd.Encoder, error)
	decoder func() (*zstd.Decoder, error)
}

func newZstd(s Strength) *zstdCodec {
	level := zstd.SpeedFastest
	if s == Strongest {
		level = zstd.SpeedBetterCompression
	}
	return &zstdCodec{
		encoder: sync.OnceValues(func() (*zstd.Encoder, error) {
			return zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithWindowSize(zstdWindow), zstd.WithEncoderConcurrency(1),
				zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false), zstd.WithZeroFrames(true),
				zstd.WithSingleSegment(true)) // states the content size of the shortest frames too
		}),
		decoder: sync.OnceValues(func() (*zstd.Decoder, error) {
			return zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
				zstd.WithDecoderMaxWindow(zstdMaxWindow), zstd.WithDecodeAllCapLimit(true))
		}),
	}
}

// ID is what the other side has to know.
func (*zstdCodec) ID() ID { return Zstd }

// Encode appends the encoded src to dst.
func (c *zstdCodec) Encode(dst, src []byte) ([]byte, error) {
	e, err := c.encoder()
	if err != nil {
		return dst, fault.Permanent(fmt.Errorf("encode zstd: %w", err))
	}
	return e.EncodeAll(src, dst), nil
}

// Decode appends the decoded src, at most limit bytes, to dst.
func (c *zstdCodec) Decode(dst, src []byte, limit int) ([]byte, error) {
	d, err := c.decoder()
	if err != nil {
		return dst, fault.Permanent(fmt.Errorf("decode zstd: %w", err))
	}
	var h zstd.Header
	if err := h.Decode(src); err != nil || !h.HasFCS || h.Skippable {
		return dst, refuse(Zstd, ErrCorrupt)
	}
	if limit < 0 || h.FrameContentSize > uint64(limit) {
		return dst, refuse(Zstd, ErrTooLong)
	}
	n := int(h.FrameContentSize)
	dst = slices.Grow(dst, n)
	// The capacity is what the decoder obeys, so it ends where the content has to: src may hide a second frame.
	out, err := d.DecodeAll(src, dst[:len(dst):len(dst)+n])
	if err != nil || len(out) != len(dst)+n {
		return dst, refuse(Zstd, ErrCorrupt)
	}
	return dst[:len(out)], nil
}
