package reporter

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// The calls of an operator: what people and their programs ask, and agents do not.

// Sources returns one page of sources, newest first.
func (c *Client) Sources(ctx context.Context, query smsapi.SourceQuery) (smsapi.SourceList, error) {
	var list smsapi.SourceList
	if err := c.call(ctx, http.MethodGet, "/v3/sources", query.Values(), nil, &list); err != nil {
		return list, fmt.Errorf("list sources: %w", err)
	}
	return list, nil
}

// Source returns the source called id.
func (c *Client) Source(ctx context.Context, id string) (smsapi.Source, error) {
	var source smsapi.Source
	if err := c.call(ctx, http.MethodGet, "/v3/sources/"+url.PathEscape(id), nil, nil, &source); err != nil {
		return source, fmt.Errorf("show source %s: %w", id, err)
	}
	return source, nil
}

// Regions returns the regions of the service, its main one first.
func (c *Client) Regions(ctx context.Context) ([]map[string]string, error) {
	var config smsapi.ServiceConfig
	if err := c.call(ctx, http.MethodGet, "/v3/config", nil, nil, &config); err != nil {
		return nil, fmt.Errorf("read the service's configuration: %w", err)
	}
	regions := config.Regions
	for i, region := range regions {
		if region["region_name"] == config.Config["mainRegion"] {
			regions[0], regions[i] = regions[i], regions[0]
		}
	}
	return regions, nil
}

// Act asks for an operation on a task. The agent of its source does it when it asks for commands next.
func (c *Client) Act(ctx context.Context, task string, action smsapi.TaskAction) error {
	if err := c.call(ctx, http.MethodPost, taskPath(task, "action"), nil, action, nil); err != nil {
		return fmt.Errorf("%s task %s: %w", action.Operation, task, err)
	}
	return nil
}

// DeleteTask deletes a task.
func (c *Client) DeleteTask(ctx context.Context, task string) error {
	if err := c.call(ctx, http.MethodDelete, "/v3/tasks/"+url.PathEscape(task), nil, nil, nil); err != nil {
		return fmt.Errorf("delete task %s: %w", task, err)
	}
	return nil
}

// SetSpeedLimits replaces the limits of a task. No window means no limit. It may be repeated.
func (c *Client) SetSpeedLimits(ctx context.Context, task string, windows []smsapi.LimitWindow) error {
	body := smsapi.LimitWindows{Windows: append([]smsapi.LimitWindow{}, windows...)}
	if err := c.call(ctx, http.MethodPost, taskPath(task, "speed-limit"), nil, body, nil); err != nil {
		return fmt.Errorf("limit task %s: %w", task, err)
	}
	return nil
}
