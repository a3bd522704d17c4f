package block

import (
	"github.com/ferry-migrate/ferry/transfer/block/device"
	"github.com/ferry-migrate/ferry/transfer/file"
)

// Feature is what both sides name in their hello when a disk is migrated, as "file" stands for a tree.
const Feature = "block"

// A session speaks as one of package file does: open, opened, flush, ack, commit, done, fail and bye mean the same here, and their
// bodies are the same but for those below. All travel as CBOR on the control connection.

// Greeting is what the source says of itself in the hello.
type Greeting struct {
	Source    file.ID         `cbor:"source"`    // made once for each source path and state directory
	Label     string          `cbor:"label"`     // the source path, for people
	Size      int64           `cbor:"size"`      // of the source, bytes
	Identity  device.Identity `cbor:"identity"`  // of the source: the target must not be the same bytes
	Overwrite bool            `cbor:"overwrite"` // what the target holds may be replaced
	ReadOnly  bool            `cbor:"read_only"` // nothing will be written in this session
}

// Reply is the target's answer to a Greeting: what it holds.
type Reply struct {
	Disk      file.ID `cbor:"disk"`      // made once for each target; one that was replaced has a new one
	Source    file.ID `cbor:"source"`    // whose copy this is; unknown for a disk never received into
	Pass      file.ID `cbor:"pass"`      // the pass it is in, or the last one
	Committed bool    `cbor:"committed"` // that pass is complete
	Seq       uint64  `cbor:"seq"`       // highest frame of that pass that is durable
	Altered   string  `cbor:"altered"`   // why the disk is not what the last pass left behind, "" if it looks so
	Empty     bool    `cbor:"empty"`     // an image that is not there yet
	Size      int64   `cbor:"size"`      // bytes; 0 for an image that is not there yet
	Type      string  `cbor:"type"`      // "image" or "device"
	Label     string  `cbor:"label"`     // the target path, for people
}

// Open begins a pass. The target makes it durable before it answers.
type Open struct {
	Pass file.ID `cbor:"pass"` // unknown in a session that is ReadOnly
}

// MsgDiffer is the kind of Differ.
const MsgDiffer = file.MsgDiffer

// Differ says which chunks of a check hold something else on the target. See package chunk for their size.
type Differ struct {
	Chunks []int64 `cbor:"chunks"` // of one frame
}
