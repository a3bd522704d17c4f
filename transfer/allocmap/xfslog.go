package allocmap

import (
	"errors"
	"fmt"
)

// The log of XFS (linux/fs/xfs/libxfs/xfs_log_format.h) is a ring of sectors of 512 bytes. Each carries, in its first four
// bytes, how often the ring has been written round; the first of a record carries a magic number and that count behind it.
const (
	xlogSector     = 512
	xlogMagic      = "\xFE\xED\xBA\xBE"
	xlogHeaderData = 32 << 10 // bytes that one header sector describes
	xlogWindow     = 4 << 20  // bytes that can be on their way to the disk at once, with room: eight buffers of 256 KiB
	xlogOpHeader   = 12
	xlogUnmount    = 0x20 // flag of an operation that ends the log
	xlogItemBuffer = "\x3c\x12"
)

// xlog reads the log.
type xlog struct {
	v     *volume
	start int64
	size  int64 // sectors
}

// settled fails when the log holds changes that are not in the trees yet. It holds none after an unmount; and none but the
// superblock's own after a freeze or a snapshot, whose last act is to cover the log (xfs_log_cover). A log that says so in
// any other way than the kernel writes it is not believed.
func (x *xfs) settled() error {
	if x.logStart == 0 {
		return errors.New("its log is on another device, where it cannot be seen whether it was replayed")
	}
	ag, block := x.logStart>>x.shift, x.logStart&(1<<x.shift-1)
	if ag >= x.ags || block+x.logs > x.groupBlocks(ag) || x.logs == 0 {
		return errors.New("its log is outside the filesystem")
	}
	l := &xlog{v: x.v, start: int64(ag*x.agBlocks+block) * x.block, size: int64(x.logs) * x.block / xlogSector}
	head, cycle, err := l.head()
	if err != nil {
		return err
	}
	return l.covered(head, cycle)
}

var errLog = errors.New("the log was not replayed: it holds newer free space")

// sectors returns n sectors of the ring from at on, which may be negative.
func (l *xlog) sectors(at, n int64) ([]byte, error) {
	at = ((at % l.size) + l.size) % l.size
	first := min(n, l.size-at)
	b := make([]byte, n*xlogSector)
	if _, err := l.v.ReadAt(b[:first*xlogSector], l.start+at*xlogSector); err != nil {
		return nil, err
	}
	if first == n {
		return b, nil
	}
	_, err := l.v.ReadAt(b[first*xlogSector:], l.start)
	return b, err
}

// cycleOf returns how often the ring had been written round when a sector was written.
func cycleOf(sector []byte) uint32 {
	if string(sector[:4]) == xlogMagic {
		return be.Uint32(sector[4:])
	}
	return be.Uint32(sector)
}

// head returns the sector where the next record would begin, and the cycle of the one before it. The ring holds the current
// cycle up to the head and the one before behind it, so the border is found by halving; that nothing newer lies behind it is
// checked as far as the kernel writes ahead.
func (l *xlog) head() (head int64, cycle uint32, err error) {
	cycleAt := func(at int64) (uint32, error) {
		b, err := l.sectors(at, 1)
		if err != nil {
			return 0, err
		}
		return cycleOf(b), nil
	}
	if cycle, err = cycleAt(0); err != nil || cycle == 0 {
		return 0, 0, errors.Join(err, errLog)
	}
	low, high := int64(0), l.size // low has the cycle, high does not or is the end
	for high-low > 1 {
		mid := (low + high) / 2
		c, err := cycleAt(mid)
		if err != nil {
			return 0, 0, err
		}
		if c == cycle {
			low = mid
		} else {
			high = mid
		}
	}
	// What is not written yet has the cycle before; in a new log that is 0.
	ahead := min(l.size-high, xlogWindow/xlogSector)
	b, err := l.sectors(high, ahead)
	if err != nil {
		return 0, 0, err
	}
	for ; len(b) > 0; b = b[xlogSector:] {
		if cycleOf(b) != cycle-1 {
			return 0, 0, errLog
		}
	}
	return high % l.size, cycle, nil
}

