package dcsapi

import "slices"

// Status is the status of a migration task.
type Status string

// The statuses.
const (
	ToConfigure     Status = "RUNNING"       // sic: the machine is there, and nobody said yet what to migrate
	Migrating       Status = "MIGRATING"     // waits for its machine, or imports
	FullMigrating   Status = "FULLMIGRATING" // the full copy
	Incremental     Status = "INCRMIGEATING" // sic: follows the source until stopped
	Succeeded       Status = "SUCCESS"
	Failed          Status = "FAILED"           // of a backup import
	MigrationFailed Status = "MIGRATION_FAILED" // of an online migration
	Terminating     Status = "TERMINATING"
	Terminated      Status = "TERMINATED"
	Released        Status = "RELEASED" // its machine is gone
)

// Running are the statuses in which a machine works on a task, or is to.
var Running = []Status{Migrating, FullMigrating, Incremental, Terminating}

// Ended reports whether nothing is done for a task in this status.
func (s Status) Ended() bool {
	return slices.Contains([]Status{Succeeded, Failed, MigrationFailed, Terminated, Released}, s)
}

// Type says where the data comes from.
type Type string

// The types.
const (
	BackupImport Type = "backupfile_import"
	Online       Type = "online_migration"
)

// Known reports whether t is a documented value.
func (t Type) Known() bool { return t == BackupImport || t == Online }

// Method says when an online migration ends.
type Method string

// The methods.
const (
	FullAmount Method = "full_amount_migration"
	Follow     Method = "incremental_migration"
)

// Known reports whether m is a documented value.
func (m Method) Known() bool { return m == FullAmount || m == Follow }

// ResumeMode says what happens when a connection of a running migration breaks.
type ResumeMode string

// The modes of resuming.
const (
	Auto   ResumeMode = "auto"   // tried again without end
	Manual ResumeMode = "manual" // MIGRATION_FAILED, until somebody restarts it
)

// Known reports whether m is a documented value.
func (m ResumeMode) Known() bool { return m == Auto || m == Manual }

// Network says how source and target are reached; Ferry makes no difference between them.
type Network string

// Known reports whether n is a documented value.
func (n Network) Known() bool { return n == "vpc" || n == "vpn" }

// FileSource says where backup files are.
type FileSource string

// The sources of backup files.
const (
	Bucket       FileSource = "self_build_obs"
	BackupRecord FileSource = "backup_record" // of a cloud instance
)

// Known reports whether f is a documented value.
func (f FileSource) Known() bool { return f == Bucket || f == BackupRecord }

// Level is the level of a log line.
type Level string

// The levels.
const (
	Info  Level = "INFO"
	Error Level = "ERROR"
)

// Known reports whether l is a documented value.
func (l Level) Known() bool { return l == Info || l == Error }
