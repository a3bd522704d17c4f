package agent

import (
	"context"

	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/ferry-migrate/ferry/transfer"
	"github.com/ferry-migrate/ferry/transfer/wire"
)

// connect is SSL_CONFIG: it proves that the target can be reached and that both sides know each other's key, enrolling this
// source with the pairing code if they do not yet.
type connect struct{ dial wire.DialFunc }

// NewConnect returns the subtask SSL_CONFIG for a target that dial reaches.
func NewConnect(dial wire.DialFunc) Subtask { return &connect{dial} }

// Name returns SSL_CONFIG.
func (*connect) Name() string { return string(smsapi.SSLConfig) }

// Run dials the target once.
func (c *connect) Run(ctx context.Context, _ *Task) error {
	conn, err := c.dial(ctx)
	if err != nil {
		return err
	}
	return conn.Close()
}

// Progress is empty: no data moves.
func (*connect) Progress() transfer.Progress { return transfer.Progress{} }
