package block

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"

	"github.com/ferry-migrate/ferry/internal/crashpoint"
	"github.com/ferry-migrate/ferry/internal/durable"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/chunk"
	"github.com/ferry-migrate/ferry/transfer/file"
)

// digests is the digest map: what each chunk of the target holds, as far as that is known.
//
// The invariant is that a digest in the file is that of what the target has on its disk, and that nothing else was sent for that
// chunk since. So a chunk is made unknown, durably, before anything else is sent for it, and known once that is acknowledged;
// losing the latter in a power cut costs sending the chunk again and nothing else.
//
// The file is pages of 4096 bytes. The first is the header: magic, version, number of chunks, identifier, and the check of the page.
// The others hold 255 digests each and the check of the page: 16 bytes of BLAKE3 over identifier, page number and content, little
// endian. A page of zeroes, as a hole reads, knows nothing; a page whose check fails is made one. It is read and written page by page, never mapped: a store to
// a mapping on a frozen filesystem would wait for the thaw.
type digests struct {
	mu      sync.Mutex
	f       *os.File
	id      file.ID
	chunks  int64
	dirty   map[int64]*page // written by write
	last    *page           // the last that was read
	lastNo  int64
	damaged int64 // pages
	log     *slog.Logger

	syncing sync.Mutex // held by the one that syncs
	written uint64     // generation of the last write, under mu
	synced  uint64     // generation that is durable, under syncing
}

const (
	pageSize       = 4096
	perPage        = (pageSize - chunk.DigestSize) / chunk.DigestSize
	digestsMagic   = "FERRYMAP"
	digestsVersion = 1
	maxDirty       = 1024 // pages, 4 MiB
)

type page [pageSize]byte

// openDigests opens the map at path, or makes an empty one for a disk of so many chunks. One that is damaged, or of a disk of another
// size, is set aside as .damaged; fresh says that nothing is known.
func openDigests(path string, chunks int64, log *slog.Logger) (d *digests, fresh bool, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		d, err = makeDigests(path, chunks, log)
		return d, true, err
	}
	if err != nil {
		return nil, false, fmt.Errorf("open digest map: %w", err)
	}
	d = newDigests(f, chunks, log)
	why, err := d.readHeader()
	if err == nil && why == "" {
		return d, false, nil
	}
	f.Close()
	if err != nil {
		return nil, false, err
	}
	log.Warn("the digest map cannot be used: everything is compared", "file", path, "why", why, "aside", path+".damaged")
	if err := durable.Rename(path, path+".damaged"); err != nil {
		return nil, false, fmt.Errorf("set digest map aside: %w", err)
	}
	d, err = makeDigests(path, chunks, log)
	return d, true, err
}

func newDigests(f *os.File, chunks int64, log *slog.Logger) *digests {
	return &digests{f: f, chunks: chunks, dirty: map[int64]*page{}, log: log}
}

func makeDigests(path string, chunks int64, log *slog.Logger) (*digests, error) {
	id, err := newID()
	if err != nil {
		return nil, err
	}
	d := newDigests(nil, chunks, log)
	d.id = id
	var head page
	copy(head[:], digestsMagic)
	binary.LittleEndian.PutUint32(head[8:], digestsVersion)
	binary.LittleEndian.PutUint64(head[16:], uint64(chunks))
	copy(head[24:], id[:])
	d.seal(0, &head)
	if err := durable.WriteFile(path, head[:], 0o600); err != nil {
		return nil, fmt.Errorf("make digest map: %w", err)
	}
	crashpoint.Hit("block.mapmade")
	if d.f, err = os.OpenFile(path, os.O_RDWR, 0); err != nil {
		return nil, fmt.Errorf("open digest map: %w", err)
	}
	return d, nil
}

