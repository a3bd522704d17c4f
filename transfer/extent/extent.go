// Package extent is the algebra of byte ranges: what of a device is in use, changed, or still to be copied.
//
// A List is sorted, its extents are not empty and do not touch each other; every operation here keeps that, and takes it for
// granted of its input. A Set makes a List of ranges that come in any order, in bounded memory. Everything is pure: no input
// or output, and nothing is shared between a result and what it was made of unless it says so.
package extent

import "slices"

// Extent is a range of bytes. Size is more than 0 in a List.
type Extent struct {
	Start, Size int64
}

// End returns the first byte behind the extent.
func (e Extent) End() int64 { return e.Start + e.Size }

// List is a sorted list of extents that neither overlap nor touch.
type List []Extent

// Bytes returns how many bytes lie in the list.
func (l List) Bytes() (n int64) {
	for _, e := range l {
		n += e.Size
	}
	return n
}

// Contains reports whether every byte of e lies in the list.
func (l List) Contains(e Extent) bool {
	i := l.from(e.Start)
	return e.Size <= 0 || i < len(l) && l[i].Start <= e.Start && e.End() <= l[i].End()
}

// Within returns what of the list lies inside e.
func (l List) Within(e Extent) (out List) {
	for i := l.from(e.Start); i < len(l) && l[i].Start < e.End(); i++ {
		start := max(l[i].Start, e.Start)
		if end := min(l[i].End(), e.End()); end > start {
			out = append(out, Extent{start, end - start})
		}
	}
	return out
}

// Gaps returns what of e lies outside the list.
func (l List) Gaps(e Extent) (out List) {
	at := e.Start
	for i := l.from(e.Start); i < len(l) && l[i].Start < e.End(); i++ {
		if l[i].Start > at {
			out = append(out, Extent{at, l[i].Start - at})
		}
		at = l[i].End()
	}
	if at < e.End() {
		out = append(out, Extent{at, e.End() - at})
	}
	return out
}

// Subtract returns what of l lies outside other.
func (l List) Subtract(other List) (out List) {
	for _, e := range l {
		out = append(out, other.Gaps(e)...)
	}
	return out
}

// from returns the index of the first extent that ends behind off.
func (l List) from(off int64) int {
	i, _ := slices.BinarySearchFunc(l, off, func(e Extent, off int64) int {
		if e.End() <= off {
			return -1
		}
		return 1
	})
	return i
}
