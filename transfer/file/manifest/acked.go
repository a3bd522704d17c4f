package manifest

import (
	"encoding/binary"
	"fmt"
	"github.com/ferry-migrate/ferry/internal/crashpoint"
	"hash/crc32"
	"io"
	"os"
)

// acks is the durable record of how far the target acknowledged a pass: a file of two slots that are written in turn, so that a torn write
// hits the older one. A slot is an ack and its CRC-32C; slots lie a disk sector apart. One that speaks of another file counts as nothing, so
// nothing has to be reset when a pass begins.
type acks struct {
	f    *os.File
	slot int64
}

// ack says that frames up to seq of the pass in the file id are durable on the target, and that size bytes of that file were durable then.
type ack struct {
	id   ID
	seq  uint64
	size int64
}

const (
	slotSize   = 16 + 8 + 8 + 4
	slotStride = 4096
)

func openAcks(path string) (*acks, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, storageError("open", path, err)
	}
	return &acks{f: f}, nil
}

// set records k and returns once that is durable.
func (a *acks) set(k ack) error {
	b := append(make([]byte, 0, slotSize), k.id[:]...)
	b = binary.LittleEndian.AppendUint64(b, k.seq)
	b = binary.LittleEndian.AppendUint64(b, uint64(k.size))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	if _, err := a.f.WriteAt(b, a.slot*slotStride); err != nil {
		return storageError("write", a.f.Name(), err)
	}
	hook("write acked")
	crashpoint.Hit("manifest.ack")
	if err := syncData(a.f); err != nil {
		return storageError("sync", a.f.Name(), err)
	}
	hook("sync acked")
	crashpoint.Hit("manifest.acked")
	a.slot = 1 - a.slot
	return nil
}

// last returns what was recorded last for the file id; its numbers are 0 if nothing was.
func (a *acks) last(id ID) (k ack, err error) {
	k.id = id
	a.slot = 0
	for slot := range int64(2) {
		var b [slotSize]byte
		n, err := a.f.ReadAt(b[:], slot*slotStride)
		if err != nil && err != io.EOF {
			return k, storageError("read", a.f.Name(), err)
		}
		if n < slotSize || crc32.Checksum(b[:32], castagnoli) != binary.LittleEndian.Uint32(b[32:]) || ID(b[:16]) != id {
			continue
		}
		if seq := binary.LittleEndian.Uint64(b[16:]); seq >= k.seq {
			k.seq, k.size = seq, int64(binary.LittleEndian.Uint64(b[24:]))
			a.slot = 1 - slot
		}
	}
	return k, nil
}

func (a *acks) close() error {
	if err := a.f.Close(); err != nil {
		return fmt.Errorf("close %s: %w", a.f.Name(), err)
	}
	return nil
}
