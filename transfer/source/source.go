package source

import (
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/ferry-migrate/ferry/transfer"
	"github.com/ferry-migrate/ferry/transfer/codec"
	"github.com/ferry-migrate/ferry/transfer/wire"
)

// Verify says how much of a pass is read back from the target.
type Verify uint8

// The modes of Verify.
const (
	VerifyFull  Verify = iota // content and metadata of everything the pass sent
	VerifyQuick               // kinds, sizes and times
	VerifyNone
)

// String returns the word of the command line.
func (v Verify) String() string {
	switch v {
	case VerifyFull:
		return "full"
	case VerifyQuick:
		return "quick"
	}
	return "none"
}

// Config describes one source directory and how to bring a target in step with it. It is not changed by a pass, except through
// Control.
type Config struct {
	Root     string // absolute path of the source directory
	Into     string // one name below the target's directory, "" for the directory itself
	State    string // state directory of the process; each source and target has its own below it
	Software string // for the target's log

	Dial     wire.DialFunc
	Counters *wire.Counters // those Dial counts in

	Streams     int            // data connections, at least 1
	Compress    *codec.Chooser // how hard
	Excludes    []string
	Delete      bool // delete on the target what the source has no more
	ForceDelete bool // even if that is more than half of it
	Overwrite   bool // the target may hold data of others
	Verify      Verify
	Log         *slog.Logger
	Own         []string                 // further directories of Ferry's that are never copied
	Remedy      func(kind string) string // of a kind of loss that the target reports; may be nil
	MoreToCome  func() bool              // another pass will follow this one
	View        *View                    // a snapshot to read in the place of Root; nil: Root itself. Set between passes
}

// View is a snapshot of the source. Its inodes are those of the source: where both lie on Btrfs, the subvolume is taken for the source's.
type View struct {
	Dir   string    // the tree that stands for Root
	Taken time.Time // not later than the instant it holds
}

// Counters are the running totals of a Run. They may be read at any time.
type Counters struct {
	phase      atomic.Pointer[string]
	files      atomic.Int64
	filesTotal atomic.Int64
	bytes      atomic.Int64
	bytesTotal atomic.Int64
	read       atomic.Int64
	raw        atomic.Int64
	saved      atomic.Int64
}

// Progress returns a copy of the counters. sent is what went over the wire.
func (c *Counters) Progress(sent int64) transfer.Progress {
	p := transfer.Progress{
		Files: c.files.Load(), FilesTotal: c.filesTotal.Load(), Bytes: c.bytes.Load(), BytesTotal: c.bytesTotal.Load(),
		BytesRead: c.read.Load(), BytesRaw: c.raw.Load(), BytesSaved: c.saved.Load(), BytesSent: sent,
	}
	if s := c.phase.Load(); s != nil {
		p.Phase = *s
	}
	return p
}

// Loss is something that could not be kept, of one kind.
type Loss struct {
	Kind   string
	Count  int64
	Sample []string // up to lossSamples paths
	Detail string   // of the first
	Remedy string
}

// Result says what a Run did.
type Result struct {
	Pass        string // "first", "sync" or "resume"
	Files       int64  // entries of the plan
	Bytes       int64  // of the plan
	BytesRead   int64
	BytesRaw    int64 // before compression
	BytesSaved  int64 // of the plan, found on the target
	Changed     int64 // entries that kept changing while they were read
	Deleted     int64
	Verified    string // "none", "quick" or "full"
	Differences int64
	Differ      []string // the first of them, in words
	Losses      []Loss
	Notes       []string // sentences on what this copy can promise
	Seconds     float64
	TargetLabel string
}

const lossSamples = 5

// Survey is what a migration would do, found out by looking alone.
type Survey struct {
	Entries int64
	Bytes   int64 // of regular files, hard links once, as far as they are allocated
	Kinds   map[string]int64
	Known   bool  // the target holds an earlier copy: only changes will be sent
	Free    int64 // bytes the target can still take
	Target  string
	Type    string // of the target's filesystem
	Losses  []Loss // to expect
	Notes   []string
}

// MergeLosses adds b to a, kind by kind.
func MergeLosses(a, b []Loss) []Loss {
	for _, l := range b {
		found := false
		for i := range a {
			if a[i].Kind == l.Kind {
				a[i].Count += l.Count
				a[i].Sample = append(a[i].Sample, l.Sample[:min(len(l.Sample), lossSamples-min(len(a[i].Sample), lossSamples))]...)
				found = true
			}
		}
		if !found {
			a = append(a, l)
		}
	}
	return a
}
