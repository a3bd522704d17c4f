package controller

import (
	"net/http"
	"slices"
	"strings"

	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// An action is what an operation does to a task, and which command tells the agent of it.
type action struct {
	from    []smsapi.TaskState                   // in which it may be asked for; nil: in any but DELETING
	to      func(*store.Task) smsapi.TaskState   // the state after it; nil: as before
	code    string                               // of the refusal in any other state
	command smsapi.CommandName                   // for the agent; empty: none
	do      func(*store.Task, smsapi.TaskAction) // what else it changes, before to is asked; nil: nothing
}

// always returns a state whatever the task is.
func always(s smsapi.TaskState) func(*store.Task) smsapi.TaskState {
	return func(*store.Task) smsapi.TaskState { return s }
}

var (
	startable  = []smsapi.TaskState{smsapi.StateReady, smsapi.StateAbort, smsapi.StateMigrateFail, smsapi.StateSyncFail}
	stoppable  = []smsapi.TaskState{smsapi.StateRunning, smsapi.StateSyncing}
	syncing    = []smsapi.TaskState{smsapi.StateSyncing}
	finished   = []smsapi.TaskState{smsapi.StateMigrateSuccess, smsapi.StateSyncSuccess, smsapi.StateSyncRollbackSuccess}
	measurable = []smsapi.TaskState{smsapi.StateReady, smsapi.StateAbort, smsapi.StateMigrateFail, smsapi.StateSyncFail}
)

// actions is the whole table of operations; what is not in it is refused. The states that follow reports and answers of the agent
// are in state.go.
//
// The documents name no commands for launching, cloning, measuring and rolling back. A launch and a clone are ordered with START:
// the agent reads the task again and finds the subtasks that are to be done, with user_op CUTOVER or CLONE; while a launch is
// ordered the task shows its source in cycle cutovering. The other two are commands of Ferry's own; another agent answers them, as
// any unknown one, with fail or not at all.
var actions = map[smsapi.Operation]action{
	smsapi.OpStart:         {from: startable, to: resumed, code: smsapi.CodeNotStartable, command: smsapi.CommandStart},
	smsapi.OpStop:          {from: stoppable, to: always(smsapi.StateAborting), code: smsapi.CodeNotStoppable, command: smsapi.CommandStop},
	smsapi.OpOverSpeed:     {from: stoppable, to: always(smsapi.StateAborting), code: smsapi.CodeNotStoppable, command: smsapi.CommandStop, do: overSpeed},
	smsapi.OpTest:          {from: syncing, command: smsapi.CommandStart, do: launch},
	smsapi.OpCutover:       {from: syncing, command: smsapi.CommandStart, do: launch},
	smsapi.OpCloneTest:     {from: syncing, command: smsapi.CommandStart, do: clone},
	smsapi.OpRestart:       {from: finished, to: always(smsapi.StateSyncing), code: smsapi.CodeNotRestartable, command: smsapi.CommandSync, do: again},
	smsapi.OpCollectLog:    {command: smsapi.CommandUploadLog, do: func(t *store.Task, _ smsapi.TaskAction) { collect(t, smsapi.CollectLog{Bucket: smsapi.OwnBucket}) }},
	smsapi.OpRollbackSync:  {from: []smsapi.TaskState{smsapi.StateSyncFail}, to: always(smsapi.StateSyncRollingBack), command: smsapi.CommandRollback},
	smsapi.OpNetworkCheck:  {from: measurable, command: smsapi.CommandNetworkCheck},
	smsapi.OpSkip:          {from: stoppable, to: always(smsapi.StateSkipping), command: smsapi.CommandSkip},
	smsapi.OpClear:         {from: finished, do: clearSnapshots},
	smsapi.OpMigrationTest: {from: []smsapi.TaskState{smsapi.StateReady}, command: smsapi.CommandPremigrate},
}

// verifying is the phase of a subtask in which a verification can be skipped, as Ferry's agent traces it.
const verifying = "verify"

// refuseAction returns an *smsapi.Error unless a task may do what is asked.
func refuseAction(t *store.Task, ask smsapi.TaskAction) error {
	a := actions[ask.Operation]
	allowed := slices.Contains(a.from, t.State) || a.from == nil && t.State != smsapi.StateDeleting
	code := a.code
	if code == "" {
		code = smsapi.CodeState
	}
	switch {
	case !allowed:
		return smsapi.NewError(http.StatusBadRequest, code, "a task that is %s cannot %s", t.State, ask.Operation)
	case ask.Operation == smsapi.OpSkip && !inPhase(t, verifying):
		return smsapi.NewError(http.StatusBadRequest, code, "no verification runs that could be skipped")
	case ask.Operation == smsapi.OpRestart && t.Detail.Cleared:
		return smsapi.NewError(http.StatusBadRequest, code, "the snapshots of the task are cleared: it cannot sync any more")
	}
	return nil
}

// inPhase reports whether the agent of t last traced this phase, or sends no traces.
func inPhase(t *store.Task, phase string) bool {
	for _, s := range slices.Backward(t.Subtasks) {
		if s.Started != nil && s.Ended == nil && s.Trace != nil {
			trace, ours := smsapi.ParseTrace(*s.Trace)
			return !ours || trace.Phase == phase
		}
	}
	return false
}

// act does to a task what is asked, and returns the commands that tell its agent.
func act(t *store.Task, ask smsapi.TaskAction, now int64) ([]*store.Command, error) {
	if err := refuseAction(t, ask); err != nil {
		return nil, err
	}
	a := actions[ask.Operation]
	var orders []*store.Command
	if ask.Operation == smsapi.OpStart {
		if t.State == smsapi.StateReady && t.Request.StartNetworkCheck {
			orders = append(orders, command(t, smsapi.CommandNetworkCheck, now))
		}
		t.ErrorJSON = ""
		t.Request.NeedConsistencyCheck = t.Request.NeedConsistencyCheck || ask.NeedConsistencyCheck
		if t.Started == nil {
			t.Started = &now
		}
	}
	if a.do != nil {
		a.do(t, ask)
	}
	if a.to != nil {
		move(t, a.to(t), now)
	}
	if a.command == "" {
		return nil, nil
	}
	return append(orders, command(t, a.command, now)), nil
}

// command returns an order about t to its agent.
func command(t *store.Task, name smsapi.CommandName, now int64) *store.Command {
	c := &store.Command{SourceID: t.Request.SourceServer.ID, TaskID: t.ID, Name: name, Param: smsapi.CommandParam{Task: t.ID}, Queued: now}
	if name == smsapi.CommandUploadLog {
		if c.Param.Bucket = t.Detail.Log.Bucket; c.Param.Bucket == smsapi.OwnBucket {
			c.Param.Object = logPath(t.ID)
		}
	}
	return c
}

// launch orders the last sync and what makes the target start.
func launch(t *store.Task, _ smsapi.TaskAction) {
	n := namesOf(t.Request)
	t.Detail.Launching = true
	renew(t, smsapi.UserOpCutover, n.sync)
	if has(t, smsapi.AttachAgentImage) {
		renew(t, smsapi.UserOpCutover, n.configure, smsapi.DetachAgentImage)
	}
}

// clone orders a copy of the target for a test.
func clone(t *store.Task, ask smsapi.TaskAction) {
	if ask.TemplateID != "" {
		t.Request.CloneVMTemplateID = ask.TemplateID
	}
	t.Detail.Clone = &smsapi.CloneServer{CloneState: "PREPARING"}
	renew(t, smsapi.UserOpClone, smsapi.CloneVM)
}

// again orders one more pass of a finished task.
func again(t *store.Task, ask smsapi.TaskAction) {
	n := namesOf(t.Request)
	t.Detail.Again = true
	t.Request.NeedConsistencyCheck = ask.NeedConsistencyCheck
	if !has(t, smsapi.AttachAgentImage) {
		renew(t, smsapi.UserOpSync, n.sync)
		return
	}
	renew(t, smsapi.UserOpSync, smsapi.AttachAgentImage, n.sync, n.configure, smsapi.DetachAgentImage)
}

// overSpeed keeps why the task is paused.
func overSpeed(t *store.Task, _ smsapi.TaskAction) {
	t.ErrorJSON = smsapi.Trace{
		Error: "the task was paused because its rate was above the limit repeatedly", Code: smsapi.CodeOverSpeed,
		Remedy: "raise the limit or its threshold, or look for what else sends, then start the task again",
	}.ErrorJSON()
}

// clearSnapshots forgets the snapshots of a finished task. The documents name no command for it: what made them deletes them.
func clearSnapshots(t *store.Task, _ smsapi.TaskAction) {
	t.Detail.SnapshotIDs, t.Detail.CutoveredSnapshotIDs, t.Detail.Cleared = "", "", true
	t.Detail.Target.SnapshotIDs, t.Detail.Target.CutoveredSnapshotIDs = nil, nil
}

// updateTaskStatus serves POST /v3/tasks/{task_id}/action. An agent may only say that it paused its task for overspeed.
func (s *Server) updateTaskStatus(r *http.Request, body []byte) (any, error) {
	var ask smsapi.TaskAction
	if err := smsapi.Decode(body, &ask); err != nil {
		return nil, err
	}
	if caller := callerOf(r.Context()); caller.IsAgent() && ask.Operation != smsapi.OpOverSpeed {
		return nil, forbidden(caller, "UpdateTaskStatus")
	}
	return nil, s.changeTask(r, func(tx *store.Tx, t *store.Task) error {
		orders, err := act(t, ask, s.now().UnixMilli())
		if err != nil {
			return err
		}
		return queue(tx, orders)
	}, "operation", strings.ToLower(string(ask.Operation)))
}

func queue(tx *store.Tx, orders []*store.Command) error {
	for _, c := range orders {
		if err := tx.QueueCommand(c); err != nil {
			return err
		}
	}
	return nil
}
