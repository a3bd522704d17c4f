package file

import (
	"encoding/binary"
	"fmt"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/chunk"
)

// Messages of a file-level session. They travel as CBOR on the control connection; package wire frames them and package
// docs explain the order. A field that a side does not know is ignored; a meaning never changes.

// ID is a random 16-byte identifier: of a pass, of a target tree, of a source tree.
type ID [16]byte

// Known reports whether the identifier was set.
func (i ID) Known() bool { return i != ID{} }

// Kinds of control messages. The source sends Open, Flush, List, Commit and Bye; the target the others.
const (
	MsgOpen   = "open"   // Open
	MsgOpened = "opened" // Opened
	MsgFlush  = "flush"  // Flush
	MsgAck    = "ack"    // Ack
	MsgLoss   = "loss"   // Loss
	MsgNeed   = "need"   // Need
	MsgDiffer = "differ" // Differ
	MsgList   = "list"   // List; answered by listing frames
	MsgListed = "listed" // Listed: the end of the listing
	MsgCommit = "commit" // Commit
	MsgDone   = "done"   // Done: the pass is committed
	MsgFail   = "fail"   // Fail: the session is over
	MsgBye    = "bye"    // nothing more will come; the target may close
)

// Greeting is what the source says of itself in the hello of a file-level session.
type Greeting struct {
	SourceTree ID     `cbor:"source_tree"` // made once for each source path and state directory
	Label      string `cbor:"label"`       // the source path, for people; on a target of disks it names the filesystem
	Into       string `cbor:"into"`        // one name below the target's directory; "" is the directory itself
}

// TreeReply is the target's answer to a Greeting: what it holds.
type TreeReply struct {
	Tree      ID       `cbor:"tree"`      // made once for each target tree; a wiped target has a new one
	Source    ID       `cbor:"source"`    // the source tree whose copy this is; unknown for a tree never received into
	Pass      ID       `cbor:"pass"`      // the pass it is in, or the last one
	Committed bool     `cbor:"committed"` // that pass is complete
	Seq       uint64   `cbor:"seq"`       // highest operations frame of that pass that is durable
	Altered   string   `cbor:"altered"`   // why the tree is not what the last pass left behind, "" if it looks so
	Empty     bool     `cbor:"empty"`     // nothing is in it
	Type      string   `cbor:"type"`      // of the filesystem: "ext4", "xfs", "btrfs", "tmpfs" …
	Free      int64    `cbor:"free"`      // bytes a privileged process can still write
	Lacks     []string `cbor:"lacks"`     // kinds of loss to expect, as far as they are known before the first pass
	Limits    Limits   `cbor:"limits"`    // what its filesystem can hold
	Overwrite bool     `cbor:"overwrite"` // data of others may be replaced, says the target's own operator
	Label     string   `cbor:"label"`     // the target path, for people
}

// Limits says what the filesystem of a target can hold, as far as that is known before the first pass. Zero values are not known.
type Limits struct {
	Flags uint32 `cbor:"flags"` // inode flags that it keeps, where it lacks some
	Name  int64  `cbor:"name"`  // bytes of the longest name
	File  int64  `cbor:"file"`  // bytes of the largest file
	Value int64  `cbor:"value"` // bytes of the largest value of an extended attribute
	Folds bool   `cbor:"folds"` // names that differ in case alone are one
	Plain bool   `cbor:"plain"` // names are UTF-8, without control characters and any of "*:<>?\|
}

// Open begins a pass. The target makes it durable before it answers.
type Open struct {
	Pass      ID   `cbor:"pass"`
	First     bool `cbor:"first"`     // nothing on the target is worth keeping for OpFrom
	Overwrite bool `cbor:"overwrite"` // replace what the source never wrote
	ReadOnly  bool `cbor:"read_only"` // a verification: only OpDir, OpCheck and List will come
}

// Opened answers Open.
type Opened struct{}

// Flush asks to make everything up to Seq durable and to acknowledge it.
type Flush struct {
	Seq uint64 `cbor:"seq"`
}

