package allocmap

import (
	"bytes"
	"fmt"
	"slices"
)

const (
	maxBtrfsChunks = 1 << 18  // 1 GiB each: 256 TiB
	btrfsStripe    = 64 << 10 // bytes until the next device's turn, in every filesystem so far
	btrfsRAID0     = 1 << 3
	btrfsRAID1     = 1 << 4
	btrfsDUP       = 1 << 5
	btrfsRAID10    = 1 << 6
	btrfsRAID5     = 1 << 7
	btrfsRAID6     = 1 << 8
	btrfsRAID1C3   = 1 << 9
	btrfsRAID1C4   = 1 << 10
	btrfsProfiles  = btrfsRAID0 | btrfsRAID1 | btrfsDUP | btrfsRAID10 | btrfsRAID5 | btrfsRAID6 | btrfsRAID1C3 | btrfsRAID1C4
	btrfsUses      = 7 // data, system, metadata
)

// btrfsChunk maps a run of logical addresses to devices, and counts the extents in it.
type btrfsChunk struct {
	start, length, kind uint64
	stripe              uint64
	sub                 uint64 // copies in RAID10
	stripes             []btrfsPlace
	grouped             bool // the block group was seen
	wanted, found       uint64
}

// btrfsPlace is a byte of a device.
type btrfsPlace struct{ device, offset uint64 }

// chunk returns the chunk of a logical address; nil when there is none.
func (t *btrfsTrees) chunk(logical uint64) *btrfsChunk {
	i, ok := slices.BinarySearchFunc(t.chunks, logical, func(c *btrfsChunk, logical uint64) int {
		switch {
		case c.start > logical:
			return 1
		case logical-c.start >= c.length:
			return -1
		}
		return 0
	})
	if !ok {
		return nil
	}
	return t.chunks[i]
}

// loadChunks reads the chunks that the superblock carries, which lead to the tree that has them all.
func (t *btrfsTrees) loadChunks() error {
	for b := t.super.sysChunks; len(b) > 0; {
		if len(b) < 17+48 {
			return fmt.Errorf("%w: short chunk", errBtrfs)
		}
		c, n, err := t.decodeChunk(decodeKey(b), b[17:])
		if err != nil {
			return err
		}
		t.chunks = append(t.chunks, c)
		b = b[17+n:]
	}
	if err := t.sortChunks(); err != nil {
		return err
	}
	var all []*btrfsChunk // those of the superblock are among them
	root := btrfsPointer{logical: t.super.chunkRoot, generation: t.super.chunkGeneration, level: t.super.chunkLevel}
	err := t.walk(root, func(k btrfsKey, data []byte) error {
		if k.kind != btrfsChunkItem {
			return nil
		}
		c, _, err := t.decodeChunk(k, data)
		if err == nil && len(all) >= maxBtrfsChunks {
			err = fmt.Errorf("more than %d chunks", maxBtrfsChunks)
		}
		all = append(all, c)
		return err
	})
	if err != nil {
		return err
	}
	t.chunks = all
	return t.sortChunks()
}

func (t *btrfsTrees) sortChunks() error {
	slices.SortFunc(t.chunks, func(a, b *btrfsChunk) int {
		if a.start < b.start {
			return -1
		}
		return 1
	})
	held := map[uint64]uint64{} // bytes of each device
	for i, c := range t.chunks {
		if i > 0 && c.start-t.chunks[i-1].start < t.chunks[i-1].length {
			return fmt.Errorf("%w: chunks at %d and %d overlap", errBtrfs, t.chunks[i-1].start, c.start)
		}
		for _, s := range c.stripes {
			v := t.devices[s.device]
			if v == nil {
				continue
			}
			held[s.device] += c.perDevice()
			if size := uint64(v.size); s.offset > size || c.perDevice() > size-s.offset || held[s.device] > size {
				return fmt.Errorf("%w: the chunk at %d is outside its device", errBtrfs, c.start)
			}
		}
	}
	return nil
}

