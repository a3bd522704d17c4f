package agent

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/ferry-migrate/ferry/transfer/ratelimit"
	"github.com/ferry-migrate/ferry/transfer/source"
	"github.com/stretchr/testify/require"
)

func TestParseOptions(t *testing.T) {
	o, err := ParseOptions([]smsapi.Config{
		{Key: "MIGRATE_EXCLUDE_DIR", Value: "/tmp, /var/cache"}, {Key: "SYNC_EXCLUDE_PATH", Value: "/a"}, {Key: "ONLY_SYNC_PATH", Value: "/b"},
		{Key: "NUM_PROCESS_MIGRATE", Value: "4"}, {Key: "NUM_PROCESS_SYNC", Value: "1"}, {Key: "LINUX_BLOCK_COMPRESS_THREAD_NUM", Value: "0"},
		{Key: "LINUX_CPU_LIMIT", Value: "50"}, {Key: "LINUX_MEM_LIMIT", Value: "200"}, {Key: "LINUX_IO_LIMIT", Value: "10"}, {Key: "DYNAMIC_PORT", Value: "22"},
		{Key: "MIGRATE_DST_IP", Value: "192.0.2.1"}, {Key: "FUTURE", Value: "x"}, {Key: "CONSISTENCY_DIR", Value: ""},
	}, quiet)
	require.NoError(t, err)
	require.Equal(t, Options{
		Exclude: []string{"/tmp", "/var/cache"}, SyncExclude: []string{"/a"}, SyncOnly: []string{"/b"}, Streams: 4, SyncStreams: 1, Uncompressed: true,
		CPU: 50, Memory: 200 << 20, TargetIP: "192.0.2.1",
	}, o)
	for key, value := range map[string]string{"DYNAMIC_PORT": "x", "NUM_PROCESS_SYNC": "9", "MIGRATE_EXCLUDE_DIR": "relative", "LINUX_CPU_LIMIT": "-1", "MIGRATE_DST_IP": "a host"} {
		_, err := ParseOptions([]smsapi.Config{{Key: key, Value: value}}, quiet)
		require.Equal(t, "FERRY-TASK-OPTION", fault.CodeOf(err), key)
	}
}

// What is left out matches just what it should, in a tree with names that look like patterns.
func TestExcludes(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"a/b/c", "a/b*", "a/x", "d", "e[1]", `f\g`} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	in := func(names ...string) (paths []string) {
		for _, n := range names {
			paths = append(paths, filepath.Join(root, n))
		}
		return paths
	}
	left := func(out, only []string) (all []string) {
		t.Helper()
		patterns, err := excludes(root, out, only)
		require.NoError(t, err)
		x, err := source.NewExcludes(root, patterns)
		require.NoError(t, err)
		var walk func(dir string)
		walk = func(dir string) {
			entries, err := os.ReadDir(filepath.Join(root, dir))
			require.NoError(t, err)
			for _, e := range entries {
				if !x.Match([]byte(dir), []byte(e.Name()), e.IsDir()) {
					all = append(all, filepath.Join(dir, e.Name()))
					walk(filepath.Join(dir, e.Name()))
				}
			}
		}
		walk("")
		return all
	}
	everything := []string{"a", "a/b", "a/b/c", "a/b*", "a/x", "d", "e[1]", `f\g`}
	require.Equal(t, everything, left(nil, nil))
	require.Equal(t, everything, left([]string{"/elsewhere", root}, nil), "not the root itself, nothing of others")
	require.Equal(t, []string{"a", "a/b", "a/b/c", "a/x", "d"}, left(in("a/b*", "e[1]", `f\g`), nil))
	require.Equal(t, []string{"a", "a/b", "a/b/c"}, left(nil, in("a/b")))
	require.Equal(t, []string{"a", "a/b", "a/b/c", "d"}, left(nil, in("a/b/c", "d/")))
	require.Equal(t, everything, left(nil, []string{filepath.Dir(root)}), "all of it lies below")
	require.Empty(t, left(nil, []string{"/elsewhere"}), "nothing of it is wanted")
	_, err := excludes(filepath.Join(root, "missing"), nil, []string{filepath.Join(root, "missing", "x")})
	require.Error(t, err)
}

func TestSchedule(t *testing.T) {
	noon, night := time.Date(2026, 1, 1, 12, 0, 0, 0, time.Local), time.Date(2026, 1, 1, 3, 0, 0, 0, time.Local)
	windows := []smsapi.LimitWindow{{Start: "08:00", End: "20:00", Speed: 100, Threshold: 10}, {Start: "20:00", End: "08:00"}}
	s, err := schedule(windows, 7)
	require.NoError(t, err)
	require.Equal(t, int64(12_500_000), s.At(noon))
	require.Zero(t, s.At(night))
	require.Equal(t, 10.0, threshold(windows, noon))
	require.Zero(t, threshold(windows, night))
	s, err = schedule(nil, 8)
	require.NoError(t, err)
	require.Equal(t, int64(1_000_000), s.At(noon))
	s, err = schedule([]smsapi.LimitWindow{{Start: "00:00", End: "00:00"}}, 8)
	require.NoError(t, err)
	require.Zero(t, s.At(noon), "a window that says 0 is no limit")
	_, err = schedule([]smsapi.LimitWindow{{Start: "x", End: "y", Speed: 1}}, 0)
	require.Equal(t, "FERRY-TASK-LIMIT", fault.CodeOf(err))
}

