package agent

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter/report"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/ferry-migrate/ferry/transfer/ratelimit"
	"github.com/stretchr/testify/require"
)

// A lab is a daemon with a service in memory and subtasks of the test's.
type lab struct {
	*Daemon
	t       *testing.T
	dir     string
	service *fakeService
	bodies  map[string]func(context.Context, *fakeSubtask) error // of MIGRATE_LINUX_FILE, by task
	bucket  *ratelimit.Bucket

	mu      sync.Mutex
	sent    int64
	runs    []string // tasks in the order they ran
	stop    context.CancelFunc
	stopped chan error
}

func newLab(t *testing.T) *lab {
	return &lab{t: t, dir: t.TempDir(), service: newService(), bodies: map[string]func(context.Context, *fakeSubtask) error{}, bucket: ratelimit.NewBucket(ratelimit.Constant(0))}
}

// begin starts the daemon, also after end.
func (l *lab) begin() {
	l.t.Helper()
	d, err := NewDaemon(DaemonConfig{
		Dir: l.dir, Service: l.service, Prepare: l.prepare, Log: quiet, Privacy: true, Poll: time.Second, Logs: l.dir, Level: &slog.LevelVar{},
		Host: func(context.Context) smsapi.RegisterSource { return smsapi.RegisterSource{Name: "host"} },
		Measure: func(context.Context, *Task) (smsapi.NetworkCheck, error) {
			return smsapi.NetworkCheck{EvaluationResult: "medium"}, nil
		},
	})
	require.NoError(l.t, err)
	ctx, stop := context.WithCancel(l.t.Context())
	l.Daemon, l.stop, l.stopped = d, stop, make(chan error, 1)
	go func() { l.stopped <- d.Run(ctx) }()
}

// end stops it as SIGTERM does.
func (l *lab) end() {
	l.t.Helper()
	l.stop()
	require.NoError(l.t, <-l.stopped)
	l.Close()
}

func (l *lab) prepare(t *Task) (*Work, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.runs = append(l.runs, t.ID)
	name := migrate
	if t.Again {
		name = syncing
	}
	return &Work{
		Subtasks: []Subtask{&fakeSubtask{name: ssl}, &fakeSubtask{name: name, body: l.bodies[t.ID]}},
		Bucket:   l.bucket, Cutover: func() error { return nil },
		Sent: func() int64 {
			l.mu.Lock()
			defer l.mu.Unlock()
			return l.sent
		},
	}, nil
}

// ran returns the tasks that ran, in order.
func (l *lab) ran() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.runs...)
}

// endless runs until it is cancelled, and takes half a second to notice.
func endless(ctx context.Context, _ *fakeSubtask) error {
	<-ctx.Done()
	time.Sleep(500 * time.Millisecond) // of the bubble's clock
	return context.Cause(ctx)
}

func TestDaemonWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.service.agreed = false
		l.service.has("task")
		l.service.give(smsapi.CommandStart, "task")
		l.begin()
		time.Sleep(time.Minute)
		l.end()
		require.Equal(t, []string{
			"privacy", "register source1", "answer START success",
			"state replicating/init", "progress task SSL_CONFIG 0", "progress task SSL_CONFIG 100",
			"state replicating/replicate", "progress task MIGRATE_LINUX_FILE 0", "state cutovering/cutovering",
			"progress task MIGRATE_LINUX_FILE 100done", "state cutovered/finished",
		}, inOrder(l.service.heard()))
		l.begin()
		time.Sleep(time.Minute)
		l.end()
		require.Equal(t, "register source1", l.service.heard()[11], "the id stays")
		require.Len(t, l.service.heard(), 12, "and nothing else happens")
	})
}

// inOrder moves the answer to START, which may be told before or after the first report, to where the tests expect it.
func inOrder(lines []string) []string {
	for i, line := range lines {
		if line == "answer START success" && i > 2 {
			copy(lines[3:i+1], lines[2:i])
			lines[2] = line
		}
	}
	return lines
}

