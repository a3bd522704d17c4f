package controller

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/ferry-migrate/ferry/controller/iam"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/google/uuid"
)

// A reply is an answer that is more than status 200 and a JSON body.
type reply struct {
	status int         // 0 means the one of the route
	header http.Header // may say another Content-Type than JSON
	body   any         // []byte as it is, anything else as JSON
}

// operation wraps a route with what all have in common: request id, the checks of answer, recovery, encoding, metrics, log.
func (s *Server) operation(route Route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began, id := time.Now(), uuid.NewString()
		w.Header().Set("X-Request-Id", id)
		caller, answer, err := s.answerSafely(w, r, route)
		if err != nil {
			answer = s.refusal(err, id, route)
		}
		status := write(w, answer, route.Status)
		took := time.Since(began)
		s.metrics.answered(route.Name, status, took)
		s.log.Log(r.Context(), s.level(status, r), "request", "id", id, "operation", route.Name, "path", r.URL.Path, "status", status,
			"took", took, "user", caller.Name, "peer", r.RemoteAddr)
	})
}

// level returns how loud a request is logged: refusals are news, up to a number of them.
func (s *Server) level(status int, r *http.Request) slog.Level {
	news := status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusTooManyRequests
	if news && s.news.take(site(r.RemoteAddr), s.now()) == 0 {
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

// answerSafely turns a panic of an operation into an error: the others go on.
func (s *Server) answerSafely(w http.ResponseWriter, r *http.Request, route Route) (caller iam.Caller, answer any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return s.answer(w, r, route)
}

// answer checks who calls, how often, the size of the body, the signature over it and whether the caller may call that, in this
// order: strangers are refused before anything of theirs is read. Then the operation runs.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, route Route) (caller iam.Caller, answer any, err error) {
	if route.Who == Anyone {
		body, err := readBody(w, r, route.MaxBody)
		if err != nil {
			return caller, nil, err
		}
		answer, err = route.serve(s, r, body)
		return caller, answer, err
	}
	claimed, err := s.identities.Claim(r)
	if err != nil {
		return caller, nil, err
	}
	if wait := s.calls.take(claimed.Caller().ID+" "+site(r.RemoteAddr), s.now()); wait > 0 {
		return caller, nil, &throttle{wait: wait}
	}
	body, err := readBody(w, r, route.MaxBody)
	if err != nil {
		return caller, nil, err
	}
	if caller, err = s.identities.Check(claimed, r, body); err != nil {
		return caller, nil, err
	}
	if err := s.allow(caller, route, r); err != nil {
		return caller, nil, err
	}
	answer, err = route.serve(s, r.WithContext(withCaller(r.Context(), caller)), body)
	return caller, answer, err
}

func readBody(w http.ResponseWriter, r *http.Request, most int64) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, smsapi.NewError(http.StatusRequestEntityTooLarge, smsapi.CodeTooLarge, "the body is larger than %d bytes", most)
	case err != nil:
		return nil, smsapi.NewError(http.StatusBadRequest, smsapi.CodeInvalid, "the body could not be read")
	}
	return body, nil
}

// A throttle is why a request is refused that came too soon.
type throttle struct{ wait time.Duration }

func (t *throttle) Error() string { return "too many requests" }

// refusal returns err as the API of a route shows it.
func (s *Server) refusal(err error, id string, route Route) reply {
	var e *smsapi.Error
	var slow *throttle
	header := http.Header{}
	switch {
	case errors.As(err, &slow):
		seconds := max(int(math.Ceil(slow.wait.Seconds())), 1)
		header.Set("Retry-After", strconv.Itoa(seconds))
		e = smsapi.NewError(http.StatusTooManyRequests, smsapi.CodeThrottled, "too many requests: try again in %d s", seconds)
		s.metrics.refused.WithLabelValues("throttled").Inc()
	case iam.Refused(err):
		e = smsapi.NewError(http.StatusUnauthorized, smsapi.CodeUnauthorized, "%v", err)
	case errors.As(err, &e):
		copied := *e
		e = &copied
	case fault.ClassOf(err) == fault.ClassTemporary:
		s.log.Error("request failed", "id", id, "error", err)
		header.Set("Retry-After", "5")
		e = smsapi.NewError(http.StatusServiceUnavailable, smsapi.CodeInternal, "the control plane is not ready; try again")
	default:
		s.log.Error("request failed", "id", id, "error", err)
		e = smsapi.NewError(http.StatusInternalServerError, smsapi.CodeInternal, "the control plane failed; its log says why under this request id")
	}
	switch e.Status {
	case http.StatusUnauthorized:
		s.metrics.refused.WithLabelValues("unauthenticated").Inc()
	case http.StatusForbidden:
		s.metrics.refused.WithLabelValues("forbidden").Inc()
	}
	e.RequestID = id
	return reply{status: e.Status, header: header, body: route.failure(*e)}
}

// write sends an answer and returns its status: success unless the answer says otherwise. A nil answer is an empty body.
func write(w http.ResponseWriter, answer any, success int) int {
	r, ok := answer.(reply)
	if !ok {
		r = reply{body: answer}
	}
	r.status = cmp.Or(r.status, success, http.StatusOK)
	text, raw := r.body.([]byte)
	if r.body != nil && !raw {
		var buffer bytes.Buffer
		if err := json.NewEncoder(&buffer).Encode(r.body); err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return http.StatusInternalServerError
		}
		text = buffer.Bytes()
		w.Header().Set("Content-Type", "application/json")
	}
	for name, values := range r.header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(r.status)
	w.Write(text) //nolint:errcheck // a client that is gone cannot be told
	return r.status
}
