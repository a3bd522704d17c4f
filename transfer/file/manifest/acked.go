package manifest

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
)

// acks is the durable record of how far the target acknowledged a pass: a file of two slots that are written in turn, so that a torn write
// hits the older one. A slot is the id of the `next` file it speaks of, the frame (u64) and their CRC-32C; slots lie a sector apart. A slot
// that speaks of another file counts as nothing, so nothing has to be reset when a pass begins.
type acks struct {
	f    *os.File
	slot int64
}

const (
	slotSize   = 16 + 8 + 4
	slotStride = 4096
)

func openAcks(path string) (*acks, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, storageError("open", path, err)
	}
	return &acks{f: f}, nil
}

// set records, durably, that frames up to seq of the pass in the file id are durable on the target.
func (a *acks) set(id ID, seq uint64) error {
	b := binary.LittleEndian.AppendUint64(append(make([]byte, 0, slotSize), id[:]...), seq)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	if _, err := a.f.WriteAt(b, a.slot*slotStride); err != nil {
		return storageError("write", a.f.Name(), err)
	}
	hook("write acked")
	if err := syncData(a.f); err != nil {
		return storageError("sync", a.f.Name(), err)
	}
	hook("sync acked")
	a.slot = 1 - a.slot
	return nil
}

// get returns the last frame recorded for the file id, 0 if none.
func (a *acks) get(id ID) (seq uint64, err error) {
	var b [slotSize]byte
	a.slot = 0
	for slot := range int64(2) {
		n, err := a.f.ReadAt(b[:], slot*slotStride)
		if err != nil && err != io.EOF {
			return 0, storageError("read", a.f.Name(), err)
		}
		if n < slotSize || crc32.Checksum(b[:24], castagnoli) != binary.LittleEndian.Uint32(b[24:]) || ID(b[:16]) != id {
			continue
		}
		if got := binary.LittleEndian.Uint64(b[16:]); got >= seq {
			seq, a.slot = got, 1-slot
		}
	}
	return seq, nil
}

func (a *acks) close() error {
	if err := a.f.Close(); err != nil {
		return fmt.Errorf("close %s: %w", a.f.Name(), err)
	}
	return nil
}
