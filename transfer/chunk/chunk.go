// Package chunk cuts content into chunks and names each by its digest.
//
// A chunk is Size bytes at an offset that is a multiple of Size; the last one of a file may be shorter. Its digest is the
// first 16 bytes of BLAKE3. Equal digests mean equal content: 128 bits leave a collision out of reach of an attacker who
// must find a second preimage, which is what altering a copy unnoticed would take.
//
// The zero Digest means "unknown": it is never the digest of any content, and equals nothing.
package chunk

import (
	"bytes"

	"github.com/zeebo/blake3"
)

// Size is the length of a chunk in bytes.
const Size = 64 << 10

// DigestSize is the length of a digest in bytes.
const DigestSize = 16

// Digest names the content of one chunk, of one small file, or of a list of digests.
type Digest [DigestSize]byte

// Known reports whether d is the digest of something.
func (d Digest) Known() bool { return d != Digest{} }

// Equal reports whether both digests are known and the same.
func (d Digest) Equal(o Digest) bool { return d.Known() && d == o }

// Sum returns the digest of data. It does not allocate.
func Sum(data []byte) (d Digest) {
	full := blake3.Sum256(data)
	copy(d[:], full[:])
	if d == (Digest{}) {
		d[0] = 1
	}
	return d
}

// Count returns how many chunks a file of size bytes has.
func Count(size int64) int64 { return (size + Size - 1) / Size }

var zeroes [Size]byte

// Hole stands for a chunk, whole or the last of a file, that is a hole: it reads as zeroes and occupies nothing. It is not a
// BLAKE3 output, so that zeroes that are written and zeroes that are not can be told apart.
var Hole = Digest{'h', 'o', 'l', 'e'}

// IsZero reports whether data, at most Size bytes, is all zero bytes.
func IsZero(data []byte) bool { return bytes.Equal(data, zeroes[:len(data)]) }
