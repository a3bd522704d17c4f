package manifest

import (
	"cmp"
	"context"
	"io"
	"math/bits"
	"slices"

	"github.com/ferry-migrate/ferry/transfer/file"
)

// maxInodes bounds an index: 4 million files, 64 MiB. Beyond, the larger files are kept: a small one that moved is sent again.
const maxInodes = 4 << 20

// Inodes finds the regular files with content of a manifest by inode, so that a moved file is recognised. 16 bytes for each.
// It may be used by several goroutines.
type Inodes struct {
	list []inode // sorted by ino
}

// inode is one entry of the index. place is the offset of the block and, in the low 20 bits, of the record in it.
type inode struct{ ino, place uint64 }

const placeBits = 20 // of an offset in a block of at most blockMax bytes

// Inodes reads the whole manifest once (twice, if it holds more files than the index may) and returns the index.
func (r *Reader) Inodes(ctx context.Context) (*Inodes, error) { return r.inodes(ctx, maxInodes) }

func (r *Reader) inodes(ctx context.Context, most int) (*Inodes, error) {
	var class int
	files := r.totals.Kinds[file.KindRegular]
	if !r.whole || files < 0 || files > int64(most) {
		var counts [4 * 64]int64
		err := r.eachInode(ctx, func(e *file.Entry, _ Position) { counts[sizeClass(e.Size)]++ })
		if err != nil {
			return nil, err
		}
		files = 0
		for class = len(counts); class > 0 && files+counts[class-1] <= int64(most); class-- {
			files += counts[class-1]
		}
	}
	x := &Inodes{list: make([]inode, 0, files)}
	err := r.eachInode(ctx, func(e *file.Entry, p Position) {
		if sizeClass(e.Size) >= class && len(x.list) < cap(x.list) && p.block < 1<<(64-placeBits) {
			x.list = append(x.list, inode{e.Ino, uint64(p.block)<<placeBits | uint64(p.at)})
		}
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(x.list, func(a, b inode) int {
		return cmp.Or(cmp.Compare(a.ino, b.ino), cmp.Compare(a.place, b.place))
	})
	return x, nil
}

// sizeClass orders sizes into four classes for each power of two.
func sizeClass(size int64) int {
	n := bits.Len64(uint64(size))
	if n <= 3 {
		return int(size)
	}
	return 4*(n-2) + int(size>>(n-3))&3
}

func (r *Reader) eachInode(ctx context.Context, f func(*file.Entry, Position)) error {
	c := r.Cursor()
	for n := 0; ; n++ {
		if n%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		e, err := c.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if e.Kind == file.KindRegular && len(e.Link) == 0 && e.Size > 0 && e.Ino != 0 {
			f(e, c.Position())
		}
	}
}

// Len returns how many files the index holds.
func (x *Inodes) Len() int { return len(x.list) }

// Lookup returns where files with this inode number are: usually none or one, several where a tree spans Btrfs subvolumes. The
// caller compares the rest of the identity.
func (x *Inodes) Lookup(ino uint64) []Position {
	i, found := slices.BinarySearchFunc(x.list, ino, func(e inode, ino uint64) int { return cmp.Compare(e.ino, ino) })
	if !found {
		return nil
	}
	var at []Position
	for ; i < len(x.list) && x.list[i].ino == ino; i++ {
		at = append(at, Position{block: int64(x.list[i].place >> placeBits), at: uint32(x.list[i].place & (1<<placeBits - 1))})
	}
	return at
}
