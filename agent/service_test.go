package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// A fakeService is a service in memory. It repeats a command until it is answered, as the documents say.
type fakeService struct {
	mu       sync.Mutex
	sources  int
	known    []string // ids it takes back
	agreed   bool
	commands []smsapi.Command
	tasks    map[string]smsapi.Task
	windows  []smsapi.LimitWindow
	syncing  bool
	down     error // answers everything
	lame     error // answers Deliver
	told     []string
}

var errAbsent = fault.Permanent(&reporter.APIError{Status: http.StatusNotFound, Code: "SMS.0001", Message: "gone"})

func newService() *fakeService {
	return &fakeService{agreed: true, tasks: map[string]smsapi.Task{}}
}

// give adds a command for a task.
func (f *fakeService) give(name smsapi.CommandName, task string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.commands = append(f.commands, smsapi.Command{Name: name, Param: &smsapi.CommandParam{Task: task}})
}

// has adds tasks.
func (f *fakeService) has(ids ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range ids {
		f.tasks[id] = smsapi.Task{ID: id, Name: id, Type: smsapi.MigrateFile, OSType: smsapi.Linux, SourceServer: &smsapi.SourceServer{}}
	}
}

// set changes the service.
func (f *fakeService) set(change func(*fakeService)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// heard returns what it was told so far, without the prefixes that are left out.
func (f *fakeService) heard(without ...string) (all []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, line := range f.told {
		if !slices.ContainsFunc(without, func(p string) bool { return strings.HasPrefix(line, p) }) {
			all = append(all, line)
		}
	}
	return all
}

func (f *fakeService) note(format string, args ...any) {
	f.told = append(f.told, fmt.Sprintf(format, args...))
}

func (f *fakeService) ServiceConfig(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.down
}

func (f *fakeService) PrivacyAgreed(context.Context) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.agreed, f.down
}

func (f *fakeService) AgreePrivacy(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.agreed = true
	f.note("privacy")
	return f.down
}

func (f *fakeService) RegisterSource(_ context.Context, s smsapi.RegisterSource) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down != nil {
		return "", f.down
	}
	if s.ID != "" && !slices.Contains(f.known, s.ID) {
		return "", errAbsent
	}
	if s.ID == "" {
		f.sources++
		s.ID = fmt.Sprintf("source%d", f.sources)
		f.known = append(f.known, s.ID)
	}
	f.note("register %s", s.ID)
	return s.ID, nil
}

func (f *fakeService) KnowsSource(_ context.Context, source string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down == nil && !slices.Contains(f.known, source) {
		return errAbsent
	}
	return f.down
}

func (f *fakeService) Command(_ context.Context, source string) (smsapi.Command, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.down != nil:
		return smsapi.Command{}, f.down
	case !slices.Contains(f.known, source):
		return smsapi.Command{}, errAbsent
	case len(f.commands) == 0:
		return smsapi.Command{}, nil
	}
	return f.commands[0], nil
}

func (f *fakeService) UpdateDisks(context.Context, string, smsapi.UpdateDiskInfo) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note("disks")
	return f.down
}

func (f *fakeService) UpdateNetworkCheck(_ context.Context, task string, c smsapi.NetworkCheck) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note("network %s %s", task, c.EvaluationResult)
	return f.down
}

func (f *fakeService) TaskAction(_ context.Context, task string, o smsapi.Operation) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note("action %s %s", task, o)
	return f.down
}

func (f *fakeService) PutLogs(_ context.Context, path string, archive []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note("logs %s %v", path, len(archive) > 0)
	return f.down
}

func (f *fakeService) Task(_ context.Context, id string) (smsapi.Task, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t, ok := f.tasks[id]
	if f.down == nil && !ok {
		return t, errAbsent
	}
	return t, f.down
}

func (f *fakeService) ListTasks(_ context.Context, q smsapi.TaskQuery) (smsapi.TaskList, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return smsapi.TaskList{Tasks: []smsapi.ListedTask{{ID: q.ID, Syncing: f.syncing}}}, f.down
}

func (f *fakeService) TaskSettings(context.Context, string) ([]smsapi.Config, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return nil, f.down
}

func (f *fakeService) SpeedLimits(context.Context, string) ([]smsapi.LimitWindow, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.windows, f.down
}

func (f *fakeService) Deliver(_ context.Context, m reporter.Message) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := errors.Join(f.down, f.lame); err != nil {
		return err
	}
	switch {
	case m.Progress != nil:
		if _, ok := f.tasks[m.Task]; !ok {
			return errAbsent
		}
		trace, _ := smsapi.ParseTrace(m.Progress.ProcessTrace)
		f.note("progress %s %s %d%s", m.Task, m.Progress.Subtask, m.Progress.Percent, trace.Outcome)
	case m.State != nil:
		f.note("state %s/%s", m.State.Cycle, m.State.State)
	case m.Result != nil:
		f.note("answer %s %s", m.Result.Name, m.Result.Result)
		if len(f.commands) > 0 && f.commands[0].Name == m.Result.Name {
			f.commands = f.commands[1:]
		}
	}
	return nil
}
