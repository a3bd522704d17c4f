package controller

import (
	"encoding/json"
	"slices"

	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// planned returns the subtasks of a new task, which is shown with all of them before it starts. Those of later passes are added
// when they are ordered, or when the agent first reports them.
//
// A target that exists and that Ferry writes into directly needs no cloud server, agent image or formatting here; a target that is
// made of a template needs all of it.
func planned(r smsapi.CreateTaskRequest) (plan []store.Subtask) {
	for _, name := range planNames(r) {
		plan = append(plan, store.Subtask{Name: name, UserOp: smsapi.UserOpReplicate})
	}
	return plan
}

func planNames(r smsapi.CreateTaskRequest) []smsapi.SubtaskName {
	n := namesOf(r)
	if r.VMTemplateID != "" && r.TargetServer.VMID == "" {
		return []smsapi.SubtaskName{smsapi.CreateCloudServer, smsapi.SSLConfig, smsapi.AttachAgentImage, n.format, n.migrate}
	}
	return []smsapi.SubtaskName{smsapi.SSLConfig, n.migrate}
}

// names are the subtasks that differ by system and by how the data moves.
type names struct{ format, migrate, sync, configure smsapi.SubtaskName }

func namesOf(r smsapi.CreateTaskRequest) names {
	switch {
	case r.OSType == smsapi.Windows:
		return names{smsapi.FormatDiskWindows, smsapi.MigrateWindowsBlock, smsapi.SyncWindowsBlock, smsapi.ConfigureWindows}
	case r.Type == smsapi.MigrateBlock:
		return names{smsapi.FormatDiskLinuxBlock, smsapi.MigrateLinuxBlock, smsapi.SyncLinuxBlock, smsapi.ConfigureLinuxBlock}
	default:
		return names{smsapi.FormatDiskLinuxFile, smsapi.MigrateLinuxFile, smsapi.SyncLinuxFile, smsapi.ConfigureLinuxFile}
	}
}

// renew puts subtasks that an operation ordered at 0 percent, new ones at the end.
func renew(t *store.Task, userOp string, list ...smsapi.SubtaskName) {
	for _, name := range list {
		s := subtask(t, name)
		*s = store.Subtask{ID: s.ID, Name: name, UserOp: userOp}
	}
}

// has reports whether t has a subtask called name.
func has(t *store.Task, name smsapi.SubtaskName) bool {
	return slices.ContainsFunc(t.Subtasks, func(s store.Subtask) bool { return s.Name == name })
}

// apply changes a task as a progress report of its agent, received at now, says.
func apply(t *store.Task, p smsapi.Progress, now int64) {
	trace, ours := smsapi.ParseTrace(p.ProcessTrace)
	applySubtask(t, p, now)
	t.Reported = &now
	t.Speed, t.CompressRate, t.RemainSeconds = p.MigrateSpeed, p.CompressRate, p.RemainTime
	t.Replicated, t.Total = p.ReplicatedSize, p.TotalSize
	t.Detail.Usage = p.Usage
	if t.Started == nil {
		t.Started = &now
	}
	next := nextState(t, p, trace.Outcome, !ours)
	if failed(next) {
		t.ErrorJSON = trace.ErrorJSON()
	} else if working(next) {
		t.ErrorJSON = ""
	}
	move(t, next, now)
}

// move puts a task into a state, at now. What no longer holds there is forgotten.
func move(t *store.Task, to smsapi.TaskState, now int64) {
	t.State = to
	switch {
	case !succeeded(to) && !failed(to):
		t.Finished = nil
	case t.Finished == nil:
		t.Finished = &now
	}
	if ended(to) {
		t.Speed, t.RemainSeconds, t.Detail.OverSpeed = 0, nil, 0
	}
	if succeeded(to) {
		t.ErrorJSON, t.Detail.Launching, t.Detail.Again = "", false, false
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
	op := smsapi.UserOpReplicate
	if t.State == smsapi.StateSyncing || succeeded(t.State) || name.IsSync() {
		op = smsapi.UserOpSync
	}
	t.Subtasks = append(t.Subtasks, store.Subtask{Name: name, UserOp: op})
	return &t.Subtasks[len(t.Subtasks)-1]
}

// nextState infers the state of a task from a report that is already applied to its subtasks. An agent that sends no traces is done
// when every subtask is; Ferry's says so, because only it knows which subtasks are still to come. A task that waits for its agent to
// obey, to stop for example, goes on waiting while reports say that it works.
func nextState(t *store.Task, p smsapi.Progress, outcome smsapi.Outcome, infer bool) smsapi.TaskState {
	if t.State == smsapi.StateDeleting {
		return t.State
	}
	switch outcome {
	case smsapi.OutcomeFailed:
		return failure(t)
	case smsapi.OutcomeStopped:
		return smsapi.StateAbort
	case smsapi.OutcomeDone:
		return success(t)
	}
	continuous := t.Request.Syncing && !t.Detail.Launching && !t.Detail.Again
	switch {
	case infer && !continuous && complete(t):
		return success(t)
	case t.State == smsapi.StateAborting, t.State == smsapi.StateSkipping:
		return t.State
	case t.Detail.Again, t.Detail.Launching, p.Subtask.IsSync() && (p.Percent < 100 || continuous):
		return smsapi.StateSyncing
	case t.Request.Syncing && complete(t):
		return smsapi.StateSyncing
	default:
		return smsapi.StateRunning
	}
}

// success returns how t ends when all is done.
func success(t *store.Task) smsapi.TaskState {
	if t.Detail.Again {
		return smsapi.StateSyncSuccess
	}
	return smsapi.StateMigrateSuccess
}

// failure returns how t ends when an error ends it.
func failure(t *store.Task) smsapi.TaskState {
	if t.Detail.Again {
		return smsapi.StateSyncFail
	}
	return smsapi.StateMigrateFail
}

// resumed returns what t does when it goes on.
func resumed(t *store.Task) smsapi.TaskState {
	migrate := namesOf(t.Request).migrate
	copied := slices.ContainsFunc(t.Subtasks, func(s store.Subtask) bool { return s.Name == migrate && s.Progress == 100 })
	if t.Detail.Again || t.Detail.Launching || t.Request.Syncing && copied {
		return smsapi.StateSyncing
	}
	return smsapi.StateRunning
}

// complete reports whether every subtask of t is done.
func complete(t *store.Task) bool {
	return !slices.ContainsFunc(t.Subtasks, func(s store.Subtask) bool { return s.Progress < 100 })
}

// succeeded reports whether a task in this state is done.
func succeeded(s smsapi.TaskState) bool {
	return s == smsapi.StateMigrateSuccess || s == smsapi.StateSyncSuccess || s == smsapi.StateSyncRollbackSuccess
}

// failed reports whether an error ended a task in this state.
func failed(s smsapi.TaskState) bool {
	return s == smsapi.StateMigrateFail || s == smsapi.StateSyncFail
}

// working reports whether the agent copies in this state, as far as is known.
func working(s smsapi.TaskState) bool {
	return s == smsapi.StateRunning || s == smsapi.StateSyncing
}

// ended reports whether the agent does nothing for a task in this state.
func ended(s smsapi.TaskState) bool {
	return succeeded(s) || failed(s) || s == smsapi.StateAbort
}

// A commandFailure is what an agent's answer to a failed command says of the cause. Ferry's agent fills it in; others may send anything.
type commandFailure struct {
	Message string `json:"message"`
	Code    string `json:"code"`
	Remedy  string `json:"remedy"`
}

// answered changes a task as its agent's answer to a command, received at now, says. It reports whether the task is gone with that.
func answered(t *store.Task, result smsapi.CommandResult, now int64) (gone bool) {
	ok := result.Result == smsapi.ResultSuccess
	switch result.Name {
	case smsapi.CommandDelete:
		return ok
	case smsapi.CommandStop:
		if ok && t.State == smsapi.StateAborting {
			move(t, smsapi.StateAbort, now)
		} else if t.State == smsapi.StateAborting {
			move(t, resumed(t), now)
		}
	case smsapi.CommandStart, smsapi.CommandSync:
		if !ok && (working(t.State) || t.State == smsapi.StateAborting) {
			t.ErrorJSON = failureJSON(result)
			move(t, failure(t), now)
		}
	case smsapi.CommandSkip:
		if t.State == smsapi.StateSkipping {
			move(t, resumed(t), now)
		}
	case smsapi.CommandUploadLog:
		t.Detail.Log.Status = smsapi.LogFailed
		if ok {
			t.Detail.Log.Status, t.Detail.Log.Uploaded = smsapi.LogUploaded, &now
		}
	case smsapi.CommandRollback:
		if t.State == smsapi.StateSyncRollingBack && ok {
			move(t, smsapi.StateSyncRollbackSuccess, now)
		} else if t.State == smsapi.StateSyncRollingBack {
			move(t, smsapi.StateSyncFail, now)
		}
	}
	return false
}

// failureJSON returns the error_json of a task whose agent could not obey.
func failureJSON(result smsapi.CommandResult) string {
	var f commandFailure
	if json.Unmarshal(result.Detail, &f) != nil || f.Message == "" {
		f.Message = "the agent could not " + string(result.Name)
	}
	return smsapi.Trace{Error: f.Message, Code: f.Code, Remedy: f.Remedy}.ErrorJSON()
}
