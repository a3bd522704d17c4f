package allocmap

import (
	"errors"
	"slices"
)

// Bounds on what describes one file: $Bitmap of 16 TiB in pieces of one cluster has 100,000 runs.
const (
	maxNTFSRuns = 1 << 20
	maxNTFSList = 256 << 10 // bytes of an attribute list; Windows allows no more
)

var errRecord = errors.New("its record is damaged")

// ntfsRun is a run of clusters of a file: count clusters from the vcn-th on lie at start.
type ntfsRun struct{ vcn, start, count int64 }

// pieces calls f with the first size bytes of a file that consists of runs, piece by piece. f must not keep its argument.
func (n *ntfs) pieces(runs []ntfsRun, size int64, f func(at int64, b []byte) error) error {
	done := int64(0)
	for _, r := range runs {
		if done >= size {
			return nil
		}
		if r.vcn*n.cluster != done {
			return errors.New("its runs have a gap")
		}
		length := min(r.count*n.cluster, size-done)
		err := n.v.pieces(r.start*n.cluster, length, func(at int64, b []byte) error { return f(done+at, b) })
		if err != nil {
			return err
		}
		done += length
	}
	if done < size {
		return errors.New("its runs end early")
	}
	return nil
}

// file returns record number of the master file table, checked and with its update sequence applied.
func (n *ntfs) file(number int64) ([]byte, error) {
	off := number * n.record
	if number < 0 || off >= n.tableSize {
		return nil, errRecord
	}
	rec := make([]byte, 0, n.record)
	for at := off; at < off+n.record; { // a cluster may be smaller than a record
		i, found := slices.BinarySearchFunc(n.table, at/n.cluster, func(r ntfsRun, vcn int64) int {
			switch {
			case r.vcn+r.count <= vcn:
				return -1
			case r.vcn > vcn:
				return 1
			}
			return 0
		})
		if !found {
			return nil, errRecord
		}
		r := n.table[i]
		inside := at - r.vcn*n.cluster
		b, err := n.v.read(r.start*n.cluster+inside, int(min(off+n.record-at, r.count*n.cluster-inside)))
		if err != nil {
			return nil, err
		}
		rec, at = append(rec, b...), at+int64(len(b))
	}
	return rec, fixup(rec)
}

// fixup puts back the last two bytes of every 512, which were replaced by a number to notice torn writes.
func fixup(rec []byte) error {
	at, count := int(le.Uint16(rec[4:])), int(le.Uint16(rec[6:]))
	if string(rec[:4]) != "FILE" || le.Uint16(rec[22:])&1 == 0 || at < 40 || count != len(rec)/512+1 || at+2*count > 510 {
		return errRecord
	}
	for i := 1; i < count; i++ {
		end := i*512 - 2
		if le.Uint16(rec[end:]) != le.Uint16(rec[at:]) {
			return errRecord
		}
		copy(rec[end:], rec[at+2*i:at+2*i+2])
	}
	return nil
}

// eachAttribute calls f with every attribute of a record, header included.
func eachAttribute(rec []byte, f func(a []byte) error) error {
	for at := int(le.Uint16(rec[20:])); ; {
		if at+8 <= len(rec) && le.Uint32(rec[at:]) == attrEnd {
			return nil
		}
		if at < 40 || at+24 > len(rec) {
			return errRecord
		}
		size := int64(le.Uint32(rec[at+4:]))
		if size < 24 || size > int64(len(rec)-at) {
			return errRecord
		}
		if err := f(rec[at : at+int(size)]); err != nil {
			return err
		}
		at += int(size)
	}
}

// firstAttribute returns the first unnamed attribute of a type; nil when there is none.
func firstAttribute(rec []byte, kind uint32) (found []byte, err error) {
	err = eachAttribute(rec, func(a []byte) error {
		if found == nil && le.Uint32(a) == kind && a[9] == 0 {
			found = a
		}
		return nil
	})
	return found, err
}

// resident returns the value of an attribute that lies in its record.
func resident(a []byte) ([]byte, bool) {
	size, off := int64(le.Uint32(a[16:])), int64(le.Uint16(a[20:]))
	if a[8] != 0 || off+size > int64(len(a)) {
		return nil, false
	}
	return a[off : off+size], true
}

