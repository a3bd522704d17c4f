package snapshot

import "time"

// The agent and its freezer speak JSON over a socket that keeps packets apart. The agent sends two orders in each round: freeze, then
// thaw. The freezer answers with news of that round, of which thawed comes exactly once.

// order is what the agent says.
type order struct {
	Round int           `json:"round"`
	Bound time.Duration `json:"bound,omitempty"` // freeze for at most this long; 0: thaw
}

// The kinds of news.
const (
	newsReady    = "ready"    // once, before the first round
	newsFreezing = "freezing" // FIFREEZE of FS is about to be called
	newsFrozen   = "frozen"   // it succeeded
	newsRefused  = "refused"  // it failed with Errno
	newsSettled  = "settled"  // all are frozen, or cannot be
	newsThawed   = "thawed"   // nothing of this round is frozen any more, but for a FIFREEZE that has not returned
)

// news is what the freezer says.
type news struct {
	Round  int             `json:"round"`
	What   string          `json:"what"`
	FS     int             `json:"fs"`
	Errno  int             `json:"errno,omitempty"`
	Early  bool            `json:"early,omitempty"`  // thawed before it was told to
	Held   []time.Duration `json:"held,omitempty"`   // with thawed: how long each was frozen, 0 for those that were not
	Undone []int           `json:"undone,omitempty"` // with thawed: those that somebody else had thawed
	Shared bool            `json:"shared,omitempty"` // with ready: the freezer could not leave the agent's control group
}
