package controller

import (
	"strconv"
	"time"

	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// connectedFor is how long after its last report an agent counts as connected.
const connectedFor = time.Minute

// maxPriority is the highest priority that the API shows; it accepts higher ones.
const maxPriority = 2

// showTask returns the answer of GET /v3/tasks/{task_id}.
func showTask(t *store.Task, now time.Time) smsapi.Task {
	r := t.Request
	connected := t.Reported != nil && now.Sub(time.UnixMilli(*t.Reported)) < connectedFor
	view := smsapi.Task{
		ID: t.ID, Name: r.Name, Type: r.Type, OSType: r.OSType, State: t.State,
		EstimateCompleteTime: estimateComplete(t), CreateDate: t.Created, StartDate: t.Started, FinishDate: t.Finished,
		Priority: min(r.Priority, maxPriority), SpeedLimit: r.SpeedLimit, MigrateSpeed: t.Speed, CompressRate: t.CompressRate,
		StartTargetServer: r.StartTargetServer, ErrorJSON: t.ErrorJSON, TotalTime: totalTime(t, now),
		RemainSeconds: t.RemainSeconds, Connected: &connected, MigrationIP: optional(r.MigrationIP),
		EnterpriseProjectID: r.EnterpriseProjectID, VMTemplateID: optional(r.VMTemplateID),
		RegionName: r.RegionName, RegionID: r.RegionID, ProjectName: r.ProjectName, ProjectID: r.ProjectID,
		Subtasks: []smsapi.Subtask{}, TargetServer: targetServer(t),
		SourceServer: &smsapi.SourceServer{
			ID: r.SourceServer.ID, OSType: r.OSType,
			State: sourceStates[t.State].state, MigrationCycle: sourceStates[t.State].cycle,
		},
	}
	for _, s := range t.Subtasks {
		view.Subtasks = append(view.Subtasks, smsapi.Subtask{
			ID: s.ID, Name: s.Name, Progress: s.Progress, StartDate: s.Started, EndDate: s.Ended,
			MigrateSpeed: s.Speed, UserOp: s.UserOp, ProcessTrace: s.Trace,
		})
	}
	return view
}

// listedTask returns one item of the answer of GET /v3/tasks.
func listedTask(t *store.Task, now time.Time) smsapi.ListedTask {
	r := t.Request
	view := smsapi.ListedTask{
		ID: t.ID, Name: r.Name, Type: r.Type, OSType: r.OSType, State: t.State,
		EstimateCompleteTime: estimateComplete(t), CreateDate: t.Created,
		Priority: min(r.Priority, maxPriority), SpeedLimit: r.SpeedLimit, MigrateSpeed: t.Speed, CompressRate: t.CompressRate,
		StartTargetServer: r.StartTargetServer, ErrorJSON: t.ErrorJSON, TotalTime: totalTime(t, now), MigrationIP: r.MigrationIP,
		EnterpriseProjectID: r.EnterpriseProjectID, LogCollectStatus: "INIT", Syncing: r.Syncing,
		SourceServer: &smsapi.ListedSource{ID: r.SourceServer.ID, OSType: r.OSType, State: sourceStates[t.State].state},
		TargetServer: &smsapi.ListedTarget{
			ID: t.TargetID, VMID: r.TargetServer.VMID, Name: r.TargetServer.Name, IP: optional(r.MigrationIP), OSType: r.OSType,
		},
	}
	for _, s := range t.Subtasks {
		view.Subtasks = append(view.Subtasks, smsapi.ListedSubtask{
			ID: s.ID, Name: s.Name, Progress: s.Progress, StartDate: s.Started, EndDate: s.Ended, ProcessTrace: s.Trace,
		})
	}
	return view
}

// targetServer returns the target as the agent is shown it: what the task was created with, completed.
func targetServer(t *store.Task) *smsapi.TargetServer {
	r := t.Request.TargetServer
	view := &smsapi.TargetServer{
		ID: t.TargetID, VMID: r.VMID, Name: r.Name, IP: optional(t.Request.MigrationIP), OSType: t.Request.OSType,
		Disks: []smsapi.TargetDisk{}, VolumeGroups: append([]smsapi.VolumeGroup{}, r.VolumeGroups...),
	}
	if t.Request.OSType == smsapi.Linux {
		view.BtrfsList = smsapi.BtrfsNames{}
		for _, fs := range r.BtrfsList {
			view.BtrfsList = append(view.BtrfsList, fs.Name)
		}
	}
	id := t.Number << 20 // a body has fewer disks and partitions than that
	for i, d := range r.Disks {
		id++
		disk := smsapi.TargetDisk{
			ID: id, Name: d.Name, DiskID: d.DiskID, Size: d.Size, UsedSize: d.UsedSize,
			DeviceUse: d.DeviceUse, OSDisk: d.DeviceUse != smsapi.UseNormal, DiskIndex: strconv.Itoa(i),
			PhysicalVolumes: []smsapi.TargetPhysicalVolume{},
		}
		for _, v := range d.PhysicalVolumes {
			id++
			disk.PhysicalVolumes = append(disk.PhysicalVolumes, smsapi.TargetPhysicalVolume{
				ID: id, UUID: v.UUID, Index: v.Index, Name: v.Name, DeviceUse: v.DeviceUse, FileSystem: v.FileSystem,
				MountPoint: optional(v.MountPoint), Size: v.Size, UsedSize: v.UsedSize, FreeSize: max(v.Size-v.UsedSize, 0),
			})
		}
		view.Disks = append(view.Disks, disk)
	}
	return view
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
	case ended(t.State):
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
