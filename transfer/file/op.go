package file

import (
	"encoding/binary"

	"github.com/ferry-migrate/ferry/transfer/chunk"
)

// OpCode says what the target has to do. The payload of an operations frame is a run of encoded operations, applied in
// order; frames may be applied side by side unless the frame header says that one waits for another.
//
// Every operation is written so that doing it again, after a cut at any point, ends in the same state.
type OpCode uint8

// The operations. All but OpDir name an entry of the directory that the last OpDir of the same frame set; a name is never
// empty, "." or "..", and holds no '/' and no zero byte. The root's own metadata is set by OpDirMeta alone.
const (
	// OpDir sets the directory that following names lie in. Missing directories on the way are made with mode 0700.
	OpDir OpCode = 1 + iota
	// OpPut is a whole regular file of at most one chunk, content included.
	OpPut
	// OpBegin starts a regular file larger than one chunk, or one with holes. Extents of it only come in frames that wait for
	// this one, so they find it as How says.
	OpBegin
	// OpExtent is data at Offset of a begun file: Data holds the content, Digests one digest per chunk (the last may be short).
	OpExtent
	// OpZero writes Length zero bytes at Offset: allocated, as on the source, not a hole.
	OpZero
	// OpPunch makes [Offset, Offset+Length) a hole.
	OpPunch
	// OpEnd ends a begun file: it gets its size (a hole up to it, if it was shorter) and all its metadata.
	OpEnd
	// OpMkdir makes a directory, or keeps the one that is there. Flags that only take on an empty directory are set; all
	// other metadata comes with OpDirMeta.
	OpMkdir
	// OpSymlink makes a symbolic link; Data is where it points.
	OpSymlink
	// OpNode makes a device, FIFO or socket.
	OpNode
	// OpMeta sets the metadata of an entry that is not a directory and leaves its content alone.
	OpMeta
	// OpLink makes the name a hard link to Path (from the root).
	OpLink
	// OpFrom makes the name the file that Path (from the root) was when the pass began, then sets the metadata. If that file
	// is no longer to be had, the target asks for the whole file (a need) and goes on.
	OpFrom
	// OpDelete removes the name; a directory with all that is in it. A missing name is fine.
	OpDelete
	// OpDirMeta sets all metadata of the directory set by OpDir itself. It is the last thing done in it.
	OpDirMeta
	// OpCheck compares: Entry is what the source has; Digests are those of chunks First, First+1, … of a larger file. A run of
	// OpCheck for one file comes in order; metadata is compared with the first.
	OpCheck
	opEnd
)

// How says what an operation does with what is at its name.
type How uint8

const (
	// HowFresh means that whatever is there is moved out of the way (kept for OpFrom until the pass ends) and a new inode made.
	HowFresh How = iota
	// HowInPlace means that the regular file there is changed in place; with OpBegin, chunks not sent keep their content. If there is
	// none, OpPut makes one and OpBegin asks for the whole file.
	HowInPlace
	// HowCopy (OpBegin only) means that a new inode is made that starts as a copy of the file that is there, because that one may have
	// other names, or be wanted by OpFrom.
	HowCopy
	howEnd
)

// Op is one decoded operation. Byte slices point into the frame it was decoded from.
type Op struct {
	Code    OpCode
	How     How
	Name    []byte // of the entry in the current directory
	Path    []byte // OpDir, OpLink, OpFrom: from the root; "" is the root
	Meta    Meta   // OpPut, OpBegin, OpEnd, OpMkdir, OpSymlink, OpNode, OpMeta, OpFrom, OpDirMeta
	Kind    Kind   // OpDelete: what the source thinks it was
	Offset  int64
	Length  int64
	Data    []byte
	Digests []byte // chunk.DigestSize bytes for each chunk of Data, or of OpCheck
	Entry   Entry  // OpCheck
	First   int64  // OpCheck: index of the first chunk in Digests
}

// MaxExtent is the most data one OpExtent carries, in bytes.
const MaxExtent = 1 << 20

