package controller

import (
	"net/http"
	"strconv"

	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// updateTask serves PUT /v3/tasks/{task_id}. What decides how the data moves can be changed until the task has begun, the rest at any
// time.
func (s *Server) updateTask(r *http.Request, body []byte) (any, error) {
	var u smsapi.UpdateTask
	if err := smsapi.Decode(body, &u); err != nil {
		return nil, err
	}
	err := s.changeTask(r, func(_ *store.Tx, t *store.Task) error {
		if caller := callerOf(r.Context()); caller.IsAgent() && u.VMTemplateID != nil && *u.VMTemplateID != t.Request.VMTemplateID {
			return forbidden(caller, "UpdateTask") // a template holds a password that the agents of its tasks may read
		}
		return update(t, u)
	})
	if err != nil {
		return nil, err
	}
	return smsapi.UpdateTaskResponse{ID: r.PathValue("task_id")}, nil
}

// set replaces a value if another one was sent.
func set[T any](value *T, sent *T) {
	if sent != nil {
		*value = *sent
	}
}

func update(t *store.Task, u smsapi.UpdateTask) error {
	begun := t.State != smsapi.StateReady || t.Reported != nil
	if u.Type != nil && *u.Type != t.Request.Type {
		if begun {
			return smsapi.NewError(http.StatusBadRequest, smsapi.CodeState, "type: a task that has begun cannot change it")
		}
		t.Request.Type = *u.Type
		t.Subtasks = nil
		renew(t, smsapi.UserOpReplicate, planNames(t.Request)...)
	}
	r := &t.Request
	set(&r.Name, u.Name)
	set(&r.RegionID, u.RegionID)
	set(&r.RegionName, u.RegionName)
	set(&r.ExistServer, u.ExistServer)
	set(&r.MigrationIP, u.MigrationIP)
	set(&r.UseIPv6, u.UseIPv6)
	set(&r.UsePublicIP, u.UsePublicIP)
	set(&r.ProjectName, u.ProjectName)
	set(&r.ProjectID, u.ProjectID)
	set(&r.EnterpriseProjectID, u.EnterpriseProject)
	set(&r.VMTemplateID, u.VMTemplateID)
	if u.SpeedLimit != nil {
		r.SpeedLimit, t.Detail.Limits = *u.SpeedLimit, nil
	}
	set(&t.Detail.ImageDiskID, u.ImageDiskID)
	set(&t.Detail.TargetDiskIDs, u.TargetDiskIDs)
	set(&t.Detail.SnapshotIDs, u.SnapshotIDs)
	set(&t.Detail.CutoveredSnapshotIDs, u.CutoveredSnapshotIDs)
	if u.CloneServer != nil {
		t.Detail.Clone = u.CloneServer
	}
	if u.TargetServer != nil {
		updateTarget(&t.Detail.Target, *u.TargetServer)
	}
	return nil
}

// updateTarget keeps what was sent of a target.
func updateTarget(target *smsapi.UpdatedTarget, u smsapi.UpdatedTarget) {
	keep(&target.IP, u.IP)
	keep(&target.Name, u.Name)
	keep(&target.Hostname, u.Hostname)
	keep(&target.OSType, u.OSType)
	keep(&target.OSVersion, u.OSVersion)
	keep(&target.Firmware, u.Firmware)
	keep(&target.CPUQuantity, u.CPUQuantity)
	keep(&target.Memory, u.Memory)
	keep(&target.DomainID, u.DomainID)
	keep(&target.HasRsync, u.HasRsync)
	keep(&target.Paravirtualization, u.Paravirtualization)
	keep(&target.RawDevices, u.RawDevices)
	keep(&target.DriverFiles, u.DriverFiles)
	keep(&target.SystemServices, u.SystemServices)
	keep(&target.AccountRights, u.AccountRights)
	keep(&target.BootLoader, u.BootLoader)
	keep(&target.SystemDir, u.SystemDir)
	keep(&target.VMID, u.VMID)
	keep(&target.Flavor, u.Flavor)
	keep(&target.ImageDiskID, u.ImageDiskID)
	keep(&target.SnapshotIDs, u.SnapshotIDs)
	keep(&target.CutoveredSnapshotIDs, u.CutoveredSnapshotIDs)
	keepList(&target.BtrfsList, u.BtrfsList)
	keepList(&target.Networks, u.Networks)
	keepList(&target.VolumeGroups, u.VolumeGroups)
	keepList(&target.Disks, u.Disks)
}

// keep replaces a value that may be unknown if another one was sent.
func keep[T any](value **T, sent *T) {
	if sent != nil {
		*value = sent
	}
}

func keepList[T any](list *[]T, sent []T) {
	if sent != nil {
		*list = sent
	}
}

// diskIDs returns the ids that the agent gave the target's disks, in their order; "" where it gave none.
func diskIDs(t *store.Task, disks int) []string {
	ids := make([]string, disks)
	copy(ids, smsapi.SplitIDs(t.Detail.TargetDiskIDs))
	return ids
}

// targetDisks returns the disks of a task's target: as the agent found them, else as the task was created with.
func targetDisks(t *store.Task) []smsapi.TargetDisk {
	id := t.Number << 20 // a body has fewer disks and partitions than that
	number := func(given *int64) int64 {
		id++
		if given != nil {
			return *given
		}
		return id
	}
	disks := []smsapi.TargetDisk{}
	for _, d := range t.Detail.Target.Disks {
		disk := smsapi.TargetDisk{
			ID: number(d.ID), Name: d.Name, RelationName: d.RelationName, DiskID: d.DiskID, PartitionStyle: d.PartitionStyle, Size: d.Size,
			UsedSize: d.UsedSize, DeviceUse: d.DeviceUse, OSDisk: d.OSDisk, DiskIndex: d.DiskIndex, PhysicalVolumes: []smsapi.TargetPhysicalVolume{},
		}
		for _, v := range d.PhysicalVolumes {
			disk.PhysicalVolumes = append(disk.PhysicalVolumes, smsapi.TargetPhysicalVolume{
				ID: number(v.ID), UUID: v.UUID, Index: v.Index, Name: v.Name, RelationName: v.RelationName, DeviceUse: v.DeviceUse,
				FileSystem: v.FileSystem, MountPoint: v.MountPoint, Size: v.Size, UsedSize: v.UsedSize, FreeSize: v.FreeSize,
			})
		}
		disks = append(disks, disk)
	}
	if t.Detail.Target.Disks != nil {
		return disks
	}
	given := diskIDs(t, len(t.Request.TargetServer.Disks))
	for i, d := range t.Request.TargetServer.Disks {
		disk := smsapi.TargetDisk{
			ID: number(nil), Name: d.Name, DiskID: d.DiskID, Size: d.Size, UsedSize: d.UsedSize,
			DeviceUse: d.DeviceUse, OSDisk: d.DeviceUse != smsapi.UseNormal, DiskIndex: strconv.Itoa(i), PhysicalVolumes: []smsapi.TargetPhysicalVolume{},
		}
		if given[i] != "" {
			disk.DiskID = given[i]
		}
		for _, v := range d.PhysicalVolumes {
			disk.PhysicalVolumes = append(disk.PhysicalVolumes, smsapi.TargetPhysicalVolume{
				ID: number(nil), UUID: v.UUID, Index: v.Index, Name: v.Name, DeviceUse: v.DeviceUse, FileSystem: v.FileSystem,
				MountPoint: optional(v.MountPoint), Size: v.Size, UsedSize: v.UsedSize, FreeSize: max(v.Size-v.UsedSize, 0),
			})
		}
		disks = append(disks, disk)
	}
	return disks
}
