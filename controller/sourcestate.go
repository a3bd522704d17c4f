package controller

import (
	"errors"
	"net/http"
	"slices"

	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// How the state of a source changes. Its agent says it with changestate, as far as that may be; a task says it when somebody
// starts, stops, finishes or deletes it, because then the agent cannot. In words:
//
//	registered                     checking/waiting, or checking/unavailable if a check failed
//	a task is made                 setting/waiting
//	the agent goes on              a pair of the table of changestate, in the same cycle or in one that may follow; or replicating/init
//	a task is stopped              …/stopping, then …/stopped when the agent has answered
//	a task fails                   …/error
//	a task is started again        what its cycle does
//	a task is deleted              …/deleting, then checking/waiting

// deaf are the states in which changestate is answered with success and has no effect.
var deaf = []smsapi.SourceState{
	smsapi.SourceUnavailable, smsapi.SourceStopping, smsapi.SourceStopped, smsapi.SourceDeleting, smsapi.SourceFinished,
	smsapi.SourceClearing, smsapi.SourceClearFailed,
}

// cycleAfter lists the cycles that an agent may go into from each, besides staying.
var cycleAfter = map[smsapi.MigrationCycle][]smsapi.MigrationCycle{
	smsapi.CycleChecking:    {smsapi.CycleSetting},
	smsapi.CycleSetting:     {smsapi.CycleChecking, smsapi.CycleReplicating},
	smsapi.CycleReplicating: {smsapi.CycleSyncing, smsapi.CycleCutovering},
	smsapi.CycleSyncing:     {smsapi.CycleCutovering},
	smsapi.CycleCutovering:  {smsapi.CycleSyncing, smsapi.CycleCutovered},
	smsapi.CycleCutovered:   {smsapi.CycleSyncing},
}

// updateCopyState serves PUT /v3/sources/{source_id}/changestate.
func (s *Server) updateCopyState(r *http.Request, body []byte) (any, error) {
	var asked smsapi.CopyState
	undecoded := smsapi.Decode(body, &asked)
	return nil, s.changeSource(r, func(source *store.Source, _ *store.Task) error {
		heard(source, s.now().UnixMilli(), s.silence())
		return copyState(source, asked, undecoded, s.now().UnixMilli())
	})
}

// copyState changes a source as its agent asks. A source that has stopped says so itself, although the documents have it deaf
// while it stops: the answer to the command may come later.
func copyState(source *store.Source, asked smsapi.CopyState, undecoded error, now int64) error {
	state, cycle, err := asked.Pair()
	stopped := source.State == smsapi.SourceStopping && state == smsapi.SourceStopped && cycle == source.Cycle
	if slices.Contains(deaf, source.State) && !stopped {
		return nil
	}
	if undecoded != nil {
		return undecoded
	}
	if err != nil {
		return err
	}
	anew := state == smsapi.SourceInitialize && source.Cycle != smsapi.CycleChecking // a task that runs again begins like a first one
	if cycle != source.Cycle && !anew && !slices.Contains(cycleAfter[source.Cycle], cycle) {
		return smsapi.NewError(http.StatusBadRequest, smsapi.CodeInvalid, "a source in cycle %s cannot go to %s", source.Cycle, cycle)
	}
	source.Move(state, cycle, now)
	return nil
}

// pending reports whether a source waits for its target to be configured: only then what is known of its disks may change.
func pending(source *store.Source, task *store.Task) bool {
	return task == nil && (source.State == smsapi.SourceWaiting || source.State == smsapi.SourceUnavailable)
}

// A place is where a source is.
type place struct {
	state smsapi.SourceState
	cycle smsapi.MigrationCycle
}

// followTask moves the source of a task to where the state of the task puts it. Who changes the state of a task calls it in the same
// Change. What the agent said of itself stays as long as it fits. A source that is not registered has no state.
func followTask(tx *store.Tx, task *store.Task, now int64) error {
	source, err := tx.Source(task.Request.SourceServer.ID)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	from := place{source.State, source.Cycle}
	if task.Detail.Launching {
		from.cycle = smsapi.CycleCutovering
	}
	at := follow(task.State, from)
	if at == (place{source.State, source.Cycle}) {
		return nil
	}
	source.Move(at.state, at.cycle, now)
	return tx.SaveSource(source)
}

// freeSource puts a source whose last task is gone back to where it waits for a target. Who deletes a task calls it after that.
func freeSource(tx *store.Tx, id string, now int64) error {
	source, err := tx.Source(id)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	task, err := currentTask(tx, id)
	if err != nil {
		return err
	}
	if task != nil {
		return followTask(tx, task, now)
	}
	examine(source, now)
	return tx.SaveSource(source)
}

// follow returns where a source goes from at when its task is in a state.
func follow(task smsapi.TaskState, at place) place {
	working := at.cycle
	if working == smsapi.CycleChecking || working == smsapi.CycleSetting {
		working = smsapi.CycleReplicating
	}
	switch task {
	case smsapi.StateReady:
		return at.unless(place{smsapi.SourceWaiting, smsapi.CycleSetting}, smsapi.CycleSetting,
			smsapi.SourceWaiting, smsapi.SourcePremigReady, smsapi.SourcePremiging, smsapi.SourcePremiged, smsapi.SourcePremigFailed)
	case smsapi.StateRunning:
		return at.running(working)
	case smsapi.StateSyncing:
		if at.cycle == smsapi.CycleCutovering {
			return at.running(at.cycle)
		}
		return at.running(smsapi.CycleSyncing)
	case smsapi.StateMigrateSuccess, smsapi.StateSyncSuccess, smsapi.StateSyncRollbackSuccess:
		return at.unless(place{smsapi.SourceFinished, smsapi.CycleCutovered}, smsapi.CycleCutovered,
			smsapi.SourceFinished, smsapi.SourceClearing, smsapi.SourceCleared, smsapi.SourceClearFailed)
	case smsapi.StateMigrateFail, smsapi.StateSyncFail:
		return place{smsapi.SourceError, working}
	case smsapi.StateAborting:
		return at.unless(place{smsapi.SourceStopping, working}, working, smsapi.SourceStopped)
	case smsapi.StateAbort:
		return place{smsapi.SourceStopped, working}
	case smsapi.StateSkipping:
		return place{smsapi.SourceSkipping, working}
	case smsapi.StateDeleting:
		return place{smsapi.SourceDeleting, at.cycle}
	default: // rolling back
		return at
	}
}

// running returns where a source is that does what its cycle is about.
func (at place) running(cycle smsapi.MigrationCycle) place {
	switch cycle {
	case smsapi.CycleSyncing:
		return at.unless(place{smsapi.SourceSyncing, cycle}, cycle, smsapi.SourceSyncing, smsapi.SourceCloning)
	case smsapi.CycleCutovering:
		return at.unless(place{smsapi.SourceCutovering, cycle}, cycle, smsapi.SourceCutovering)
	case smsapi.CycleCutovered: // a finished task that runs again syncs
		return place{smsapi.SourceSyncing, smsapi.CycleSyncing}
	default:
		if at.state == smsapi.SourceSkipping {
			return place{smsapi.SourceReplicate, smsapi.CycleReplicating}
		}
		return at.unless(place{smsapi.SourceInitialize, smsapi.CycleReplicating}, smsapi.CycleReplicating,
			smsapi.SourceInitialize, smsapi.SourceReplicate)
	}
}

// unless returns to, or at if it is in the cycle and one of the states that fit as well.
func (at place) unless(to place, cycle smsapi.MigrationCycle, fit ...smsapi.SourceState) place {
	if at.cycle == cycle && slices.Contains(fit, at.state) {
		return at
	}
	return to
}