func appendFullMeta(dst []byte, m *Meta) []byte {
	dst = appendMeta(dst, m)
	return appendBytes(dst, m.Xattrs)
}

// AppendDir appends OpDir.
func AppendDir(dst, path []byte) []byte { return appendBytes(append(dst, byte(OpDir)), path) }

// AppendPut appends OpPut up to its content; the caller appends exactly size bytes after it. Of a file that fits one chunk the
// digest is needed before the content is, so the caller may also encode into space it kept in front of the content.
func AppendPut(dst, name []byte, m *Meta, how How, digest chunk.Digest, size int) []byte {
	dst = appendBytes(append(dst, byte(OpPut)), name)
	dst = append(dst, byte(how))
	dst = appendFullMeta(dst, m)
	dst = append(dst, digest[:]...)
	return binary.AppendUvarint(dst, uint64(size))
}

// AppendMetaOp appends OpBegin, OpEnd, OpMkdir, OpNode or OpMeta.
func AppendMetaOp(dst []byte, code OpCode, name []byte, m *Meta, how How) []byte {
	dst = appendBytes(append(dst, byte(code)), name)
	dst = append(dst, byte(how))
	return appendFullMeta(dst, m)
}

// AppendSymlink appends OpSymlink.
func AppendSymlink(dst, name []byte, m *Meta, dest []byte) []byte {
	dst = AppendMetaOp(dst, OpSymlink, name, m, HowFresh)
	return appendBytes(dst, dest)
}

// AppendLink appends OpLink.
func AppendLink(dst, name, leader []byte) []byte {
	return appendBytes(appendBytes(append(dst, byte(OpLink)), name), leader)
}

// AppendFrom appends OpFrom.
func AppendFrom(dst, name []byte, m *Meta, old []byte) []byte {
	dst = AppendMetaOp(dst, OpFrom, name, m, HowFresh)
	return appendBytes(dst, old)
}

// AppendDelete appends OpDelete.
func AppendDelete(dst, name []byte, kind Kind) []byte {
	return append(appendBytes(append(dst, byte(OpDelete)), name), byte(kind))
}

// AppendDirMeta appends OpDirMeta.
func AppendDirMeta(dst []byte, m *Meta) []byte {
	return appendFullMeta(append(dst, byte(OpDirMeta)), m)
}

// AppendRange appends OpZero or OpPunch.
func AppendRange(dst []byte, code OpCode, name []byte, off, length int64) []byte {
	dst = appendBytes(append(dst, byte(code)), name)
	dst = binary.AppendUvarint(dst, uint64(off))
	return binary.AppendUvarint(dst, uint64(length))
}

// AppendExtent appends OpExtent up to its data; the caller appends exactly length bytes after it. digests holds
// chunk.DigestSize bytes for each chunk.
func AppendExtent(dst, name []byte, off int64, digests []byte, length int) []byte {
	dst = appendBytes(append(dst, byte(OpExtent)), name)
	dst = binary.AppendUvarint(dst, uint64(off))
	dst = appendBytes(dst, digests)
	return binary.AppendUvarint(dst, uint64(length))
}

// AppendCheck appends OpCheck. e.Path is ignored: the current directory and name say where; the root itself is checked with
// an empty name in the directory "".
func AppendCheck(dst, name []byte, e *Entry, first int64, digests []byte) []byte {
	dst = appendBytes(append(dst, byte(OpCheck)), name)
	bare := *e
	bare.Path = nil
	dst = AppendEntry(dst, &bare, nil)
	dst = binary.AppendUvarint(dst, uint64(first))
	return appendBytes(dst, digests)
}

