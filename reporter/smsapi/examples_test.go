package smsapi_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/stretchr/testify/require"
)

// example returns one of the documentation's example bodies, byte for byte.
func example(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	return text
}

// The answers of the documentation have no field that the types do not have, and nothing is lost or added on the way through them.
func TestExampleAnswersSurviveTheTypes(t *testing.T) {
	for name, into := range map[string]any{
		"create_task_response.json": &smsapi.CreateTaskResponse{},
		"list_tasks_response.json":  &smsapi.TaskList{},
		"show_task_response.json":   &smsapi.Task{},
	} {
		t.Run(name, func(t *testing.T) {
			text := example(t, name)
			require.NoError(t, json.Unmarshal(text, into))
			again, err := json.Marshal(into)
			require.NoError(t, err)
			require.JSONEq(t, string(text), string(again))
		})
	}
}

func TestExampleOfCreateTaskIsAccepted(t *testing.T) {
	var r smsapi.CreateTaskRequest
	require.NoError(t, smsapi.Decode(example(t, "create_task_request.json"), &r))
	require.Equal(t, smsapi.CreateTaskRequest{
		Name: "MigrationTask", Type: smsapi.MigrateFile, OSType: smsapi.Linux, StartTargetServer: true, UsePublicIP: true,
		MigrationIP: "192.168.0.1", RegionName: "region_name", RegionID: "region_id", ProjectName: "project_name",
		ProjectID: "xxxxxxxxxxxxxxxxxxxxxxxx00000001", Priority: 1,
		SourceServer: smsapi.SourceServerID{ID: "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxx0001"},
		TargetServer: smsapi.NewTargetServer{
			VMID: "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxx0001", Name: "Auto-tar-name", VolumeGroups: []smsapi.VolumeGroup{},
			Disks: []smsapi.NewTargetDisk{{
				Name: "/dev/vda", DiskID: "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxx0001", Size: 42949672960, UsedSize: 429496,
				DeviceUse: smsapi.UseBoot,
				PhysicalVolumes: []smsapi.NewPhysicalVolume{{
					Name: "/dev/vda1", DeviceUse: "OS", FileSystem: "ext4", MountPoint: "/", Size: 42947575808, UsedSize: 5346484224,
				}},
			}},
		},
	}, r)
}

func TestExampleOfProgressIsAccepted(t *testing.T) {
	var p smsapi.Progress
	require.NoError(t, smsapi.Decode(example(t, "progress_request.json"), &p))
	require.Equal(t, smsapi.Progress{
		Subtask: smsapi.AttachAgentImage, Percent: 100, ReplicatedSize: 1000, TotalSize: 100000,
	}, p)
}

func TestBtrfsListIsReadAsStringsAndAsObjects(t *testing.T) {
	var target smsapi.TargetServer
	require.NoError(t, json.Unmarshal([]byte(`{"btrfs_list":["a",{"name":"b","uuid":"1"}]}`), &target))
	require.Equal(t, smsapi.BtrfsNames{"a", "b"}, target.BtrfsList)
}