// A service that loses its memory of having been answered repeats itself; the task runs once.
func TestDaemonRepeatedAndContradictoryCommands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.service.has("a", "b")
		l.bodies["a"] = copying(100, 10)
		for range 5 {
			l.service.give(smsapi.CommandStart, "a")
		}
		l.service.give(smsapi.CommandStart, "b")
		l.service.give(smsapi.CommandStop, "b")
		l.service.give(smsapi.CommandStart, "b")
		for _, name := range []smsapi.CommandName{"DANCE", smsapi.CommandPremigrate, smsapi.CommandSkip, smsapi.CommandResetLogACL} {
			l.service.give(name, "a")
		}
		l.service.give(smsapi.CommandStart, "../../etc/passwd")
		l.service.give(smsapi.CommandStop, "")
		l.service.give(smsapi.CommandStart, "nobody")
		l.service.give(smsapi.CommandDelete, "never-heard-of")
		l.begin()
		time.Sleep(10 * time.Minute)
		l.end()
		require.Equal(t, []string{"a", "b"}, l.ran(), "one after the other, each once")
		require.Equal(t, []string{
			"answer START success", "answer START success", "answer START success", "answer START success", "answer START success",
			"answer START success", "answer STOP success", "answer START success",
			"answer DANCE fail", "answer PREMIGRATE fail", "answer SKIP fail", "answer RSET_LOG_ACL fail",
			"answer START fail", "answer STOP fail", "answer START fail", "answer DELETE success",
		}, l.service.heard("register", "progress", "state"))
	})
}

func TestDaemonStopsWithinTwoSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.service.has("task")
		l.bodies["task"] = endless
		l.service.give(smsapi.CommandStart, "task")
		l.begin()
		time.Sleep(time.Minute)
		l.service.set(func(f *fakeService) { f.down = fault.Temporary(errors.New("offline")) })
		time.Sleep(time.Minute)
		began := time.Now()
		ended := l.cancel("task", ErrStopped) // as STOP does
		<-ended
		require.Less(t, time.Since(began), 2*time.Second, "also offline")
		l.end()
		require.Equal(t, Stopped, journalState(l.dir, "task"))
		l.service.set(func(f *fakeService) { f.down = nil })
		l.service.give(smsapi.CommandStart, "task")
		l.bodies["task"] = nil
		l.begin()
		time.Sleep(time.Minute)
		l.end()
		require.Equal(t, []string{
			"state replicating/init", "progress task SSL_CONFIG 0", "progress task SSL_CONFIG 100", "state replicating/replicate",
			"progress task MIGRATE_LINUX_FILE 0", "progress task MIGRATE_LINUX_FILE 0stopped", "state replicating/stopping", "state replicating/stopped",
			"state replicating/replicate", "progress task MIGRATE_LINUX_FILE 0", "state cutovering/cutovering",
			"progress task MIGRATE_LINUX_FILE 100done", "state cutovered/finished",
		}, withoutRepeats(l.service.heard("register", "answer")), "in order after the outage; SSL_CONFIG is not done again")
	})
}

// withoutRepeats drops lines that are the same as the one before: interim reports.
func withoutRepeats(lines []string) (out []string) {
	for _, line := range lines {
		if len(out) == 0 || out[len(out)-1] != line {
			out = append(out, line)
		}
	}
	return out
}

// What runs when the agent ends goes on when it starts, without a word to the service in between, also while that is down.
func TestDaemonResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.service.has("a", "b")
		l.bodies["a"] = endless
		l.service.give(smsapi.CommandStart, "a")
		l.service.give(smsapi.CommandStart, "b")
		l.begin()
		time.Sleep(time.Minute)
		l.end()
		require.Empty(t, l.service.heard("register", "answer", "progress a", "state replicating/init", "state replicating/replicate"))
		require.Equal(t, Running, journalState(l.dir, "a"))
		l.bodies["a"] = nil
		l.service.set(func(f *fakeService) { f.down = fault.Temporary(errors.New("offline")) })
		l.begin()
		time.Sleep(time.Minute)
		require.Equal(t, Done, journalState(l.dir, "a"))
		l.service.set(func(f *fakeService) { f.down = nil })
		time.Sleep(30 * time.Minute)
		l.end()
		require.Equal(t, Done, journalState(l.dir, "b"), "it needed the service to know what to do")
		require.Equal(t, []string{"a", "a", "b"}, l.ran())
	})
}

// Killed after the end of a task and before that was written into the queue, the task is not done again.
func TestDaemonKilledAtTheEndOfATask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.service.has("a")
		l.service.give(smsapi.CommandStart, "a")
		l.begin()
		time.Sleep(time.Minute)
		l.end()
		require.NoError(t, os.WriteFile(filepath.Join(l.dir, "queue.json"), []byte(`{"version":1,"orders":[{"task":"a","begun":true}]}`), 0o600))
		l.begin()
		time.Sleep(time.Minute)
		require.Empty(t, l.Agent().Queue)
		l.end()
		require.Equal(t, []string{"a"}, l.ran())

		l.service.give(smsapi.CommandSync, "a")
		l.begin()
		time.Sleep(time.Minute)
		l.end()
		require.Equal(t, []string{"a", "a"}, l.ran(), "an order to sync is one")
		require.Contains(t, l.service.heard(), "progress a SYNC_LINUX_FILE 100done")
	})
}

func TestDaemonGivesUpWhatIsDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.service.has("a", "b", "c")
		l.bodies["a"], l.bodies["b"], l.bodies["c"] = endless, endless, endless
		for _, task := range []string{"a", "b", "c"} {
			l.service.give(smsapi.CommandStart, task)
		}
		l.begin()
		time.Sleep(time.Minute)
		l.service.give(smsapi.CommandDelete, "a")
		time.Sleep(time.Minute)
		require.Equal(t, []string{"b", "c"}, l.Agent().Queue)
		require.NoFileExists(t, filepath.Join(l.dir, "tasks", "a.json"))
		l.service.set(func(f *fakeService) { delete(f.tasks, "b") }) // nobody says so
		time.Sleep(time.Minute)
		require.Equal(t, []string{"c"}, l.Agent().Queue)
		l.service.set(func(f *fakeService) { f.known = nil }) // the source is deleted
		time.Sleep(10 * time.Minute)
		s := l.Agent()
		require.Empty(t, s.Queue)
		require.True(t, s.Deleted)
		require.NoDirExists(t, filepath.Join(l.dir, "tasks"))
		l.end()
		l.begin()
		time.Sleep(time.Minute)
		require.Equal(t, "source2", l.Agent().Source, "a new start registers it again")
		require.False(t, l.Agent().Deleted)
		l.end()
	})
}

// A command that the service gives without knowing how things stand is out of date.
func TestDaemonDoesNotActOnOldCommands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.service.has("a")
		l.service.give(smsapi.CommandStart, "a")
		l.begin()
		time.Sleep(time.Minute)
		l.service.set(func(f *fakeService) { f.lame = fault.Temporary(errors.New("500")) })
		l.sayState(smsapi.CopyState{State: "waiting", Cycle: "setting"})
		l.service.give(smsapi.CommandStart, "a")
		time.Sleep(time.Hour)
		require.Equal(t, []string{"a"}, l.ran())
		l.service.set(func(f *fakeService) { f.lame = nil })
		time.Sleep(time.Hour)
		require.Equal(t, []string{"a", "a"}, l.ran())
		l.end()
	})
}

func TestDaemonPauseAndControls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.service.has("a")
		l.bodies["a"] = endless
		l.service.give(smsapi.CommandStart, "a")
		l.begin()
		require.ErrorIs(t, l.Stop(), errIdle)
		require.ErrorIs(t, l.Cutover(), errIdle)
		require.ErrorIs(t, l.SetLimit("1MiB"), errIdle)
		require.Zero(t, l.Status())
		time.Sleep(time.Minute)
		require.NoError(t, l.SetLimit("25MiB"))
		_, rate := l.bucket.Limit()
		require.Equal(t, int64(25<<20), rate)
		require.Error(t, l.SetLimit("fast"))
		require.NoError(t, l.Cutover())
		require.Equal(t, migrate, l.Status().Subtask)
		require.NoError(t, l.Pause())
		time.Sleep(time.Minute)
		require.Equal(t, AgentStatus{Source: "source1", Contact: l.Agent().Contact, PID: os.Getpid(), Paused: true, Queue: []string{"a"}}, l.Agent())
		require.Less(t, time.Since(l.Agent().Contact), 20*time.Second)
		l.end()
		l.begin()
		time.Sleep(time.Minute)
		require.Nil(t, l.Agent().Task, "also after a restart")
		require.NoError(t, l.Resume())
		time.Sleep(time.Minute)
		require.Equal(t, report.Running, l.Agent().Task.State)
		require.NoError(t, l.Stop())
		time.Sleep(time.Minute)
		require.Empty(t, l.Agent().Queue)
		require.NoError(t, l.SetLogLevel("debug"))
		require.Equal(t, "FERRY-LOG-LEVEL", fault.CodeOf(l.SetLogLevel("loud")))
		l.service.set(func(f *fakeService) { // UPLOAD_LOG
			f.commands = []smsapi.Command{
				{Name: smsapi.CommandUploadLog, Param: &smsapi.CommandParam{Bucket: smsapi.OwnBucket, Object: "/v3/logs/x"}},
				{Name: smsapi.CommandUploadLog, Param: &smsapi.CommandParam{Bucket: "obs-bucket"}},
			}
		})
		time.Sleep(time.Minute)
		require.Equal(t, []string{"logs /v3/logs/x true", "answer UPLOAD_LOG success", "answer UPLOAD_LOG fail"}, l.service.heard("register", "answer START", "progress", "state"))
		l.end()
	})
}

