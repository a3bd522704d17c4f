package manifest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"syscall"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/chunk"
	"github.com/ferry-migrate/ferry/transfer/file"
	"github.com/fxamacker/cbor/v2"
)

// ID names a tree or a pass; all zero means none. Whoever makes one takes random bytes.
type ID [16]byte

// Header is what a manifest says of itself. Whoever begins a pass fills it.
type Header struct {
	Tree    ID            `cbor:"1,keyasint"` // the pair of source path and target tree
	Pass    ID            `cbor:"2,keyasint"` // the pass that wrote the manifest; of a recovered base, the last that committed
	Base    ID            `cbor:"3,keyasint"` // Pass of the base this pass builds on; zero for the first
	Started file.Time     `cbor:"4,keyasint"` // wall clock of the source, taken before the pass's syncfs
	Boot    ID            `cbor:"5,keyasint"` // boot id of the source; zero in a recovered base with entries of two boots
	Root    file.Identity `cbor:"6,keyasint"` // of the source's root directory
	Options chunk.Digest  `cbor:"7,keyasint"` // of the options that decide what is in the plan
	// Unclean says that the manifest was recovered after a pass did not commit; Cut says which. Entries in it may
	// be StateUncertain or StatePartial.
	Unclean bool `cbor:"8,keyasint,omitempty"`
	Cut     Cut  `cbor:"9,keyasint,omitempty"`
}

// Cut says where a pass that did not commit was cut off. It is valid when Header.Unclean is set.
type Cut struct {
	Pass  ID     `cbor:"1,keyasint"`           // the pass that was cut off
	Acked uint64 `cbor:"2,keyasint"`           // frames up to this one are durable on the target
	Path  []byte `cbor:"3,keyasint,omitempty"` // last entry of those frames; nil if none
	File  ID     `cbor:"4,keyasint"`           // of the file that held the pass, so that it is merged only once
}

// Totals counts the entries of a manifest.
type Totals struct {
	Entries int64
	Bytes   int64                      // sum of the sizes of regular files, hard links counted once
	Kinds   [file.KindSocket + 1]int64 // by file.Kind, hard links included
}

func (t *Totals) add(e *file.Entry) {
	t.Entries++
	t.Kinds[e.Kind]++
	if e.Kind == file.KindRegular && len(e.Link) == 0 {
		t.Bytes += e.Size
	}
}

// ErrDamaged says that a manifest holds bytes no writer wrote there. Errors that wrap it are of the operator class with the
// code FERRY-STATE-DAMAGED.
var ErrDamaged = errors.New("state is damaged")

// ErrOrder is returned to a pass that appends an entry out of order, or digests that fit no entry: a bug in the pass.
var ErrOrder = errors.New("manifest: entries and digests must be appended in the order of the walk")

func damaged(name, format string, args ...any) error {
	return fault.Operator("FERRY-STATE-DAMAGED", "check the disk that holds the state directory, then run again: damaged state is set aside and the target is compared anew",
		fmt.Errorf("manifest %s: %s: %w", name, fmt.Sprintf(format, args...), ErrDamaged))
}

func newer(name string, version uint16) error {
	return fault.Operator("FERRY-STATE-NEWER", "use the newer ferry that wrote the state directory, or another --state directory",
		fmt.Errorf("manifest %s has version %d, this ferry knows %d", name, version, version1))
}

// storageError classifies an error of writing the state.
func storageError(what, name string, err error) error {
	err = fmt.Errorf("%s manifest %s: %w", what, name, err)
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fault.Operator("FERRY-STATE-FULL", "free space on the disk that holds the state directory, then run again", err)
	}
	return fault.Permanent(err)
}

const (
	fileMagic  = "FERRYMAN"
	version1   = 1
	prefixSize = 20
	maxHeader  = file.MaxPath + 64<<10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// fileHeader is what is on disk: the header and the file's own random id.
type fileHeader struct {
	_      struct{} `cbor:",toarray"`
	Header Header
	File   ID
}

var headerDecoding = func() cbor.DecMode {
	m, err := cbor.DecOptions{MaxNestedLevels: 8, MaxArrayElements: 64, MaxMapPairs: 64}.DecMode()
	if err != nil {
		panic(err)
	}
	return m
}()

func encodeHeader(h *Header, id ID) ([]byte, error) {
	body, err := cbor.Marshal(fileHeader{Header: *h, File: id})
	if err != nil {
		return nil, fmt.Errorf("encode manifest header: %w", err)
	}
	b := make([]byte, 0, prefixSize+len(body))
	b = append(b, fileMagic...)
	b = binary.LittleEndian.AppendUint16(b, version1)
	b = append(b, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(body)))
	crc := crc32.Update(crc32.Checksum(b, castagnoli), castagnoli, body)
	b = binary.LittleEndian.AppendUint32(b, crc)
	return append(b, body...), nil
}

// readHeader returns the header, the file's id and where the first block starts.
func readHeader(src io.ReaderAt, name string) (h Header, id ID, start int64, err error) {
	var p [prefixSize]byte
	if _, err := src.ReadAt(p[:], 0); err != nil && err != io.EOF {
		return h, id, 0, storageError("read", name, err)
	}
	if string(p[:8]) != fileMagic {
		return h, id, 0, damaged(name, "not a manifest")
	}
	n := binary.LittleEndian.Uint32(p[12:])
	if n > maxHeader {
		return h, id, 0, damaged(name, "header of %d bytes", n)
	}
	body := make([]byte, n)
	if got, err := src.ReadAt(body, prefixSize); got < len(body) {
		if err != io.EOF {
			return h, id, 0, storageError("read", name, err)
		}
		return h, id, 0, damaged(name, "header cut off")
	}
	crc := crc32.Update(crc32.Checksum(p[:16], castagnoli), castagnoli, body)
	if crc != binary.LittleEndian.Uint32(p[16:]) {
		return h, id, 0, damaged(name, "header checksum")
	}
	if v := binary.LittleEndian.Uint16(p[8:]); v != version1 {
		return h, id, 0, newer(name, v)
	}
	var fh fileHeader
	if err := headerDecoding.Unmarshal(body, &fh); err != nil {
		return h, id, 0, damaged(name, "header: %v", err)
	}
	return fh.Header, fh.File, prefixSize + int64(n), nil
}
