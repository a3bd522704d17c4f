package device

import "fmt"

// Piece is a run of bytes of something that has them itself: a disk, an image file, a mapped device. Start and Size are bytes.
type Piece struct {
	Of          string // names it in the whole world (a WWN), or on one running kernel
	Start, Size int64
}

func (p Piece) overlaps(o Piece) bool {
	return p.Of == o.Of && p.Start-o.Start < o.Size && o.Start-p.Start < p.Size
}

// Identity tells a device or an image from others, under whatever name it was opened. It may be sent to another machine.
type Identity struct {
	// Key is the same as long as it is the same thing: across reboots where a disk has a WWN or a serial number, or an image a
	// filesystem that keeps its id; otherwise until the kernel is started again or the medium changed.
	Key string
	// Pieces are what it is, first, and then what that lies on, all the way down.
	Pieces []Piece
}

// Overlaps reports whether writing to one may change the other: they are the same bytes, or one lies on the other. Two volumes that lie
// side by side on one disk do not overlap.
func (i Identity) Overlaps(o Identity) bool { return i.liesOn(o) || o.liesOn(i) }

// liesOn reports whether bytes of o are among those that i is made of.
func (i Identity) liesOn(o Identity) bool {
	if len(o.Pieces) == 0 {
		return false
	}
	for _, p := range i.Pieces {
		if p.overlaps(o.Pieces[0]) {
			return true
		}
	}
	return false
}

// String returns the key.
func (i Identity) String() string { return i.Key }

// Mount is a filesystem that is mounted from a device, from a part of it, or from something that lies on it.
type Mount struct {
	Dir      string // where, the first place of several
	Type     string // "ext4"
	Device   string // "/dev/vda2", "/dev/mapper/vg0-root"
	ReadOnly bool
}

func (m Mount) String() string { return fmt.Sprintf("%s at %s", m.Device, m.Dir) }
