package reporter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// The calls of an agent about its source. Those that are safe to repeat say so.

// ServiceConfig asks for the service's settings for agents. What comes back may be anything; that it comes shows that the service
// can be reached and takes our proof.
func (c *Client) ServiceConfig(ctx context.Context) error {
	if err := c.call(ctx, http.MethodGet, "/v3/config", nil, nil, nil); err != nil {
		return fmt.Errorf("read the service's configuration: %w", err)
	}
	return nil
}

// PrivacyAgreed reports whether the privacy statement was accepted for this account.
func (c *Client) PrivacyAgreed(ctx context.Context) (bool, error) {
	var answer struct {
		Flag bool `json:"flag"`
	}
	if err := c.call(ctx, http.MethodGet, "/v3/privacy-agreements", nil, nil, &answer); err != nil {
		return false, fmt.Errorf("read the privacy agreement: %w", err)
	}
	return answer.Flag, nil
}

// AgreePrivacy accepts the privacy statement. It may be repeated.
func (c *Client) AgreePrivacy(ctx context.Context) error {
	if err := c.call(ctx, http.MethodPost, "/v3/privacy-agreements", nil, nil, nil); err != nil {
		return fmt.Errorf("accept the privacy agreement: %w", err)
	}
	return nil
}

// RegisterSource registers a source, anew when the body has the id of an earlier time, and returns its id.
func (c *Client) RegisterSource(ctx context.Context, source smsapi.RegisterSource) (string, error) {
	var answer smsapi.RegisteredSource
	if err := c.call(ctx, http.MethodPost, "/v3/sources", nil, source, &answer); err != nil {
		return "", fmt.Errorf("register the source: %w", err)
	}
	if answer.ID == "" {
		return "", fault.Temporary(errors.New("register the source: the answer has no id"))
	}
	return answer.ID, nil
}

// KnowsSource returns nil if the service knows a source; if not, an error for which IsGone is true.
func (c *Client) KnowsSource(ctx context.Context, source string) error {
	if err := c.call(ctx, http.MethodGet, "/v3/sources/"+url.PathEscape(source), nil, nil, nil); err != nil {
		return fmt.Errorf("show the source: %w", err)
	}
	return nil
}

// UpdateDisks tells the disks of a source. It may be repeated.
func (c *Client) UpdateDisks(ctx context.Context, source string, disks smsapi.UpdateDiskInfo) error {
	if err := c.call(ctx, http.MethodPut, sourcePath(source, "diskinfo"), nil, disks, nil); err != nil {
		return fmt.Errorf("update the disks of the source: %w", err)
	}
	return nil
}

// ChangeState tells the state of a source. It may be repeated.
func (c *Client) ChangeState(ctx context.Context, source string, state smsapi.CopyState) error {
	if err := c.call(ctx, http.MethodPut, sourcePath(source, "changestate"), nil, state, nil); err != nil {
		return fmt.Errorf("change the state of the source to %s/%s: %w", state.Cycle, state.State, err)
	}
	return nil
}

// Command asks for the next command of a source. One without a name asks for nothing.
func (c *Client) Command(ctx context.Context, source string) (smsapi.Command, error) {
	var command smsapi.Command
	if err := c.call(ctx, http.MethodGet, sourcePath(source, "command"), nil, nil, &command); err != nil {
		return command, fmt.Errorf("ask for a command: %w", err)
	}
	return command, nil
}

// CommandResult answers a command of a source.
func (c *Client) CommandResult(ctx context.Context, source string, result smsapi.CommandResult) error {
	if err := c.call(ctx, http.MethodPost, sourcePath(source, "command_result"), nil, result, nil); err != nil {
		return fmt.Errorf("answer command %s: %w", result.Name, err)
	}
	return nil
}

// SpeedLimits returns the limits of a task by the time of day. The service's error for a task without any is none.
func (c *Client) SpeedLimits(ctx context.Context, task string) ([]smsapi.LimitWindow, error) {
	var answer smsapi.LimitWindows
	err := c.call(ctx, http.MethodGet, taskPath(task, "speed-limit"), nil, nil, &answer)
	var refused *APIError
	if errors.As(err, &refused) && refused.Code == "SMS.6302" {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the speed limit of task %s: %w", task, err)
	}
	return answer.Windows, nil
}

// TaskSettings returns the advanced options of a task.
func (c *Client) TaskSettings(ctx context.Context, task string) ([]smsapi.Config, error) {
	var answer smsapi.TaskSettings
	if err := c.call(ctx, http.MethodGet, taskPath(task, "configuration-setting"), nil, nil, &answer); err != nil {
		return nil, fmt.Errorf("read the settings of task %s: %w", task, err)
	}
	return answer.Items, nil
}

// TaskAction asks for an operation on a task, as a user does.
func (c *Client) TaskAction(ctx context.Context, task string, operation smsapi.Operation) error {
	if err := c.call(ctx, http.MethodPost, taskPath(task, "action"), nil, smsapi.TaskAction{Operation: operation}, nil); err != nil {
		return fmt.Errorf("%s task %s: %w", operation, task, err)
	}
	return nil
}

// UpdateNetworkCheck tells how the way to the target of a task was found. It may be repeated.
func (c *Client) UpdateNetworkCheck(ctx context.Context, task string, check smsapi.NetworkCheck) error {
	if err := c.call(ctx, http.MethodPost, "/v3/"+url.PathEscape(task)+"/update-network-check-info", nil, check, nil); err != nil {
		return fmt.Errorf("report the network check of task %s: %w", task, err)
	}
	return nil
}

// PutLogs stores an archive at a path of the service, or at a URL that was signed beforehand, which gets no proof of ours.
func (c *Client) PutLogs(ctx context.Context, to string, archive []byte) error {
	var err error
	if strings.HasPrefix(to, "/") {
		_, err = c.send(ctx, http.MethodPut, c.base.String()+to, archive)
	} else {
		err = c.putUnsigned(ctx, to, archive)
	}
	if err != nil {
		return fmt.Errorf("send logs: %w", err)
	}
	return nil
}

// putUnsigned does not quote the URL in errors: who knows it may write there.
func (c *Client) putUnsigned(ctx context.Context, to string, body []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, to, bytes.NewReader(body))
	if err != nil {
		return fault.Permanent(errors.New("the URL cannot be used"))
	}
	response, answer, err := c.do(ctx, request)
	var plain *url.Error
	switch {
	case errors.As(err, &plain):
		return fault.Temporary(plain.Err)
	case err != nil:
		return err
	case response.StatusCode/100 != 2:
		return c.refusal(response, answer)
	}
	return nil
}

// Deliver implements Service.
func (c *Client) Deliver(ctx context.Context, m Message) error {
	switch {
	case m.Progress != nil:
		return c.PutProgress(ctx, m.Task, *m.Progress)
	case m.State != nil:
		return c.ChangeState(ctx, m.Source, *m.State)
	case m.Result != nil:
		return c.CommandResult(ctx, m.Source, *m.Result)
	}
	return fault.Permanent(errors.New("a message without content"))
}

func sourcePath(id, what string) string { return "/v3/sources/" + url.PathEscape(id) + "/" + what }

func taskPath(id, what string) string { return "/v3/tasks/" + url.PathEscape(id) + "/" + what }
