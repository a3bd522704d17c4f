package reporter

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
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
// Errors carry a class: what the network, a busy service or something between that is not the service causes is temporary; a
// refused key, a wrong clock or a certificate that nobody vouches for is for the operator; any other refusal is permanent. A
// refusal wraps an [*APIError], what happened below HTTP a [*NetworkError]; [SMSCode] gives the code that the service has for either.
type Client struct {
	base *url.URL
	auth Auth
	http *http.Client
	now  func() time.Time
}

// Options say how a service is reached.
type Options struct {
	Endpoint string         // http or https URL
	Auth     Auth           // proves who sends a request
	Proxy    *url.URL       // for these calls only, never for data; nil means what the environment says
	CAs      *x509.CertPool // whom to trust; nil means the system's
}

// NewClient returns a client for the service at base, an http or https URL. Requests are signed with key.
func NewClient(base string, key smsapi.Key) (*Client, error) {
	if key.AccessKey == "" || key.SecretKey == "" {
		_, err := parseBase(base)
		return nil, cmp.Or(err, fault.Operator("FERRY-CONTROLLER-KEY", "set CLOUD_SDK_AK and CLOUD_SDK_SK", errors.New("no access key for the controller")))
	}
	return Open(Options{Endpoint: base, Auth: &KeyAuth{Key: key}})
}

// Open returns a client. It does not connect before the first call. Close it.
func Open(o Options) (*Client, error) {
	base, err := parseBase(o.Endpoint)
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 2
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.CAs}
	if o.Proxy != nil {
		transport.Proxy = http.ProxyURL(o.Proxy)
	}
	c := &Client{base: base, auth: o.Auth, now: time.Now}
	c.http = &http.Client{Transport: transport, Timeout: requestTimeout, CheckRedirect: noRedirect}
	return c, nil
}

func parseBase(base string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimSuffix(base, "/"))
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		return nil, fault.Operator("FERRY-CONTROLLER-URL", "give it as http://HOST:PORT or https://HOST[:PORT]",
			errors.New("the controller's URL is not valid")) // it may hold a password, so it is not quoted
	}
	return u, nil
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
// is expected in it. A request whose proof was refused is sent once more if the proof can be renewed.
func (c *Client) call(ctx context.Context, method, path string, query url.Values, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
	}
	target := c.base.String() + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	answer, err := c.send(ctx, method, target, body)
	var refused *APIError
	if errors.As(err, &refused) && refused.Status == http.StatusUnauthorized && c.auth.Renew() {
		answer, err = c.send(ctx, method, target, body)
	}
	if err != nil || out == nil {
		return err
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fault.Temporary(fmt.Errorf("the answer is not what the API documents: %w", err))
	}
	return nil
}

// send sends one request and returns the body of a success.
func (c *Client) send(ctx context.Context, method, target string, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if err := c.auth.Sign(ctx, c, request, body); err != nil {
		return nil, err
	}
	response, answer, err := c.do(ctx, request)
	switch {
	case err != nil:
		return nil, err
	case response.StatusCode/100 != 2:
		return nil, c.refusal(response, answer)
	case isPage(answer):
		return nil, fault.Temporary(fmt.Errorf("a web page answered, not the API: %w", errNotAPI))
	}
	return answer, nil
}

// do sends a request as it is and reads the whole answer.
func (c *Client) do(ctx context.Context, request *http.Request) (*http.Response, []byte, error) {
	response, err := c.http.Do(request)
	if err != nil {
		return nil, nil, networkError(ctx, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return nil, nil, networkError(ctx, err)
	}
	if len(answer) > maxAnswer {
		return nil, nil, fault.Temporary(fmt.Errorf("the answer is larger than %d bytes", maxAnswer))
	}
	return response, answer, nil
}

// errNotAPI says that what answered is not the service: a proxy's login page, for example.
var errNotAPI = errors.New("check the address and the proxy")

// isPage reports whether a body is HTML or XML, which the service never sends.
func isPage(body []byte) bool { return bytes.HasPrefix(bytes.TrimSpace(body), []byte("<")) }