// readHeader returns why the file is not the map of this disk.
func (d *digests) readHeader() (why string, err error) {
	var head page
	n, err := d.f.ReadAt(head[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read digest map: %w", err)
	}
	copy(d.id[:], head[24:])
	le := binary.LittleEndian
	switch {
	case n < pageSize || string(head[:8]) != digestsMagic:
		return "it is none", nil
	case le.Uint32(head[8:]) > digestsVersion:
		return "", fault.Operator("FERRY-STATE-NEWER", "use the version of ferry that wrote it, or another --state directory",
			fmt.Errorf("the digest map %s has version %d, this ferry knows %d", d.f.Name(), le.Uint32(head[8:]), digestsVersion))
	case !d.sound(0, &head):
		return "its header is damaged", nil
	case le.Uint64(head[16:]) != uint64(d.chunks):
		return "it is of a disk of another size", nil
	}
	return "", nil
}

// check is what seals a page.
func (d *digests) check(no int64, p *page) chunk.Digest {
	var b [pageSize + 8]byte
	copy(b[:], d.id[:])
	binary.LittleEndian.PutUint64(b[16:], uint64(no))
	copy(b[24:], p[:pageSize-chunk.DigestSize])
	return chunk.Sum(b[:])
}

func (d *digests) seal(no int64, p *page) {
	sum := d.check(no, p)
	copy(p[pageSize-chunk.DigestSize:], sum[:])
}

func (d *digests) sound(no int64, p *page) bool {
	return d.check(no, p) == chunk.Digest(p[pageSize-chunk.DigestSize:])
}

// page returns the page of number no, from 1. It may be looked at until mu is released.
func (d *digests) page(no int64) (*page, error) {
	if p := d.dirty[no]; p != nil {
		return p, nil
	}
	if d.last != nil && d.lastNo == no {
		return d.last, nil
	}
	p := d.last
	if p == nil {
		p = new(page)
	}
	d.last = nil
	n, err := d.f.ReadAt(p[:], no*pageSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read digest map: %w", err)
	}
	clear(p[n:])
	if !chunk.IsZero(p[:]) && !d.sound(no, p) {
		clear(p[:])
		if d.damaged++; d.damaged == 1 {
			d.log.Warn("a page of the digest map is damaged: its chunks are sent again", "file", d.f.Name(), "page", no)
		}
	}
	d.last, d.lastNo = p, no
	return p, nil
}

// of fills out with the digests of chunks.
func (d *digests) of(chunks []int64, out []chunk.Digest) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, c := range chunks {
		p, err := d.page(1 + c/perPage)
		if err != nil {
			return err
		}
		copy(out[i][:], p[c%perPage*chunk.DigestSize:])
	}
	return nil
}

// set changes the digest of a chunk; the zero digest makes it unknown. write puts it into the file.
func (d *digests) set(c int64, digest chunk.Digest) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	no := 1 + c/perPage
	p, err := d.page(no)
	if err != nil {
		return err
	}
	if d.dirty[no] == nil {
		if len(d.dirty) >= maxDirty {
			if err := d.writeLocked(); err != nil {
				return err
			}
		}
		own := *p
		p = &own
		d.dirty[no] = p
		if d.lastNo == no {
			d.last = nil
		}
	}
	copy(p[c%perPage*chunk.DigestSize:], digest[:])
	return nil
}

// write puts what was set into the file, where a kill of this process leaves it.
func (d *digests) write() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.writeLocked()
}

func (d *digests) writeLocked() error {
	for no, p := range d.dirty {
		d.seal(no, p)
		if _, err := d.f.WriteAt(p[:], no*pageSize); err != nil {
			return fault.Operator("FERRY-STATE-FULL", "free space where the state directory is, then run again", fmt.Errorf("write digest map: %w", err))
		}
		delete(d.dirty, no)
		d.written++
	}
	return nil
}

// sync makes what was set durable. Callers that come while another syncs share the next one.
func (d *digests) sync() error {
	d.mu.Lock()
	err := d.writeLocked()
	want := d.written
	d.mu.Unlock()
	if err != nil {
		return err
	}
	d.syncing.Lock()
	defer d.syncing.Unlock()
	if d.synced >= want {
		return nil
	}
	d.mu.Lock()
	upTo := d.written
	d.mu.Unlock()
	if err := d.f.Sync(); err != nil {
		return fmt.Errorf("sync digest map: %w", err)
	}
	crashpoint.Hit("block.mapsynced")
	d.synced = upTo
	return nil
}

// close writes what was set and closes the file.
func (d *digests) close() error {
	return errors.Join(d.sync(), d.f.Close())
}
