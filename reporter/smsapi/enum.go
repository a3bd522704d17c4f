package smsapi

import "slices"

// An enum is a string with a closed set of values on the way in; answers may carry others.
type enum interface{ Known() bool }

// TaskType says how the data moves.
type TaskType string

// The task types.
const (
	MigrateFile  TaskType = "MIGRATE_FILE"
	MigrateBlock TaskType = "MIGRATE_BLOCK"
)

// Known reports whether t is a documented value.
func (t TaskType) Known() bool { return t == MigrateFile || t == MigrateBlock }

// OSType is the operating system of a source or a target.
type OSType string

// The operating systems.
const (
	Linux   OSType = "LINUX"
	Windows OSType = "WINDOWS"
)

// Known reports whether o is a documented value.
func (o OSType) Known() bool { return o == Linux || o == Windows }

// DeviceUse says what a disk is for. An empty one means NORMAL.
type DeviceUse string

// The uses of a disk.
const (
	UseNormal DeviceUse = "NORMAL"
	UseOS     DeviceUse = "OS"
	UseBoot   DeviceUse = "BOOT"
)

// Known reports whether u is a documented value.
func (u DeviceUse) Known() bool { return u == UseNormal || u == UseOS || u == UseBoot }

// TaskState is the state of a task as the service shows it.
type TaskState string

// The task states. The documents disagree on the set; this is the union.
const (
	StateReady               TaskState = "READY"
	StateRunning             TaskState = "RUNNING"
	StateSyncing             TaskState = "SYNCING"
	StateMigrateSuccess      TaskState = "MIGRATE_SUCCESS"
	StateMigrateFail         TaskState = "MIGRATE_FAIL"
	StateSyncSuccess         TaskState = "SYNC_SUCCESS"
	StateSyncFail            TaskState = "SYNC_FAIL"
	StateAborting            TaskState = "ABORTING"
	StateAbort               TaskState = "ABORT"
	StateSkipping            TaskState = "SKIPPING"
	StateDeleting            TaskState = "DELETING"
	StateResetting           TaskState = "RESETING" // sic
	StateSyncRollingBack     TaskState = "SYNC_F_ROLLBACKING"
	StateSyncRollbackSuccess TaskState = "SYNC_F_ROLLBACK_SUCCESS"
)

var taskStates = []TaskState{
	StateReady, StateRunning, StateSyncing, StateMigrateSuccess, StateMigrateFail, StateSyncSuccess, StateSyncFail,
	StateAborting, StateAbort, StateSkipping, StateDeleting, StateResetting, StateSyncRollingBack, StateSyncRollbackSuccess,
}

// Known reports whether s is a documented value.
func (s TaskState) Known() bool { return slices.Contains(taskStates, s) }

// SubtaskName names a subtask in progress reports.
type SubtaskName string

// The subtask names of the progress operation.
const (
	CreateCloudServer    SubtaskName = "CREATE_CLOUD_SERVER"
	SSLConfig            SubtaskName = "SSL_CONFIG"
	AttachAgentImage     SubtaskName = "ATTACH_AGENT_IMAGE"
	DetachAgentImage     SubtaskName = "DETTACH_AGENT_IMAGE" // sic
	FormatDiskLinux      SubtaskName = "FORMAT_DISK_LINUX"
	FormatDiskLinuxFile  SubtaskName = "FORMAT_DISK_LINUX_FILE"
	FormatDiskLinuxBlock SubtaskName = "FORMAT_DISK_LINUX_BLOCK"
	FormatDiskWindows    SubtaskName = "FORMAT_DISK_WINDOWS"
	MigrateLinuxFile     SubtaskName = "MIGRATE_LINUX_FILE"
	MigrateLinuxBlock    SubtaskName = "MIGRATE_LINUX_BLOCK"
	MigrateWindowsBlock  SubtaskName = "MIGRATE_WINDOWS_BLOCK"
	CloneVM              SubtaskName = "CLONE_VM"
	SyncLinuxFile        SubtaskName = "SYNC_LINUX_FILE"
	SyncLinuxBlock       SubtaskName = "SYNC_LINUX_BLOCK"
	SyncWindowsBlock     SubtaskName = "SYNC_WINDOWS_BLOCK"
	ConfigureLinux       SubtaskName = "CONFIGURE_LINUX"
	ConfigureLinuxBlock  SubtaskName = "CONFIGURE_LINUX_BLOCK"
	ConfigureLinuxFile   SubtaskName = "CONFIGURE_LINUX_FILE"
	ConfigureWindows     SubtaskName = "CONFIGURE_WINDOWS"
)

var subtaskNames = []SubtaskName{
	CreateCloudServer, SSLConfig, AttachAgentImage, DetachAgentImage,
	FormatDiskLinux, FormatDiskLinuxFile, FormatDiskLinuxBlock, FormatDiskWindows,
	MigrateLinuxFile, MigrateLinuxBlock, MigrateWindowsBlock, CloneVM,
	SyncLinuxFile, SyncLinuxBlock, SyncWindowsBlock,
	ConfigureLinux, ConfigureLinuxBlock, ConfigureLinuxFile, ConfigureWindows,
}

// Known reports whether n is a documented value.
func (n SubtaskName) Known() bool { return slices.Contains(subtaskNames, n) }

// IsSync reports whether n is an incremental pass.
func (n SubtaskName) IsSync() bool {
	return n == SyncLinuxFile || n == SyncLinuxBlock || n == SyncWindowsBlock
}