// pairing is a task for a `ferry target`.
func pairing(mounts ...string) *Task {
	ip := "192.0.2.7"
	disk := smsapi.TargetDisk{}
	for _, m := range mounts {
		disk.PhysicalVolumes = append(disk.PhysicalVolumes, smsapi.TargetPhysicalVolume{MountPoint: &m})
	}
	return &Task{ID: "task", Spec: smsapi.Task{
		ID: "task", Type: smsapi.MigrateFile, OSType: smsapi.Linux, MigrationIP: &ip, SpeedLimit: 8,
		TargetServer: &smsapi.TargetServer{VMID: "FERRY1-X", Disks: []smsapi.TargetDisk{disk}},
	}}
}

func TestPrepare(t *testing.T) {
	s := &Session{State: t.TempDir(), Port: 8900, Streams: 2, Log: quiet, Rate: ratelimit.Constant(5)}
	names := func(w *Work) (all []string) {
		for _, sub := range w.Subtasks {
			all = append(all, sub.Name())
		}
		return all
	}
	task := pairing("/srv", "swap", "[SWAP]", "")
	w, err := s.Prepare(task)
	require.NoError(t, err)
	require.Equal(t, []string{ssl, migrate}, names(w))
	_, rate := w.Bucket.Limit()
	require.Equal(t, int64(1_000_000), rate)
	require.Equal(t, "FERRY-NOT-SYNCING", fault.CodeOf(w.Cutover()))
	task.Spec.SpeedLimit, task.Continuous = 0, true
	w, err = s.Prepare(task)
	require.NoError(t, err)
	require.Equal(t, []string{ssl, migrate, syncing}, names(w))
	_, rate = w.Bucket.Limit()
	require.Equal(t, int64(5), rate, "the agent's own limit holds for a task that has none")
	require.NoError(t, w.Cutover())
	require.NoError(t, w.Cutover(), "twice is fine")
	task.Again = true
	w, err = s.Prepare(task)
	require.NoError(t, err)
	require.Equal(t, []string{ssl, syncing}, names(w))

	// A whole server to a running target: laid out before, made to start after its last pass, also under the names of an older service.
	task = pairing("/")
	w, err = s.Prepare(task)
	require.NoError(t, err)
	require.Equal(t, []string{ssl, "FORMAT_DISK_LINUX_FILE", migrate, "CONFIGURE_LINUX_FILE"}, names(w))
	require.True(t, w.Subtasks[2].(*replicate).last)
	task.Spec.Subtasks = []smsapi.Subtask{{Name: smsapi.FormatDiskLinux}, {Name: smsapi.ConfigureLinux}}
	w, err = s.Prepare(task)
	require.NoError(t, err)
	require.Equal(t, []string{ssl, "FORMAT_DISK_LINUX", migrate, "CONFIGURE_LINUX"}, names(w))
	require.True(t, w.Subtasks[2].(*replicate).last)
	require.IsType(t, renamed{}, w.Subtasks[1])

	// A cloud server: every subtask has its place, and those that cannot be done say so.
	task = pairing("/")
	task.Spec.TargetServer.VMID = "0d5f7c9e-0000-0000-0000-000000000000"
	w, err = s.Prepare(task)
	require.NoError(t, err)
	require.Equal(t, []string{ssl, "ATTACH_AGENT_IMAGE", "FORMAT_DISK_LINUX_FILE", migrate, "CONFIGURE_LINUX_FILE", "DETTACH_AGENT_IMAGE"}, names(w))
	for _, sub := range w.Subtasks {
		require.Equal(t, "FERRY-NOT-BUILT", fault.CodeOf(sub.Run(t.Context(), task)), sub.Name())
		require.Zero(t, sub.Progress())
	}

	for name, c := range map[string]struct {
		change func(*Task)
		code   string
	}{
		"type":     {func(t *Task) { t.Spec.Type = "TAPE" }, "FERRY-TASK-UNKNOWN"},
		"system":   {func(t *Task) { t.Spec.OSType = "" }, "FERRY-TASK-UNKNOWN"},
		"target":   {func(t *Task) { t.Spec.TargetServer = nil }, "FERRY-TASK-TARGET"},
		"address":  {func(t *Task) { t.Spec.MigrationIP = nil }, "FERRY-TASK-TARGET"},
		"volumes":  {func(t *Task) { t.Spec.TargetServer.Disks = nil }, "FERRY-TASK-VOLUMES"},
		"relative": {func(t *Task) { *t.Spec.TargetServer.Disks[0].PhysicalVolumes[0].MountPoint = "srv" }, "FERRY-TASK-VOLUMES"},
		"option":   {func(t *Task) { t.Settings = []smsapi.Config{{Key: "DYNAMIC_PORT", Value: "0"}} }, "FERRY-TASK-OPTION"},
		"limit":    {func(t *Task) { t.Windows = []smsapi.LimitWindow{{Speed: 1}} }, "FERRY-TASK-LIMIT"},
	} {
		task := pairing("/srv")
		c.change(task)
		_, err := s.Prepare(task)
		require.Equal(t, c.code, fault.CodeOf(err), name)
	}
}