// decodeChunk checks that a chunk can be, so that places in it can be computed without overflow. n is its length on the disk.
func (t *btrfsTrees) decodeChunk(k btrfsKey, b []byte) (c *btrfsChunk, n int, err error) {
	impossible := fmt.Errorf("%w: impossible chunk at %d", errBtrfs, k.offset)
	if len(b) < 48 {
		return nil, 0, impossible
	}
	stripes := int(le.Uint16(b[44:]))
	n = 48 + 32*stripes
	c = &btrfsChunk{
		start: k.offset, length: le.Uint64(b), stripe: le.Uint64(b[16:]), kind: le.Uint64(b[24:]), sub: uint64(le.Uint16(b[46:])),
	}
	if k.kind != btrfsChunkItem || stripes == 0 || stripes > 1024 || len(b) < n || c.length == 0 || c.length >= maxSize || c.start >= maxSize ||
		c.stripe != btrfsStripe || c.kind&^(btrfsUses|btrfsProfiles) != 0 || c.kind&btrfsUses == 0 {
		return nil, 0, impossible
	}
	switch count := uint64(stripes); c.kind & btrfsProfiles {
	case 0:
		err = must(count == 1, impossible)
	case btrfsRAID0:
	case btrfsRAID1, btrfsDUP:
		err = must(count == 2, impossible)
	case btrfsRAID1C3:
		err = must(count == 3, impossible)
	case btrfsRAID1C4:
		err = must(count == 4, impossible)
	case btrfsRAID10:
		err = must(c.sub == 2 && count%2 == 0, impossible)
	case btrfsRAID5:
		err = must(count > 1, impossible)
	case btrfsRAID6:
		err = must(count > 2, impossible)
	default:
		err = impossible
	}
	for i := range stripes {
		s := b[48+32*i:]
		place := btrfsPlace{le.Uint64(s), le.Uint64(s[8:])}
		if id := t.ids[place.device]; id != nil && !bytes.Equal(id, s[16:32]) || place.offset >= maxSize {
			return nil, 0, impossible
		}
		c.stripes = append(c.stripes, place)
	}
	return c, n, err
}

func must(ok bool, otherwise error) error {
	if ok {
		return nil
	}
	return otherwise
}

// columns returns how many stripes of data lie side by side before the next row begins, and how many copies each has.
func (c *btrfsChunk) columns() (data, copies uint64) {
	n := uint64(len(c.stripes))
	switch c.kind & btrfsProfiles {
	case btrfsRAID0:
		return n, 1
	case btrfsRAID10:
		return n / c.sub, c.sub
	case btrfsRAID5:
		return n - 1, 1
	case btrfsRAID6:
		return n - 2, 1
	default:
		return 1, n
	}
}

// perDevice returns how many bytes of the chunk each device has.
func (c *btrfsChunk) perDevice() uint64 {
	data, _ := c.columns()
	return (c.length + data - 1) / data
}

// copies returns the places of a byte of the chunk. A lost one is not rebuilt from parity.
func (c *btrfsChunk) copies(off uint64) (out []btrfsPlace) {
	data, copies := c.columns()
	row, column := off/c.stripe/data, off/c.stripe%data
	first := column * copies
	if c.kind&(btrfsRAID5|btrfsRAID6) != 0 { // the parity moves by one device with each row
		first = (column + row) % uint64(len(c.stripes))
	}
	for _, s := range c.stripes[first : first+copies] {
		out = append(out, btrfsPlace{s.device, s.offset + row*c.stripe + off%c.stripe})
	}
	return out
}

// use marks size bytes at a logical address on all devices that hold them. Of a row with parity the same bytes of every device
// are in use: parity covers also what is free in the row.
func (t *btrfsTrees) use(c *btrfsChunk, logical, size uint64) {
	mark := func(s btrfsPlace, off, size uint64) {
		if v := t.devices[s.device]; v != nil {
			v.use(int64(s.offset+off), int64(size))
		}
	}
	data, copies := c.columns()
	some := func(off, end uint64) { // byte by byte of a row
		for off < end {
			inside, row, column := off%c.stripe, off/c.stripe/data, off/c.stripe%data
			n := min(c.stripe-inside, end-off)
			stripes := c.stripes
			if c.kind&(btrfsRAID5|btrfsRAID6) == 0 {
				stripes = c.stripes[column*copies : (column+1)*copies]
			}
			for _, s := range stripes {
				mark(s, row*c.stripe+inside, n)
			}
			off += n
		}
	}
	// Whole rows in one go: their number is not bounded by anything but the size.
	start, end := logical-c.start, logical-c.start+size
	first, last := (start+data*c.stripe-1)/(data*c.stripe), end/(data*c.stripe)
	if first >= last {
		some(start, end)
		return
	}
	some(start, first*data*c.stripe)
	for _, s := range c.stripes {
		mark(s, first*c.stripe, (last-first)*c.stripe)
	}
	some(last*data*c.stripe, end)
}
