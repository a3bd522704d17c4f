package reporter

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/ferry-migrate/ferry/reporter/dcsapi"
)

// Work tells what a server that runs migrations of Redis does for each of them, and returns all that it is to do. It may be repeated.
func (c *Client) Work(ctx context.Context, server string, work dcsapi.Work) (orders dcsapi.Orders, err error) {
	path := "/v2/" + dcsProject + "/migration-machines/" + url.PathEscape(server) + "/work"
	if err := c.call(ctx, http.MethodPost, path, nil, work, &orders); err != nil {
		return orders, fmt.Errorf("ask for migrations of Redis: %w", err)
	}
	return orders, nil
}

// dcsProject stands in paths for the one project that a control plane has.
const dcsProject = "ferry"