// Ack says that the effects of all operations frames up to Seq are on the target's disk.
type Ack struct {
	Seq uint64 `cbor:"seq"`
}

// Loss says that something of an entry could not be kept.
type Loss struct {
	Kind   string `cbor:"kind"`
	Path   []byte `cbor:"path"`
	Detail string `cbor:"detail"`
}

// Need says that an entry must be sent whole: the target does not have what the operation built on.
type Need struct {
	Path []byte `cbor:"path"`
	Why  string `cbor:"why"`
}

// Differ says that an OpCheck found something else on the target.
type Differ struct {
	Path  []byte `cbor:"path"`
	Field string `cbor:"field"`
	Want  string `cbor:"want"`
	Got   string `cbor:"got"`
}

// List asks for the entries of the target's tree in walk order.
type List struct {
	Content bool `cbor:"content"` // read every file: metadata, attributes and digests, not only names and kinds
}

// Listed ends a listing.
type Listed struct {
	Entries int64 `cbor:"entries"`
	Bytes   int64 `cbor:"bytes"` // read
}

// Commit ends a pass: everything up to Seq is applied, nothing more will come.
type Commit struct {
	Pass ID     `cbor:"pass"`
	Seq  uint64 `cbor:"seq"`
}

// Done answers Commit: the pass is durable and will be named in the next hello.
type Done struct{}

// Fail ends a session that cannot go on. Class is that of internal/fault.
type Fail struct {
	Class   uint8  `cbor:"class"`
	Code    string `cbor:"code"`
	Message string `cbor:"message"`
	Remedy  string `cbor:"remedy"`
}

// Err is the error as the side that hears of it sees it.
func (f Fail) Err() error {
	return &fault.Error{Class: fault.Class(min(f.Class, uint8(fault.ClassOperator))), Code: f.Code, Remedy: f.Remedy,
		Err: fmt.Errorf("target: %s", f.Message)}
}

// FailOf describes err for the other side. err must hold no secret.
func FailOf(err error) Fail {
	return Fail{Class: uint8(fault.ClassOf(err)), Code: fault.CodeOf(err), Message: err.Error(), Remedy: fault.RemedyOf(err)}
}

// Bye ends a session. Final says that the migration is complete: no further pass will come.
type Bye struct {
	Final bool `cbor:"final"`
}

// The records of a listing frame: an entry, or a run of chunk digests of the entry before.
const (
	listEntry byte = 1
	listRun   byte = 2
)

// AppendListEntry appends an entry to a listing frame; prev is the path of the entry before in the same frame.
func AppendListEntry(dst []byte, e *Entry, prev []byte) []byte {
	return AppendEntry(append(dst, listEntry), e, prev)
}

// AppendListRun appends the digests of the chunks from first on of the last entry.
func AppendListRun(dst []byte, first int64, digests []byte) []byte {
	dst = binary.AppendUvarint(append(dst, listRun), uint64(first))
	return appendBytes(dst, digests)
}

// DecodeListing calls entry and run for the records of a listing frame. Slices are valid during the call.
func DecodeListing(b []byte, entry func(*Entry) error, run func(first int64, digests []byte) error) error {
	var e Entry
	var path []byte
	for len(b) > 0 {
		tag := b[0]
		var err error
		switch tag {
		case listEntry:
			if b, path, err = DecodeEntry(b[1:], &e, path); err != nil {
				return err
			}
			if !ValidPath(e.Path) || !ValidPath(e.Link) {
				return malformed("path")
			}
			err = entry(&e)
		case listRun:
			d := decoder{b: b[1:]}
			first := int64(d.uint(MaxSize/chunk.Size, "chunk index"))
			digests := d.bytes(MaxExtent, "digests")
			if d.err != nil || len(digests)%chunk.DigestSize != 0 {
				return malformed("digests")
			}
			b = d.b
			err = run(first, digests)
		default:
			return malformed("listing")
		}
		if err != nil {
			return err
		}
	}
	return nil
}
