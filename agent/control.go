package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter/report"
)

// Local control: HTTP with JSON over a Unix socket in the state directory (elsewhere a port of the loopback: control_other.go), for the
// owner only.
//
//	GET  /status      a report.Report
//	POST /limit       {"limit":"25MiB"}
//	POST /cutover     the last sync pass, then the end
//	POST /stop        end the task so that it can be resumed
//	GET  /agent       an AgentStatus                     (these four: an agent only)
//	POST /pause       stop what runs, and run nothing more
//	POST /resume
//	POST /log-level   {"level":"debug"}
//	GET  /goroutines  every stack, as text
//	GET  /debug/pprof/…
//
// The command line is not served: a pairing code may be in it.

const (
	controlTimeout = 10 * time.Second
	maxControlBody = 4 << 10
	maxAnswerBody  = 1 << 20
)

// Controls is what local control can do to a running task.
type Controls interface {
	Status() report.Report
	SetLimit(limit string) error // as on the command line: 200Mbit, 25MiB, 0
	Cutover() error
	Stop() error
}

// ControlServer serves local control until Close.
type ControlServer struct {
	path   string
	http   *http.Server
	served chan struct{}
}

// ControlPath returns the path of the socket in a state directory.
func ControlPath(dir string) string { return filepath.Join(dir, "control.sock") }

// ServeControl serves c on the socket of the state directory dir, mode 0600. A socket that a dead process left is replaced.
func ServeControl(dir string, c Controls, log *slog.Logger) (*ControlServer, error) {
	path := ControlPath(dir)
	listener, err := listenControl(path)
	if err != nil {
		return nil, fmt.Errorf("local control: %w", err)
	}
	s := &ControlServer{
		path: path, served: make(chan struct{}),
		http: &http.Server{
			Handler: controlRoutes(c), ReadTimeout: controlTimeout, MaxHeaderBytes: 16 << 10,
			ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		},
	}
	go func() {
		defer close(s.served)
		if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("local control stopped", "error", err)
		}
	}()
	return s, nil
}

// Close stops serving, at once, and removes the socket.
func (s *ControlServer) Close() error {
	err := s.http.Close()
	<-s.served
	return errors.Join(err, removeControl(s.path))
}

func controlRoutes(c Controls) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(c.Status()) //nolint:errcheck // the client is gone
	})
	mux.HandleFunc("POST /limit", func(w http.ResponseWriter, r *http.Request) {
		var request struct{ Limit string }
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxControlBody)).Decode(&request); err != nil {
			controlError(w, http.StatusBadRequest, fmt.Errorf("the body is not {\"limit\":…}: %w", err))
			return
		}
		controlResult(w, c.SetLimit(request.Limit))
	})
	mux.HandleFunc("POST /cutover", func(w http.ResponseWriter, _ *http.Request) { controlResult(w, c.Cutover()) })
	mux.HandleFunc("POST /stop", func(w http.ResponseWriter, _ *http.Request) { controlResult(w, c.Stop()) })
	if d, ok := c.(AgentControls); ok {
		agentRoutes(mux, d)
	}
	mux.HandleFunc("GET /goroutines", func(w http.ResponseWriter, _ *http.Request) {
		stacks := make([]byte, maxAnswerBody)
		w.Write(stacks[:runtime.Stack(stacks, true)]) //nolint:errcheck // the client is gone
	})
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/cmdline", http.NotFound)
	return mux
}

// controlFailure is the body of an answer that is not a success.
type controlFailure struct {
	Error  string `json:"error"`
	Code   string `json:"code,omitempty"`
	Remedy string `json:"remedy,omitempty"`
}

func controlResult(w http.ResponseWriter, err error) {
	if err != nil {
		controlError(w, http.StatusConflict, err)
	}
}

func controlError(w http.ResponseWriter, status int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	//nolint:errcheck // the client is gone
	json.NewEncoder(w).Encode(controlFailure{Error: err.Error(), Code: fault.CodeOf(err), Remedy: fault.RemedyOf(err)})
}

// ControlClient talks to the process that runs a task with some state directory.
type ControlClient struct {
	http *http.Client
}

// DialControl returns a client for the socket of the state directory dir. It connects with the first call.
func DialControl(dir string) *ControlClient {
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialControl(ctx, ControlPath(dir))
		},
	}
	return &ControlClient{http: &http.Client{Transport: transport, Timeout: controlTimeout}}
}

// Status returns what the task is doing.
func (c *ControlClient) Status(ctx context.Context) (r report.Report, err error) {
	err = c.call(ctx, http.MethodGet, "/status", nil, &r)
	return r, err
}

// SetLimit changes the limit of the running task: 200Mbit, 25MiB, 0 for none.
func (c *ControlClient) SetLimit(ctx context.Context, limit string) error {
	return c.call(ctx, http.MethodPost, "/limit", map[string]string{"limit": limit}, nil)
}

// Cutover asks for the last sync pass and the end of the task. It does not wait for them.
func (c *ControlClient) Cutover(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/cutover", nil, nil)
}

// Stop asks the task to end so that it can be resumed. It does not wait for that.
func (c *ControlClient) Stop(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/stop", nil, nil)
}

// maxRead is how much Read takes of an answer, in bytes.
const maxRead = 32 << 20

// Read returns what the control of a running task or agent answers to GET: /goroutines, /debug/pprof/…. A profile takes as long as it says:
// give ctx a deadline.
func (c *ControlClient) Read(ctx context.Context, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://control"+path, nil)
	if err != nil {
		return nil, err
	}
	slow := *c.http
	slow.Timeout = 0
	response, err := slow.Do(request)
	if err != nil {
		return nil, notRunning(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("local control answered %s", response.Status)
	}
	return io.ReadAll(io.LimitReader(response.Body, maxRead))
}

func notRunning(err error) error {
	return fault.Operator("FERRY-NOT-RUNNING", "start it, or name its state directory with --state",
		fmt.Errorf("no migration or agent runs with this state directory: %w", err))
}

func (c *ControlClient) call(ctx context.Context, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://control"+path, strings.NewReader(string(body)))
	if err != nil {
		return err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return notRunning(err)
	}
	defer response.Body.Close()
	answer := json.NewDecoder(io.LimitReader(response.Body, maxAnswerBody))
	if response.StatusCode == http.StatusOK {
		if out == nil {
			return nil
		}
		return answer.Decode(out)
	}
	var failure controlFailure
	if answer.Decode(&failure) != nil || failure.Error == "" {
		return fmt.Errorf("local control answered %s", response.Status)
	}
	if failure.Code == "" {
		return errors.New(failure.Error)
	}
	return fault.Operator(failure.Code, failure.Remedy, errors.New(failure.Error))
}
