package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter/report"
	"github.com/ferry-migrate/ferry/transfer/ratelimit"
)

// AgentControls is what local control can do to an agent, beside Controls.
type AgentControls interface {
	Agent() AgentStatus
	Pause() error
	Resume() error
	SetLogLevel(level string) error // debug, info, warn or error
}

// AgentStatus is what an agent is doing.
type AgentStatus struct {
	Source  string         `json:"source"`            // id at the service; empty until registered
	Deleted bool           `json:"deleted,omitempty"` // the source was deleted at the service
	Trouble string         `json:"trouble,omitempty"` // why the service could not be asked last time
	Contact time.Time      `json:"contact,omitzero"`  // when it last could
	PID     int            `json:"pid"`
	Paused  bool           `json:"paused"`
	Queue   []string       `json:"queue"`          // tasks, the one that runs first
	Task    *report.Report `json:"task,omitempty"` // that runs
}

// patience is how long an agent is healthy although its service does not answer: a service restarts, a network is repaired.
const patience = 2 * time.Minute

// Health returns nil if the agent does its work, and an error that says why not: at a moment of the status, which is now.
func (s *AgentStatus) Health(now time.Time) error {
	switch {
	case s.Deleted:
		return fault.Operator("FERRY-SOURCE-DELETED", "start the agent anew to register this server again", errors.New("this source was deleted at the service"))
	case s.Trouble != "" && now.Sub(s.Contact) > patience:
		return fault.Operator("FERRY-NO-CONTACT", "see what ferry agent status and the log say about the service",
			fmt.Errorf("the service cannot be reached: %s", s.Trouble))
	}
	return nil
}

// Line says what the agent is doing in one line, for a service manager.
func (s *AgentStatus) Line() string {
	switch {
	case s.Task != nil:
		return fmt.Sprintf("task %s: %s %d %%", s.Task.Task, s.Task.Subtask, s.Task.Percent)
	case s.Paused:
		return "paused"
	case s.Trouble != "":
		return "the service cannot be reached: " + strings.ReplaceAll(s.Trouble, "\n", " ")
	case s.Source == "":
		return "not registered yet"
	}
	return "waiting for commands"
}

func agentRoutes(mux *http.ServeMux, c AgentControls) {
	mux.HandleFunc("GET /agent", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(c.Agent()) //nolint:errcheck // the client is gone
	})
	mux.HandleFunc("POST /pause", func(w http.ResponseWriter, _ *http.Request) { controlResult(w, c.Pause()) })
	mux.HandleFunc("POST /resume", func(w http.ResponseWriter, _ *http.Request) { controlResult(w, c.Resume()) })
	mux.HandleFunc("POST /log-level", func(w http.ResponseWriter, r *http.Request) {
		var request struct{ Level string }
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxControlBody)).Decode(&request); err != nil {
			controlError(w, http.StatusBadRequest, fmt.Errorf("the body is not {\"level\":…}: %w", err))
			return
		}
		controlResult(w, c.SetLogLevel(request.Level))
	})
}

// Agent returns what the agent in this state directory is doing.
func (c *ControlClient) Agent(ctx context.Context) (s AgentStatus, err error) {
	err = c.call(ctx, http.MethodGet, "/agent", nil, &s)
	return s, err
}

// Pause stops the task that runs, so that it can be resumed, and keeps others from running, also after a restart.
func (c *ControlClient) Pause(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/pause", nil, nil)
}

// Resume undoes Pause.
func (c *ControlClient) Resume(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/resume", nil, nil)
}

// SetLogLevel changes what the agent writes to its log until it ends.
func (c *ControlClient) SetLogLevel(ctx context.Context, level string) error {
	return c.call(ctx, http.MethodPost, "/log-level", map[string]string{"level": level}, nil)
}

// Agent, Pause, Resume, SetLogLevel, Status, SetLimit, Cutover and Stop are what the control socket offers of a Daemon.

// Agent implements AgentControls.
func (d *Daemon) Agent() AgentStatus {
	file, _ := d.queue.state()
	d.mu.Lock()
	defer d.mu.Unlock()
	s := AgentStatus{Source: d.id, Deleted: d.gone, Trouble: d.trouble, Contact: d.contact, PID: os.Getpid(), Paused: file.Paused, Queue: []string{}}
	for _, o := range file.Orders {
		s.Queue = append(s.Queue, o.Task)
	}
	if d.current != nil {
		r := d.current.runner.Status()
		s.Task = &r
	}
	return s
}

// Pause implements AgentControls. It does not wait for the task to end.
func (d *Daemon) Pause() error {
	if err := d.queue.pause(true); err != nil {
		return err
	}
	d.cancel("", errPaused)
	return nil
}

// Resume implements AgentControls.
func (d *Daemon) Resume() error { return d.queue.pause(false) }

// SetLogLevel implements AgentControls.
func (d *Daemon) SetLogLevel(level string) error {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil || d.cfg.Level == nil {
		return fault.Operator("FERRY-LOG-LEVEL", "give debug, info, warn or error", fmt.Errorf("log level %.20q is not known", level))
	}
	d.cfg.Level.Set(l)
	return nil
}

// Status implements Controls: of the task that runs, else a zero report.
func (d *Daemon) Status() report.Report {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.current == nil {
		return report.Report{}
	}
	return d.current.runner.Status()
}

// SetLimit implements Controls. It holds until the task ends or its limits change at the service.
func (d *Daemon) SetLimit(limit string) error {
	s, err := ratelimit.ParseLimit(limit)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.current == nil || d.current.work == nil || d.current.work.Bucket == nil {
		return errIdle
	}
	d.current.work.Bucket.SetLimit(s)
	return nil
}

// Stop implements Controls: it ends the task that runs, so that somebody can start it again.
func (d *Daemon) Stop() error {
	if d.cancel("", ErrStopped) == nil {
		return errIdle
	}
	return nil
}
