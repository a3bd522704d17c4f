package controller

import (
	"time"

	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// bytesPerMB converts the memory of a registration to that of a list.
const bytesPerMB = 1 << 20

// shownSource returns the answer of GET /v3/sources/{source_id}. task is nil if the source has none.
func shownSource(s *store.Source, task *store.Task, now time.Time) smsapi.Source {
	view := smsapi.Source{
		SourceStatus: statusOf(s, task, now), Memory: s.Info.Memory, Hostname: s.Info.Hostname, Firmware: s.Info.Firmware,
		Disks: []smsapi.ShownDisk{}, VolumeGroups: []smsapi.ShownVolumeGroup{}, BtrfsList: append([]smsapi.BtrfsFileSystem{}, s.Info.BtrfsList...),
		Networks: append([]smsapi.SourceNetwork{}, s.Info.Networks...), AgentVersion: s.Info.AgentVersion,
	}
	for _, d := range s.Info.Disks {
		disk := smsapi.ShownDisk{ID: d.Name, SourceDisk: d, Partitions: []smsapi.ShownPartition{}, Choice: chosen(s, diskPath(d.Name))}
		for _, p := range d.PhysicalVolumes {
			disk.Partitions = append(disk.Partitions, smsapi.ShownPartition{ID: p.Name, SourcePartition: p, Choice: chosen(s, diskPath(d.Name, p.Name))})
		}
		view.Disks = append(view.Disks, disk)
	}
	for _, g := range s.Info.VolumeGroups {
		group := smsapi.ShownVolumeGroup{ID: g.Name, VolumeGroup: g, LogicalVolumes: []smsapi.ShownLogicalVolume{}, Choice: chosen(s, groupPath(g.Name))}
		for _, v := range g.LogicalVolumes {
			group.LogicalVolumes = append(group.LogicalVolumes, smsapi.ShownLogicalVolume{ID: v.Name, LogicalVolume: v, Choice: chosen(s, groupPath(g.Name, v.Name))})
		}
		view.VolumeGroups = append(view.VolumeGroups, group)
	}
	if task != nil {
		current := sourceTask(task, now)
		view.CurrentTask = &current
	}
	return view
}

// listedSource returns one item of the answer of GET /v3/sources. task is nil if the source has none.
func listedSource(s *store.Source, task *store.Task, now time.Time) smsapi.ListedSourceServer {
	view := smsapi.ListedSourceServer{SourceStatus: statusOf(s, task, now), Memory: s.Info.Memory * bytesPerMB}
	if task != nil {
		log := task.Detail.Log
		view.ConsistencyResultExist = len(task.Detail.Results) > 0
		view.CurrentTask = &smsapi.ListedSourceTask{
			SourceTask: sourceTask(task, now), EstimateCompleteTime: estimateComplete(task), CompressRate: task.CompressRate, RemainSeconds: task.RemainSeconds,
			LogBucket: shownBucket(log.Bucket), LogExpire: log.Expire, LogUploadTime: log.Uploaded, LogShareURL: shareURL(task),
		}
	}
	return view
}

func statusOf(s *store.Source, task *store.Task, now time.Time) smsapi.SourceStatus {
	gone := time.UnixMilli(s.Seen).Add(connectedFor)
	status := smsapi.SourceStatus{
		ID: s.ID, IP: s.Info.IP, IPv6: s.Info.IPv6, Name: s.Name, EnterpriseProjectID: s.EnterpriseID, AddDate: s.Added,
		OSType: s.Info.OSType, OSVersion: s.Info.OSVersion, OEMSystem: s.Info.OEMSystem, State: s.State, Connected: now.Before(gone),
		CPUQuantity: s.Info.CPUQuantity, Checks: append([]smsapi.EnvironmentCheck{}, s.Checks...), InitTargetServer: initTarget(s),
		StageActionTime: s.CycleAt, LastVisitTime: s.Since, MigrationCycle: s.Cycle, StateActionTime: s.StateAt,
		HasTC: is(s.Info.HasTC, true), StartType: s.Info.StartType,
	}
	if !status.Connected {
		status.LastVisitTime = gone.UnixMilli()
	}
	if task != nil {
		status.ReplicatedSize, status.TotalSize = task.Replicated, task.Total
	}
	return status
}

func sourceTask(t *store.Task, now time.Time) smsapi.SourceTask {
	r := t.Request
	return smsapi.SourceTask{
		ID: t.ID, Name: r.Name, Type: r.Type, State: t.State, StartDate: t.Started, SpeedLimit: limitNow(t, now), MigrateSpeed: t.Speed,
		StartTargetServer: r.StartTargetServer, VMTemplateID: r.VMTemplateID, RegionID: r.RegionID, ProjectName: r.ProjectName,
		ProjectID: r.ProjectID, TargetServer: &smsapi.NamedServer{VMID: t.VMID(), Name: r.TargetServer.Name},
		LogCollectStatus: logStatus(t), ExistServer: r.ExistServer, UsePublicIP: r.UsePublicIP, CloneServer: t.Detail.Clone, SubtaskInfo: subtaskInfo(t),
	}
}

// initTarget recommends a target: the disks that users did not leave out, in the sizes they chose.
func initTarget(s *store.Source) *smsapi.InitTargetServer {
	target := &smsapi.InitTargetServer{Disks: []smsapi.InitTargetDisk{}, VolumeGroups: []smsapi.VolumeGroup{}}
	for _, d := range s.Info.Disks {
		want := chosen(s, diskPath(d.Name))
		if !want.NeedMigration {
			continue
		}
		disk := smsapi.InitTargetDisk{
			Name: d.Name, Size: sized(d.Size, want), DeviceUse: diskUse(d.DeviceUse), UsedSize: d.UsedSize, PhysicalVolumes: []smsapi.NewPhysicalVolume{},
		}
		for _, p := range d.PhysicalVolumes {
			if want := chosen(s, diskPath(d.Name, p.Name)); want.NeedMigration {
				disk.PhysicalVolumes = append(disk.PhysicalVolumes, smsapi.NewPhysicalVolume{
					DeviceUse: p.DeviceUse, FileSystem: p.FileSystem, Index: p.Index, MountPoint: p.MountPoint, Name: p.Name,
					Size: sized(p.Size, want), InodeSize: p.InodeSize, UsedSize: p.UsedSize, UUID: optional(p.UUID),
				})
			}
		}
		target.Disks = append(target.Disks, disk)
	}
	for _, g := range s.Info.VolumeGroups {
		want := chosen(s, groupPath(g.Name))
		if !want.NeedMigration {
			continue
		}
		group := g
		group.Size, group.LogicalVolumes = sized(g.Size, want), []smsapi.LogicalVolume{}
		for _, v := range g.LogicalVolumes {
			if want := chosen(s, groupPath(g.Name, v.Name)); want.NeedMigration {
				v.Size = sized(v.Size, want)
				group.LogicalVolumes = append(group.LogicalVolumes, v)
			}
		}
		target.VolumeGroups = append(target.VolumeGroups, group)
	}
	return target
}

func sized(size int64, want smsapi.Choice) int64 {
	if want.AdjustSize > 0 {
		return want.AdjustSize
	}
	return size
}

// diskUse returns one of the three uses that a target's disk may have.
func diskUse(use string) smsapi.DeviceUse {
	if u := smsapi.DeviceUse(use); u.Known() {
		return u
	}
	return smsapi.UseNormal
}
