package service

import "context"

// Work is what a service does, until ctx is done. It calls ready once it can be asked what it is doing, with the answer to that: one
// line, at any time, without waiting for anything. A service that does not answer any more is restarted by systemd.
type Work func(ctx context.Context, ready func(status func() string)) error
