package service

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/svc/mgr"
)

// recovery is what Windows does when the service ends although nobody stopped it: starts it again, at last every five minutes. After
// a day without that it begins anew.
var recovery = []mgr.RecoveryAction{
	{Type: mgr.ServiceRestart, Delay: 5 * time.Second}, {Type: mgr.ServiceRestart, Delay: time.Minute}, {Type: mgr.ServiceRestart, Delay: 5 * time.Minute},
}

const recoveryReset = 24 * 60 * 60 // seconds

func (m *Manager) install(context.Context) error {
	if m.State() == NotInstalled {
		if err := m.service.Install(); err != nil { // the source of events too
			return err
		}
	}
	return settle(func(c *mgr.Config) {
		c.BinaryPathName = windows.ComposeCommandLine([]string{m.setup.Program, "agent", "run", "--service", "--config", m.setup.Config})
	})
}

func (m *Manager) uninstall(context.Context) error { return m.service.Uninstall() }

// Settle gives the installed service what an MSI cannot: a delayed start and what to do when it fails. A service calls it when it
// begins.
func Settle() error { return settle(func(*mgr.Config) {}) }

func settle(change func(*mgr.Config)) error {
	m, err := mgr.Connect()
	if err != nil {
		return fmt.Errorf("service manager: %w", err)
	}
	defer m.Disconnect() //nolint:errcheck // nothing depends on it
	s, err := m.OpenService(Name)
	if err != nil {
		return fmt.Errorf("open the service: %w", err)
	}
	defer s.Close()
	c, err := s.Config()
	if err != nil {
		return fmt.Errorf("read the service's configuration: %w", err)
	}
	c.StartType, c.DelayedAutoStart = mgr.StartAutomatic, true // after what the server itself is there for
	change(&c)
	return errors.Join(s.UpdateConfig(c), s.SetRecoveryActions(recovery, recoveryReset), s.SetRecoveryActionsOnNonCrashFailures(true))
}