func TestAddress(t *testing.T) {
	s := &Session{Port: 8900}
	for _, c := range []struct {
		ip   string
		o    Options
		want string
	}{
		{"192.0.2.1", Options{}, "192.0.2.1:8900"}, {"host:1", Options{}, "host:1"}, {"2001:db8::1", Options{}, "[2001:db8::1]:8900"}, {"[2001:db8::1]:9", Options{}, "[2001:db8::1]:9"},
		{"192.0.2.1", Options{Port: 7, TargetIP: "192.0.2.2"}, "192.0.2.2:7"}, {"", Options{TargetIP: "192.0.2.2"}, "192.0.2.2:8900"},
	} {
		got, err := s.address(c.ip, c.o)
		require.NoError(t, err)
		require.Equal(t, c.want, got)
	}
}

func TestTarget(t *testing.T) {
	s := &Session{Port: 8900, Log: quiet}
	task := pairing("/srv")
	address, code, err := s.Target(task)
	require.NoError(t, err)
	require.Equal(t, "192.0.2.7:8900", address)
	require.Equal(t, "FERRY1-X", code)
	task.Spec.TargetServer.VMID = "a-cloud-server"
	_, _, err = s.Target(task)
	require.Equal(t, "FERRY-NOT-BUILT", fault.CodeOf(err))
}

func TestVolumes(t *testing.T) {
	roots, err := volumes(&smsapi.TargetServer{
		Disks:        pairing("/var/log/", "/", "/", "/var").Spec.TargetServer.Disks,
		VolumeGroups: []smsapi.VolumeGroup{{LogicalVolumes: []smsapi.LogicalVolume{{MountPoint: "/home"}, {MountPoint: "SWAP"}}}},
	})
	require.NoError(t, err)
	require.Equal(t, []string{"/", "/home", "/var", "/var/log"}, roots)
	require.Equal(t, "-", into("/", 2))
	require.Equal(t, "var-log", into("/var/log", 2))
	require.Empty(t, into("/var/log", 1))
	_, err = volumes(pairing("/var/log", "/var-log").Spec.TargetServer)
	require.ErrorContains(t, err, "both become var-log")
}

func TestLogFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	l, err := OpenLogFile(dir)
	require.NoError(t, err)
	l.max = 100
	for range 100 {
		_, err := l.Write([]byte("0123456789\n"))
		require.NoError(t, err)
	}
	require.NoError(t, l.Close())
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, files, logFiles+1)
	for _, f := range files {
		info, err := f.Info()
		require.NoError(t, err)
		require.LessOrEqual(t, info.Size(), int64(100))
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}
	l, err = OpenLogFile(dir)
	require.NoError(t, err)
	_, err = l.Write([]byte("again\n"))
	require.NoError(t, err)
	require.NoError(t, l.Close())
	text, err := os.ReadFile(filepath.Join(dir, logName))
	require.NoError(t, err)
	require.Contains(t, string(text), "0123456789\nagain\n", "it goes on where it was")
}

// Only a rate that is too high several times in a row counts, whatever the time between two looks.
func TestOverspeed(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s := speed{at: at}
	look := func(rate float64, after time.Duration, limit int64, percent float64) int64 {
		at = at.Add(after)
		return s.over(at, s.sent+int64(rate*after.Seconds()), limit, percent)
	}
	for range 3 {
		for range overspeedFor - 1 {
			require.Zero(t, look(112, time.Second, 100, 10))
		}
		require.Zero(t, look(110, 3*time.Second, 100, 10), "not more than ten percent")
	}
	for range 2 * overspeedFor {
		require.Zero(t, look(1e6, time.Second, 0, 10), "no limit")
		require.Zero(t, look(1e6, time.Second, 100, 0), "no threshold")
	}
	for range overspeedFor - 1 {
		require.Zero(t, look(112, 2*time.Second, 100, 10))
	}
	require.Equal(t, int64(112), look(112, 2*time.Second, 100, 10))
}
