package agent

import (
	"context"
	"log/slog"

	"github.com/ferry-migrate/ferry/collector"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
	"github.com/ferry-migrate/ferry/transfer"
	"github.com/ferry-migrate/ferry/transfer/target/layout"
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

// format is FORMAT_DISK_LINUX_FILE: it has a target of disks lay them out as those of this server. Another target has nothing to do.
type format struct {
	dial     wire.DialFunc
	software string
	plan     func(context.Context) (*layout.Plan, error)
}

// NewFormat returns the subtask FORMAT_DISK_LINUX_FILE for a target that dial reaches; plan says what its disks shall be.
func NewFormat(dial wire.DialFunc, software string, plan func(context.Context) (*layout.Plan, error)) Subtask {
	return &format{dial, software, plan}
}

// Name returns FORMAT_DISK_LINUX_FILE.
func (*format) Name() string { return string(smsapi.FormatDiskLinuxFile) }

// Run sends the plan and waits until the disks are laid out. Only a target of disks needs one: not every server has disks to plan.
func (f *format) Run(ctx context.Context, _ *Task) error {
	if ok, err := layout.OfDisks(ctx, f.dial, f.software); err != nil || !ok {
		return err
	}
	p, err := f.plan(ctx)
	if err != nil {
		return err
	}
	_, err = layout.Send(ctx, f.dial, f.software, p)
	return err
}

// Progress is empty: no data moves.
func (*format) Progress() transfer.Progress { return transfer.Progress{} }

// launch is CONFIGURE_LINUX_FILE: it has a target of disks make the system that it received start on its machine. Another target has nothing to do.
type launch struct {
	dial     wire.DialFunc
	software string
	log      *slog.Logger
}

// NewConfigure returns the subtask CONFIGURE_LINUX_FILE for a target that dial reaches.
func NewConfigure(dial wire.DialFunc, software string, log *slog.Logger) Subtask {
	return &launch{dial, software, log}
}

// Name returns CONFIGURE_LINUX_FILE.
func (*launch) Name() string { return string(smsapi.ConfigureLinuxFile) }

// Run waits until it is done, and logs what a person should know of it.
func (l *launch) Run(ctx context.Context, _ *Task) error {
	done, ok, err := layout.SendStart(ctx, l.dial, l.software)
	if err != nil || !ok {
		return err
	}
	l.log.Info("the target is made to start", "family", done.Family, "loader", done.Loader, "changes", done.Changes, "score", done.Score)
	for _, w := range done.Warnings {
		l.log.Warn("about its start", "warning", w)
	}
	return nil
}

// Progress is empty: no data moves.
func (*launch) Progress() transfer.Progress { return transfer.Progress{} }

// PlanHere is the plan of the disks of this machine.
func PlanHere(ctx context.Context) (*layout.Plan, error) {
	return DiskPlan(collector.Collect(ctx, collector.Options{}))
}
