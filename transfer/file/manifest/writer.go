package manifest

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"

	"github.com/ferry-migrate/ferry/internal/durable"
	"github.com/ferry-migrate/ferry/transfer/chunk"
	"github.com/ferry-migrate/ferry/transfer/file"
	"github.com/klauspost/compress/s2"
	"github.com/zeebo/blake3"
)

// Writer writes a manifest. One goroutine appends; Sync and SyncTo may be called by any number beside it.
//
// After an error every call returns that error: what was written before it stays, and is recovered like after a crash.
type Writer struct {
	*syncer
	id      ID
	raw     []byte // records of the block being filled
	enc     []byte // scratch space of compress
	path    []byte // of the last entry
	any     bool   // an entry was appended
	inBlock bool   // to the block being filled
	split   bool   // blocks of kind more were written since the last EndBlock
	ended   bool   // BeginDeletes was called: no more entries
	chunks  int64  // of the last entry
	chunk   int64  // index that the next run may start at
	totals  Totals
	chain   *blake3.Hasher
}

// Create makes an empty manifest and returns once its name and header are durable. An existing file is replaced.
func Create(path string, h Header) (*Writer, error) {
	var id ID
	if _, err := rand.Read(id[:]); err != nil {
		return nil, fmt.Errorf("make manifest id: %w", err)
	}
	head, err := encodeHeader(&h, id)
	if err != nil {
		return nil, err
	}
	if err := durable.WriteFile(path, head, 0o600); err != nil {
		return nil, storageError("create", path, err)
	}
	hook("create")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return nil, storageError("open", path, err)
	}
	w := &Writer{
		syncer: newSyncer(f, int64(len(head))),
		id:     id,
		raw:    make([]byte, 0, 2*blockSoft),
		enc:    make([]byte, s2.MaxEncodedLen(2*blockSoft)),
		chain:  blake3.New(),
	}
	return w, nil
}

// Append adds an entry; it must come after the one before in the order of file.ComparePath. e and its slices are not kept.
func (w *Writer) Append(e *file.Entry) error {
	if w.ended || w.any && file.ComparePath(w.path, e.Path) >= 0 {
		return fmt.Errorf("entry %q after %q: %w", e.Path, w.path, ErrOrder)
	}
	if len(e.Path) > file.MaxPath || len(e.Link) > file.MaxPath {
		return fmt.Errorf("entry %.64q…: path of %d bytes: %w", e.Path, max(len(e.Path), len(e.Link)), ErrOrder)
	}
	var prev []byte
	if w.inBlock {
		prev = w.path
	}
	w.raw = file.AppendEntry(append(w.raw, recordEntry), e, prev)
	w.path = append(w.path[:0], e.Path...)
	w.any, w.inBlock = true, true
	w.chunks, w.chunk = e.Chunks(), 0
	w.totals.add(e)
	return w.splitFull()
}

// AppendChunks adds the digests, chunk.DigestSize bytes each, of the chunks first, first+1, … of the last entry. Runs ascend;
// what they leave out reads as unknown.
func (w *Writer) AppendChunks(first int64, digests []byte) error {
	n := int64(len(digests) / chunk.DigestSize)
	if w.ended || first < w.chunk || n > w.chunks-first || len(digests)%chunk.DigestSize != 0 {
		return fmt.Errorf("%d digest bytes from chunk %d of %q: %w", len(digests), first, w.path, ErrOrder)
	}
	for len(digests) > 0 {
		part := digests[:min(len(digests), runMax*chunk.DigestSize)]
		digests = digests[len(part):]
		w.raw = append(w.raw, recordRun)
		w.raw = binary.AppendUvarint(w.raw, uint64(first))
		w.raw = binary.AppendUvarint(w.raw, uint64(len(part)/chunk.DigestSize))
		w.raw = append(w.raw, part...)
		first += int64(len(part) / chunk.DigestSize)
		w.chunk = first
		if err := w.splitFull(); err != nil {
			return err
		}
	}
	return nil
}

func (w *Writer) splitFull() error {
	if len(w.raw) < blockSoft {
		return nil
	}
	w.split = true
	return w.writeBlock(blockMore, 0)
}

// EndBlock writes what was appended since the last one to the file, and says that it is true of the target once all frames
// up to seq are durable there. It does not sync. seq must not decrease; 0 is fine for what needed no frame.
func (w *Writer) EndBlock(seq uint64) error {
	if len(w.raw) == 0 && !w.split {
		return w.advance(0, seq)
	}
	w.split = false
	return w.writeBlock(blockRecords, seq)
}

// BeginDeletes ends the block and says, durably, that all entries were appended and that deletes may be sent from now on.
// No entry can be appended after it. It returns once that is synced.
func (w *Writer) BeginDeletes(seq uint64) error {
	if err := w.EndBlock(seq); err != nil {
		return err
	}
	w.ended = true
	if err := w.writeBlock(blockDeletes, seq); err != nil {
		return err
	}
	return w.Sync()
}

// Totals returns the counts of what was appended so far.
func (w *Writer) Totals() Totals { return w.totals }

// Finish ends the last block, writes the footer that says the manifest is complete, syncs and closes it.
func (w *Writer) Finish() error {
	if err := w.EndBlock(w.seq()); err != nil {
		return errors.Join(err, w.Close())
	}
	w.raw = w.totals.append(w.raw)
	w.raw = w.chain.Sum(w.raw)
	err := w.writeBlock(blockFooter, w.seq())
	if err == nil {
		err = w.Sync()
	}
	return errors.Join(err, w.Close())
}

// writeBlock writes what is pending as one block.
func (w *Writer) writeBlock(kind blockKind, seq uint64) error {
	payload, codec := w.raw, uint8(codecStored)
	if kind == blockMore || kind == blockRecords {
		payload, codec = compress(w.enc, w.raw)
	}
	written, synced := w.marks()
	h := blockHeader{
		kind: kind, codec: codec, payload: uint32(len(payload)), raw: uint32(len(w.raw)),
		seq: seq, durable: uint64(synced), pcrc: crc32.Checksum(payload, castagnoli),
	}
	var head [blockHeaderSize]byte
	h.put(&head, w.id, written)
	w.chain.Write(head[:])
	err := w.write(head[:], payload)
	w.raw, w.inBlock = w.raw[:0], false
	if err != nil {
		return err
	}
	if kind == blockMore {
		seq = w.seq()
	}
	return w.advance(int64(blockHeaderSize+len(payload)), seq)
}