// The way to a target is measured while nothing runs.
func TestDaemonMeasures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.service.has("a")
		l.bodies["a"] = endless
		for _, name := range []smsapi.CommandName{smsapi.CommandNetworkCheck, smsapi.CommandStart, smsapi.CommandNetworkCheck} {
			l.service.give(name, "a")
		}
		l.service.give(smsapi.CommandNetworkCheck, "/")
		l.begin()
		time.Sleep(time.Minute)
		l.end()
		require.Equal(t, []string{"network a medium", "answer NETWORK_CHECK success", "answer START success", "answer NETWORK_CHECK fail", "answer NETWORK_CHECK fail"},
			l.service.heard("register", "progress", "state"))
	})
}

// Limits are read again while a task runs, a launch is seen, and a rate that is too high pauses the task.
func TestDaemonMindsATask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.service.has("a")
		l.bodies["a"] = endless
		l.service.give(smsapi.CommandStart, "a")
		l.begin()
		time.Sleep(time.Minute)
		l.service.set(func(f *fakeService) {
			f.windows = []smsapi.LimitWindow{{Start: "00:00", End: "00:00", Speed: 8, Threshold: 10}}
		})
		time.Sleep(10 * time.Second)
		_, rate := l.bucket.Limit()
		require.Equal(t, int64(1_000_000), rate)
		l.service.set(func(f *fakeService) { f.windows = []smsapi.LimitWindow{{Start: "25:00", End: "x", Speed: 1}} })
		time.Sleep(10 * time.Second)
		_, rate = l.bucket.Limit()
		require.Equal(t, int64(1_000_000), rate, "nonsense changes nothing")
		l.service.set(func(f *fakeService) {
			f.windows = []smsapi.LimitWindow{{Start: "00:00", End: "00:00", Speed: 8, Threshold: 10}}
		})
		for range 200 {
			l.mu.Lock()
			l.sent += 150_000
			l.mu.Unlock()
			time.Sleep(100 * time.Millisecond)
		}
		l.end()
		heard := l.service.heard("register", "answer", "state")
		require.Contains(t, heard, "action a error_for_overspeed")
		require.Contains(t, heard, "progress a MIGRATE_LINUX_FILE 0stopped")
	})
}

// Before the source is registered an operator error ends the agent; afterwards nothing does.
func TestDaemonErrorsAtTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		refused := fault.Operator("FERRY-CONTROLLER-KEY", "", errors.New("401"))
		l.service.down = fault.Temporary(errors.New("down"))
		l.begin()
		time.Sleep(time.Hour)
		require.Equal(t, "down", l.Agent().Trouble)
		l.service.set(func(f *fakeService) { f.down = refused })
		require.Equal(t, "FERRY-CONTROLLER-KEY", fault.CodeOf(<-l.stopped))
		l.Close()
		l.service.down = nil
		l.begin()
		time.Sleep(time.Minute)
		l.end()
		l.service.down = refused
		l.begin()
		time.Sleep(time.Hour)
		require.Equal(t, "401", l.Agent().Trouble)
		l.service.set(func(f *fakeService) { f.down = nil })
		time.Sleep(time.Hour)
		require.Empty(t, l.Agent().Trouble)
		l.end()
	})
	l := newLab(t)
	l.service.agreed = false
	d, err := NewDaemon(DaemonConfig{Dir: l.dir, Service: l.service, Prepare: l.prepare, Log: quiet, Host: func(context.Context) smsapi.RegisterSource { return smsapi.RegisterSource{} }})
	require.NoError(t, err)
	defer d.Close()
	require.Equal(t, "FERRY-PRIVACY", fault.CodeOf(d.Run(t.Context())))
}

func TestQueueFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.json")
	for _, text := range []string{"", "{", `{"version":0}`, `{"version":1,"orders":[{"task":"../x"}]}`, `{"version":1,"orders":7}`} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		q, err := openQueue(path, quiet)
		require.NoError(t, err)
		require.NoError(t, q.add(order{Task: "a"}))
		require.FileExists(t, path+".damaged")
	}
	require.NoError(t, os.WriteFile(path, []byte(`{"version":2}`), 0o600))
	_, err := openQueue(path, quiet)
	require.Equal(t, "FERRY-STATE-NEWER", fault.CodeOf(err))
}