// data returns the runs of a file's content, in order, and its size. A file in many pieces has records beyond its first, which
// an attribute list names.
func (n *ntfs) data(rec []byte, number int64) (runs []ntfsRun, size int64, err error) {
	list, err := firstAttribute(rec, attrList)
	if err != nil {
		return nil, 0, err
	}
	records := [][]byte{rec}
	if list != nil {
		if records, err = n.listed(list, number, rec); err != nil {
			return nil, 0, err
		}
	}
	size = -1
	for _, rec := range records {
		err = eachAttribute(rec, func(a []byte) error {
			if le.Uint32(a) != attrData || a[9] != 0 {
				return nil
			}
			if len(a) < 64 || a[8] != 1 || le.Uint16(a[12:]) != 0 { // resident, compressed, encrypted or sparse
				return errRecord
			}
			if le.Uint64(a[16:]) == 0 {
				size = int64(le.Uint64(a[48:]))
				if initialized := int64(le.Uint64(a[56:])); initialized < size || size > maxSize {
					return errRecord
				}
			}
			runs, err = n.runs(runs, a)
			return err
		})
		if err != nil {
			return nil, 0, err
		}
	}
	slices.SortFunc(runs, func(a, b ntfsRun) int {
		if a.vcn < b.vcn {
			return -1
		}
		return 1
	})
	next := int64(0)
	for _, r := range runs {
		if r.vcn != next {
			return nil, 0, errRecord
		}
		next += r.count
	}
	if size < 0 || next*n.cluster < size {
		return nil, 0, errRecord
	}
	return runs, size, nil
}

// listed returns the records that an attribute list names for the content, each once.
func (n *ntfs) listed(list []byte, number int64, rec []byte) (records [][]byte, err error) {
	value, ok := resident(list)
	if list[8] != 0 {
		size := int64(le.Uint64(list[48:]))
		runs, err := n.runs(nil, list)
		if err != nil || size < 0 || size > maxNTFSList {
			return nil, errRecord
		}
		if err := n.pieces(runs, size, func(_ int64, b []byte) error { value = append(value, b...); return nil }); err != nil {
			return nil, err
		}
		ok = true
	}
	if !ok {
		return nil, errRecord
	}
	seen := map[int64]bool{}
	for ; len(value) >= 26; value = value[le.Uint16(value[4:]):] {
		if size := int(le.Uint16(value[4:])); size < 26 || size > len(value) {
			return nil, errRecord
		}
		at := int64(le.Uint64(value[16:]) & (1<<48 - 1))
		if le.Uint32(value) != attrData || value[6] != 0 || seen[at] {
			continue
		}
		seen[at] = true
		if at == number {
			records = append(records, rec)
			continue
		}
		other, err := n.file(at)
		if err != nil {
			return nil, err
		}
		if int64(le.Uint64(other[32:])&(1<<48-1)) != number { // the record it belongs to
			return nil, errRecord
		}
		records = append(records, other)
	}
	return records, nil
}

// runs appends the runs of a non-resident attribute: pairs of a length and the distance of its first cluster from the one before.
func (n *ntfs) runs(to []ntfsRun, a []byte) ([]ntfsRun, error) {
	if len(a) < 64 || int(le.Uint16(a[32:])) > len(a) {
		return nil, errRecord
	}
	vcn, start := int64(le.Uint64(a[16:])), int64(0)
	last := int64(le.Uint64(a[24:]))
	for b := a[le.Uint16(a[32:]):]; len(b) > 0 && b[0] != 0; {
		ln, dn := int(b[0]&15), int(b[0]>>4)
		if ln == 0 || ln > 8 || dn == 0 || dn > 8 || len(b) < 1+ln+dn { // a sparse run has no distance
			return nil, errRecord
		}
		count, delta := signed(b[1:1+ln]), signed(b[1+ln:1+ln+dn])
		b = b[1+ln+dn:]
		start += delta
		if count <= 0 || vcn < 0 || start < 0 || start >= n.clusters || count > n.clusters-start || len(to) >= maxNTFSRuns {
			return nil, errRecord
		}
		to = append(to, ntfsRun{vcn, start, count})
		vcn += count
	}
	if vcn != last+1 {
		return nil, errRecord
	}
	return to, nil
}

// signed decodes a number of up to eight bytes, the lowest first.
func signed(b []byte) int64 {
	n := int64(int8(b[len(b)-1]))
	for i := len(b) - 2; i >= 0; i-- {
		n = n<<8 | int64(b[i])
	}
	return n
}
