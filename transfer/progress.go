package transfer

// Progress is a copy of a running transfer's counters. All sizes are bytes since the subtask began, resumed work included
// where it says so. Reading it never blocks the transfer.
type Progress struct {
	Phase      string // what is being done now: "scan", "copy", "links", "delete", "directories", "verify"
	Files      int64  // entries done
	FilesTotal int64  // entries known so far; 0 while unknown
	Bytes      int64  // of the plan, done: sent, or found to be there already
	BytesTotal int64  // of the plan; 0 while unknown
	BytesRead  int64  // read from the source
	BytesRaw   int64  // handed to the codec
	BytesSent  int64  // on the wire, both directions
	BytesSaved int64  // of the plan, not sent because a resume or a sync found them on the target
}

// Percent returns how much of the plan is done, 0 to 100; 100 only when everything is.
func (p Progress) Percent() int {
	if p.BytesTotal <= 0 {
		return 0
	}
	if p.Bytes >= p.BytesTotal {
		return 100
	}
	return int(float64(p.Bytes) / float64(p.BytesTotal) * 100)
}

// CompressRate returns the percentage of the original size left after compression; 100 means nothing was gained.
func (p Progress) CompressRate() float64 {
	if p.BytesRaw <= 0 || p.BytesSent >= p.BytesRaw {
		return 100
	}
	return float64(p.BytesSent) / float64(p.BytesRaw) * 100
}
