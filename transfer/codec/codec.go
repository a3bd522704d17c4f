// Package codec compresses the payload of frames, and decides how hard to try.
//
// A Packer turns a payload into what goes on the wire: it looks at a sample first, so that data which cannot be compressed costs next to
// nothing, and drops a result that saved less than three hundredths. A Chooser watches a running transfer and picks the strength
// under which most content arrives per second. Both ends know the codecs by ID; strength is the sender's business alone.
//
// Decoding is safe against hostile input: a decoder knows from the first bytes how much would come out, and refuses more
// than it was told to expect before it reserves memory for it. The package does not detect altered data: TLS and digests do.
package codec

import (
	"errors"
	"fmt"
	"slices"

	"github.com/klauspost/compress/s2"

	"github.com/ferry-migrate/ferry/internal/fault"
)

// ID names a codec on the wire.
type ID uint8

// The codecs.
const (
	None ID = iota // as it is
	S2             // blocks as github.com/klauspost/compress/s2 defines them
	Zstd           // frames of RFC 8878 that state their content size
	idEnd
)

var idNames = [...]string{"none", "s2", "zstd"}

// String returns the name a person would type.
func (i ID) String() string {
	if i < idEnd {
		return idNames[i]
	}
	return "unknown"
}

// Valid reports whether i names a codec of this version.
func (i ID) Valid() bool { return i < idEnd }

// Strength is how hard to compress. Each is slower than the one before, and leaves less.
type Strength uint8

// The strengths.
const (
	Off Strength = iota
	Fast
	Strong
	Strongest
	strengthEnd
)

var strengthNames = [...]string{"none", "s2", "zstd", "zstd better"}

// String returns the codec and, for the second strength of zstd, its level.
func (s Strength) String() string {
	if s < strengthEnd {
		return strengthNames[s]
	}
	return "unknown"
}

// Codec compresses and decompresses one payload at a time. It keeps nothing between calls but memory to reuse.
// Calls from several goroutines are safe but may wait for each other: a goroutine that wants its own pace has its own Codec.
type Codec interface {
	// ID is what the other side has to know to decode.
	ID() ID
	// Encode appends the encoded src to dst.
	Encode(dst, src []byte) ([]byte, error)
	// Decode appends the decoded src to dst. More than limit bytes is an error (ErrTooLong), found before they are produced.
	Decode(dst, src []byte, limit int) ([]byte, error)
}

var (
	// ErrTooLong is wrapped by Decode when src holds more than the limit. It is permanent.
	ErrTooLong = errors.New("longer than announced")
	// ErrCorrupt is wrapped by Decode when no encoder made src. It is permanent.
	ErrCorrupt = errors.New("corrupt payload")
)

func refuse(id ID, err error) error { return fault.Permanent(fmt.Errorf("decode %s: %w", id, err)) }

// New returns a codec that encodes with the given strength and decodes what any strength of the same ID made.
func New(s Strength) Codec {
	switch s {
	case Fast:
		return s2Codec{}
	case Strong, Strongest:
		return newZstd(s)
	default:
		return noneCodec{}
	}
}

type noneCodec struct{}

// ID is what the other side has to know.
func (noneCodec) ID() ID { return None }

// Encode appends the encoded src to dst.
func (noneCodec) Encode(dst, src []byte) ([]byte, error) { return append(dst, src...), nil }

// Decode appends the decoded src, at most limit bytes, to dst.
func (noneCodec) Decode(dst, src []byte, limit int) ([]byte, error) {
	if len(src) > limit {
		return dst, refuse(None, ErrTooLong)
	}
	return append(dst, src...), nil
}

type s2Codec struct{}

// ID is what the other side has to know.
func (s2Codec) ID() ID { return S2 }

// Encode appends the encoded src to dst.
func (s2Codec) Encode(dst, src []byte) ([]byte, error) {
	room := s2.MaxEncodedLen(len(src))
	if room < 0 {
		return dst, fault.Permanent(fmt.Errorf("encode s2: %d bytes are too many", len(src)))
	}
	dst = slices.Grow(dst, room)
	out := s2.Encode(dst[len(dst):len(dst)+room], src)
	return dst[:len(dst)+len(out)], nil
}

// Decode appends the decoded src, at most limit bytes, to dst.
func (s2Codec) Decode(dst, src []byte, limit int) ([]byte, error) {
	n, err := s2.DecodedLen(src)
	if err != nil {
		return dst, refuse(S2, ErrCorrupt)
	}
	if n > limit {
		return dst, refuse(S2, ErrTooLong)
	}
	dst = slices.Grow(dst, n)
	out, err := s2.Decode(dst[len(dst):len(dst)+n], src)
	if err != nil || len(out) != n {
		return dst, refuse(S2, ErrCorrupt)
	}
	return dst[:len(dst)+n], nil
}
