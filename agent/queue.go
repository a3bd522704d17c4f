package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"sync"

	"github.com/ferry-migrate/ferry/internal/durable"
	"github.com/ferry-migrate/ferry/internal/fault"
)

// queueVersion is the version of the queue file.
const queueVersion = 1

// An order is a task that somebody wants to run.
type order struct {
	Task  string `json:"task"`
	Again bool   `json:"again,omitempty"` // bring a finished task in step once more
	Begun bool   `json:"begun,omitempty"` // its journal tells of this order
}

// A queue holds the orders of an agent, the one that runs first. It survives restarts: each change is on disk before it holds. It
// is for concurrent use.
type queue struct {
	path string
	log  *slog.Logger

	mu   sync.Mutex
	file queueFile
	wake chan struct{} // closed at each change
}

// queueFile is the content of the file.
type queueFile struct {
	Version int     `json:"version"`
	Paused  bool    `json:"paused,omitempty"` // nothing runs until somebody on this machine resumes it
	Orders  []order `json:"orders"`
}

// openQueue reads the queue at path. A damaged file is set aside: the controller repeats what it wants.
func openQueue(path string, log *slog.Logger) (*queue, error) {
	q := &queue{path: path, log: log, file: queueFile{Version: queueVersion}, wake: make(chan struct{})}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return q, nil
	}
	if err != nil {
		return nil, fmt.Errorf("queue: %w", err)
	}
	var found queueFile
	err = json.Unmarshal(text, &found)
	damaged := slices.ContainsFunc(found.Orders, func(o order) bool { return !isTaskID(o.Task) })
	switch {
	case err == nil && found.Version > queueVersion:
		return nil, fault.Operator("FERRY-STATE-NEWER", "use the version of ferry that wrote it, or another state directory",
			fmt.Errorf("queue %s has version %d, this ferry knows %d", path, found.Version, queueVersion))
	case err == nil && found.Version == queueVersion && !damaged:
		q.file = found
		return q, nil
	}
	log.Warn("the queue is damaged; the controller has to start its tasks again", "file", path, "aside", path+".damaged")
	if err := durable.Rename(path, path+".damaged"); err != nil {
		return nil, fmt.Errorf("set damaged queue aside: %w", err)
	}
	return q, nil
}

// change applies f and writes the result down. On an error nothing changed.
func (q *queue) change(f func(*queueFile)) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	next := q.file
	next.Orders = slices.Clone(next.Orders)
	f(&next)
	text, err := json.Marshal(next)
	if err != nil {
		return fmt.Errorf("encode queue: %w", err)
	}
	if err := durable.WriteFile(q.path, text, 0o600); err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	q.file = next
	close(q.wake)
	q.wake = make(chan struct{})
	return nil
}

// add puts an order at the end, unless its task is there already.
func (q *queue) add(o order) error {
	if q.holds(o.Task) {
		return nil
	}
	return q.change(func(f *queueFile) { f.Orders = append(f.Orders, o) })
}

// remove takes the order of a task out.
func (q *queue) remove(task string) error {
	if !q.holds(task) {
		return nil
	}
	return q.change(func(f *queueFile) {
		f.Orders = slices.DeleteFunc(f.Orders, func(o order) bool { return o.Task == task })
	})
}

// begin notes that the first order is being worked on.
func (q *queue) begin(task string) error {
	return q.change(func(f *queueFile) {
		for i := range f.Orders {
			if f.Orders[i].Task == task {
				f.Orders[i].Begun = true
			}
		}
	})
}

// pause stops or lets run whatever is in the queue.
func (q *queue) pause(paused bool) error {
	return q.change(func(f *queueFile) { f.Paused = paused })
}

func (q *queue) holds(task string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.ContainsFunc(q.file.Orders, func(o order) bool { return o.Task == task })
}

// state returns a copy of what is in the queue, and a channel that is closed at the next change.
func (q *queue) state() (queueFile, <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	f := q.file
	f.Orders = slices.Clone(f.Orders)
	return f, q.wake
}
