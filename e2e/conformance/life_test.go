package conformance

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// every operation that a task can be asked for, as the documents of all years list them.
var everything = []string{
	"start", "stop", "test", "cutover", "clone_test", "restart", "network_check", "skip", "clear", "migration_test", "sync_failed_rollback",
}

// A moment is a state of a task, how it gets there from the one before, and what may be asked of it then; all else is refused.
type moment struct {
	state string
	by    func(t *testing.T, s *session)
	legal []string
}

var life = []moment{
	{"READY", func(*testing.T, *session) {}, []string{"start", "network_check", "migration_test"}},
	{"RUNNING", asked("start", "START"), []string{"stop"}},
	{"ABORTING", action("stop"), nil},
	{"ABORT", answered("STOP"), []string{"start", "network_check"}},
	{"RUNNING", asked("start", "START"), []string{"stop"}},
	{"SYNCING", reported("SSL_CONFIG", "MIGRATE_LINUX_FILE"), []string{"stop", "test", "cutover", "clone_test"}},
}

// A task goes through its life by legal steps only. What is refused changes nothing.
func TestLife(t *testing.T) {
	p := start(t)
	s := newSession(p, p.signing(t, p.key), 9)
	for _, name := range []string{"RegisterServer", "CreateTask"} {
		s.do(t, operations[slices.IndexFunc(operations, named(name))])
	}
	for _, m := range life {
		m.by(t, s)
		s.in(t, m.state)
		for _, operation := range everything {
			if slices.Contains(m.legal, operation) {
				continue
			}
			_, err := s.call("UpdateTaskStatus", s.fill(fmt.Sprintf(`{"task_id":"{task}","body":{"operation":%q}}`, operation)))
			require.Error(t, err, "%s while %s", operation, m.state)
			e := refusal(t, err)
			require.Equal(t, http.StatusBadRequest, e.StatusCode, "%s while %s", operation, m.state)
			require.NotEqual(t, "FERRY.0400", e.ErrorCode, "the operation is known: %s", operation)
		}
		s.in(t, m.state)
	}
}

func (s *session) in(t *testing.T, state string) {
	t.Helper()
	s.do(t, operation{name: "ShowTask", request: `{"task_id":"{task}"}`, shows: []string{`"state":"` + state + `"`}})
}

// action asks a task for an operation.
func action(name string) func(*testing.T, *session) {
	return func(t *testing.T, s *session) {
		s.do(t, operation{name: "UpdateTaskStatus", request: fmt.Sprintf(`{"task_id":"{task}","body":{"operation":%q}}`, name)})
	}
}

// answered has the agent poll a command, twice, because it is repeated until it is answered, and answer it.
func answered(command string) func(*testing.T, *session) {
	return func(t *testing.T, s *session) {
		for range 2 {
			s.do(t, operation{name: "ShowCommand", request: `{"server_id":"{source}"}`, shows: []string{fmt.Sprintf(`"command_name":%q`, command), `"task_id":"{task}"`}})
		}
		s.do(t, operation{name: "UpdateCommandResult",
			request: fmt.Sprintf(`{"server_id":"{source}","body":{"command_name":%q,"result":"success","result_detail":{}}}`, command)})
	}
}

// asked asks for an operation and has the agent answer the command that follows.
func asked(name, command string) func(*testing.T, *session) {
	return func(t *testing.T, s *session) {
		action(name)(t, s)
		answered(command)(t, s)
	}
}

// reported has the agent report subtasks as done.
func reported(subtasks ...string) func(*testing.T, *session) {
	return func(t *testing.T, s *session) {
		for _, name := range subtasks {
			s.do(t, operation{name: "UpdateTaskSpeed", request: fmt.Sprintf(
				`{"task_id":"{task}","body":{"subtask_name":%q,"progress":100,"replicatesize":1,"totalsize":1,"process_trace":""}}`, name)})
		}
	}
}
