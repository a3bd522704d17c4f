package file

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/ferry-migrate/ferry/transfer/chunk"
)

// Kind is the type of a directory entry.
type Kind uint8

// The kinds. A hard link is not a kind: it is an entry whose Link names the first path of its inode.
const (
	KindRegular Kind = 1 + iota
	KindDir
	KindSymlink
	KindCharDev
	KindBlockDev
	KindFIFO
	KindSocket
)

var kindNames = [...]string{"unknown", "regular file", "directory", "symbolic link", "character device", "block device", "FIFO", "socket"}

// String returns the name a person would use.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return kindNames[0]
}

// Limits on what a peer may send. Longer paths and values are refused, not truncated.
const (
	MaxPath   = 256 << 10 // bytes of a path relative to the root
	MaxName   = 4 << 10   // bytes of one name
	MaxXattrs = 1 << 20   // bytes of all extended attributes of one entry, encoded
	MaxSize   = 1<<63 - 1
)

// Time is a point in time with nanoseconds; unlike a count of nanoseconds it reaches beyond 1677 and 2262.
type Time struct {
	Sec  int64
	Nsec uint32 // 0 to 999,999,999, counted forward also before 1970
}

// Before reports whether t is earlier than o.
func (t Time) Before(o Time) bool { return t.Sec < o.Sec || t.Sec == o.Sec && t.Nsec < o.Nsec }

// Meta is the metadata that is carried to the target.
type Meta struct {
	Kind    Kind
	Perm    uint32 // permission, set-id and sticky bits, 07777
	UID     uint32
	GID     uint32
	Size    int64  // of a regular file, bytes
	Rdev    uint64 // of a device: major<<32 | minor
	Mtime   Time
	Atime   Time
	Flags   uint32 // inode flags as FS_IOC_GETFLAGS spells them, only those in KeptFlags
	Project uint32 // project id, 0 if none
	// Xattrs is the canonical encoding (see AppendXattr) of all extended attributes sorted by name, nil if none.
	Xattrs []byte
}

// Identity is what tells on the source that an inode is still the same and unchanged. It never leaves the source's state.
type Identity struct {
	Ino   uint64
	Gen   uint64 // digest of the file handle (inode generation, subvolume); 0 if the filesystem has none
	Btime Time
	Ctime Time
	Nlink uint32
}

// SameInode reports whether both are the same inode, changed or not.
func (i Identity) SameInode(o Identity) bool {
	return i.Ino == o.Ino && i.Gen == o.Gen && i.Btime == o.Btime
}

// State says what the source knows of an entry on the target.
type State uint8

// The bits of State.
const (
	// StateSent: this pass sent something of the entry.
	StateSent State = 1 << iota
	// StateUncertain: an attempt was cut off after this entry may have been sent and before it was durable. The target may
	// hold the old content, the new one, a mixture or nothing. It has to be sent whole.
	StateUncertain
	// StatePartial: chunks before Entry.Resume are durable on the target and were read under this Identity; the
	// digests of later chunks are what the target holds, unknown where it holds nothing.
	StatePartial
	// StateRelink: this pass has to make the hard link again.
	StateRelink
	// StateQuick (OpCheck only): compare kind, size and mtime, nothing else.
	StateQuick
)

// Entry is one line of a manifest: a path, its metadata, its identity and the digest of its content.
//
// Path, Link and Meta.Xattrs may point into a buffer of whoever made the Entry: they are valid until its next call.
// Chunk digests of a file larger than one chunk do not live here: the manifest streams them after the entry.
type Entry struct {
	Meta
	Identity
	Path   []byte // relative to the root, raw bytes, "" is the root itself
	Link   []byte // not empty: a hard link to this path, which comes earlier in the order of the walk
	Digest chunk.Digest
	// Xattr is the digest of Meta.Xattrs; Meta.Xattrs itself is not kept in a manifest.
	Xattr  chunk.Digest
	State  State
	Resume int64 // with StatePartial: number of leading chunks that are durable
}

