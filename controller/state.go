package controller

import (
	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// Operations that make subtasks, as user_op shows them.
const (
	opReplicate = "REPLICATE"
	opSync      = "SYNC"
)

// planned returns the subtasks of a new task, which is shown with all of them before it starts. Those of later passes are added
// when the agent first reports them.
//
// A target that exists and that Ferry writes into directly needs no cloud server, agent image or formatting here.
func planned(r smsapi.CreateTaskRequest) []store.Subtask {
	migrate := smsapi.MigrateLinuxFile
	switch {
	case r.OSType == smsapi.Windows:
		migrate = smsapi.MigrateWindowsBlock
	case r.Type == smsapi.MigrateBlock:
		migrate = smsapi.MigrateLinuxBlock
	}
	return []store.Subtask{
		{Name: smsapi.SSLConfig, UserOp: opReplicate},
		{Name: migrate, UserOp: opReplicate},
	}
}

// apply changes a task as a progress report of its agent, received at now, says.
func apply(t *store.Task, p smsapi.Progress, now int64) {
	trace, ours := smsapi.ParseTrace(p.ProcessTrace)
	applySubtask(t, p, now)
	t.Reported = &now
	t.Speed, t.CompressRate, t.RemainSeconds = p.MigrateSpeed, p.CompressRate, p.RemainTime
	t.Replicated, t.Total = p.ReplicatedSize, p.TotalSize
	if t.Started == nil {
		t.Started = &now
	}
	t.State = nextState(t, p, trace.Outcome, !ours)
	t.ErrorJSON = ""
	if t.State == smsapi.StateMigrateFail {
		t.ErrorJSON = trace.ErrorJSON()
	}
	switch final := t.State == smsapi.StateMigrateSuccess || t.State == smsapi.StateMigrateFail; {
	case !final:
		t.Finished = nil
	case t.Finished == nil:
		t.Finished = &now
	}
	if ended(t.State) {
		t.Speed, t.RemainSeconds = 0, nil
	}
}

// applySubtask writes a report into the subtask it names, which begins again if it was over.
func applySubtask(t *store.Task, p smsapi.Progress, now int64) {
	s := subtask(t, p.Subtask)
	if s.Started == nil || s.Ended != nil && p.Percent < 100 {
		s.Started, s.Ended = &now, nil
	}
	if p.Percent == 100 && s.Ended == nil {
		s.Ended = &now
	}
	s.Progress, s.Speed, s.Trace = p.Percent, p.MigrateSpeed, &p.ProcessTrace
	if s.Ended != nil {
		s.Speed = 0
	}
}

// subtask returns the subtask of t called name, a new one if it has none.
func subtask(t *store.Task, name smsapi.SubtaskName) *store.Subtask {
	for i := range t.Subtasks {
		if t.Subtasks[i].Name == name {
			return &t.Subtasks[i]
		}
	}
	op := opReplicate
	if t.State == smsapi.StateSyncing || t.State == smsapi.StateMigrateSuccess || name.IsSync() {
		op = opSync
	}
	t.Subtasks = append(t.Subtasks, store.Subtask{Name: name, UserOp: op})
	return &t.Subtasks[len(t.Subtasks)-1]
}

// nextState infers the state of a task from a report that is already applied to its subtasks. An agent that sends no traces is done
// when every subtask is; Ferry's says so, because only it knows which subtasks are still to come.
func nextState(t *store.Task, p smsapi.Progress, outcome smsapi.Outcome, infer bool) smsapi.TaskState {
	switch outcome {
	case smsapi.OutcomeFailed:
		return smsapi.StateMigrateFail
	case smsapi.OutcomeStopped:
		return smsapi.StateAbort
	case smsapi.OutcomeDone:
		return smsapi.StateMigrateSuccess
	}
	switch {
	case p.Subtask.IsSync() && (p.Percent < 100 || t.Request.Syncing):
		return smsapi.StateSyncing
	case t.Request.Syncing && complete(t):
		return smsapi.StateSyncing
	case infer && complete(t):
		return smsapi.StateMigrateSuccess
	default:
		return smsapi.StateRunning
	}
}

// complete reports whether every subtask of t is done.
func complete(t *store.Task) bool {
	for _, s := range t.Subtasks {
		if s.Progress < 100 {
			return false
		}
	}
	return true
}

// ended reports whether the agent does nothing for a task in this state.
func ended(s smsapi.TaskState) bool {
	return s == smsapi.StateMigrateSuccess || s == smsapi.StateMigrateFail || s == smsapi.StateAbort
}

// A sourceStatus is how a source whose only task is in some state is shown.
type sourceStatus struct{ state, cycle string }

// sourceStates is what a source's state follows from as long as only tasks are known, not sources.
var sourceStates = map[smsapi.TaskState]sourceStatus{
	smsapi.StateReady:          {"waiting", "setting"},
	smsapi.StateRunning:        {"replicate", "replicating"},
	smsapi.StateSyncing:        {"syncing", "syncing"},
	smsapi.StateAbort:          {"stopped", "replicating"},
	smsapi.StateMigrateFail:    {"error", "replicating"},
	smsapi.StateMigrateSuccess: {"finished", "cutovered"},
}
