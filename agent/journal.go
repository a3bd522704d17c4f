package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/ferry-migrate/ferry/internal/crashpoint"
	"github.com/ferry-migrate/ferry/internal/durable"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// journalVersion is the version of journal files.
const journalVersion = 1

// A journal is the durable memory of one task: its state and which of its subtasks are done. It is written whole, and only after
// what it claims is true.
type journal struct {
	path string
	data journalFile
}

// journalFile is the content of a journal.
type journalFile struct {
	Version int         `json:"version"`
	State   State       `json:"state"`
	Done    []string    `json:"done"` // names of subtasks
	Spec    smsapi.Task `json:"spec"` // what the controller last showed

	Again      bool                 `json:"again,omitempty"` // this is a run after one that was finished
	Continuous bool                 `json:"continuous,omitempty"`
	Settings   []smsapi.Config      `json:"settings,omitempty"`
	Windows    []smsapi.LimitWindow `json:"windows,omitempty"`
}

// isTaskID reports whether id can be a file name: letters, digits, '-' and '_', at most 200 of them.
func isTaskID(id string) bool {
	for _, c := range []byte(id) {
		if c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return len(id) > 0 && len(id) <= 200
}

// openJournal reads the journal of a task below dir, or begins one. A damaged one is set aside as .damaged: subtasks are safe to run again.
func openJournal(dir, id string, log *slog.Logger) (*journal, error) {
	if !isTaskID(id) {
		return nil, fmt.Errorf("the controller sent a task id that is not one: %q", id)
	}
	dir = filepath.Join(dir, "tasks")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	j := &journal{path: filepath.Join(dir, id+".json"), data: journalFile{Version: journalVersion, State: Ready}}
	text, err := os.ReadFile(j.path)
	if errors.Is(err, fs.ErrNotExist) {
		return j, nil
	}
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	var found journalFile
	err = json.Unmarshal(text, &found)
	switch {
	case err == nil && found.Version > journalVersion:
		return nil, fault.Operator("FERRY-STATE-NEWER", "use the version of ferry that wrote it, or another --state directory",
			fmt.Errorf("journal %s has version %d, this ferry knows %d", j.path, found.Version, journalVersion))
	case err == nil && found.Version == journalVersion && transitions[found.State] != nil:
		j.data = found
		return j, nil
	}
	log.Warn("the journal is damaged; its task begins again", "file", j.path, "aside", j.path+".damaged")
	if err := durable.Rename(j.path, j.path+".damaged"); err != nil {
		return nil, fmt.Errorf("set damaged journal aside: %w", err)
	}
	return j, nil
}

// known reports whether the journal holds what the controller once showed.
func (j *journal) known() bool { return j.data.Spec.ID != "" }

// done reports whether the subtask called name is done.
func (j *journal) done(name string) bool { return slices.Contains(j.data.Done, name) }

// update changes the journal and returns once that is on disk. On an error the file keeps its old content.
func (j *journal) update(change func(*journalFile)) error {
	next := j.data
	next.Done = slices.Clone(next.Done)
	change(&next)
	text, err := json.Marshal(next)
	if err != nil {
		return fmt.Errorf("encode journal: %w", err)
	}
	if err := durable.WriteFile(j.path, text, 0o600); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	crashpoint.Hit("agent.journal")
	j.data = next
	return nil
}

// journalled returns the id of a task below dir with the name and the source of spec, or "".
func journalled(dir string, spec smsapi.CreateTaskRequest) string {
	dir = filepath.Join(dir, "tasks")
	files, err := os.ReadDir(dir)
	if err != nil {
		return ""
	}
	for _, file := range files {
		var found journalFile
		text, err := os.ReadFile(filepath.Join(dir, file.Name()))
		if err != nil || filepath.Ext(file.Name()) != ".json" || json.Unmarshal(text, &found) != nil {
			continue
		}
		source := found.Spec.SourceServer
		if found.Spec.Name == spec.Name && source != nil && source.ID == spec.SourceServer.ID {
			return found.Spec.ID
		}
	}
	return ""
}

// journalState returns the state that the journal of a task tells, "" if there is none that can be read.
func journalState(dir, task string) State {
	var found journalFile
	text, err := os.ReadFile(filepath.Join(dir, "tasks", task+".json"))
	if err != nil || json.Unmarshal(text, &found) != nil {
		return ""
	}
	return found.State
}

// forgetJournal removes the journal of a task.
func forgetJournal(dir, task string) error {
	if err := os.Remove(filepath.Join(dir, "tasks", task+".json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget the task: %w", err)
	}
	return nil
}

// forgetJournals removes all journals below dir.
func forgetJournals(dir string) error {
	if err := os.RemoveAll(filepath.Join(dir, "tasks")); err != nil {
		return fmt.Errorf("forget all tasks: %w", err)
	}
	return nil
}