// Chunks returns how many chunk digests follow the entry: 0 for everything that fits one chunk or is not a file with content.
func (e *Entry) Chunks() int64 {
	if e.Kind != KindRegular || len(e.Link) > 0 || e.Size <= chunk.Size {
		return 0
	}
	return chunk.Count(e.Size)
}

// ComparePath orders paths as the walk visits them: parents before children, siblings by the bytes of their names.
// It differs from bytes.Compare in that '/' sorts before every other byte.
func ComparePath(a, b []byte) int {
	n := min(len(a), len(b))
	for i := 0; i < n; i++ {
		x, y := a[i], b[i]
		if x == y {
			continue
		}
		if x == '/' {
			return -1
		}
		if y == '/' {
			return 1
		}
		if x < y {
			return -1
		}
		return 1
	}
	return len(a) - len(b)
}

// ErrMalformed is returned by every decoder in this package for bytes that no encoder wrote.
var ErrMalformed = errors.New("malformed")

func malformed(what string) error { return fmt.Errorf("%s: %w", what, ErrMalformed) }

// AppendXattr appends one attribute to the canonical encoding: uvarint length and bytes of the name, then of the value.
// Callers append in ascending order of names.
func AppendXattr(dst []byte, name string, value []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(name)))
	dst = append(dst, name...)
	dst = binary.AppendUvarint(dst, uint64(len(value)))
	return append(dst, value...)
}

// NextXattr takes one attribute off the front of the canonical encoding. name is empty at the end.
func NextXattr(enc []byte) (name, value, rest []byte, err error) {
	if len(enc) == 0 {
		return nil, nil, nil, nil
	}
	d := decoder{b: enc}
	name = d.bytes(255, "xattr name")
	value = d.bytes(64<<10, "xattr value")
	if d.err == nil && len(name) == 0 {
		d.err = malformed("xattr name")
	}
	return name, value, d.b, d.err
}

// decoder takes fields off the front of a buffer; after the first error it returns zero values.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = malformed(what)
		d.b = nil
	}
}

