package track

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/zeebo/blake3"

	"github.com/ferry-migrate/ferry/internal/durable"
	"github.com/ferry-migrate/ferry/transfer/extent"
)

// pendingFile is the name of the pending set in the state directory.
const pendingFile = "pending"

var errDamaged = errors.New("the pending set is damaged")

// loadPending reads the set of a state directory. Errors: fs.ErrNotExist, and errDamaged when it was set aside.
func loadPending(dir string) (*pending, error) {
	p := &pending{path: filepath.Join(dir, pendingFile), exists: true}
	data, err := os.ReadFile(p.path)
	if err != nil {
		return nil, fmt.Errorf("pending set: %w", err)
	}
	if p.header, p.list, err = decode(data); err != nil {
		return nil, errors.Join(err, durable.Rename(p.path, p.path+".damaged"))
	}
	p.written = p.list
	return p, nil
}

// forget removes the set of a state directory.
func forget(dir string) error {
	err := os.Remove(filepath.Join(dir, pendingFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// decode reads what encode wrote. The list is sorted, disjoint and inside the device whatever data is.
func decode(data []byte) (h header, list extent.List, err error) {
	body, ok := bytes.CutPrefix(data, []byte(pendingMagic))
	if !ok || len(body) < sumSize {
		return h, nil, errDamaged
	}
	sum := blake3.Sum256(data[:len(data)-sumSize])
	if !bytes.HasSuffix(data, sum[:sumSize]) {
		return h, nil, errDamaged
	}
	text, rest, _ := bytes.Cut(body[:len(body)-sumSize], []byte{'\n'})
	if json.Unmarshal(text, &h) != nil || h.Size <= 0 {
		return h, nil, errDamaged
	}
	at := int64(0)
	for range h.Extents {
		gap, n := binary.Uvarint(rest)
		size, m := binary.Uvarint(rest[max(n, 0):])
		left := uint64(h.Size - at)
		if n <= 0 || m <= 0 || gap > left || size == 0 || size > left-gap || gap == 0 && at > 0 {
			return h, nil, errDamaged
		}
		rest = rest[n+m:]
		list = append(list, extent.Extent{Start: at + int64(gap), Size: int64(size)})
		at = list[len(list)-1].End()
	}
	if len(rest) > 0 {
		return h, nil, errDamaged
	}
	return h, list, nil
}
