package controller

import (
	"slices"

	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// Error codes of environment checks. The documents name no other.
const (
	codeNoRsync   = "SMS.6517"
	codeNoDrivers = "SMS.6511"
)

// examine checks the environment of a source, which is then waiting for a task, or unavailable if a check failed.
func examine(source *store.Source, now int64) {
	r := &source.Info
	source.Checks = checklist{}.disks(r)
	if r.OSType == smsapi.Windows {
		source.Checks = checklist(source.Checks).windows(r)
	} else {
		source.Checks = checklist(source.Checks).linux(r)
	}
	state := smsapi.SourceWaiting
	if slices.ContainsFunc(source.Checks, isFailure) {
		state = smsapi.SourceUnavailable
	}
	source.Move(state, smsapi.CycleChecking, now)
}

// examineDisks checks again after the disks have changed. A source that was set up meanwhile stays where it is if all is well.
func examineDisks(source *store.Source, now int64) {
	state, cycle := source.State, source.Cycle
	stateAt, cycleAt := source.StateAt, source.CycleAt
	examine(source, now)
	if source.State == state && cycle == smsapi.CycleSetting {
		source.Cycle, source.StateAt, source.CycleAt = cycle, stateAt, cycleAt
	}
}

func isFailure(c smsapi.EnvironmentCheck) bool { return c.Result == smsapi.CheckError }

// A checklist is the checks that were made so far.
//
// What the service calls mandatory fails when it was not said. Tools that the service needs and Ferry does without, rsync and tc,
// are only warned of when they are missing.
type checklist []smsapi.EnvironmentCheck

// add makes one check: result is what comes of it unless fine.
func (l checklist) add(name string, fine bool, result, code, text string) checklist {
	c := smsapi.EnvironmentCheck{ID: int64(len(l) + 1), Name: name, Result: smsapi.CheckOK}
	if !fine {
		c.Result, c.ErrorCode, c.ErrorOrWarn = result, code, text
	}
	return append(l, c)
}

func (l checklist) disks(r *smsapi.RegisterSource) checklist {
	var bare []string
	system := true
	for _, d := range r.Disks {
		if d.PartitionStyle == "" && len(d.PhysicalVolumes) > 0 {
			bare = append(bare, d.Name)
			system = system && !d.OSDisk
		}
	}
	result := smsapi.CheckWarn
	if !system {
		result = smsapi.CheckError
	}
	l = l.add("DISKS", len(r.Disks) > 0, smsapi.CheckError, "", "no disk was found")
	l = l.add("PARTITION_STYLE", bare == nil, result, "", "the partition style of a disk is not known")
	l[len(l)-1].Params = bare
	return l
}

func (l checklist) linux(r *smsapi.RegisterSource) checklist {
	missing := func(said bool) string {
		if said {
			return smsapi.CheckWarn
		}
		return smsapi.CheckError
	}
	l = l.add("RSYNC", is(r.HasRsync, true), missing(r.HasRsync != nil), codeNoRsync, "rsync is not installed")
	l = l.add("TC", is(r.HasTC, true), missing(r.HasTC != nil), "", "tc is not installed")
	l = l.add("PARAVIRTUALIZATION", is(r.Paravirtualization, false), smsapi.CheckError, "", "the source is paravirtualized")
	l = l.add("RAW_DEVICES", is(r.RawDevices, ""), smsapi.CheckError, "", "raw devices are in use")
	l = l.add("BOOT_LOADER", r.BootLoader != "", smsapi.CheckError, "", "the boot loader is not GRUB")
	l = l.add("VOLUME_GROUPS", r.VolumeGroups != nil, smsapi.CheckError, "", "volume groups were not reported")
	return l.add("BTRFS", r.BtrfsList != nil, smsapi.CheckError, "", "Btrfs filesystems were not reported")
}

func (l checklist) windows(r *smsapi.RegisterSource) checklist {
	l = l.add("DRIVER_FILES", is(r.DriverFiles, false), smsapi.CheckError, codeNoDrivers, "driver files are missing")
	l = l.add("SYSTEM_SERVICES", is(r.SystemServices, false), smsapi.CheckError, "", "system services are abnormal")
	l = l.add("ACCOUNT_RIGHTS", is(r.AccountRights, true), smsapi.CheckError, "", "the account's rights do not suffice")
	return l.add("SYSTEM_DIR", r.SystemDir != "", smsapi.CheckError, "", "the system directory was not reported")
}

// is reports whether a field was sent with a value.
func is[T comparable](field *T, value T) bool { return field != nil && *field == value }
