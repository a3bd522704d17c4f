package reporter

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/stretchr/testify/require"
)

var testKey = smsapi.Key{AccessKey: "AK", SecretKey: "SK", DomainID: "domain"}

// service serves one handler and returns a client for it.
func service(t *testing.T, handle http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(handle)
	t.Cleanup(server.Close)
	client, err := NewClient(server.URL+"/", testKey)
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return client
}

func TestClientSignsWhatItSends(t *testing.T) {
	client := service(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || testKey.Verify(r, body, time.Now()) != nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		switch r.Method + " " + r.URL.RequestURI() {
		case "POST /v3/tasks":
			io.WriteString(w, `{"id":"new"}`)
		case "GET /v3/tasks?limit=5&name=a+b&state=RUNNING":
			io.WriteString(w, `{"count":7,"tasks":[{"id":"x","state":"CUTOVER_READY","future":{}}]}`)
		case "GET /v3/tasks/a%2Fb":
			io.WriteString(w, `{"id":"a/b"}`)
		case "PUT /v3/tasks/new/progress":
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	})
	ctx := t.Context()
	id, err := client.CreateTask(ctx, smsapi.CreateTaskRequest{})
	require.NoError(t, err)
	require.Equal(t, "new", id)
	list, err := client.ListTasks(ctx, smsapi.TaskQuery{Name: "a b", State: smsapi.StateRunning, Limit: 5})
	require.NoError(t, err)
	require.Equal(t, 7, list.Count)
	require.Equal(t, smsapi.TaskState("CUTOVER_READY"), list.Tasks[0].State, "unknown states are kept")
	task, err := client.Task(ctx, "a/b")
	require.NoError(t, err)
	require.Equal(t, "a/b", task.ID)
	require.NoError(t, client.PutProgress(ctx, "new", smsapi.Progress{}))
}

func TestClientTakesAnySuccessBody(t *testing.T) {
	for _, body := range []string{"", "OK", `"ok"`, "{}", `{"id":"x"}`, "\xff"} {
		client := service(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, body) })
		require.NoError(t, client.PutProgress(t.Context(), "x", smsapi.Progress{}), "%q", body)
	}
}

func TestClientClassesErrors(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
		header string
		class  fault.Class
		code   string // of the operator
		want   APIError
	}{
		{400, `{"error_code":"SMS.6004","error_msg":"bad subtask","request_id":"r1"}`, "", fault.ClassPermanent, "",
			APIError{Code: "SMS.6004", Message: "bad subtask", RequestID: "r1"}},
		{404, `{"code":"X.1","message":"gone"}`, "", fault.ClassPermanent, "", APIError{Code: "X.1", Message: "gone", RequestID: "header"}},
		{302, ``, "", fault.ClassPermanent, "", APIError{RequestID: "header"}},
		{408, ``, "", fault.ClassTemporary, "", APIError{RequestID: "header"}},
		{429, `<html>slow down`, "7", fault.ClassTemporary, "",
			APIError{Message: "<html>slow down", RequestID: "header", RetryAfter: 7 * time.Second}},
		{503, `null`, "99999999", fault.ClassTemporary, "", APIError{Message: "null", RequestID: "header", RetryAfter: time.Hour}},
		{500, `{"error_msg":1}`, "-5", fault.ClassTemporary, "", APIError{Message: `{"error_msg":1}`, RequestID: "header"}},
		{401, `{"error_code":"APIGW.0301","error_msg":"no"}`, "", fault.ClassOperator, "FERRY-CONTROLLER-KEY",
			APIError{Code: "APIGW.0301", Message: "no", RequestID: "header"}},
		{403, ``, "", fault.ClassOperator, "FERRY-CONTROLLER-KEY", APIError{RequestID: "header"}},
	} {
		client := service(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Request-Id", "header")
			w.Header().Set("Location", "http://192.0.2.1/")
			if c.header != "" {
				w.Header().Set("Retry-After", c.header)
			}
			w.WriteHeader(c.status)
			io.WriteString(w, c.body)
		})
		err := client.PutProgress(t.Context(), "x", smsapi.Progress{})
		require.Equal(t, c.class, fault.ClassOf(err), c.status)
		require.Equal(t, c.code, fault.CodeOf(err))
		var refused *APIError
		require.ErrorAs(t, err, &refused)
		c.want.Status = c.status
		require.Equal(t, c.want, *refused)
	}
}

func TestClientBlamesTheClock(t *testing.T) {
	client := service(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(-20*time.Minute).UTC().Format(http.TimeFormat))
		w.WriteHeader(http.StatusUnauthorized)
	})
	err := client.PutProgress(t.Context(), "x", smsapi.Progress{})
	require.Equal(t, "FERRY-CLOCK", fault.CodeOf(err))
	require.Contains(t, fault.RemedyOf(err), "clock")
}

func TestClientBoundsAnswers(t *testing.T) {
	client := service(t, func(w http.ResponseWriter, _ *http.Request) {
		block := []byte(strings.Repeat("x", 1<<20))
		for range 40 {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})
	require.ErrorContains(t, client.PutProgress(t.Context(), "x", smsapi.Progress{}), "larger than")
}

func TestClientOnABrokenNetwork(t *testing.T) {
	client := service(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			conn.Close()
		}
	})
	require.Equal(t, fault.ClassTemporary, fault.ClassOf(client.PutProgress(t.Context(), "x", smsapi.Progress{})))

	server := httptest.NewServer(nil)
	server.Close()
	client, err := NewClient(server.URL, testKey)
	require.NoError(t, err)
	require.Equal(t, fault.ClassTemporary, fault.ClassOf(client.PutProgress(t.Context(), "x", smsapi.Progress{})))
}

func TestClientStopsWithItsContext(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	client := service(t, func(http.ResponseWriter, *http.Request) {
		close(entered)
		<-release
	})
	defer close(release)
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		<-entered
		cancel(errors.New("a signal"))
	}()
	err := client.PutProgress(ctx, "x", smsapi.Progress{})
	require.ErrorIs(t, err, context.Canceled)
	require.True(t, fault.Cancelled(err))
	require.Equal(t, fault.ClassPermanent, fault.ClassOf(err))
}

func TestNewClientRefusesNonsense(t *testing.T) {
	for _, url := range []string{"", "localhost:8899", "ftp://x", "http://", "http://[", "://"} {
		_, err := NewClient(url, testKey)
		require.Equal(t, "FERRY-CONTROLLER-URL", fault.CodeOf(err), url)
	}
	_, err := NewClient("http://x", smsapi.Key{AccessKey: "AK"})
	require.Equal(t, "FERRY-CONTROLLER-KEY", fault.CodeOf(err))
}

func TestPermanentAnswers(t *testing.T) {
	client := service(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			io.WriteString(w, "{}")
			return
		}
		io.WriteString(w, "{}}")
	})
	_, err := client.CreateTask(t.Context(), smsapi.CreateTaskRequest{})
	require.ErrorContains(t, err, "no id")
	_, err = client.Task(t.Context(), "x")
	require.ErrorContains(t, err, "not what the API documents")
}

func FuzzRefusal(f *testing.F) {
	f.Add([]byte(`{"error_code":"SMS.0205","error_msg":"x"}`), "7")
	f.Add([]byte(`{"code":"X"}`), "Sat, 21 Nov 2026 08:00:00 GMT")
	f.Fuzz(func(t *testing.T, body []byte, after string) {
		require.True(t, utf8.ValidString(parseRefusal(body).Error()))
		wait := retryAfter(after, start)
		require.True(t, wait >= 0 && wait <= time.Hour, "%v", wait)
	})
}
