package reporter

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

const (
	requestTimeout = 30 * time.Second
	maxAnswer      = 32 << 20 // a page of 200 tasks with all their subtasks is far below
)

// Client calls the SMS API with signed requests over one kept-alive HTTP client. It is for concurrent use.
//
// Errors carry a class: what the network or a busy service causes is temporary, a refused key or a wrong clock is for the
// operator, any other refusal is permanent. A refusal wraps an [*APIError].
type Client struct {
	base *url.URL
	key  smsapi.Key
	http *http.Client
	now  func() time.Time
}

// APIError is an answer of the service that is not a success.
type APIError struct {
	Status     int    // HTTP
	Code       string // error_code, if the body had one
	Message    string // error_msg, else the start of the body
	RequestID  string
	RetryAfter time.Duration // what the service asks for; 0 if it does not
}

// Error returns message, code and status.
func (e *APIError) Error() string {
	return strings.TrimSpace(fmt.Sprintf("%s (%s, HTTP %d)", e.Message, e.Code, e.Status))
}

// NewClient returns a client for the service at base, an http or https URL. Requests are signed with key.
func NewClient(base string, key smsapi.Key) (*Client, error) {
	u, err := url.Parse(strings.TrimSuffix(base, "/"))
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fault.Operator("FERRY-CONTROLLER-URL", "give it as http://HOST:PORT or https://HOST[:PORT]",
			fmt.Errorf("controller URL %q is not valid", base))
	}
	if key.AccessKey == "" || key.SecretKey == "" {
		return nil, fault.Operator("FERRY-CONTROLLER-KEY", "set CLOUD_SDK_AK and CLOUD_SDK_SK", errors.New("no access key for the controller"))
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 2
	return &Client{
		base: u, key: key, now: time.Now,
		http: &http.Client{Transport: transport, Timeout: requestTimeout, CheckRedirect: noRedirect},
	}, nil
}

// noRedirect keeps a signed request at the host it was signed for.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// CreateTask creates a task and returns its id.
func (c *Client) CreateTask(ctx context.Context, task smsapi.CreateTaskRequest) (string, error) {
	var created smsapi.CreateTaskResponse
	if err := c.call(ctx, http.MethodPost, "/v3/tasks", nil, task, &created); err != nil {
		return "", fmt.Errorf("create task: %w", err)
	}
	if created.ID == "" {
		return "", fmt.Errorf("create task: the answer has no id")
	}
	return created.ID, nil
}

// ListTasks returns one page of tasks, newest first.
func (c *Client) ListTasks(ctx context.Context, query smsapi.TaskQuery) (smsapi.TaskList, error) {
	var list smsapi.TaskList
	if err := c.call(ctx, http.MethodGet, "/v3/tasks", query.Values(), nil, &list); err != nil {
		return list, fmt.Errorf("list tasks: %w", err)
	}
	return list, nil
}

// Task returns the task called id.
func (c *Client) Task(ctx context.Context, id string) (smsapi.Task, error) {
	var task smsapi.Task
	if err := c.call(ctx, http.MethodGet, "/v3/tasks/"+url.PathEscape(id), nil, nil, &task); err != nil {
		return task, fmt.Errorf("show task %s: %w", id, err)
	}
	return task, nil
}

// PutProgress reports the progress of the task called id. Sending the same report twice is harmless.
func (c *Client) PutProgress(ctx context.Context, id string, progress smsapi.Progress) error {
	if err := c.call(ctx, http.MethodPut, "/v3/tasks/"+url.PathEscape(id)+"/progress", nil, progress, nil); err != nil {
		return fmt.Errorf("report progress of task %s: %w", id, err)
	}
	return nil
}

// call sends one request and decodes the answer into out. A success with an empty or a text body is one too, as long as nothing
// is expected in it.
func (c *Client) call(ctx context.Context, method, path string, query url.Values, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base.String()+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.URL.RawQuery = query.Encode()
	if in != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	c.key.Sign(request, body, c.now())
	response, err := c.http.Do(request)
	if err != nil {
		return networkError(ctx, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return networkError(ctx, err)
	case len(answer) > maxAnswer:
		return fmt.Errorf("the answer is larger than %d bytes", maxAnswer)
	case response.StatusCode/100 != 2:
		return c.refusal(response, answer)
	case out == nil:
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("the answer is not what the API documents: %w", err)
	}
	return nil
}

// networkError classes what happened below HTTP: temporary, unless the caller gave up.
func networkError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return fault.Temporary(err)
}

// refusal turns an answer that is not a success into an error with a class.
func (c *Client) refusal(response *http.Response, body []byte) error {
	e := parseRefusal(body)
	e.Status = response.StatusCode
	if e.RequestID == "" {
		e.RequestID = response.Header.Get("X-Request-Id")
	}
	e.RetryAfter = retryAfter(response.Header.Get("Retry-After"), c.now())
	switch {
	case e.Status == http.StatusUnauthorized && c.clockIsOff(response):
		return fault.Operator("FERRY-CLOCK", "set the clock of this machine, then run it again", e)
	case e.Status == http.StatusUnauthorized, e.Status == http.StatusForbidden:
		return fault.Operator("FERRY-CONTROLLER-KEY", "check the access key and its rights (CLOUD_SDK_AK, CLOUD_SDK_SK)", e)
	case e.Status == http.StatusRequestTimeout, e.Status == http.StatusTooManyRequests, e.Status >= 500:
		return fault.Temporary(e)
	default:
		return fault.Permanent(e)
	}
}

// clockIsOff reports whether the service's clock is too far from ours for signatures to hold.
func (c *Client) clockIsOff(response *http.Response) bool {
	date, err := http.ParseTime(response.Header.Get("Date"))
	return err == nil && c.now().Sub(date).Abs() > smsapi.MaxSkew
}

// parseRefusal reads the two documented shapes of an error body, and keeps the start of any other.
func parseRefusal(body []byte) *APIError {
	var shapes struct {
		smsapi.Error
		OtherCode    string `json:"code"`
		OtherMessage string `json:"message"`
	}
	if json.Unmarshal(body, &shapes) == nil {
		if shapes.Code != "" {
			return &APIError{Code: shapes.Code, Message: shapes.Message, RequestID: shapes.RequestID}
		}
		if shapes.OtherCode != "" {
			return &APIError{Code: shapes.OtherCode, Message: shapes.OtherMessage}
		}
	}
	return &APIError{Message: strings.ToValidUTF8(string(body[:min(len(body), 200)]), "?")}
}

// retryAfter reads a Retry-After header: seconds or a date. At most an hour is believed.
func retryAfter(header string, now time.Time) time.Duration {
	wait := time.Duration(0)
	if seconds, err := strconv.Atoi(header); err == nil {
		wait = time.Duration(min(seconds, 3600)) * time.Second
	} else if date, err := http.ParseTime(header); err == nil {
		wait = date.Sub(now)
	}
	return min(max(wait, 0), time.Hour)
}