// covered fails unless the last record ends the log, or all records from the tail, which the last one names, to the head hold
// nothing but the superblock.
func (l *xlog) covered(head int64, cycle uint32) error {
	last, err := l.last(head)
	if err != nil {
		return err
	}
	if last.at >= head && head > 0 { // it runs over the end of the ring
		cycle--
	}
	if unmount, err := last.harmless(); err != nil || unmount {
		return err
	}
	tail, tailCycle := int64(be.Uint32(last.header[28:])), be.Uint32(last.header[24:])
	distance := last.at - tail
	if distance < 0 && tailCycle == last.cycle-1 {
		distance += l.size
	} else if tailCycle != last.cycle {
		return errLog
	}
	if last.cycle != cycle || tail >= l.size || distance < 0 || distance > xlogWindow/xlogSector {
		return errLog
	}
	for at := last.at - distance; at < last.at; {
		r, err := l.record(at)
		if err != nil {
			return err
		}
		if _, err := r.harmless(); err != nil {
			return err
		}
		if at += r.sectors; at > last.at {
			return errLog
		}
	}
	return nil
}

// logRecord is one record: header sectors and data, whose cycle counts have been put back to what they stand for.
type logRecord struct {
	at, sectors  int64
	cycle        uint32
	header, data []byte
}

// last returns the record that ends at the head.
func (l *xlog) last(head int64) (r logRecord, err error) {
	back := min(l.size, 2*(256<<10)/xlogSector)
	b, err := l.sectors(head-back, back)
	if err != nil {
		return r, err
	}
	for i := back - 1; i >= 0; i-- {
		if string(b[i*xlogSector:][:4]) != xlogMagic {
			continue
		}
		at := head - back + i
		r, err = l.record(at)
		if err == nil && at+r.sectors != head {
			err = errLog
		}
		if r.at < 0 {
			r.at += l.size
		}
		return r, err
	}
	return r, errLog
}

// record reads the record that begins at a sector.
func (l *xlog) record(at int64) (r logRecord, err error) {
	h, err := l.sectors(at, 1)
	if err != nil {
		return r, err
	}
	n, version, size := int64(be.Uint32(h[12:])), be.Uint32(h[8:]), int64(be.Uint32(h[320:]))
	headers := int64(1)
	if version == 2 && size > xlogHeaderData {
		headers = (size + xlogHeaderData - 1) / xlogHeaderData
	}
	data := (n + xlogSector - 1) / xlogSector
	if string(h[:4]) != xlogMagic || version != 1 && version != 2 || headers > 8 || n <= 0 || n > headers*xlogHeaderData || headers+data > l.size {
		return r, errLog
	}
	b, err := l.sectors(at, headers+data)
	if err != nil {
		return r, err
	}
	r = logRecord{at: at, sectors: headers + data, cycle: be.Uint32(h[4:]), header: b[:xlogSector], data: b[headers*xlogSector:]}
	for i := range data {
		// Header sector k has the words of data sectors 64k to 64k+63; those behind the first begin with a cycle too.
		kept := b[i/64*xlogSector:]
		word := 44 + 4*(i%64)
		if i >= 64 {
			word = 4 + 4*(i%64)
		}
		copy(r.data[i*xlogSector:][:4], kept[word:word+4])
	}
	r.data = r.data[:n]
	return r, nil
}

// harmless fails when a record changes anything but the superblock; unmount tells that it ends the log.
//
// Data is a row of operations: a header (transaction, length, client, flags) and what it announces. A transaction begins with
// an operation that is flagged so, has a header of its own, and a description of each item before the item's parts.
func (r logRecord) harmless() (unmount bool, err error) {
	ops := int(be.Uint32(r.header[40:]))
	parts := 0 // of an item that are still to come
	for b := r.data; ops > 0; ops-- {
		if len(b) < xlogOpHeader {
			return false, errLog
		}
		n, flags := int64(be.Uint32(b[4:])), b[9]
		if b = b[xlogOpHeader:]; n > int64(len(b)) {
			return false, errLog
		}
		body := b[:n]
		b = b[n:]
		switch {
		case flags&xlogUnmount != 0:
			unmount = be.Uint32(r.header[40:]) == 1
		case flags&^0x3 != 0: // start 1 and commit 2; a continued operation belongs to a change that is not small
			return false, errLog
		case n == 0:
		case parts > 0:
			parts--
		case n == 16 && string(body[:4]) == "NART": // struct xfs_trans_header, in the byte order of the machine
		case n >= 16 && string(body[:2]) == xlogItemBuffer && le.Uint64(body[8:]) == 0: // struct xfs_buf_log_format of block 0
			parts = int(le.Uint16(body[2:])) - 1
		default:
			return false, errLog
		}
	}
	if parts > 0 {
		return false, fmt.Errorf("%w: an item is cut", errLog)
	}
	return unmount, nil
}
