// Package service makes the agent a service of its machine, and is the agent's side of the conversation with whoever started it.
//
// A [Manager] installs, starts and stops the service through whatever the machine has: systemd, upstart, OpenRC, SysV, or the
// service manager of Windows (github.com/kardianos/service). For systemd and OpenRC the text is the one that the packages carry
// (package packaging). Every call may be repeated: what is as wanted is left alone or written again.
//
// [Run] is around the agent's work. It tells systemd when the agent is ready, what it is doing, that it is alive and that it stops
// (sd_notify(3)); Windows tells it through svc when to stop. [LogHandler] writes to the manager's own log: fields of the journal,
// events of Windows.
//
// It does not know what the agent does, keeps no state, and removes none: see `ferry agent uninstall --purge`.
package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/packaging"
	"github.com/kardianos/service"
)

// Name is the name of the service everywhere.
const Name = "ferry"

// Setup is how the service is to run. Paths are absolute.
type Setup struct {
	Program string // the ferry that runs
	Config  string // its configuration file
	Limits  Limits
}

// Limits is what systemd lets the service use (systemd.resource-control(5)). A zero means systemd's own default.
type Limits struct {
	CPUWeight, IOWeight int   // 1 to 10000, beside 100 of others
	MemoryMax           int64 // bytes
}

// State is what the service manager says of the service.
type State string

// The states of a service.
const (
	Running      State = "running"
	Stopped      State = "stopped"
	Failed       State = "failed" // or nothing certain is known
	NotInstalled State = "not installed"
)

// Manager manages the service on this machine.
type Manager struct {
	setup   Setup
	log     *slog.Logger
	service service.Service
}

// New returns the manager of this machine's service. It changes nothing. log is told of programs that are started.
func New(setup Setup, log *slog.Logger) (*Manager, error) {
	s, err := service.New(idle{}, &service.Config{
		Name:        Name,
		DisplayName: "Ferry migration agent",
		Description: "Migrates this server when a control plane asks for it.",
		Executable:  setup.Program,
		Arguments:   []string{"agent", "run", "--service", "--config", setup.Config},
		Option: service.KeyValue{
			"SystemdScript": packaging.SystemdUnit(setup.Program, setup.Config),
			"OpenRCScript":  packaging.OpenRCScript(setup.Program, setup.Config),
		},
	})
	if err != nil {
		return nil, fmt.Errorf("service manager: %w", err)
	}
	return &Manager{setup: setup, log: log, service: s}, nil
}

// Platform names the service manager: linux-systemd, linux-openrc, linux-upstart, unix-systemv, windows-service.
func (m *Manager) Platform() string { return m.service.Platform() }

// Install makes the service one that starts with the machine, and replaces an earlier one. It does not start it: a service that
// runs goes on as it was until it is restarted.
func (m *Manager) Install(ctx context.Context) error { return m.told("install", m.install(ctx)) }

// Uninstall stops the service and takes it away. What a package brought stays, and only does not start any more.
func (m *Manager) Uninstall(ctx context.Context) error {
	if m.State() == NotInstalled {
		return nil
	}
	if err := m.Stop(); err != nil {
		return err
	}
	return m.told("uninstall", m.uninstall(ctx))
}

// Start starts the service, which must be installed, and returns when it says that it is ready.
func (m *Manager) Start() error {
	if m.State() == Running {
		return nil
	}
	return m.told("start", m.service.Start())
}

// Stop stops the service and waits until it ended.
func (m *Manager) Stop() error {
	if s := m.State(); s == Stopped || s == NotInstalled {
		return nil
	}
	return m.told("stop", m.service.Stop())
}

// State asks the service manager.
func (m *Manager) State() State {
	status, err := m.service.Status()
	switch {
	case errors.Is(err, service.ErrNotInstalled):
		return NotInstalled
	case err != nil:
		return Failed
	case status == service.StatusRunning:
		return Running
	case status == service.StatusStopped:
		return Stopped
	}
	return Failed
}

// told gives an error of the service manager a code and a remedy.
func (m *Manager) told(what string, err error) error {
	remedy := "run it as root (on Windows as administrator), and see what the log of the service says"
	return fault.Operator("FERRY-SERVICE", remedy, wrap(fmt.Sprintf("%s the service with %s", what, m.Platform()), err))
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// idle is what kardianos wants to run. Run runs the agent instead: the systemd of kardianos has no notification, and its Windows no
// PreShutdown and a guess instead of an explicit mode.
type idle struct{}

// Start implements service.Interface.
func (idle) Start(service.Service) error { return nil }

// Stop implements service.Interface.
func (idle) Stop(service.Service) error { return nil }
