// Package controller is the other side of the SMS API: the control plane that ships with Ferry, alone or inside `ferry migrate`.
//
// It serves POST /v3/tasks, GET /v3/tasks, GET /v3/tasks/{task_id} and PUT /v3/tasks/{task_id}/progress as package smsapi
// describes them. Every request is signed with the admin key, also on loopback, and refused with 401 otherwise, because what
// it orders runs as root. Errors are {"error_code","error_msg","request_id"}.
//
// How states change now: a new task is READY and waits for its source, registered or not; an agent that polls takes it without
// being told to start. Everything after follows from the agent's progress reports, as the service would infer it:
//
//	a report of a subtask                          RUNNING, or SYNCING if the subtask is a sync
//	every subtask is at 100 percent                SYNCING if the task keeps syncing, else MIGRATE_SUCCESS, unless the report
//	                                               carries a trace (smsapi.Trace), which tells the end itself
//	a trace with outcome "done"                    MIGRATE_SUCCESS
//	… "failed"                                     MIGRATE_FAIL, with error_json
//	… "stopped"                                    ABORT, and RUNNING or SYNCING again with the next report
//
// Reports of one task are applied in the order they arrive; a repeated one changes nothing but the time of the last contact.
package controller

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/google/uuid"
)

const (
	maxHeader    = 64 << 10
	readTimeout  = time.Minute
	writeTimeout = time.Minute
	idleTimeout  = 2 * time.Minute
	closeTimeout = 5 * time.Second
)

// Config says where a control plane listens and what it keeps.
type Config struct {
	Listen  string           // host:port; empty means a free port on loopback
	Store   string           // as store.Open takes it
	KeyFile string           // empty means admin-key.json beside an SQLite database; made if it does not exist
	Log     *slog.Logger     // nil discards
	Now     func() time.Time // nil means time.Now
}

// Server is a running control plane.
type Server struct {
	store   *store.DB
	key     smsapi.Key
	keyFile string
	log     *slog.Logger
	now     func() time.Time

	listener net.Listener
	http     *http.Server
	served   chan struct{} // closed when the listener is
}

// Start opens the store, listens and serves in the background until Close. ctx bounds the start only.
func Start(ctx context.Context, c Config) (*Server, error) {
	s := &Server{keyFile: c.KeyFile, log: c.Log, now: c.Now, served: make(chan struct{})}
	if file, ok := strings.CutPrefix(c.Store, "sqlite:"); ok && s.keyFile == "" {
		s.keyFile = filepath.Join(filepath.Dir(file), "admin-key.json")
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	var err error
	if s.store, err = store.Open(ctx, c.Store); err != nil {
		return nil, err
	}
	if s.key, err = loadKey(s.keyFile); err != nil {
		return nil, errors.Join(err, s.store.Close())
	}
	if err := s.listen(ctx, c.Listen); err != nil {
		return nil, errors.Join(err, s.store.Close())
	}
	return s, nil
}

func (s *Server) listen(ctx context.Context, address string) error {
	if address == "" {
		address = "127.0.0.1:0"
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return fault.Operator("FERRY-LISTEN", "choose another address with --listen", err)
	}
	s.listener = listener
	s.http = &http.Server{
		Handler: s.handler(), ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	go func() {
		defer close(s.served)
		if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("the control plane stopped", "error", err)
		}
	}()
	return nil
}

// URL returns the address that clients use, for example http://127.0.0.1:8899.
func (s *Server) URL() string { return "http://" + s.listener.Addr().String() }

// Key returns the admin key.
func (s *Server) Key() smsapi.Key { return s.key }

// KeyFile returns the path of the admin key.
func (s *Server) KeyFile() string { return s.keyFile }

// Close finishes the requests under way, for five seconds at most, and closes the store.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	<-s.served
	return errors.Join(err, s.store.Close())
}

// signed wraps an operation with what all have in common: request id, body limit, signature, encoding of answer and error, log.
func (s *Server) signed(route Route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began, id := s.now(), uuid.NewString()
		w.Header().Set("X-Request-Id", id)
		answer, err := s.answer(w, r, route)
		status := http.StatusOK
		if err != nil {
			e := s.asAPI(err, id)
			answer, status = e, e.Status
		}
		s.log.Debug("request", "id", id, "method", r.Method, "path", r.URL.Path, "status", status,
			"took", s.now().Sub(began), "peer", r.RemoteAddr)
		if answer == nil {
			w.WriteHeader(status)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			s.log.Debug("answer not sent", "id", id, "error", err)
		}
	})
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request, route Route) (any, error) {
	if err := s.key.VerifyHeader(r, s.now()); err != nil {
		return nil, unauthorized(err)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, route.MaxBody))
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return nil, smsapi.NewError(http.StatusRequestEntityTooLarge, smsapi.CodeTooLarge, "the body is larger than %d bytes", route.MaxBody)
		}
		return nil, smsapi.NewError(http.StatusBadRequest, smsapi.CodeInvalid, "the body could not be read")
	}
	if err := s.key.Verify(r, body, s.now()); err != nil {
		return nil, unauthorized(err)
	}
	return route.serve(s, r, body)
}

func unauthorized(err error) error {
	return smsapi.NewError(http.StatusUnauthorized, smsapi.CodeUnauthorized, "%v", err)
}

// asAPI returns err as the API shows it.
func (s *Server) asAPI(err error, requestID string) *smsapi.Error {
	var e *smsapi.Error
	if !errors.As(err, &e) {
		s.log.Error("request failed", "id", requestID, "error", err)
		e = smsapi.NewError(http.StatusInternalServerError, smsapi.CodeInternal, "the control plane failed; its log says why under this request id")
	}
	e.RequestID = requestID
	return e
}
