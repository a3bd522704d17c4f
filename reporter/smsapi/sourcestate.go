package smsapi

import (
	"net/http"
	"slices"
	"strings"
)

// SourceState is the state of a source as the service shows it; changestate says init for initialize.
type SourceState string

// The source states, the union of the documents' sets.
const (
	SourceUnavailable  SourceState = "unavailable" // an environment check failed
	SourceWaiting      SourceState = "waiting"
	SourceInit         SourceState = "init" // only in changestate
	SourceInitialize   SourceState = "initialize"
	SourceReplicate    SourceState = "replicate"
	SourceSyncing      SourceState = "syncing"
	SourceStopping     SourceState = "stopping"
	SourceStopped      SourceState = "stopped"
	SourceSkipping     SourceState = "skipping"
	SourceDeleting     SourceState = "deleting"
	SourceClearing     SourceState = "clearing"
	SourceCleared      SourceState = "cleared"
	SourceClearFailed  SourceState = "clearfailed"
	SourcePremigReady  SourceState = "premigready"
	SourcePremiging    SourceState = "premiging" // sic
	SourcePremiged     SourceState = "premiged"
	SourcePremigFailed SourceState = "premigfailed"
	SourceCloning      SourceState = "cloning"
	SourceTesting      SourceState = "testing" // only in the oldest documents, and only shown
	SourceCutovering   SourceState = "cutovering"
	SourceFinished     SourceState = "finished"
	SourceError        SourceState = "error"
)

var sourceStates = []SourceState{
	SourceUnavailable, SourceWaiting, SourceInitialize, SourceReplicate, SourceSyncing, SourceStopping, SourceStopped, SourceSkipping,
	SourceDeleting, SourceClearing, SourceCleared, SourceClearFailed, SourcePremigReady, SourcePremiging, SourcePremiged,
	SourcePremigFailed, SourceCloning, SourceTesting, SourceCutovering, SourceFinished, SourceError,
}

// Known reports whether s is shown of a source and can be asked for in a list.
func (s SourceState) Known() bool { return slices.Contains(sourceStates, s) }

// MigrationCycle is the stage of a source's migration.
type MigrationCycle string

// The cycles that are shown, in the order a source goes through them.
const (
	CycleChecking    MigrationCycle = "checking"
	CycleSetting     MigrationCycle = "setting"
	CycleReplicating MigrationCycle = "replicating"
	CycleSyncing     MigrationCycle = "syncing"
	CycleCutovering  MigrationCycle = "cutovering"
	CycleCutovered   MigrationCycle = "cutovered"
)

var cycles = []MigrationCycle{CycleChecking, CycleSetting, CycleReplicating, CycleSyncing, CycleCutovering, CycleCutovered}

// Known reports whether c is shown of a source and can be asked for in a list.
func (c MigrationCycle) Known() bool { return slices.Contains(cycles, c) }

// CopyState is the body of PUT /v3/sources/{source_id}/changestate: a SourceState and a MigrationCycle, in any case. They are not
// checked by Decode, because a source in a state that cannot be changed answers anything with success.
type CopyState struct {
	State string `json:"copystate" rule:"required"`
	Cycle string `json:"migrationcycle" rule:"required"`
}

// copyPairs lists the states that each cycle can have in changestate. States and cycles that are not here cannot be set.
var copyPairs = map[MigrationCycle][]SourceState{
	CycleChecking:    {SourceUnavailable, SourceWaiting},
	CycleSetting:     {SourceWaiting, SourcePremigReady, SourcePremiging, SourcePremiged, SourcePremigFailed},
	CycleReplicating: {SourceInit, SourceReplicate, SourceDeleting, SourceStopping, SourceError, SourceStopped},
	CycleSyncing:     {SourceSyncing, SourceCloning, SourceDeleting, SourceStopping, SourceError, SourceStopped},
	CycleCutovering:  {SourceCutovering, SourceDeleting, SourceStopping, SourceError, SourceStopped},
	CycleCutovered:   {SourceFinished, SourceDeleting, SourceStopping, SourceError, SourceStopped},
}

// Pair returns state and cycle as they are shown, init as initialize, or an *Error if they do not go together.
func (c CopyState) Pair() (SourceState, MigrationCycle, error) {
	state, cycle := SourceState(strings.ToLower(c.State)), MigrationCycle(strings.ToLower(c.Cycle))
	if !slices.Contains(copyPairs[cycle], state) {
		return "", "", NewError(http.StatusBadRequest, CodeInvalid, "copystate %q does not go with migrationcycle %q", trim(c.State, 40), trim(c.Cycle, 40))
	}
	if state == SourceInit {
		return SourceInitialize, cycle, nil
	}
	return state, cycle, nil
}
