// Package codec compresses the payload of frames.
package codec

// ID names a codec on the wire.
type ID uint8

// The codecs.
const (
	None ID = iota // as it is
	S2             // fast
	Zstd           // strong
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