// DecodeOp takes one operation off the front of b. It checks lengths and names, not what the operation would do.
func DecodeOp(b []byte, op *Op) (rest []byte, err error) {
	d := decoder{b: b}
	*op = Op{Code: OpCode(d.byte("operation"))}
	switch op.Code {
	case OpDir:
		op.Path = d.path("directory")
	case OpDirMeta:
		d.fullMeta(&op.Meta)
	case OpPut:
		op.Name = d.name()
		op.How = d.how()
		d.fullMeta(&op.Meta)
		op.Digests = d.take(chunk.DigestSize, "digest")
		op.Data = d.bytes(chunk.Size, "content")
		if int64(len(op.Data)) != op.Meta.Size {
			d.fail("content length")
		}
	case OpBegin, OpEnd, OpMkdir, OpNode, OpMeta, OpSymlink, OpFrom:
		op.Name = d.name()
		op.How = d.how()
		d.fullMeta(&op.Meta)
		if op.Code == OpSymlink {
			op.Data = d.bytes(64<<10, "symbolic link")
		}
		if op.Code == OpFrom {
			op.Path = d.path("old path")
		}
	case OpExtent:
		op.Name = d.name()
		op.Offset = int64(d.uint(MaxSize, "offset"))
		op.Digests = d.bytes(MaxExtent/chunk.Size*chunk.DigestSize, "digests")
		op.Data = d.bytes(MaxExtent, "data")
		op.Length = int64(len(op.Data))
		if op.Offset%chunk.Size != 0 || chunk.Count(op.Length)*chunk.DigestSize != int64(len(op.Digests)) {
			d.fail("extent")
		}
		d.span(op)
	case OpZero, OpPunch:
		op.Name = d.name()
		op.Offset = int64(d.uint(MaxSize, "offset"))
		op.Length = int64(d.uint(MaxSize, "length"))
		d.span(op)
	case OpLink:
		op.Name = d.name()
		op.Path = d.path("link")
	case OpDelete:
		op.Name = d.name()
		op.Kind = Kind(d.byte("kind"))
	case OpCheck:
		d.check(op)
	default:
		d.fail("operation")
	}
	return d.b, d.err
}

func (d *decoder) check(op *Op) {
	op.Name = d.bytes(MaxName, "name")
	if len(op.Name) > 0 && !validName(op.Name) {
		d.fail("name")
	}
	if d.err != nil {
		return
	}
	rest, _, err := DecodeEntry(d.b, &op.Entry, nil)
	if err != nil {
		d.err, d.b = err, nil
		return
	}
	d.b = rest
	op.First = int64(d.uint(MaxSize/chunk.Size, "chunk index"))
	op.Digests = d.bytes(1<<20, "digests")
	if len(op.Digests)%chunk.DigestSize != 0 {
		d.fail("digests")
	}
}

func (d *decoder) span(op *Op) {
	if op.Offset > MaxSize-op.Length {
		d.fail("range")
	}
}

func (d *decoder) how() How {
	h := How(d.byte("how"))
	if h >= howEnd {
		d.fail("how")
	}
	return h
}

func (d *decoder) fullMeta(m *Meta) {
	d.meta(m)
	m.Xattrs = d.bytes(MaxXattrs, "xattrs")
	if len(m.Xattrs) == 0 {
		m.Xattrs = nil
	}
}

func (d *decoder) name() []byte {
	n := d.bytes(MaxName, "name")
	if d.err == nil && !validName(n) {
		d.fail("name")
	}
	return n
}

func (d *decoder) path(what string) []byte {
	p := d.bytes(MaxPath, what)
	if d.err == nil && !ValidPath(p) {
		d.fail(what)
	}
	return p
}

func validName(n []byte) bool {
	if len(n) == 0 || len(n) <= 2 && n[0] == '.' && n[len(n)-1] == '.' {
		return false
	}
	for _, c := range n {
		if c == '/' || c == 0 {
			return false
		}
	}
	return true
}

// ValidPath reports whether p is "" or a relative path of valid names: not absolute, no "." or "..", no empty component.
func ValidPath(p []byte) bool {
	if len(p) == 0 {
		return true
	}
	start := 0
	for i := 0; i <= len(p); i++ {
		if i == len(p) || p[i] == '/' {
			if !validName(p[start:i]) {
				return false
			}
			start = i + 1
		}
	}
	return true
}
