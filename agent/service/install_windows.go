package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
	"unsafe"

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
	return settle(m.setup)
}

func (m *Manager) uninstall(context.Context) error { return m.service.Uninstall() }

// Settle gives the installed service, which runs, what an MSI cannot: a command line in quotes, a delayed start, and what to do when
// it fails.
func Settle(config string) error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("where is this program: %w", err)
	}
	return settle(Setup{Program: program, Config: config})
}

func settle(setup Setup) error {
	m, err := mgr.Connect()
	if err != nil {
		return fmt.Errorf("service manager: %w", err)
	}
	defer m.Disconnect() //nolint:errcheck // nothing depends on it
	s, err := m.OpenService(Name)
	if err != nil {
		return fmt.Errorf("open the service: %w", err)
	}
	defer s.Close() //nolint:errcheck // nothing depends on it
	// Quotes wherever the path has a space: C:\Program.exe would be started instead.
	line, err := windows.UTF16PtrFromString(windows.ComposeCommandLine([]string{setup.Program, "agent", "run", "--service", "--config", setup.Config}))
	if err != nil {
		return fmt.Errorf("command line of the service: %w", err)
	}
	delayed := windows.SERVICE_DELAYED_AUTO_START_INFO{IsDelayedAutoStartUp: 1} // after what the server itself is there for
	return errors.Join(
		windows.ChangeServiceConfig(s.Handle, windows.SERVICE_NO_CHANGE, windows.SERVICE_AUTO_START, windows.SERVICE_NO_CHANGE, line, nil, nil, nil, nil, nil, nil),
		known(windows.ChangeServiceConfig2(s.Handle, windows.SERVICE_CONFIG_DELAYED_AUTO_START_INFO, (*byte)(unsafe.Pointer(&delayed)))),
		known(s.SetRecoveryActions(recovery, recoveryReset)), known(s.SetRecoveryActionsOnNonCrashFailures(true)))
}

// known drops the error of a service manager that has no such setting, as wine's: the service runs without it.
func known(err error) error {
	if errors.Is(err, windows.ERROR_INVALID_LEVEL) {
		return nil
	}
	return err
}
