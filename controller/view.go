package controller

import (
	"cmp"
	"fmt"
	"time"

	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// connectedFor is how long after its last word an agent counts as connected.
const connectedFor = time.Minute

// maxPriority is the highest priority that the API shows; it accepts higher ones.
const maxPriority = 2

// shownTask returns the answer of GET /v3/tasks/{task_id}. source is nil if it is not registered.
func shownTask(t *store.Task, source *store.Source, now time.Time) smsapi.Task {
	r := t.Request
	there := connected(t, source, now)
	view := smsapi.Task{
		ID: t.ID, Name: r.Name, Type: r.Type, OSType: r.OSType, State: t.State,
		EstimateCompleteTime: estimateComplete(t), CreateDate: t.Created, StartDate: t.Started, FinishDate: t.Finished,
		Priority: min(r.Priority, maxPriority), SpeedLimit: limitNow(t, now), MigrateSpeed: t.Speed, CompressRate: t.CompressRate,
		StartTargetServer: r.StartTargetServer, ErrorJSON: t.ErrorJSON, TotalTime: totalTime(t, now),
		RemainSeconds: t.RemainSeconds, Connected: &there, MigrationIP: optional(r.MigrationIP),
		EnterpriseProjectID: r.EnterpriseProjectID, VMTemplateID: optional(r.VMTemplateID),
		RegionName: r.RegionName, RegionID: r.RegionID, ProjectName: r.ProjectName, ProjectID: r.ProjectID,
		Subtasks: []smsapi.Subtask{}, SourceServer: sourceOf(t, source), TargetServer: targetServer(t),
		TargetSnapshotID: t.Detail.SnapshotIDs, CloneServer: t.Detail.Clone, NetworkCheckInfo: t.Detail.Network,
		Usage: t.Detail.Usage, NeedMigrationTest: r.NeedMigrationTest, SubtaskInfo: subtaskInfo(t),
	}
	for _, s := range t.Subtasks {
		view.Subtasks = append(view.Subtasks, smsapi.Subtask{
			ID: s.ID, Name: s.Name, Progress: s.Progress, StartDate: s.Started, EndDate: s.Ended,
			MigrateSpeed: s.Speed, UserOp: s.UserOp, ProcessTrace: s.Trace,
		})
	}
	return view
}

// listedTask returns one item of the answer of GET /v3/tasks. source is nil if it is not registered.
func listedTask(t *store.Task, source *store.Source, now time.Time) smsapi.ListedTask {
	r := t.Request
	from, to := sourceOf(t, source), targetServer(t)
	view := smsapi.ListedTask{
		ID: t.ID, Name: r.Name, Type: r.Type, OSType: r.OSType, State: t.State,
		EstimateCompleteTime: estimateComplete(t), CreateDate: t.Created,
		Priority: min(r.Priority, maxPriority), SpeedLimit: limitNow(t, now), MigrateSpeed: t.Speed, CompressRate: t.CompressRate,
		StartTargetServer: r.StartTargetServer, ErrorJSON: t.ErrorJSON, TotalTime: totalTime(t, now), MigrationIP: r.MigrationIP,
		EnterpriseProjectID: r.EnterpriseProjectID, LogCollectStatus: logStatus(t), Syncing: r.Syncing,
		TargetServer: &smsapi.ListedTarget{ID: to.ID, VMID: to.VMID, Name: to.Name, IP: to.IP, OSType: to.OSType, OSVersion: to.OSVersion},
		CloneServer:  t.Detail.Clone, NetworkCheckInfo: t.Detail.Network, SpecialConfig: t.Detail.Settings,
		Usage: t.Detail.Usage, NeedMigrationTest: r.NeedMigrationTest, SubtaskInfo: subtaskInfo(t),
	}
	if from != nil {
		view.SourceServer = &smsapi.ListedSource{
			ID: from.ID, IP: from.IP, Name: from.Name, OSType: from.OSType, OSVersion: from.OSVersion, OEMSystem: from.OEMSystem, State: from.State,
		}
	}
	for _, s := range t.Subtasks {
		view.Subtasks = append(view.Subtasks, smsapi.ListedSubtask{
			ID: s.ID, Name: s.Name, Progress: s.Progress, StartDate: s.Started, EndDate: s.Ended, ProcessTrace: s.Trace,
		})
	}
	return view
}

// connected reports whether the agent of a task was heard of lately.
func connected(t *store.Task, source *store.Source, now time.Time) bool {
	heard := int64(0)
	if t.Reported != nil {
		heard = *t.Reported
	}
	if source != nil {
		heard = max(heard, source.Seen)
	}
	return now.Sub(time.UnixMilli(heard)) < connectedFor
}

// sourceOf returns the source of a task, nil if it names none. One that is not registered is where its task puts it. While the launch of the target is
// ordered the source shows it, whatever it still does: that is how its agent learns of it.
func sourceOf(t *store.Task, source *store.Source) *smsapi.SourceServer {
	if t.Request.SourceServer.ID == "" {
		return nil
	}
	view := &smsapi.SourceServer{ID: t.Request.SourceServer.ID, OSType: t.Request.OSType}
	if source != nil {
		view.IP, view.Name, view.OSType = cmp.Or(source.Info.IP, source.Info.IPv6), source.Name, source.Info.OSType
		view.OSVersion, view.OEMSystem = source.Info.OSVersion, source.Info.OEMSystem
		view.State, view.MigrationCycle = string(source.State), string(source.Cycle)
	} else {
		at := follow(t.State, place{smsapi.SourceReplicate, cycleOf(t)})
		view.State, view.MigrationCycle = string(at.state), string(at.cycle)
	}
	if t.Detail.Launching && working(t.State) {
		view.State, view.MigrationCycle = string(smsapi.SourceCutovering), string(smsapi.CycleCutovering)
	}
	return view
}

// cycleOf returns how far a source must be that never said so.
func cycleOf(t *store.Task) smsapi.MigrationCycle {
	switch {
	case t.State == smsapi.StateReady:
		return smsapi.CycleSetting
	case resumed(t) == smsapi.StateSyncing:
		return smsapi.CycleSyncing
	default:
		return smsapi.CycleReplicating
	}
}

// targetServer returns the target as the agent is shown it: what the task was created with, completed by what the agent made.
func targetServer(t *store.Task) *smsapi.TargetServer {
	r, u := t.Request.TargetServer, t.Detail.Target
	view := &smsapi.TargetServer{
		ID: t.TargetID, VMID: t.VMID(), Name: r.Name, IP: u.IP, OSType: t.Request.OSType, OSVersion: u.OSVersion,
		SystemDir: u.SystemDir, Disks: targetDisks(t), VolumeGroups: append([]smsapi.VolumeGroup{}, r.VolumeGroups...),
		ImageDiskID:          optional(cmp.Or(t.Detail.ImageDiskID, deref(u.ImageDiskID))),
		CutoveredSnapshotIDs: optional(cmp.Or(t.Detail.CutoveredSnapshotIDs, deref(u.CutoveredSnapshotIDs))),
	}
	set(&view.Name, u.Name)
	set(&view.OSType, u.OSType)
	keepList(&view.VolumeGroups, u.VolumeGroups)
	if t.Request.OSType == smsapi.Linux {
		filesystems := r.BtrfsList
		keepList(&filesystems, u.BtrfsList)
		view.BtrfsList = smsapi.BtrfsNames{}
		for _, fs := range filesystems {
			view.BtrfsList = append(view.BtrfsList, fs.Name)
		}
	}
	return view
}

// limitNow returns the limit of a task at this time of day, in Mbit/s; 0 is none.
func limitNow(t *store.Task, now time.Time) int {
	w, _ := limitsOf(t).At(now)
	return w.Speed
}

// subtaskInfo returns the current subtask and how far it is; empty while none runs.
func subtaskInfo(t *store.Task) string {
	for _, s := range t.Subtasks {
		if s.Started != nil && s.Ended == nil {
			return fmt.Sprintf("%s %d%%", s.Name, s.Progress)
		}
	}
	return ""
}

// estimateComplete returns when the task will be done, nil while nobody can tell.
func estimateComplete(t *store.Task) *int64 {
	if t.RemainSeconds == nil || t.Reported == nil {
		return nil
	}
	at := *t.Reported + *t.RemainSeconds*1000
	return &at
}

// totalTime returns how long the task has been going on, or went on, in milliseconds.
func totalTime(t *store.Task, now time.Time) int64 {
	if t.Started == nil {
		return 0
	}
	end := now.UnixMilli()
	switch {
	case t.Finished != nil:
		end = *t.Finished
	case ended(t.State) && t.Reported != nil:
		end = *t.Reported
	}
	return max(end-*t.Started, 0)
}

// optional returns nil for an empty string.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// deref returns "" for nil.
func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