func (d *decoder) byte(what string) byte {
	if len(d.b) == 0 {
		d.fail(what)
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) uint(limit uint64, what string) uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 || v > limit {
		d.fail(what)
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) int(what string) int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail(what)
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) take(n int, what string) []byte {
	if n > len(d.b) {
		d.fail(what)
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) bytes(limit int, what string) []byte {
	return d.take(int(d.uint(uint64(limit), what)), what)
}

func (d *decoder) digest(what string) (g chunk.Digest) {
	copy(g[:], d.take(chunk.DigestSize, what))
	return g
}

func (d *decoder) time(what string) Time {
	s := d.int(what)
	return Time{Sec: s, Nsec: uint32(d.uint(999_999_999, what))}
}

func appendTime(dst []byte, t Time) []byte {
	dst = binary.AppendVarint(dst, t.Sec)
	return binary.AppendUvarint(dst, uint64(t.Nsec))
}

func appendBytes(dst, b []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}

// appendMeta encodes m without its xattrs.
func appendMeta(dst []byte, m *Meta) []byte {
	dst = append(dst, byte(m.Kind))
	dst = binary.AppendUvarint(dst, uint64(m.Perm))
	dst = binary.AppendUvarint(dst, uint64(m.UID))
	dst = binary.AppendUvarint(dst, uint64(m.GID))
	dst = binary.AppendUvarint(dst, uint64(m.Size))
	if m.Kind == KindCharDev || m.Kind == KindBlockDev {
		dst = binary.AppendUvarint(dst, m.Rdev)
	}
	dst = appendTime(dst, m.Mtime)
	dst = appendTime(dst, m.Atime)
	dst = binary.AppendUvarint(dst, uint64(m.Flags))
	return binary.AppendUvarint(dst, uint64(m.Project))
}

func (d *decoder) meta(m *Meta) {
	const u32 = 1<<32 - 1
	m.Kind = Kind(d.byte("kind"))
	if m.Kind < KindRegular || m.Kind > KindSocket {
		d.fail("kind")
	}
	m.Perm = uint32(d.uint(0o7777, "mode"))
	m.UID = uint32(d.uint(u32, "uid"))
	m.GID = uint32(d.uint(u32, "gid"))
	m.Size = int64(d.uint(MaxSize, "size"))
	m.Rdev = 0
	if m.Kind == KindCharDev || m.Kind == KindBlockDev {
		m.Rdev = d.uint(1<<64-1, "device number")
	}
	m.Mtime = d.time("mtime")
	m.Atime = d.time("atime")
	m.Flags = uint32(d.uint(u32, "flags"))
	m.Project = uint32(d.uint(u32, "project"))
	m.Xattrs = nil
}

// AppendEntry encodes e with its whole path, for a manifest, a listing or a check. Meta.Xattrs is left out, Xattr is kept.
// prev is the path of the entry before in the same block (nil for the first): what both have in common is not repeated.
func AppendEntry(dst []byte, e *Entry, prev []byte) []byte {
	shared := 0
	for shared < len(prev) && shared < len(e.Path) && prev[shared] == e.Path[shared] {
		shared++
	}
	dst = append(dst, byte(e.State))
	dst = binary.AppendUvarint(dst, uint64(shared))
	dst = appendBytes(dst, e.Path[shared:])
	dst = appendMeta(dst, &e.Meta)
	dst = appendBytes(dst, e.Link)
	var known byte
	if e.Digest.Known() {
		known |= 1
	}
	if e.Xattr.Known() {
		known |= 2
	}
	if e.Ino != 0 {
		known |= 4
	}
	dst = append(dst, known)
	if known&1 != 0 {
		dst = append(dst, e.Digest[:]...)
	}
	if known&2 != 0 {
		dst = append(dst, e.Xattr[:]...)
	}
	if known&4 != 0 {
		dst = binary.AppendUvarint(dst, e.Ino)
		dst = binary.LittleEndian.AppendUint64(dst, e.Gen)
		dst = appendTime(dst, e.Btime)
		dst = appendTime(dst, e.Ctime)
	}
	dst = binary.AppendUvarint(dst, uint64(e.Nlink))
	if e.State&StatePartial != 0 {
		dst = binary.AppendUvarint(dst, uint64(e.Resume))
	}
	return dst
}

// DecodeEntry takes one entry off the front of b. path is the path of the entry before in the same block and the buffer
// that the new path is built in; the returned slice must be passed to the next call. e.Path is that slice, e.Link points
// into b.
func DecodeEntry(b []byte, e *Entry, path []byte) (rest, newPath []byte, err error) {
	const u32 = 1<<32 - 1
	d := decoder{b: b}
	e.State = State(d.byte("state"))
	shared := int(d.uint(uint64(len(path)), "path prefix"))
	suffix := d.bytes(MaxPath, "path")
	if shared+len(suffix) > MaxPath {
		d.fail("path")
		suffix = nil
	}
	d.meta(&e.Meta)
	e.Link = d.bytes(MaxPath, "link")
	known := d.byte("fields")
	e.Digest, e.Xattr, e.Identity = chunk.Digest{}, chunk.Digest{}, Identity{}
	if known&1 != 0 {
		e.Digest = d.digest("digest")
	}
	if known&2 != 0 {
		e.Xattr = d.digest("xattr digest")
	}
	if known&4 != 0 {
		e.Ino = d.uint(1<<64-1, "inode")
		if g := d.take(8, "generation"); len(g) == 8 {
			e.Gen = binary.LittleEndian.Uint64(g)
		}
		e.Btime = d.time("birth time")
		e.Ctime = d.time("ctime")
	}
	e.Nlink = uint32(d.uint(u32, "links"))
	e.Resume = 0
	if e.State&StatePartial != 0 {
		e.Resume = int64(d.uint(MaxSize, "resume"))
	}
	if d.err != nil {
		return nil, path, d.err
	}
	e.Path = append(path[:shared], suffix...)
	return d.b, e.Path, nil
}
